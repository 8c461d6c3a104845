"""Identity: aliases lead to one id whatever their order, and clashes are refused."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.data.identity import CANONICAL, canonical, moves, resolve
from tailrec.errors import DataError


def _aliases(*rows: tuple[str, str, str]) -> pl.DataFrame:
    names = ["platform", "alias", "user_id"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _events(*rows: tuple[str, str | None]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "platform": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_chains_lead_to_their_end() -> None:
    aliases = _aliases(("web", "a", "b"), ("web", "b", "c"), ("app", "d", "c"))
    found = {alias: to for _, alias, to in resolve(aliases).iter_rows()}
    assert found == {"a": "c", "b": "c", "d": "c"}
    assert canonical(_events(("a", None), ("c", None), ("x", None)), aliases)[
        "user_id"
    ].to_list() == ["c", "c", "x"]


def test_an_alias_that_means_the_same_on_two_platforms_is_followed() -> None:
    aliases = _aliases(("", "c", "b"), ("web", "b", "a"), ("app", "b", "a"))
    assert moves(aliases).sort("old").rows() == [("b", "a"), ("c", "a")]


def test_one_alias_means_another_person_on_another_platform() -> None:
    aliases = _aliases(("web", "17", "ann"), ("app", "17", "bob"))
    events = _events(("17", "web"), ("17", "app"), ("17", "till"), ("17", None))
    assert canonical(events, aliases)["user_id"].to_list() == ["ann", "bob", "17", "17"]
    assert moves(aliases).is_empty()


def test_an_alias_of_one_platform_does_not_reach_another() -> None:
    aliases = _aliases(("web", "a", "ann"), ("", "z", "zoe"))
    events = _events(("a", "web"), ("a", "app"), ("a", None), ("z", "app"))
    assert canonical(events, aliases)["user_id"].to_list() == ["ann", "a", "ann", "zoe"]


def test_a_circle_takes_its_smallest_id() -> None:
    found = resolve(_aliases(("web", "a", "b"), ("web", "b", "a")))
    assert set(found[CANONICAL]) == {"a"}


def test_a_shared_alias_of_two_people_is_a_clash_until_they_are_said_to_be_one() -> None:
    clash = [("web", "a", "ann"), ("web", "a", "bob")]
    with pytest.raises(DataError, match="alias 'a' joins 'ann' and 'bob'"):
        resolve(_aliases(*clash))
    one = resolve(_aliases(*clash, ("", "bob", "ann")))
    assert set(one[CANONICAL]) == {"ann"}


def test_aliases_of_products_touch_items_only() -> None:
    aliases = _aliases(("product:old", "a", "b"), ("web", "x", "y"))
    frame = pl.DataFrame({"user_id": ["a", "x"], "item_id": ["a", "x"]})
    assert canonical(frame, aliases).rows() == [("a", "b"), ("y", "x")]


_PAIRS = st.lists(
    st.tuples(
        st.sampled_from(["", "web", "app"]), st.sampled_from("abcdef"), st.sampled_from("abcdef")
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(_PAIRS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_order_of_aliases_does_not_matter(
    both: tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]],
) -> None:
    def outcome(rows: list[tuple[str, str, str]]) -> object:
        try:
            return resolve(_aliases(*rows)).rows()
        except DataError as error:
            return str(error)

    assert outcome(both[0]) == outcome(both[1])


@settings(deadline=None, max_examples=40)
@given(_PAIRS)
def test_canonical_ids_stay_as_they_are(rows: list[tuple[str, str, str]]) -> None:
    aliases = _aliases(*rows)
    try:
        moved = moves(aliases)
    except DataError:
        return
    assert not set(moved["old"]) & set(moved["new"])
    events = _events(*((name, None) for name in "abcdef"))
    once = canonical(events, aliases)
    assert canonical(once, aliases).equals(once)
