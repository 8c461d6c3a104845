"""Fairness of slates that were evaluated: a world worked out by hand, splits and fits that add."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.handmade import evaluation
from tests.worlds import shop

from tailrec import columns as c
from tailrec.contender import Contender, Part
from tailrec.data.split import Split, leave_one_out
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.evaluation.report import Evaluation
from tailrec.fair_view import (
    SHOWN,
    FairView,
    draw_fairness,
    fair_view,
    fairness_table,
    group_items,
    write_fairness,
)

BRANDS = ("A", "A", "B", "C", None)
HISTORIES = ([0, 1, 2], [1, 2, 0], [0, 2, 3], [2, 0, 1], [0, 1, 4])
"""What people turned to last: B, A, C, A, and an item without a brand."""
FIRST = (0, 1, 0, 2, 4)
"""The one item each is shown: A, A, A, B, and one without a brand."""
NDCG = (0.5, 0.25, 0.0, 1.0, 0.75)


def world(
    brands: Sequence[str | None] = BRANDS, histories: Sequence[list[int]] = HISTORIES
) -> Split:
    """Leave-one-out on people who bought three things or more, of items with brands."""
    data = shop(histories, [f"thing{number}" for number in range(len(brands))])
    table = data.catalog.table.with_columns(pl.Series(c.BRAND, brands, pl.String))
    return leave_one_out(replace(data, catalog=Catalog(table)))


def slates(
    first: Sequence[int], ndcg: Sequence[float] = NDCG, *, users: Sequence[int] | None = None
) -> Evaluation:
    """Slates of one item each."""
    run = evaluation({"ndcg@1": ndcg[: len(first)]}, users=users)
    return replace(run, ids=np.array(first, np.int32)[:, None])


def view_of(
    splits: Sequence[Split], *parts: Sequence[Evaluation], by: str = c.BRAND, least: int = 1
) -> FairView:
    one = Contender("by hand", [Part(list(runs)) for runs in parts])
    groups = group_items(splits, by, "pareto")
    rng = np.random.default_rng(0)
    return fair_view(one, splits, groups, at=(1,), least=least, rng=rng)


def by_group(view: FairView, column: str) -> dict[str, float]:
    return dict(view.groups.select("group", column).iter_rows())


def test_by_hand() -> None:
    """Of four looks A gets 3 and B 1; of four targets A has 2, B 1 and C 1."""
    view = view_of([world()], [slates(FIRST)])
    assert view.groups["group"].to_list() == ["C", "B", "A"]  # the worst off first
    assert by_group(view, "items") == {"A": 2, "B": 1, "C": 1}
    assert by_group(view, "targets") == {"A": 2, "B": 1, "C": 1}
    assert by_group(view, "exposure") == pytest.approx({"A": 0.75, "B": 0.25, "C": 0})
    assert by_group(view, "merit") == pytest.approx({"A": 0.5, "B": 0.25, "C": 0.25})
    assert by_group(view, "treatment") == pytest.approx({"A": 1.5, "B": 1, "C": 0})
    assert view.ungrouped == pytest.approx({"items": 1, "exposure": 0.2, "targets": 0.2})
    treated = {"treatment_ratio@1": 0.0, "worst_treatment@1": 0.0, "treatment_welfare@1": 0.5}
    assert view.figures == pytest.approx(
        treated
        | {f"{name}/judged": value for name, value in treated.items()}
        | {
            "treatment_difference@1": 0.25,  # A has a quarter that is C's
            "group_exposure_gini@1": 0.5,  # of 0, 1/4 and 3/4
            "group_merit_gini": 1 / 6,  # of 1/4, 1/4 and 1/2
            "ndcg@1/worst_off": 0.0,
            "ndcg@1/welfare": (9 * 0 + 7 * 0.25 + 5 * 0.5 + 3 * 0.75 + 1) / 25,
        }
    )
    # All histories have two events.
    assert view.people is None
    assert view.n_requests == {"history_1_2": 5}


def test_attention_falls_with_the_place() -> None:
    run = replace(slates(FIRST[:4]), ids=np.array([[0, 2], [1, 2], [0, -1], [2, 0]], np.int32))
    run = replace(run, per_user={"ndcg@1": np.zeros(4)}, users=run.users[:4])
    split = world(histories=HISTORIES[:4])
    one = Contender("by hand", [Part([run])])
    groups = group_items([split], c.BRAND, "pareto")
    view = fair_view(one, [split], groups, at=(1, 2), rng=np.random.default_rng(0))
    second = 1 / np.log2(3)
    looks = {"A": 3 + second, "B": 1 + 2 * second, "C": 0}
    expected = {name: own / (4 + 3 * second) for name, own in looks.items()}
    assert view.at == 2
    assert view.accuracy == "ndcg@1"
    assert by_group(view, "exposure") == pytest.approx(expected)
    assert "treatment_ratio@2" in view.figures


def test_looks_and_targets_of_splits_add_up() -> None:
    """The second split asks for C and shows it: looks are 3, 1, 1, targets 2, 1, 2."""
    split = world()
    later = split.take(np.array([2]))
    view = view_of([split, later], [slates(FIRST)], [slates([3], users=[2])])
    assert by_group(view, "targets") == {"A": 2, "B": 1, "C": 2}
    assert by_group(view, "items") == {"A": 2, "B": 1, "C": 1}
    assert by_group(view, "treatment") == pytest.approx({"A": 1.5, "B": 1, "C": 0.5})
    assert view.figures["treatment_ratio@1"] == pytest.approx(1 / 3)
    assert view.ungrouped["targets"] == pytest.approx(1 / 6)
    assert view.n_requests == {"history_1_2": 6}


def test_groups_of_splits_go_by_their_names() -> None:
    """In the later split, what was A is called Z, which moves all the codes."""
    earlier, later = world(), world(("Z", "Z", "B", "C", None))
    groups = group_items([earlier, later], c.BRAND, "pareto")
    assert groups.names == ["A", "B", "C", "Z"]
    assert [code.tolist() for code in groups.codes] == [[0, 0, 1, 2, -1], [3, 3, 1, 2, -1]]
    view = view_of([earlier, later], [slates(FIRST)], [slates(FIRST)])
    assert by_group(view, "exposure") == pytest.approx({"A": 3 / 8, "B": 1 / 4, "C": 0, "Z": 3 / 8})
    assert by_group(view, "items") == {"A": 0, "B": 1, "C": 1, "Z": 2}


def test_fits_of_a_split_count_as_one() -> None:
    """Another fit shows C to all but the last: on average A has 1.5 of four looks, C 2."""
    split = world()
    view = view_of([split], [slates(FIRST), slates([3, 3, 3, 3, 4])])
    assert by_group(view, "targets") == {"A": 2, "B": 1, "C": 1}
    assert by_group(view, "exposure") == pytest.approx({"A": 3 / 8, "B": 1 / 8, "C": 1 / 2})
    assert view.ungrouped["exposure"] == pytest.approx(0.2)
    # Nor does a split weigh more because it was fitted twice.
    later = split.take(np.array([2]))
    once, twice = (
        view_of([split, later], [slates(FIRST)] * n, [slates([3], users=[2])]) for n in (1, 2)
    )
    assert by_group(twice, "exposure") == pytest.approx(by_group(once, "exposure"))


def test_groups_with_few_targets_come_last_and_are_not_judged_alone() -> None:
    """Two targets are asked for: A alone has them. E is shown, and nobody turns to it."""
    view = view_of([world((*BRANDS, "E"))], [slates([0, 5, 0, 2, 4])], least=2)
    rows = view.groups.select("group", "treatment", "judged").rows()
    assert rows == [("A", 1.0, True), ("C", 0.0, False), ("B", 1.0, False), ("E", None, False)]
    assert view.figures["worst_treatment@1"] == 0
    assert view.figures["worst_treatment@1/judged"] == 1
    assert view.figures["treatment_ratio@1/judged"] == 1
    assert view.figures["treatment_welfare@1/judged"] == 1
    nobody = view_of([world()], [slates(FIRST)], least=3)
    assert not nobody.groups["judged"].any()
    assert not [name for name in nobody.figures if name.endswith("/judged")]


def test_of_groups_treated_alike_the_one_with_most_targets_comes_first() -> None:
    """C and D are never shown; people turned to D twice."""
    histories = [[0, 1, 2], [0, 1, 3], [0, 1, 4], [1, 0, 4]]
    split = world(("A", "A", "B", "C", "D"), histories)
    view = view_of([split], [slates([2, 2, 2, 2])])
    assert view.groups["group"].to_list() == ["D", "C", "B", "A"]


def test_tiers_are_those_of_the_train_part() -> None:
    """Items 0 to 2 have events in train, the others are only turned to later: cold."""
    groups = group_items([world()], c.TIER, "rare")
    assert groups.names == ["cold", "tail"]
    assert groups.codes[0].tolist() == [1, 1, 1, 0, 0]


def test_people_by_length_of_history() -> None:
    """Those with two events have 0.5 and 0.25, those with three 0 and 1."""
    split = world(histories=[[0, 1, 2], [1, 2, 0], [0, 1, 2, 3], [0, 2, 3, 1]])
    view = view_of([split], [slates([0, 1, 2, 3])])
    people = view.people
    assert people is not None
    assert view.n_requests == {"history_1_2": 2, "history_3_5": 2}
    assert {name: mean.mid for name, mean in people.means.items()} == pytest.approx(
        {"history_1_2": 0.375, "history_3_5": 0.5}
    )
    assert (people.best, people.worst) == ("history_3_5", "history_1_2")
    assert people.gap.mid == pytest.approx(0.125)
    assert people.gap.low < 0 < people.gap.high
    assert view_of([split], [slates([0, 1, 2, 3])]).people == people


def test_people_are_drawn_with_all_their_requests() -> None:
    """The same requests in two windows tell no more of four people than once."""
    split = world(histories=[[0, 1, 2], [1, 2, 0], [0, 1, 2, 3], [0, 2, 3, 1]])
    once = view_of([split], [slates([0, 1, 2, 3])]).people
    twice = view_of([split, split], *[[slates([0, 1, 2, 3])]] * 2).people
    assert once is not None
    assert twice is not None
    assert twice.gap == pytest.approx(once.gap)


def test_plain_values_are_json() -> None:
    split = world((*BRANDS, "E"))
    told = json.loads(json.dumps(view_of([split], [slates(FIRST)]).to_dict(), allow_nan=False))
    assert (told["by"], told["at"], told["people"]) == ("brand", 1, None)
    assert [row["group"] for row in told["groups"]] == ["C", "B", "A", "E"]
    assert told["groups"][-1]["treatment"] is None
    split = world(histories=[[0, 1, 2], [1, 2, 0], [0, 1, 2, 3], [0, 2, 3, 1]])
    told = json.loads(json.dumps(view_of([split], [slates([0, 1, 2, 3])]).to_dict()))
    assert told["people"]["means"]["history_3_5"]["requests"] == 2
    assert set(told["people"]["gap"]) == {"low", "mid", "high"}


def test_the_files(tmp_path: Path) -> None:
    split = world(
        ("A$b$", "A$b$", "B", "C", None), [[0, 1, 2], [1, 2, 0], [0, 1, 2, 3], [0, 2, 3, 1]]
    )
    view = view_of([split], [slates([0, 1, 2, 0])])
    picture, table = write_fairness(view, tmp_path / "new")
    assert (picture.name, table.name) == ("fairness.png", "fairness.csv")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    read = pl.read_csv(table)
    assert read.columns == ["figure", "group", "value", "low", "high"]
    assert len(read) == len(fairness_table(view))
    found = {(row[0], row[1]): row[2:] for row in read.iter_rows()}
    assert found["treatment@1", "B"] == (by_group(view, "treatment")["B"], None, None)
    assert found["exposure@1", "A$b$"][0] == by_group(view, "exposure")["A$b$"]
    assert found["items", "A$b$"][0] == 2
    assert found["group_merit_gini", None][0] == view.figures["group_merit_gini"]
    assert view.people is not None
    gap = view.people.gap
    assert found["ndcg@1/gap", None] == pytest.approx((gap.mid, gap.low, gap.high))
    assert found["ndcg@1", "history_1_2"][0] == pytest.approx(0.375)


def test_the_picture_shows_the_worst() -> None:
    """Of twenty brands, each turned to once, the bars are of the first fifteen."""
    n = 20
    histories = [[(i + 1) % n, (i + 2) % n, i] for i in range(n)]
    split = world([f"brand {i:02}" for i in range(n)], histories)
    # Some are shown more than once, so that others are not shown at all.
    view = view_of([split], [slates([i * i // n for i in range(n)], [0.5] * n)])
    curves, bars = draw_fairness(view).axes
    assert len(bars.patches) == SHOWN == len(view.worst)
    widths = [bar.get_width() for bar in bars.patches]  # type: ignore[attr-defined]
    assert widths == view.worst["treatment"].to_list() == sorted(widths)
    exposure, merit, alike = (line.get_xydata() for line in curves.lines)
    np.testing.assert_allclose(merit[:, 0], merit[:, 1])  # one target each: all alike
    assert (exposure[1:-1, 1] < exposure[1:-1, 0]).all()
    np.testing.assert_array_equal(alike, [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("colour", "'colour' puts no items together; known are title, brand, category, seller_id"),
        ("seller_id", r"5 items, and none has any seller_id; take another field \(brand, tier\)"),
        ("attributes.size", "none has any attributes.size"),
    ],
)
def test_fields_that_do_not_serve(by: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        group_items([world()], by, "rare")


def test_groups_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="every brand there is is 'A'"):
        group_items([world(("A", "A", None, None, None))], c.BRAND, "rare")
    # What people turned to has no brand.
    split = world((None, None, "B", "A", "A"), [[2, 3, 0], [4, 2, 1]])
    with pytest.raises(DataError, match="nobody turned to an item with any brand"):
        group_items([split], c.BRAND, "rare")
    with pytest.raises(DataError, match="no slate shows an item with any brand"):
        view_of([world()], [slates([4] * 5)])
