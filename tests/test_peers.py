"""What the runners of other libraries share: figures as ours, whole slates, files that are read."""

import argparse
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd

from tailrec.contender import read_card
from tailrec.data.exchange import read_slates, write_split
from tailrec.data.split import Split, leave_one_out, time_windows, validation
from tailrec.evaluation.report import evaluate
from tailrec.items import PADDING, ItemsBatch

pd = pytest.importorskip("pandas")
PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"
PAIR = ["user_id", "item_id"]


def load(name: str) -> ModuleType:
    """A file of the peers' folder as a module; it is no package, as every peer must import it."""
    spec = spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


common = load("common")
run_all = load("run_all")


def windows(n: int) -> list[Split]:
    return time_windows(crowd(np.random.default_rng(5), n_users=120), n=n, days=2)


@pytest.fixture
def split() -> Split:
    return windows(1)[0]


@pytest.fixture
def folder(split: Split, tmp_path: Path) -> Path:
    write_split(split, tmp_path / "0")
    return tmp_path / "0"


def likes(events: object, options: dict[str, int]) -> object:
    """Recommends the first items of the catalogue, as many as the options say, to whom it knows."""

    def recommend(users: object) -> object:
        known = users[users.isin(events.user_id)].to_frame("user_id")
        items = pd.DataFrame({"item_id": [f"i{n}" for n in range(45)]})
        rows = known.merge(items, how="cross")
        had = rows.merge(events[PAIR], on=PAIR, how="left", indicator=True)["_merge"] == "both"
        rows = rows[~had.to_numpy()]
        rows["rank"] = rows.groupby("user_id").cumcount() + 1
        rows["score"] = -rows["rank"].astype(float)
        return rows[rows["rank"] <= options["length"]]

    return recommend


def given(folder: Path, out: Path, **more: object) -> argparse.Namespace:
    parsed = common.parser("Words.", ("some",)).parse_args([str(folder), str(out)])
    return argparse.Namespace(**(vars(parsed) | more))


def peer(**more: object) -> object:
    draw = common.drawn({"length": common.one_of(0, 3, 20)})
    return common.Peer("numpy", **({"fit": likes, "first": {"length": 3}, "draw": draw} | more))


def test_ndcg_is_ours(split: Split, folder: Path) -> None:
    """On the validation part, whose targets are among the files; some slates are missing."""
    inner = validation(split)
    # Items in an order drawn for each request, those it excludes last.
    order = np.random.default_rng(3).random((len(inner), inner.train.n_items))
    asked = np.repeat(np.arange(len(inner)), np.diff(inner.queries.exclude_ptr))
    order[asked, inner.queries.exclude] += 1
    ids = np.argsort(order)[:, :20].astype(np.int32)
    ids[::7] = PADDING
    slates = ItemsBatch(ids, np.zeros(ids.shape, np.float32))
    ours = evaluate(inner, lambda _, __: slates, masks={}, chunk=len(inner))
    at, place = np.nonzero(ids != PADDING)
    rows = pd.DataFrame(
        {
            "user_id": inner.train.user_ids[inner.users][at],
            "item_id": inner.train.catalog.ids[ids[at, place]],
            "rank": place + 1,
        }
    )
    told = common.read_validation(folder, len(inner), 0)
    figure = common.ndcg_at_10(rows, told.targets, len(told.users))
    assert figure == pytest.approx(ours.figures["ndcg@10"], abs=1e-12)
    assert figure > 0.01


def test_a_sample_of_validation_has_only_its_own_targets(folder: Path) -> None:
    told = common.read_validation(folder, 10, 0)
    assert len(told.users) == 10
    assert set(told.targets.user_id) == set(told.users)


def test_what_is_popular_lately_comes_first() -> None:
    days = pd.to_datetime(["2020-01-01"] * 3 + ["2020-03-31"])
    events = pd.DataFrame({"user_id": list("abcd"), "item_id": list("xxxy"), "timestamp": days})
    # Three events count an eighth each after 90 days, which is less than one of today.
    assert common.popular_lately(events).tolist() == ["y", "x"]


@pytest.mark.parametrize("length", [0, 3, 20])
def test_slates_are_filled_to_the_end(length: int, folder: Path) -> None:
    events, users = common.read_events(folder), common.read_users(folder)
    own = likes(events, {"length": length})(users)
    whole = common.filled(own, users, events)
    common.check(whole, users, events)
    assert (whole.groupby("user_id").size() == 20).all()
    assert len(whole.merge(own, on=[*PAIR, "rank", "score"])) == len(own)
    ordered = whole.sort_values(["user_id", "rank"])
    assert (ordered.groupby("user_id")["score"].diff().dropna() < 0).all()


def test_who_is_not_known_gets_the_most_popular_items_not_yet_had(folder: Path) -> None:
    events, users = common.read_events(folder), common.read_users(folder)
    listed = common.popular_lately(events).tolist()
    nothing = likes(events, {"length": 0})(users)
    whole = common.filled(nothing, users, events).sort_values("rank")
    for user, slate in whole.groupby("user_id"):
        had = set(events[events.user_id == user].item_id)
        assert slate.item_id.tolist() == [item for item in listed if item not in had][:20]


def planted(fault: str, slates: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    user = slates.user_id.iloc[0]
    own = slates.user_id == user
    if fault == "had":
        had = events[events.user_id == events.user_id.iloc[0]].iloc[0]
        slates.loc[slates[slates.user_id == had.user_id].index[0], "item_id"] = had.item_id
    if fault == "item twice":
        slates.loc[slates[own].index[0], "item_id"] = slates[own].item_id.iloc[1]
    if fault == "place twice":
        slates.loc[slates[own].index[0], "rank"] = 2
    if fault == "a place is missing":
        return slates.drop(slates[own & (slates["rank"] == 5)].index)
    return slates[~own] if fault == "a user is missing" else slates


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("had", "users had"),
        ("item twice", "twice"),
        ("place twice", "places"),
        ("a place is missing", "places"),
        ("a user is missing", "requests"),
    ],
)
def test_faulty_slates_are_not_written(fault: str, told: str, folder: Path) -> None:
    events, users = common.read_events(folder), common.read_users(folder)
    users = users[users.isin(events.user_id)]
    events = events[events.user_id.isin(users)]
    slates = common.filled(likes(events, {"length": 3})(users), users, events)
    with pytest.raises(ValueError, match=told):
        common.check(planted(fault, slates, events), users, events)


def test_the_best_options_on_validation_are_taken(folder: Path, tmp_path: Path) -> None:
    """Tries are not repeated, the first is made even without any time, and all are on the card."""
    asked = given(folder, tmp_path / "out.parquet", minutes=0.005)
    common.answer(peer(), asked)
    card = json.loads((tmp_path / "out.json").read_text())
    tried = [step["options"]["length"] for step in card["validation"]]
    assert tried[0] == 3
    assert len(set(tried)) == len(tried) > 1
    best = max(card["validation"], key=lambda step: step["ndcg@10"])
    assert card["options"] == best["options"]
    common.answer(peer(), given(folder, tmp_path / "out.parquet", minutes=0))
    assert len(json.loads((tmp_path / "out.json").read_text())["validation"]) == 1


def test_options_that_cannot_be_fitted_are_passed_over(folder: Path, tmp_path: Path) -> None:
    def fit(events: pd.DataFrame, options: dict[str, int]) -> object:
        if options["length"] != 3:
            raise common.FitError("numbers grow without bounds")
        return likes(events, options)

    asked = given(folder, tmp_path / "out.parquet", minutes=0.005)
    common.answer(peer(fit=fit, first={"length": 7}), asked)
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["options"] == {"length": 3}
    assert card["validation"][0]["ndcg@10"] == 0


def test_given_options_need_no_search(folder: Path, tmp_path: Path) -> None:
    asked = given(folder, tmp_path / "out.parquet", options={"length": 7})
    common.answer(peer(), asked)
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["options"] == {"length": 7}
    assert card["validation"] == []


def test_draws_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    draws = {
        "orders": [common.between(0.01, 100)(rng) for _ in range(2_000)],
        "values": [common.within(0, 1)(rng) for _ in range(2_000)],
    }
    assert 0.01 <= min(draws["orders"]) < 0.011
    assert 90 < max(draws["orders"]) <= 100
    # As many below 1 as above it: every order of magnitude is as likely.
    assert np.median(draws["orders"]) == pytest.approx(1, rel=0.3)
    assert np.mean(draws["values"]) == pytest.approx(0.5, abs=0.03)


def test_joined_windows_are_read_as_slates_of_each(tmp_path: Path) -> None:
    splits = windows(2)
    parts = []
    for number, split in enumerate(splits):
        write_split(split, tmp_path / str(number))
        parts.append(tmp_path / f"{number}.parquet")
        common.answer(peer(), given(tmp_path / str(number), parts[-1], minutes=0))
    out = run_all.join(parts, tmp_path / "joined.parquet")
    card = read_card(out, splits)
    assert card["options"] == [{"length": 3}, {"length": 3}]
    costs = [json.loads(part.with_suffix(".json").read_text()) for part in parts]
    assert card["peak_bytes"] == max(cost["peak_bytes"] for cost in costs)
    assert card["slate_seconds"] == pytest.approx(np.mean([c["slate_seconds"] for c in costs]))
    for split, part in zip(splits, parts, strict=True):
        slates = read_slates(out, split, 20)
        np.testing.assert_array_equal(slates.ids, read_slates(part, split, 20).ids)
        assert (slates.ids != PADDING).all()
        assert not any(
            np.isin(row, split.train.item[split.train.user == user]).any()
            for row, user in zip(slates.ids, split.users, strict=True)
        )


def test_slates_of_the_same_split_are_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert not run_all.is_done(out, folder)
    common.answer(peer(), given(folder, out, minutes=0))
    assert run_all.is_done(out, folder)
    write_split(leave_one_out(crowd(np.random.default_rng(6))), folder)
    assert not run_all.is_done(out, folder)


# Answers with what lies beside the split, and notes what it was asked.
RUNNER = """
import json, shutil, sys
from pathlib import Path
split, out, *asked = sys.argv[1:]
shutil.copy(Path(split) / "answer.parquet", out)
card = json.loads((Path(split) / "answer.json").read_text())
Path(out).with_suffix(".json").write_text(json.dumps(card | {"options": {"asked": asked}}))
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of one runner; its environment is that of the tests, and has all it wants."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "run.py").write_text(RUNNER)
    (tmp_path / "own" / "requirements.txt").write_text("# nothing\n")
    (tmp_path / "envs" / "own" / "bin").mkdir(parents=True)
    (tmp_path / "envs" / "own" / "installed.txt").write_text("# nothing\n")
    python = tmp_path / "envs" / "own" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    return tmp_path


def test_a_runner_answers_each_window_once(library: Path) -> None:
    splits = windows(2)
    for number, split in enumerate(splits):
        folder = library / "splits" / str(number)
        write_split(split, folder)
        common.answer(peer(), given(folder, folder / "answer.parquet", minutes=0))
    asked = argparse.Namespace(
        splits=library / "splits",
        out=library / "out",
        envs=library / "envs",
        minutes=2,
        threads=1,
        search_once=True,
        extra=[("own:popular", "--sample 9")],
        again=False,
    )
    out = run_all.run_peer("own:popular", asked)
    assert out == library / "out" / "own-popular.parquet"
    card = read_card(out, splits)
    told = ["--model", "popular", "--minutes", "2", "--threads", "1", "--sample", "9"]
    first, second = (options["asked"] for options in card["options"])
    assert first == told
    # The second window is told what the first one chose.
    assert second == [*told, "--options", json.dumps({"asked": told})]
    for split in splits:
        assert (read_slates(out, split, 20).ids != PADDING).all()
    # What is there is kept: only the window that is missing is answered again.
    parts = [library / "out" / "windows" / f"own-popular-{number}.parquet" for number in (0, 1)]
    before = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    run_all.run_peer("own:popular", asked)
    after = [part.stat().st_mtime_ns for part in parts]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]
    run_all.run_peer("own:popular", argparse.Namespace(**(vars(asked) | {"again": True})))
    assert parts[0].stat().st_mtime_ns != before[0]


def test_windows_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "2", "0", "words", "3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "split.json").write_text("{}", "utf-8")
    # What is left of an earlier export is no window.
    (tmp_path / "3" / "split.json").unlink()
    assert [folder.name for folder in run_all.windows(tmp_path)] == ["0", "2", "10"]
    with pytest.raises(SystemExit, match="--export"):
        run_all.windows(tmp_path / "words")


def test_unknown_peers_are_named_with_those_that_are_known() -> None:
    assert run_all.peers("implicit:bpr,lenskit:slim") == ["implicit:bpr", "lenskit:slim"]
    with pytest.raises(argparse.ArgumentTypeError, match=r"none:such.*implicit:bpr"):
        run_all.peers("none:such,implicit:bpr")
    with pytest.raises(argparse.ArgumentTypeError, match="PEER=ARGUMENTS"):
        run_all.pair("--length 20")


def test_every_peer_has_its_runner_and_its_locked_environment() -> None:
    for name in run_all.PEERS:
        folder = PEERS / name.split(":")[0]
        assert (folder / "run.py").exists()
        lines = (folder / "requirements.txt").read_text().splitlines()
        assert lines[0].startswith("# Python 3.")
        assert all(line.count("==") == 1 and "+" not in line for line in lines[1:])


def some_slates(splits: list[Split], path: Path) -> None:
    """Slates drawn at random for all requests; the first of each split is empty."""
    rng = np.random.default_rng(2)
    rows = []
    for split in splits:
        for place, user in enumerate(split.users):
            name = str(split.train.user_ids[user])
            items = rng.choice(split.train.n_items, 3 if place else 0, replace=False)
            slate = [str(split.train.catalog.ids[item]) for item in items] or [None]
            rows += [(name, item, rank, split.name) for rank, item in enumerate(slate, 1)]
    pl.DataFrame(rows, ["user_id", "item_id", "rank", "split"], orient="row").write_parquet(path)


def test_kept_slates_come_back_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, splits = load("kept"), windows(2)
    monkeypatch.setattr(kept, "KEPT", tmp_path / "kept")
    for place, split in enumerate(splits):
        write_split(split, tmp_path / "splits" / str(place))
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    some_slates(splits, there / "rectools-sasrec.parquet")
    (there / "rectools-sasrec.json").write_text('{"fit_seconds": 3}', "utf-8")
    kept.keep_slates("crowd", there, tmp_path / "splits")
    stored = pl.read_parquet(kept.KEPT / "crowd-rectools-sasrec.parquet")
    assert all(dtype.is_integer() for dtype in stored.dtypes)
    kept.restore_slates("crowd", back, tmp_path / "splits")
    for split in splits:
        one, other = (
            read_slates(folder / "rectools-sasrec.parquet", split, 20) for folder in (there, back)
        )
        np.testing.assert_array_equal(one.ids, other.ids)
        assert (one.ids[0] == -1).all()
    assert (back / "rectools-sasrec.json").read_text("utf-8") == '{"fit_seconds": 3}'
