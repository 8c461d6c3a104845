"""The page says what the comparison says, in words, tables and pictures, and nothing else."""

import csv
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd

from tailrec.comparison import Comparison, Rules, compare, peers_named
from tailrec.comparison_costs import KINDS, written_cost
from tailrec.comparison_pictures import GRID, exposure_curve
from tailrec.comparison_report import draw_plane, write_report
from tailrec.comparison_words import cannot_tell, headline, not_ahead, said_of_others, told
from tailrec.contender import Contender
from tailrec.data.split import Split, time_windows
from tailrec.engine import EngineRecipe
from tailrec.evaluation.guards import CHECKS
from tailrec.evaluation.significance import Interval
from tailrec.features.build import FeatureRecipe
from tailrec.verdicts import Verdict, judge, mean_intervals

WORDS_ALONE = EngineRecipe(features=FeatureRecipe(encode=False))
NAMES = ("linear", "popular", "als")
OUTSIDE = "<i>the $old$ one"
FILES = ["comparison.json", "figures.csv", "index.html"]
PICTURES = ("plane", "deciles", "lorenz", "histories", "costs")


@pytest.fixture(scope="module")
def splits() -> list[Split]:
    return time_windows(crowd(np.random.default_rng(5), n_users=120), n=2, days=2)


@pytest.fixture(scope="module")
def slates(splits: list[Split], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slates from elsewhere: each person gets the same two items it may get, if any."""
    rows = []
    for split in splits:
        for row, user in enumerate(split.train.user_ids[split.users]):
            low, high = split.queries.exclude_ptr[row : row + 2]
            free = np.setdiff1d(np.arange(40, 50), split.queries.exclude[low:high])[:2]
            rows += [(user, f"i{item}", r + 1, split.name) for r, item in enumerate(free)]
    path = tmp_path_factory.mktemp("slates") / "old.parquet"
    pl.DataFrame(rows, ["user_id", "item_id", "rank", "split"], orient="row").write_parquet(path)
    path.with_suffix(".json").write_text(json.dumps({"library": "<own>", "fit_seconds": 90.0}))
    return path


@pytest.fixture(scope="module")
def comparison(splits: list[Split], slates: Path) -> Comparison:
    rules = Rules(seeds=2)
    return compare(WORDS_ALONE, peers_named(NAMES), splits, rules=rules, slates={OUTSIDE: slates})


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    paths = write_report(comparison, tmp_path_factory.mktemp("report"), title="A <b>shop")
    return paths[-1].read_text("utf-8")


def of(comparison: Comparison, contenders: list[Contender]) -> Comparison:
    """The same comparison of other contenders, judged anew."""
    at = comparison.rules.at
    return replace(
        comparison,
        contenders=contenders,
        verdicts=judge(contenders, at),
        intervals=mean_intervals(contenders, at),
    )


def test_files_are_whole_and_hold_every_figure(comparison: Comparison, tmp_path: Path) -> None:
    paths = write_report(comparison, tmp_path / "deep" / "report")
    assert [path.name for path in paths] == FILES
    assert sorted(p.name for p in paths[0].parent.iterdir()) == FILES  # nothing left over

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    written = json.loads(paths[0].read_text("utf-8"), parse_constant=refuse)
    for told_of, one in zip(written["contenders"], comparison.contenders, strict=True):
        assert told_of["name"] == one.name
        assert told_of["figures"] == pytest.approx(one.figures)
    with paths[1].open(newline="") as lines:
        rows = {(row["contender"], row["figure"]): row for row in csv.DictReader(lines)}
    assert len(rows) == sum(len(one.figures) for one in comparison.contenders)
    for one in comparison.contenders:
        for name, value in one.figures.items():
            assert float(rows[one.name, name]["value"]) == pytest.approx(value)
    interval = comparison.intervals["linear"]["ndcg@10"]
    row = rows["linear", "ndcg@10"]
    assert (float(row["low"]), float(row["high"])) == pytest.approx((interval.low, interval.high))
    assert rows["linear", "gini@20"]["low"] == ""


def test_what_is_not_finite_is_null(comparison: Comparison, tmp_path: Path) -> None:
    wide = replace(comparison.verdicts[0], ratio=Interval(1.5, 2.0, float("inf")), p=float("nan"))
    paths = write_report(replace(comparison, verdicts=[wide]), tmp_path)
    verdict = json.loads(paths[0].read_text("utf-8"))["verdicts"][0]
    assert (verdict["ratio"]["high"], verdict["p_holm"]) == (None, None)
    assert "1.50–∞" in paths[-1].read_text("utf-8")


def test_the_page_needs_nothing_else_and_escapes_names(page: str) -> None:
    assert "http" not in page
    assert "<script" not in page
    assert "A &lt;b&gt;shop" in page
    assert "<b>" not in page
    assert OUTSIDE not in page
    assert "&lt;i&gt;the $old$ one" in page
    assert "&lt;own&gt;" in page


def test_every_picture_has_words_and_a_table(page: str) -> None:
    sections = re.findall(r"<section>.*?</section>", page, flags=re.DOTALL)
    drawn = [section for section in sections if '<div class="picture">' in section]
    assert len(drawn) == len(PICTURES)
    for name, section in zip(PICTURES, drawn, strict=True):
        assert section.count("<svg") == 1
        assert re.search(r'<svg role="img" aria-label="[^"]+"', section)
        assert f'id="{name}-' in section
        assert "<table>" in section
        assert re.search(r"<h2>[^<]+</h2><p>[^<]+</p>", section)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(set(ids)) == len(ids)


def test_numbers_of_the_page_are_those_of_the_comparison(page: str, comparison: Comparison) -> None:
    (row,) = re.findall(
        r"<tr>(?:(?!</tr>).)*>linear</th>.*?</tr>", page.split("What the slates")[0]
    )
    one = comparison.contenders[0]
    shown = re.findall(r'<td class="number[^"]*">(?:★ )?([0-9.–]+)', row)
    names = ["ndcg@10", "recall@10", "recall@20/pareto", "ndcg@10/pareto", "recall@20/rare"]
    names += ["recall@20/cold", "recall@20/tail_users", "recall_ips@20"]
    expected = [f"{one.figures[name]:.4f}" for name in names if name in one.figures]
    assert shown == expected
    interval = comparison.intervals["linear"]["ndcg@10"]
    assert f"{interval.low:.4f}–{interval.high:.4f}" in row
    ratios = [v.ratio for v in comparison.verdicts if v.ratio is not None and v.ratio.high < 10]
    assert ratios
    for low, mid, high in ratios:
        assert f"{mid:.2f}<small>{low:.2f}–{high:.2f}\n" in page
    assert f"± {comparison.contenders[2].spread['ndcg@10']:.4f}</small>" in page
    assert f"{one.figures['coverage@20']:.1%}</td>" in page


def test_how_it_was_made_is_told(page: str, comparison: Comparison) -> None:
    text = unescape(page)
    for split in comparison.splits:
        assert split["fingerprint"] in text
        assert f"{split['n_events']:,}" in text
    for check in CHECKS:
        assert check in text
    options = text.split("Options of linear")[1].split("Options of popular")[0]
    for name in comparison.contenders[0].parts[0].options or {}:
        assert f'<th scope="row">{name}</th>' in options
    assert "What is said of <i>the $old$ one" in text
    assert all(version in text for version in comparison.versions.values())


def test_costs_that_nobody_knows_are_not_made_up(comparison: Comparison) -> None:
    search, fit, rate, memory, _ = KINDS
    linear, *_, outside = comparison.contenders
    assert written_cost(search, linear) == "no search"
    assert written_cost(fit, outside) == "1.5 min"
    assert [written_cost(kind, outside) for kind in (search, rate, memory)] == ["not known"] * 3
    assert float(written_cost(rate, linear).replace(",", "")) == pytest.approx(
        1 / linear.costs["slate_seconds"], abs=0.51
    )


def test_the_curve_of_exposure_has_the_area_of_the_gini(comparison: Comparison) -> None:
    for one in comparison.contenders:
        curve = exposure_curve(comparison, one)
        area = np.trapezoid(curve, np.linspace(0, 1, GRID))
        assert 1 - 2 * area == pytest.approx(one.figures["gini@20"], abs=0.01)


def test_one_contender_is_measured_and_not_judged(comparison: Comparison, tmp_path: Path) -> None:
    alone = of(comparison, comparison.contenders[:1])
    text = write_report(alone, tmp_path)[-1].read_text("utf-8")
    assert headline(alone) in unescape(text)
    assert "nothing beside it" in text
    assert "★" not in text
    assert "beside each other contender" not in text
    assert not_ahead(alone) == []


def test_words_follow_the_verdicts(comparison: Comparison) -> None:
    one, *others = (contender.name for contender in comparison.contenders)

    def said(*words: str) -> Comparison:
        ratio = Interval(0.9, 1.0, 1.1)
        verdicts = [
            Verdict(figure, one, other, ratio, 0.5, word)  # type: ignore[arg-type]
            for figure in ("ndcg@10", "recall@20/pareto")
            for other, word in zip(others, words, strict=True)
        ]
        return replace(comparison, verdicts=verdicts)

    best = said("better", "better", "better")
    assert headline(best) == (
        f"linear is better than popular, als and {OUTSIDE}, both overall and on the long tail."
    )
    assert not_ahead(best) == []
    mixed = said("better", "better?", "worse")
    assert headline(mixed).startswith(
        f"linear is behind {OUTSIDE}, better than popular and not surely told apart from als"
    )
    assert said_of_others(mixed, "ndcg@10") == [
        "▲ better than popular",
        "△ perhaps better than als",
        f"▼ worse than {OUTSIDE}",
    ]
    assert not_ahead(mixed)[0] == (
        f"NDCG@10, all targets: perhaps better than als; worse than {OUTSIDE}"
    )


def test_a_first_contender_that_loses_or_ties_is_not_praised(comparison: Comparison) -> None:
    linear, popular, als, outside = comparison.contenders
    losing = of(comparison, [outside, linear, popular, als])
    best = max((linear, popular, als), key=lambda one: one.figures["ndcg@10"])
    assert headline(losing).startswith(f"Overall, {OUTSIDE} is behind") or headline(
        losing
    ).startswith(f"{OUTSIDE} is behind")
    assert told(losing, "ndcg@10").startswith(f"{best.name} is first with")
    assert f"{OUTSIDE} is number 4 of 4" in told(losing, "ndcg@10")
    twin = of(comparison, [popular, replace(popular, name="twin")])
    assert headline(twin) == (
        "popular is not surely told apart from twin, both overall and on the long tail."
    )
    assert told(twin, "ndcg@10").startswith("popular and twin are level with")


def test_the_limits_of_what_was_done_are_told(comparison: Comparison) -> None:
    limits = " ".join(cannot_tell(comparison))
    assert "the slates were made elsewhere" in limits
    assert "options were taken as they are" in limits
    assert "random start" not in limits  # two fits were made
    als = comparison.contenders[2]
    once = [replace(part, runs=part.runs[:1]) for part in als.parts]
    limits = " ".join(cannot_tell(replace(comparison, contenders=[replace(als, parts=once)])))
    assert "How another random start would change als." in limits
    assert "elsewhere" not in limits
    assert "there is one split" in " ".join(
        cannot_tell(replace(comparison, splits=comparison.splits[:1]))
    )


def test_names_on_the_plane_lie_apart(comparison: Comparison) -> None:
    many = [
        replace(one, name=f"{one.name} {number}")
        for number in range(3)
        for one in comparison.contenders[:3]
    ]
    intervals = {one.name: comparison.intervals[one.name.split()[0]] for one in many}
    figure = draw_plane(replace(comparison, contenders=many, intervals=intervals))
    notes = [text for text in figure.axes[0].texts if text.get_text()]
    assert sorted(note.get_text() for note in notes) == sorted(one.name for one in many)
    boxes = [note.get_window_extent() for note in notes]
    inside = figure.axes[0].get_window_extent()
    for place, box in enumerate(boxes):
        assert inside.x0 - 2 < box.x0 < box.x1 < inside.x1 + 2
        assert not any(box.overlaps(other) for other in boxes[:place])
