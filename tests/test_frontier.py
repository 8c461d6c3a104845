import json
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from tailrec.arrange import WORTH, Arrangement, slates_of
from tailrec.data.split import inner_split
from tailrec.errors import DataError, RecipeError
from tailrec.evaluation.report import evaluate
from tailrec.frontier import (
    Answer,
    Asked,
    Frontier,
    Setting,
    measure,
    write_setting,
    written_knob,
)
from tailrec.frontier_answers import (
    GRIDS,
    UNITS,
    Curve,
    least_with_more,
    look_for_more,
    look_within,
    most_within,
)
from tailrec.frontier_bench import KNOBS, NDCG, OF_REQUESTS, TAIL_EXPOSURE, Bench, K, Measured
from tailrec.frontier_pictures import draw_frontier
from tailrec.frontier_report import frontier_table, write_frontier
from tailrec.frontier_words import exposure_table, headline, moved, sentences
from tailrec.hits import find_hits
from tailrec.items import ItemsBatch
from tailrec.reranking.response import fit_response
from tailrec.shop import Shop
from tailrec.shop_recipe import ShopRecipe

ASKED = Asked(draws=200)


@pytest.fixture(scope="module")
def bench(fitted: Shop) -> Bench:
    """The simulated shop, fitted on what came before its last window."""
    whole = fitted.dataset(whole=True)
    split = inner_split(whole, fitted.recipe.histories.repeats)
    features = fitted.recipe.features.fit(whole.catalog, cache=fitted.cache)
    engine = fitted.recipe.engine().fit(split.train, features=features)
    return Bench(fitted.recipe, split, engine, np.random.default_rng(0))


@pytest.fixture(scope="module")
def found(fitted: Shop) -> Frontier:
    """Its frontier."""
    return fitted.frontier(ASKED)


def test_the_base_is_plain_slates(bench: Bench) -> None:
    plain = evaluate(bench.split, bench.engine.recommend, masks={"tail": bench.tail})
    assert bench.base.figures[NDCG] == plain.figures[NDCG] > 0
    for name in ("recall@20", "recall@20/tail", "ndcg@10/tail", "coverage@20", "gini@20"):
        assert bench.base.figures[name] == plain.figures[name]
    assert bench.measured("tail", 0) is bench.measured("diversity", 0) is bench.base
    slates = slates_of(bench.engine, bench.split.queries, Arrangement(K))
    np.testing.assert_array_equal(slates.ids, plain.ids)


def test_tail_exposure_is_the_tails_share_of_attention(bench: Bench) -> None:
    ids = bench.slates("tail", 0.4).ids
    by_hand = []
    for row in ids:
        weight = [(1 / np.log2(2 + place), item) for place, item in enumerate(row) if item >= 0]
        own = sum(w for w, item in weight if bench.tail[item])
        by_hand.append(own / sum(w for w, _ in weight))
    measured = bench.measured("tail", 0.4)
    np.testing.assert_allclose(measured.per_user[TAIL_EXPOSURE], by_hand)
    assert measured.exposure == pytest.approx(np.mean(by_hand))
    assert measured.exposure > bench.base.exposure


def test_nobody_is_judged_by_what_was_learnt_from_them(bench: Bench) -> None:
    first, second = bench.halves
    rows = np.concatenate([first.rows, second.rows])
    assert sorted(rows) == list(range(len(bench.split)))
    pools = bench.engine.recommend(bench.split.queries, 100)
    hits = find_hits(pools.ids, bench.split.target_ptr, bench.split.target)
    for half, other in ((first, second), (second, first)):
        theirs = ItemsBatch(pools.ids[other.rows], pools.scores[other.rows])
        curve = fit_response(theirs, hits[other.rows])
        np.testing.assert_array_equal(half.worth.curve.at, curve.at)
        np.testing.assert_array_equal(half.worth.curve.chance, curve.chance)
        assert (half.steering.price > 0).tolist() == bench.tail.tolist()


@pytest.mark.parametrize("cost", GRIDS["exposure"])
def test_no_slate_loses_more_worth_than_its_cost(bench: Bench, cost: float) -> None:
    slates = bench.slates("exposure", cost)
    for half in bench.halves:
        best = -np.sort(-half.worth.of(half.pools), axis=1)[:, :K] @ bench.attention
        kept = slates.columns[WORTH][half.rows] @ bench.attention
        assert (kept >= (1 - cost) * best - 1e-6).all()
        # The worth is that of the slate's own items, so rows came back to their places.
        shown = [
            dict(zip(*pair, strict=True))
            for pair in zip(half.pools.ids, half.worth.of(half.pools), strict=True)
        ]
        for row, worths in zip(half.rows, shown, strict=True):
            assert [worths[item] for item in slates.ids[row]] == slates.columns[WORTH][row].tolist()


def test_tail_exposure_rises_along_the_knobs_that_are_for_it(found: Frontier) -> None:
    for knob in ("tail", "exposure"):
        grid = [s.figures[TAIL_EXPOSURE] for s in found.of(knob) if s.value in GRIDS[knob]]
        assert len(grid) == len(GRIDS[knob])
        assert (np.diff(grid) >= -1e-3).all()
        assert grid[-1] > 1.1 * found.base[TAIL_EXPOSURE]
    spread = [s.figures["ild@10"] for s in found.of("diversity")]
    assert spread[-1] > spread[0]


def test_answers_are_measured_settings_that_satisfy_what_they_say(
    found: Frontier, bench: Bench
) -> None:
    assert [(a.question, a.knob) for a in found.answers] == [
        (question, knob) for question in ("more", "at_most") for knob in KNOBS
    ]
    met = 0
    for answer in found.answers:
        own = found.of(answer.knob)
        if answer.setting is None:
            assert not answer.met
            continue
        assert answer.setting in own
        met += answer.met
        enough = [s for s in own if s.figures[TAIL_EXPOSURE] >= 1.2 * found.base[TAIL_EXPOSURE]]
        kept = [s for s in own if s.figures[NDCG] >= 0.99 * found.base[NDCG]]
        if answer.question == "more" and answer.met:
            assert answer.setting == enough[0]
            # The next lower setting measured is about a unit below.
            before = [s.value for s in own if s.value < answer.setting.value]
            if before:
                assert answer.setting.value - before[-1] <= 1.5 * UNITS[answer.knob] + 1e-9
        elif answer.question == "more":
            assert not enough
            assert answer.setting.figures[TAIL_EXPOSURE] == max(
                s.figures[TAIL_EXPOSURE] for s in own
            )
        else:
            most = max(s.figures[TAIL_EXPOSURE] for s in kept)
            assert answer.setting.figures[TAIL_EXPOSURE] == most > found.base[TAIL_EXPOSURE]
        again = bench.measured(answer.knob, answer.setting.value)
        if answer.knob != "exposure":  # the halves are drawn by another generator here
            assert again.figures == answer.setting.figures
    assert met >= 3


def test_ratios_are_to_plain_slates(found: Frontier) -> None:
    for setting in found.settings:
        for name, ratio in setting.ratios.items():
            assert ratio.low <= ratio.mid <= ratio.high
            if name != "ild@10":  # it is compared where both slates have it
                assert ratio.mid == pytest.approx(setting.figures[name] / found.base[name])
    (off,) = (s for s in found.of("tail") if s.value == 0)
    assert off.ratios[NDCG] == off.ratios[TAIL_EXPOSURE] == (1.0, 1.0, 1.0)
    for name, bounds in found.intervals.items():
        assert bounds.low <= found.base[name] <= bounds.high
    assert set(found.intervals) <= set(OF_REQUESTS)


def test_the_same_again(fitted: Shop, found: Frontier) -> None:
    again = fitted.frontier(ASKED)
    assert again.to_dict() == found.to_dict()


def test_requests_are_drawn_and_progress_is_told(fitted: Shop) -> None:
    told: list[tuple[str, int, int]] = []
    asked = Asked(None, 0.05, ("tail",), n_requests=40, draws=50)
    few = fitted.frontier(asked, progress=lambda *words: told.append(words))
    assert few.n_requests == 40
    assert few.knobs == ["tail"]
    assert [a.question for a in few.answers] == ["at_most"]
    assert ("measuring tail", len(GRIDS["tail"]), len(GRIDS["tail"])) in told
    assert told[-1] == ("looking for answers", 1, 1)


def curve_of(exposure: Any, ndcg: Any, knob: str = "tail") -> Curve:
    """A curve over a knob whose figures are known functions of its value."""

    def measured(_: object, value: float) -> Measured:
        return Measured(value, {TAIL_EXPOSURE: exposure(value), NDCG: ndcg(value)}, {})

    own = SimpleNamespace(base=measured(None, 0.0), measured=measured)
    curve = Curve(cast("Bench", own), cast("Any", knob))
    for value in GRIDS[curve.knob]:
        curve.at(value)
    return curve


@pytest.mark.parametrize("root", [0.013, 0.2, 0.333, 0.999])
def test_halving_finds_the_setting_between_grid_points(root: float) -> None:
    curve = curve_of(lambda v: 1 + 0.2 * v / root, lambda v: 1 - 0.01 * v / root)
    look_for_more(curve, 0.2)
    look_within(curve, 0.01)
    more, within = least_with_more(curve, 0.2), most_within(curve, 0.01)
    assert more is not None
    assert within is not None
    assert root - 1e-9 <= more.value <= root + UNITS["tail"] + 1e-9
    assert root - UNITS["tail"] - 1e-9 <= within.value <= root + 1e-9
    assert len(curve.points) <= len(GRIDS["tail"]) + 12


def test_a_knob_that_cannot_says_so() -> None:
    flat = curve_of(lambda v: 1 - v / 10, lambda v: 1 - v)
    look_for_more(flat, 0.2)
    look_within(flat, 0.01)
    assert least_with_more(flat, 0.2) is None
    assert most_within(flat, 0.01) is None


def test_a_free_knob_is_turned_to_its_end() -> None:
    free = curve_of(lambda v: 1 + v, lambda _: 1.0)
    look_within(free, 0.01)
    end = most_within(free, 0.01)
    assert end is not None
    assert end.value == 1
    assert len(free.points) == len(GRIDS["tail"])


def test_every_step_of_exposure_may_cost_too_much() -> None:
    dear = curve_of(lambda v: 1.5 + v, lambda _: 0.5, "exposure")
    # Steered at no cost is a setting of its own; here it is bad already.
    dear.base = Measured(0.0, {TAIL_EXPOSURE: 1.0, NDCG: 1.0}, {})
    look_within(dear, 0.01)
    assert most_within(dear, 0.01) is None
    look_for_more(dear, 0.2)
    first = least_with_more(dear, 0.2)
    assert first is not None
    assert first.value == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"more": 0.0}, "above 0"),
        ({"more": 20.0}, "no more than"),
        ({"at_most": 1.0}, "between 0 and 100%"),
        ({"at_most": 0.0}, "between 0 and 100%"),
        ({"knobs": ("volume",)}, "knob 'volume' is not known"),
        ({"knobs": ()}, "0 knobs"),
        ({"n_requests": 0}, "0 requests"),
        ({"draws": 0}, "0 draws"),
    ],
)
def test_questions_out_of_range_are_refused(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Asked(**words)


def test_knobs_that_cannot_be_turned_are_left_out_or_refused(fitted: Shop) -> None:
    values = {"source": {"kind": "itemknn"}, "features": {"encode": False}}
    recipe, whole = ShopRecipe.parse(values), fitted.dataset(whole=True)
    own = measure(recipe, whole, Asked(draws=20))
    assert own.knobs == ["exposure"]
    assert set(own.left_out) == {"tail", "diversity"}
    assert "cannot lean" in own.left_out["tail"]
    assert "encode = false" in own.left_out["diversity"]
    assert any("tail was not turned" in line for line in sentences(own))
    assert draw_frontier(own).axes
    with pytest.raises(RecipeError, match="tail cannot be turned here: source 'itemknn'"):
        measure(recipe, whole, Asked(draws=20, knobs=("tail", "exposure")))
    with pytest.raises(RecipeError, match="diversity cannot be turned here"):
        measure(recipe, whole, Asked(draws=20, knobs=("diversity",)))


@pytest.mark.parametrize("method", ["categories", "popularity"])
def test_diversity_is_the_shops_own(fitted: Shop, method: str) -> None:
    values = {"features": {"encode": False}, "slate": {"variety": method}}
    recipe = ShopRecipe.parse(values)
    asked = Asked(draws=20, knobs=("diversity",))
    own = measure(recipe, fitted.dataset(whole=True), asked)
    assert own.variety == method
    grid = [s.figures["categories@10"] for s in own.of("diversity")]
    if method == "categories":
        assert grid[-1] > 1.2 * grid[0]
    assert own.of("diversity")[-1].figures != own.base


def test_no_tail_is_refused(fitted: Shop) -> None:
    whole = fitted.dataset(whole=True)
    recipe = ShopRecipe(tail="rare")
    split = inner_split(whole, recipe.histories.repeats)
    engine = SimpleNamespace(counts=np.full(200, 50))
    with pytest.raises(DataError, match="none of the 200 items is in the tail by 'rare'"):
        Bench(recipe, split, cast("Any", engine), np.random.default_rng(0))


def test_slates_without_tail_are_refused(fitted: Shop) -> None:
    # What is popular is no tail item; nothing can be set beside an exposure of 0.
    values = {"source": {"kind": "popular"}, "features": {"encode": False}, "tail": "rare"}
    with pytest.raises(DataError, match="plain slates of source 'popular'"):
        measure(ShopRecipe.parse(values), fitted.dataset(whole=True), Asked(draws=20))


def test_writing_changes_one_option(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    text = '# Ours.\n[slate]\nvariety = "dpp"  # kept\ntail = 0.3  # a guess\n\n[attention]\n'
    path.write_text(text, "utf-8")
    recipe = write_setting(path, "tail", 0.135)
    assert recipe.slate.tail == 0.135
    assert path.read_text("utf-8") == text.replace("0.3", "0.135")
    assert write_setting(path, "diversity", 0.25).slate.diversity == 0.25
    both = tomllib.loads(path.read_text("utf-8"))["slate"]
    assert both == {"variety": "dpp", "tail": 0.135, "diversity": 0.25}
    bare = tmp_path / "bare.toml"
    bare.write_text('[source]\nkind = "linear"\n', "utf-8")
    assert write_setting(bare, "tail", 0.5).slate.tail == 0.5
    assert bare.read_text("utf-8").startswith('[source]\nkind = "linear"\n')


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text("slate = {tail = 0.1}\n", "utf-8")
    with pytest.raises(RecipeError, match="cannot be changed line by line"):
        write_setting(path, "tail", 0.2)
    assert path.read_text("utf-8") == "slate = {tail = 0.1}\n"
    with pytest.raises(RecipeError, match=r"\[exposure\] of tailrec.toml"):
        write_setting(path, "exposure", 0.2)
    with pytest.raises(RecipeError, match="must be tail or diversity"):
        written_knob("volume")


def test_what_is_said_of_exposure_is_a_recipe(found: Frontier) -> None:
    setting = found.of("exposure")[3]
    recipe = ShopRecipe.parse(tomllib.loads(exposure_table(setting, found.tail)))
    assert recipe.exposure.cost == setting.value
    (goal,) = recipe.exposure.goals
    assert goal.floor == pytest.approx(setting.figures[TAIL_EXPOSURE], abs=1e-3)


def test_sentences_say_what_the_figures_say(found: Frontier) -> None:
    lines = sentences(found)
    assert len(lines) == 2 * (1 + len(KNOBS))
    best = found.cheapest("more")
    assert best is not None
    assert best.setting is not None
    others = [a.setting for a in found.answers if a.question == "more" and a.met and a.setting]
    assert best.setting.figures[NDCG] == max(s.figures[NDCG] for s in others)
    assert headline(found, "more") in lines[0]
    assert f"{best.knob} {best.setting.value:g}" in lines[0]
    assert moved("NDCG@10", best.setting.ratios[NDCG]) in lines[0]
    lone = Answer("more", 0.2, "tail", found.of("tail")[-1], met=False)
    beside = replace(found, answers=[lone])
    assert headline(beside, "more") == "No knob reaches 20 % more tail exposure."
    assert "tail does not reach it; the most is at tail 1" in sentences(beside)[1]
    none = replace(found, answers=[Answer("at_most", 0.01, "diversity", None, met=False)])
    assert headline(none, "at_most").startswith("No knob raises tail exposure")
    assert headline(none, "more") == ""


def test_an_interval_that_goes_below_is_told(found: Frontier) -> None:
    setting = found.of("tail")[1]
    for low, told in ((0.985, True), (0.995, False)):
        ndcg = setting.ratios[NDCG]._replace(low=low, mid=0.996, high=1.0)
        other = replace(setting, ratios={**setting.ratios, NDCG: ndcg})
        answers = [Answer("at_most", 0.01, "tail", other, met=True)]
        line = sentences(replace(found, answers=answers))[1]
        assert ("the loss may be larger" in line) == told


def test_the_picture_shows_what_the_table_says(found: Frontier) -> None:
    main, coverage, distance = draw_frontier(found).axes
    lines = {line.get_label(): line for line in main.get_lines()}
    for knob in KNOBS:
        own = found.of(knob)
        np.testing.assert_array_equal(
            lines[knob].get_xdata(), [s.ratios[TAIL_EXPOSURE].mid for s in own]
        )
        np.testing.assert_array_equal(lines[knob].get_ydata(), [s.ratios[NDCG].mid for s in own])
        assert len(lines[knob].get_markevery()) == len(GRIDS[knob])
    for axes, name in ((coverage, "coverage@20"), (distance, "ild@10")):
        for line, knob in zip(axes.get_lines(), KNOBS, strict=False):
            np.testing.assert_array_equal(
                line.get_xdata(), [s.figures[name] for s in found.of(knob)]
            )
    marked = [line for line in main.get_lines() if line.get_markersize() == 13]
    n_met = sum(answer.met for answer in found.answers)
    assert sum(len(line.get_xdata()) for line in marked) == n_met


def test_files_need_nothing_else_and_are_the_same_each_time(
    found: Frontier, tmp_path: Path
) -> None:
    folder = tmp_path / "reports" / "frontier"
    picture, table, page = write_frontier(found, folder)
    assert sorted(folder.iterdir()) == sorted([picture, table, page])
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "http" not in text
    assert "validation, not test" in text
    for answer in found.answers:
        if answer.met and answer.setting:
            assert f"{answer.knob} {answer.setting.value:g}" in text
    rows = pl.read_csv(table)
    assert rows.equals(frontier_table(found), null_equal=True)
    assert len(rows) == (1 + len(found.settings)) * len(found.base)
    one = rows.filter(pl.col("at_most") & (pl.col("figure") == NDCG))
    met = [a.setting.value for a in found.answers if a.question == "at_most" and a.setting]
    assert sorted(one["setting"]) == sorted(met)
    before = [path.read_bytes() for path in (picture, table, page)]
    assert [path.read_bytes() for path in write_frontier(found, folder)] == before


def test_json_has_everything(found: Frontier) -> None:
    told = json.loads(json.dumps(found.to_dict()))
    assert len(told["settings"]) == len(found.settings)
    assert told["settings"][3]["ratios"][NDCG]["mid"] == found.settings[3].ratios[NDCG].mid
    assert [answer["met"] for answer in told["answers"]] == [a.met for a in found.answers]
    assert told["base"] == found.base
    assert set(told["intervals"]) == set(found.intervals)
    assert (told["n_tail"], told["n_items"]) == (160, 200)
    assert told["draws"] == ASKED.draws


def test_a_setting_without_a_figure_is_a_blank(found: Frontier) -> None:
    first = found.of("tail")[1]
    figures = {name: value for name, value in first.figures.items() if name != "ild@10"}
    bare = Setting("tail", first.value, figures, {})
    table = frontier_table(replace(found, settings=[bare], answers=[]))
    row = table.filter((pl.col("knob") == "tail") & (pl.col("figure") == "ild@10"))
    assert row["value"].to_list() == [None]
