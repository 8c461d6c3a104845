"""One recommender's figures, costs and card over all splits and seeds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.handmade import contender, evaluation
from tests.worlds import shop, words_of

from tailrec import columns as c
from tailrec.contender import Contender, Part, evaluate_slates, read_card
from tailrec.data.exchange import fingerprint
from tailrec.data.split import Split, leave_one_out, validation
from tailrec.errors import DataError
from tailrec.evaluation.facets import facets_of
from tailrec.tail.segments import is_tail

NAN = float("nan")
TWO_SEEDS = Contender(
    "ours",
    [
        Part(
            [
                evaluation({"ndcg@10": [0, 1], "recall@10/cold": [NAN, 1]}, split="first"),
                evaluation({"ndcg@10": [1, 1], "recall@10/cold": [NAN, 0]}, split="first"),
            ],
            {"kind": "als", "factors": 8},
            {"search_seconds": 1.0, "fit_seconds": 2.0, "slate_seconds": 0.5, "peak_bytes": 100.0},
        ),
        Part(
            [
                evaluation({"ndcg@10": [0, 0, 0, 0.4]}, split="second", users=[1, 2, 2, 5]),
                evaluation({"ndcg@10": [0, 0.2, 0.2, 0]}, split="second", users=[1, 2, 2, 5]),
            ],
            {"kind": "als", "factors": 9},
            {"search_seconds": 3.0, "fit_seconds": 4.0, "slate_seconds": 1.5},
        ),
    ],
)


def test_figures_are_means_over_all_requests_and_seeds() -> None:
    # Six requests on two splits: 1.4 in all with the one seed, 2.4 with the other.
    assert TWO_SEEDS.figures["ndcg@10"] == pytest.approx((1.4 + 2.4) / 12)
    # What one split lacks is taken from the other.
    assert TWO_SEEDS.figures["recall@10/cold"] == pytest.approx(0.5)
    assert len(TWO_SEEDS.runs) == 4


def test_spread_is_between_seeds() -> None:
    # The seeds' means over both splits: 1.4 / 6 and 2.4 / 6; of cold items: 1 and 0.
    assert TWO_SEEDS.spread == pytest.approx(
        {"ndcg@10": 1 / 6 / np.sqrt(2), "recall@10/cold": 1 / np.sqrt(2)}
    )
    first = Contender("one seed", [Part(part.runs[:1]) for part in TWO_SEEDS.parts])
    assert first.spread == {}
    one_each = [Part(part.runs[: 2 - place]) for place, part in enumerate(TWO_SEEDS.parts)]
    assert Contender("two seeds and one", one_each).spread == {}


def test_a_figure_that_one_seed_lacks_has_no_spread() -> None:
    runs = [evaluation({"ndcg@10": [0.5], "ild@10": [0.2]}), evaluation({"ndcg@10": [0.7]})]
    one = Contender("ours", [Part(runs)])
    assert one.spread == pytest.approx({"ndcg@10": 0.2 / np.sqrt(2)})
    assert one.figures == pytest.approx({"ndcg@10": 0.6, "ild@10": 0.2})
    assert one.to_dict()["splits"][0]["figures"] == pytest.approx({"ndcg@10": 0.6, "ild@10": 0.2})


def test_values_of_requests_are_means_over_seeds() -> None:
    np.testing.assert_allclose(TWO_SEEDS.per_user("ndcg@10"), [0.5, 1, 0, 0.1, 0.1, 0.2])
    np.testing.assert_allclose(TWO_SEEDS.per_user("recall@10/cold"), [NAN, 0.5, *[NAN] * 4])
    assert np.isnan(TWO_SEEDS.per_user("no such figure")).all()
    assert TWO_SEEDS.users.tolist() == [0, 1, 1, 2, 2, 5]


def test_costs_are_mean_seconds_and_the_highest_peak() -> None:
    assert TWO_SEEDS.costs == {
        "search_seconds": 2,
        "fit_seconds": 3,
        "slate_seconds": 1,
        "peak_bytes": 100,  # one part does not tell
    }
    peaks = [Part(TWO_SEEDS.parts[0].runs, None, {"peak_bytes": peak}) for peak in (5.0, 9.0, 7.0)]
    assert Contender("ours", peaks).costs == {"peak_bytes": 9}


def test_costs_of_slates_from_elsewhere_are_those_of_the_card() -> None:
    run = evaluation({"ndcg@10": [1]})
    card = {"fit_seconds": 60, "peak_bytes": 10, "library": "x 1.0"}
    assert Contender("theirs", [Part([run])], card).costs == {"fit_seconds": 60, "peak_bytes": 10}
    assert Contender("theirs", [Part([run])], {}).costs == {}


def test_plain_values() -> None:
    told = TWO_SEEDS.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["name"] == "ours"
    assert told["figures"] == TWO_SEEDS.figures
    assert told["spread"] == TWO_SEEDS.spread
    assert told["costs"] == TWO_SEEDS.costs
    assert [part["split"] for part in told["splits"]] == ["first", "second"]
    assert [part["options"]["factors"] for part in told["splits"]] == [8, 9]
    assert told["splits"][0]["figures"] == pytest.approx({"ndcg@10": 0.75, "recall@10/cold": 0.5})
    assert told["splits"][1]["figures"] == pytest.approx({"ndcg@10": 0.1})
    assert told["splits"][1]["costs"]["fit_seconds"] == 4
    assert told["card"] is None
    assert contender("alone", TWO_SEEDS.runs[0]).to_dict()["spread"] == {}


@pytest.fixture
def split() -> Split:
    """Requests of u0, u1 and u2, for the items 2, 3 and 4."""
    return leave_one_out(shop([[0, 1, 2], [1, 2, 3], [2, 3, 4]], ["thing"] * 10))


def test_slates_from_elsewhere_are_measured(split: Split, tmp_path: Path) -> None:
    rows = [("u2", "i9", 1), ("u2", "i4", 2), ("u0", "i2", 1), ("u1", None, 1)]
    schema = [c.USER_ID, c.ITEM_ID, c.RANK]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "slates")
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    facets = facets_of(split.train.catalog, words_of(split.train).words)
    part = evaluate_slates(tmp_path / "slates", split, [1, 2], masks, facets)
    (run,) = part.runs
    assert (part.options, part.costs) == (None, {})
    assert run.per_user["recall@1"].tolist() == [1, 0, 0]
    assert run.per_user["recall@2"].tolist() == [1, 0, 1]
    assert run.figures["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert {"recall@2/pareto", "ild@2", "recall_ips@2"} <= run.figures.keys()


def test_slates_that_break_the_rules_are_refused(split: Split, tmp_path: Path) -> None:
    facets = facets_of(split.train.catalog, words_of(split.train).words)
    for own, says in ((["i0"], "items that the request excludes"), (["i5", "i5"], "an item twice")):
        table = pl.DataFrame({c.USER_ID: "u0", c.ITEM_ID: own, c.RANK: range(1, 1 + len(own))})
        others = pl.DataFrame({c.USER_ID: ["u1", "u2"], c.ITEM_ID: "i9", c.RANK: 1})
        pl.concat([table, others.cast({c.RANK: pl.Int64})]).write_parquet(tmp_path / "slates")
        with pytest.raises(DataError, match=says):
            evaluate_slates(tmp_path / "slates", split, [2], {}, facets)


def test_a_card_lies_beside_the_slates(split: Split, tmp_path: Path) -> None:
    assert read_card(tmp_path / "gru.parquet", [split]) == {}
    card = {
        "fit_seconds": 61.5,
        "peak_bytes": 0,
        "library": {"name": "x", "seeds": [1, 2]},
        "fingerprints": [fingerprint(split), fingerprint(validation(split))],
    }
    (tmp_path / "gru.json").write_text(json.dumps(card), "utf-8")
    assert read_card(tmp_path / "gru.parquet", [split, validation(split)]) == card


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fit_seconds = 3", "gru.json is no JSON"),
        ('{"seed": NaN}', "gru.json is no JSON: NaN is no number"),
        ('{"seed": -Infinity}', "gru.json is no JSON: -Infinity is no number"),
        ("[1]", "gru.json holds list; a card is an object"),
        ('{"fit_seconds": "61"}', "fit_seconds is '61'; it must be a number"),
        ('{"slate_seconds": -1}', "slate_seconds is -1; it must be a number, at least 0"),
        ('{"peak_bytes": null}', "peak_bytes is None; it must be a number"),
        ('{"search_seconds": true}', "search_seconds is True; it must be a number"),
        ('{"fingerprints": ["a"]}', r"made for the splits \['a'\], and is compared on .*--export"),
        ('{"fingerprints": []}', r"made for the splits \[\]"),
        ('{"fingerprints": null}', "made for the splits None"),
    ],
)
def test_cards_that_are_none(text: str, says: str, split: Split, tmp_path: Path) -> None:
    (tmp_path / "gru.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=says):
        read_card(tmp_path / "gru.parquet", [split])


def test_a_card_of_splits_in_another_order_is_refused(split: Split, tmp_path: Path) -> None:
    both = [split, validation(split)]
    card: dict[str, Any] = {"fingerprints": [fingerprint(own) for own in both]}
    (tmp_path / "gru.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(DataError, match="made for the splits"):
        read_card(tmp_path / "gru.parquet", both[::-1])
