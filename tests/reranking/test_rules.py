import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.data.filters import parse_filter
from tailrec.errors import DataError, RecipeError
from tailrec.items import PADDING, BoolArray, ItemsBatch
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import (
    BOOSTED,
    BURIED,
    NOTHING,
    PINNED,
    TOUCHES,
    UNLIMITED,
    CompiledRules,
)

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"

SHOP = pl.DataFrame(
    {
        "item_id": ["A", "B", "C", "D", "E", "F"],
        "title": ["a", "b", "c", "d", "e", "f"],
        "brand": ["x", "x ", "y", None, "", "x"],
        "category": ["M > L", "M > L > S", "M > E", "N", None, "M > L"],
        "price": [1.0, 2.0, 3.0, 4.0, 5.0, None],
        "tier": ["head", "tail", "tail", "cold", "head", "tail"],
        "attributes": ['{"colour": "red"}', '{"colour": ["red", "blue"]}', None, "{}", "[", None],
    }
)
A, B, C, D, E, F = range(6)


def rules(**options: Any) -> CompiledRules:
    return Rules.parse(options).compiled(SHOP)


def pool(*rows: dict[int, float], **columns: list[list[Any]]) -> ItemsBatch:
    """Pools of items with their scores, in the order given."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), PADDING, np.int32)
    scores = np.full((len(rows), width), -np.inf, np.float32)
    for n, row in enumerate(rows):
        ids[n, : len(row)], scores[n, : len(row)] = list(row), list(row.values())
    return ItemsBatch(ids, scores, {name: np.array(v) for name, v in columns.items()})


ALL = pool({A: 6, B: 5, C: 4, D: 3, E: 2, F: 1})


def shown(slates: ItemsBatch) -> list[list[int]]:
    return [[item for item in row if item != PADDING] for row in slates.ids.tolist()]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            {"pin": [{"item": "A", "position": 1}, {"item": "B", "position": 1}]},
            "position 1 is pinned twice, to 'A' and 'B'",
        ),
        (
            {"pin": [{"item": "A", "position": 1}, {"item": "A", "position": 3}]},
            "item 'A' is pinned twice, at positions 1 and 3",
        ),
        ({"pin": [{"item": "A", "position": 0}]}, "greater than or equal to 1"),
        ({"pin": [{"item": "A", "position": 101}]}, "less than or equal to 100"),
        (
            {"pin": [{"item": "A", "position": 2}], "bury": [{"items": ["A"], "factor": 0}]},
            "item 'A' is pinned at position 2 and buried with factor 0",
        ),
        ({"boost": [{"items": ["A"], "factor": 1}]}, "greater than 1"),
        ({"boost": [{"items": ["A"], "factor": float("inf")}]}, "finite"),
        ({"bury": [{"items": ["A"], "factor": 1}]}, "less than 1"),
        ({"bury": [{"items": ["A"], "factor": -0.1}]}, "greater than or equal to 0"),
        ({"cap": [{"items": ["A"], "at_most": 0}]}, "greater than or equal to 1"),
        ({"boost": [{"factor": 2}]}, "neither was given"),
        ({"boost": [{"factor": 2, "items": ["A"], "filter": {}}]}, "both were given"),
        (
            {"boost": [{"factor": 2, "filter": {"prise": 1}}]},
            "boost.0.filter: Value error, filter.",
        ),
        ({"boost": [{"factor": 2, "filter": {"prise": 1}}]}, "did you mean 'price'"),
        ({"at_most": {"colour": 2}}, "counted by 'colour'; there are title, brand, category"),
        ({"at_most": {"category/": 2}}, "cannot be counted"),
        ({"at_most": {"category/12": 2}}, "cannot be counted"),
        ({"at_most": {"attributes.": 2}}, "cannot be counted"),
        ({"at_most": {"brand": 0}}, "greater than or equal to 1"),
        ({"at_most": {"brand": 2**40}}, "less than or equal to 1000"),
        ({"pin": [{"item": "\ud800", "position": 1}]}, "unicode"),
        ({"pins": []}, "Extra inputs"),
        (
            {"cap": [{"filter": {"price": {"gt": n, "lt": 9}}, "at_most": 1} for n in range(101)]},
            "at most 100 items",
        ),
        (
            {"cap": [{"filter": {f"attributes.{n}": n for n in range(3)}, "at_most": 1}] * 67},
            "201 conditions, 0 of them contains",
        ),
    ],
)
def test_bad_rules_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(fault)):
        Rules.parse(options)


def test_rules_go_through_toml_and_are_keys() -> None:
    options = {
        "pin": [{"item": "B", "position": 2}, {"item": "A", "position": 1}],
        "boost": [{"filter": {"brand": "x", "price": {"lt": 3}}, "factor": 2.0}],
        "bury": [{"items": ["C"], "factor": 0.5}],
        "cap": [{"filter": {"created_at": {"since": "2024-05-01"}}, "at_most": 3}],
        "at_most": {"category/1": 3, "brand": 2},
    }
    found = Rules.parse(options)
    again = Rules.parse(tomllib.loads(found.toml()))
    same = Rules.parse(
        options
        | {
            "boost": [{"filter": {"price": {"lt": 3.0}, "brand": {"eq": "x"}}, "factor": 2}],
            "at_most": {"brand": 2, "category/1": 3},
        }
    )
    assert again == found == same
    assert len({again, found, same, Rules()}) == 2
    assert Rules.model_json_schema()["$defs"]["Boost"]["properties"]["filter"]


def test_rules_of_a_request_join_those_of_the_shop() -> None:
    shop = Rules.parse(
        {
            "pin": [{"item": n, "position": p} for p, n in enumerate("ABC", start=1)],
            "bury": [{"items": ["Z"], "factor": 0}],
            "boost": [{"items": ["D"], "factor": 2}],
            "at_most": {"brand": 2, "tier": 5},
        }
    )
    request = Rules.parse(
        {
            "pin": [
                {"item": "D", "position": 1},
                {"item": "B", "position": 4},
                {"item": "Z", "position": 6},
            ],
            "boost": [{"items": ["D"], "factor": 3}],
            "at_most": {"brand": 4, "tier": 1, "title": 1},
        }
    )
    both = shop.joined(request)
    assert [(pin.item, pin.position) for pin in both.pin] == [("D", 1), ("C", 3), ("B", 4)]
    assert both.at_most == {"brand": 2, "tier": 1, "title": 1}
    assert both.compiled(SHOP).factor[D] == 6
    assert shop.joined(Rules()) == shop
    many = Rules.parse({"cap": [{"items": ["A"], "at_most": 1}] * 60})
    with pytest.raises(RecipeError, match="the shop and the request together: option cap"):
        many.joined(many)


def test_factors_multiply_and_never_shown_stays() -> None:
    found = rules(
        boost=[{"filter": {"tier": "tail"}, "factor": 3}, {"items": ["B", "D"], "factor": 2}],
        bury=[{"items": ["B", "E"], "factor": 0.5}, {"filter": {"price": 3}, "factor": 0}],
    )
    assert found.factor.tolist() == [1, 3, 0, 2, 0.5, 3]
    assert found.touch.tolist() == [NOTHING, BOOSTED, BURIED, BOOSTED, BURIED, BOOSTED]
    extreme = [{"items": ["A"], "factor": 1000}] * 100
    faint = [{"items": ["B"], "factor": 1e-30}] * 100
    assert rules(boost=extreme, bury=faint).factor[:2].tolist() == pytest.approx([1e6, 1e-6])


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("brand", [[A, B, F], [C]]),
        ("category", [[A, F], [B], [C], [D]]),
        ("category/1", [[A, B, C, F], [D]]),
        ("category/2", [[A, B, F], [C], [D]]),
        ("tier", [[A, E], [B, C, F], [D]]),
        ("attributes.colour", [[A], [B]]),
        ("attributes.none", []),
        ("seller_id", []),
    ],
)
def test_items_of_one_value_are_counted_together(name: str, groups: list[list[int]]) -> None:
    found = rules(at_most={name: 1})
    codes = found.codes[0]
    counted = [np.flatnonzero(codes == code).tolist() for code in range(found.n_counts)]
    assert sorted(counted) == sorted(groups)
    assert (codes == UNLIMITED).sum() == len(SHOP) - sum(map(len, groups))


def test_items_the_catalogue_lacks_are_told() -> None:
    found = rules(
        pin=[{"item": "Y", "position": 1}, {"item": "F", "position": 2}],
        boost=[{"items": ["A", "Z"], "factor": 2}],
    )
    assert found.unknown == ("Y", "Z")
    assert shown(found.placed(ALL, 2)) == [[A, F]]


def test_a_boost_lifts_and_a_bury_lowers_scores_of_either_sign() -> None:
    found = rules(
        boost=[{"items": ["B", "E"], "factor": 4}],
        bury=[{"items": ["A", "D"], "factor": 0.5}, {"items": ["F"], "factor": 0}],
    )
    bent = found.reweighted(pool({F: 9, A: 3, C: 2, B: 1, D: -1, E: -2}, {C: 0}))
    assert shown(bent) == [[B, C, A, E, D], [C]]
    np.testing.assert_array_equal(bent.scores[0], np.float32([4, 2, 1.5, -0.5, -2, -np.inf]))
    assert bent.columns["rule"][0].tolist() == [BOOSTED, NOTHING, BURIED, BOOSTED, BURIED, NOTHING]
    assert TOUCHES[BOOSTED] == "boosted"


def test_equal_scores_stand_by_number_and_columns_go_along() -> None:
    found = rules(boost=[{"items": ["C"], "factor": 2}])
    bent = found.reweighted(pool({B: 4, F: 2, A: 2, C: 1}, source=[[1, 2, 3, 4]]))
    assert shown(bent) == [[B, A, C, F]]
    assert bent.columns["source"].tolist() == [[1, 3, 4, 2]]


def test_pins_stand_at_their_places() -> None:
    found = rules(pin=[{"item": "F", "position": 1}, {"item": "B", "position": 3}])
    slates = found.placed(ALL, 4)
    assert shown(slates) == [[F, A, B, C]]
    assert slates.scores.tolist() == [[1, 6, 5, 4]]
    assert slates.columns["rule"].tolist() == [[PINNED, NOTHING, PINNED, NOTHING]]
    assert shown(found.placed(ALL, 2)) == [[F, A]]


def test_a_pin_its_pool_lacks_has_no_score_and_nothing_in_the_columns() -> None:
    found = rules(pin=[{"item": "F", "position": 2}])
    names = np.array([["a", "b"]], object)
    given = pool({A: 3, B: 2}, source=[[7, 8]], part=[[0.5, 0.6]], on=[[True, True]])
    given = ItemsBatch(given.ids, given.scores, {**given.columns, "name": names})
    slates = found.placed(given, 9)
    assert shown(slates) == [[A, F, B]]
    assert slates.scores.tolist() == [[3, 0, 2]]
    assert slates.columns["source"].tolist() == [[7, -1, 8]]
    assert slates.columns["part"].tolist() == [[0.5, 0, 0.6]]
    assert slates.columns["on"].tolist() == [[True, False, True]]
    assert slates.columns["name"].tolist() == [["a", None, "b"]]


def test_pins_that_may_not_be_shown_are_left_out() -> None:
    found = rules(
        pin=[{"item": "F", "position": 1}, {"item": "E", "position": 2}],
        bury=[{"filter": {"price": 5}, "factor": 0}],
    )
    assert shown(found.placed(ALL, 3)) == [[F, A, B]]
    allowed = np.array([1, 1, 0, 1, 1, 0], np.bool_)
    assert shown(found.placed(ALL, 6, allowed=allowed)) == [[A, B, D]]
    exclude = np.array([0, 1, 1]), np.array([F], np.int32)
    two = pool({A: 2, B: 1}, {A: 2, B: 1})
    assert shown(found.placed(two, 3, exclude=exclude)) == [[A, B], [F, A, B]]


def test_pins_win_over_caps_and_count() -> None:
    brands = rules(at_most={"brand": 1}, pin=[{"item": "F", "position": 3}])
    assert shown(brands.placed(ALL, 6)) == [[C, D, F, E]]
    pinned = [{"item": "A", "position": 1}, {"item": "B", "position": 2}]
    assert shown(rules(at_most={"brand": 1}, pin=pinned).placed(ALL, 6)) == [[A, B, C, D, E]]


def test_caps_pass_items_over_and_leave_slates_short() -> None:
    found = rules(cap=[{"filter": {"price": {"exists": True}}, "at_most": 2}])
    slates = found.placed(ALL, 6)
    assert shown(slates) == [[A, B, F]]
    assert np.isneginf(slates.scores[0, 3:]).all()
    both = rules(at_most={"tier": 1, "category/1": 2})
    assert shown(both.placed(ALL, 6)) == [[A, B, D]]


def test_pins_below_the_end_move_up() -> None:
    found = rules(pin=[{"item": "F", "position": 4}, {"item": "E", "position": 6}])
    assert shown(found.placed(pool({A: 1}, {}), 6)) == [[A, F, E], [F, E]]
    assert shown(found.placed(pool({A: 1}), 5)) == [[A, F]]
    assert shown(found.placed(pool({}, {}), 6)) == [[F, E], [F, E]]


def test_without_rules_slates_are_the_heads_of_their_pools() -> None:
    slates = Rules().compiled(SHOP).placed(Rules().compiled(SHOP).reweighted(ALL), 4)
    assert shown(slates) == [[A, B, C, D]]
    assert not slates.columns["rule"].any()


def test_what_belongs_to_another_catalogue_is_refused() -> None:
    found = Rules().compiled(SHOP)
    other = pool({6: 1})
    for call in (lambda: found.reweighted(other), lambda: found.placed(other, 1)):
        with pytest.raises(DataError, match="holds item number 6; the rules were compiled for 6"):
            call()
    with pytest.raises(DataError, match="allowed is of 5"):
        found.placed(ALL, 1, allowed=np.ones(5, np.bool_))
    with pytest.raises(DataError, match="exclude holds item number 9"):
        found.placed(ALL, 1, exclude=(np.array([0, 1]), np.array([9], np.int32)))
    with pytest.raises(DataError, match="k is 0"):
        found.placed(ALL, 0)


def test_why_tells_what_rules_do_to_an_item() -> None:
    found = rules(
        pin=[{"item": "B", "position": 2}],
        boost=[{"filter": {"tier": "tail"}, "factor": 1.5}, {"items": ["B"], "factor": 2}],
        bury=[{"filter": {"price": {"lte": 3}}, "factor": 0}],
        cap=[{"items": ["B", "C"], "at_most": 1}],
        at_most={"category/2": 2, "brand": 3},
    )
    assert found.why(B) == [
        "pinned at position 2",
        "boosted by 1.5: tier is 'tail'",
        "boosted by 2: items named in the rule",
        "never shown: price is at most 3",
        "at most 1 in a slate: items named in the rule",
        "at most 3 in a slate with brand 'x'",
        "at most 2 in a slate with category/2 'M > L'",
    ]
    assert found.why(E) == []
    with pytest.raises(DataError, match="number 6 is not among the 6"):
        found.why(6)


# Random rules over a random world, held against a plain reading.

SIZE = 12
IDS = [f"i{n}" for n in range(SIZE)]
TIERS = ["head", "middle", "tail"]


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=2)


CHOSEN = st.one_of(
    st.lists(st.sampled_from(IDS), min_size=1, max_size=4).map(lambda items: {"items": items}),
    st.sampled_from(TIERS).map(lambda tier: {"filter": {"tier": tier}}),
)


def rule(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(CHOSEN, st.fixed_dictionaries(more)).map(lambda both: both[0] | both[1])


PINS = st.lists(
    st.tuples(st.sampled_from([*IDS, "unknown"]), st.integers(1, 9)),
    max_size=4,
    unique_by=(lambda pin: pin[0], lambda pin: pin[1]),
).map(lambda pins: [{"item": item, "position": position} for item, position in pins])
RULES = st.fixed_dictionaries(
    {
        "pin": PINS,
        "boost": some(rule(factor=st.sampled_from([1.5, 4.0]))),
        "bury": some(
            st.sampled_from(TIERS).map(lambda tier: {"filter": {"tier": tier}, "factor": 0})
            | rule(factor=st.sampled_from([0.25, 0.5]))
        ),
        "cap": some(rule(at_most=st.integers(1, 3))),
        "at_most": st.dictionaries(st.sampled_from(["brand", "tier"]), st.integers(1, 3)),
    }
)


class World:
    """A catalogue, pools and what must not be shown, all drawn from one seed."""

    def __init__(self, options: dict[str, Any], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = pl.DataFrame(
            {
                c.ITEM_ID: IDS,
                "brand": rng.choice(["x", "y", "z", None], SIZE).tolist(),
                "tier": rng.choice(TIERS, SIZE).tolist(),
            }
        )
        rows = [rng.permutation(SIZE)[: rng.integers(SIZE + 1)].tolist() for _ in range(3)]
        drawn = [zip(-rng.integers(-4, 5, len(row)), row, strict=True) for row in rows]
        # Best first, ties by number, as every source gives them.
        self.pools = pool(*({item: -score for score, item in sorted(pairs)} for pairs in drawn))
        self.allowed: BoolArray = rng.random(SIZE) < 0.8
        self.hidden = [rng.permutation(SIZE)[: rng.integers(3)].astype(np.int32) for _ in rows]
        ptr = np.cumsum([0, *map(len, self.hidden)])
        self.exclude = ptr, np.concatenate(self.hidden)
        self.rules = Rules.parse(options)
        self.compiled = self.rules.compiled(self.table)

    def placed(self, k: int) -> ItemsBatch:
        return self.compiled.placed(self.pools, k, allowed=self.allowed, exclude=self.exclude)

    def caps(self) -> list[tuple[list[int], int]]:
        """Sets of items and how many of each a slate may hold."""
        found = [
            ([n for n in range(SIZE) if cap.about(self.table[n])], cap.at_most)
            for cap in self.rules.cap
        ]
        for name, limit in self.rules.at_most.items():
            values = self.table[name].to_list()
            same = [[n for n in range(SIZE) if values[n] == v] for v in set(values) - {None}]
            found += [(items, limit) for items in same]
        return found


def plainly_placed(world: World, row: int, k: int) -> list[int]:
    """One slate, read off the documentation."""

    def may(item: int) -> bool:
        never = world.compiled.factor[item] == 0
        return bool(world.allowed[item]) and not never and item not in world.hidden[row]

    waiting = [
        (pin.position, IDS.index(pin.item))
        for pin in world.rules.pin
        if pin.item in IDS and may(IDS.index(pin.item)) and pin.position <= k
    ]
    counted = [item for _, item in waiting]
    rest = [item for item in shown(world.pools)[row] if may(item) and item not in counted]
    slate: list[int] = []
    while len(slate) < k and (waiting or rest):
        if waiting and (waiting[0][0] == len(slate) + 1 or not rest):
            slate.append(waiting.pop(0)[1])
            continue
        item = rest.pop(0)
        full = (len({*items} & {*counted}) >= n for items, n in world.caps() if item in items)
        if not any(full):
            slate.append(item)
            counted.append(item)
    return slate


@settings(deadline=None)
@given(RULES, st.integers(0, 10**6), st.integers(1, SIZE + 2))
def test_slates_agree_with_a_plain_reading(options: dict[str, Any], seed: int, k: int) -> None:
    world = World(options, seed)
    assert shown(world.placed(k)) == [plainly_placed(world, row, k) for row in range(3)]


@settings(deadline=None)
@given(RULES, st.integers(0, 10**6), st.integers(1, SIZE))
def test_slates_keep_their_promises(options: dict[str, Any], seed: int, k: int) -> None:
    world = World(options, seed)
    slates, again = world.placed(k), world.placed(k)
    np.testing.assert_array_equal(slates.ids, again.ids)
    pins = {IDS.index(pin.item) for pin in world.rules.pin if pin.item in IDS}
    for slate, given_pool, hidden in zip(
        shown(slates), shown(world.pools), world.hidden, strict=True
    ):
        assert len(slate) == len(set(slate)) <= k
        assert set(slate) <= set(given_pool) | pins
        assert not set(slate) & set(hidden.tolist())
        assert world.allowed[slate].all()
        for items, limit in world.caps():
            both = set(items) & set(slate)
            assert len(both) <= max(limit, len(both & pins))
    alone = [
        world.compiled.placed(
            ItemsBatch(world.pools.ids[n : n + 1], world.pools.scores[n : n + 1]),
            k,
            allowed=world.allowed,
            exclude=(np.array([0, len(world.hidden[n])]), world.hidden[n]),
        )
        for n in range(3)
    ]
    assert [shown(one)[0] for one in alone] == shown(slates)


@settings(deadline=None)
@given(RULES, st.integers(0, 10**6), st.sampled_from(IDS), st.sampled_from([1.01, 2.0, 50.0]))
def test_a_larger_factor_never_lowers_an_item(
    options: dict[str, Any], seed: int, item: str, factor: float
) -> None:
    world = World(options, seed)
    more = {"items": [item], "factor": factor}
    lifted = World(options | {"boost": [*options["boost"], more]}, seed)
    before = shown(world.compiled.reweighted(world.pools))
    after = shown(lifted.compiled.reweighted(world.pools))
    number = IDS.index(item)
    for first, then in zip(before, after, strict=True):
        assert [n for n in first if n != number] == [n for n in then if n != number]
        if number in first:
            assert then.index(number) <= first.index(number)


def test_examples_on_the_page_are_filters_and_rules() -> None:
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"^```(json|toml)\n(.*?)^```", text, flags=re.M | re.S)
    assert {language for language, _ in blocks} == {"json", "toml"}
    for language, block in blocks:
        read = json.loads(block) if language == "json" else tomllib.loads(block)
        found = Rules.parse(read["rules"]) if "rules" in read else parse_filter(read["filter"])
        assert found not in (Rules(), parse_filter({})), block
