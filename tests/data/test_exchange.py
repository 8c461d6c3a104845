"""A split as files, and slates back: nothing is told that must not be, nothing is misread."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.worlds import crowd, shop, words_of

from tailrec import columns as c
from tailrec.candidates.ease import Ease
from tailrec.data.exchange import (
    check_slates,
    fingerprint,
    read_slates,
    summary,
    write_split,
    write_splits,
)
from tailrec.data.split import Split, cold_items, leave_one_out, time_windows, validation
from tailrec.dataset import DAY_US, Catalog, Dataset
from tailrec.errors import DataError
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.report import evaluate
from tailrec.items import PADDING, ItemsBatch, QueryBatch
from tailrec.tail.segments import is_tail

KINDS = ("time", "leave-one-out", "cold")
FILES = [
    "train.parquet",
    "requests.parquet",
    "items.parquet",
    "validation/train.parquet",
    "validation/requests.parquet",
    "validation/targets.parquet",
    "split.json",
]
PAIR = [c.USER_ID, c.ITEM_ID]


def split_of(kind: str, data: Dataset) -> Split:
    if kind == "time":
        return time_windows(data, n=1, days=2)[0]
    return leave_one_out(data) if kind == "leave-one-out" else cold_items(data, 0.2, _rng())


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module", params=KINDS)
def split(request: pytest.FixtureRequest) -> Split:
    return split_of(request.param, crowd(_rng(), n_users=120))


@pytest.fixture
def small() -> Split:
    """Requests of u0, u1 and u2, each for another item than the ten there are."""
    return leave_one_out(shop([[0, 1, 2], [1, 2, 3], [2, 3, 4], [5]], ["thing"] * 10))


def pairs_asked(split: Split) -> pl.DataFrame:
    """user_id and item_id of all targets."""
    users = np.repeat(split.users, np.diff(split.target_ptr))
    names = (split.train.user_ids[users], split.train.catalog.ids[split.target])
    return pl.DataFrame({k: v.tolist() for k, v in zip(PAIR, names, strict=True)})


def rows_of(split: Split, slates: ItemsBatch) -> pl.DataFrame:
    """Slates as rows of user_id, item_id, rank; users without any have a row of their own."""
    request, place = np.nonzero(slates.ids != PADDING)
    names = split.train.user_ids[split.users]
    empty = names[(slates.ids == PADDING).all(1)].tolist()
    return pl.DataFrame(
        {
            c.USER_ID: [*names[request], *empty],
            c.ITEM_ID: [
                *split.train.catalog.ids[slates.ids[request, place]],
                *(None for _ in empty),
            ],
            c.RANK: [*(place + 1).tolist(), *(1 for _ in empty)],
        }
    )


def file_of(
    folder: Path, rows: Sequence[tuple[object, object, object]], **more: Sequence[object]
) -> Path:
    """A slates file with these users, items and ranks."""
    table = pl.DataFrame(
        {name: [row[at] for row in rows] for at, name in enumerate((*PAIR, c.RANK))} | more,
    )
    table.write_parquet(folder / "slates.parquet")
    return folder / "slates.parquet"


FULL: list[tuple[object, object, object]] = [
    ("u0", "i7", 1),
    ("u0", "i8", 2),
    ("u1", "i9", 1),
    ("u2", "i0", 1),
]
READ = [[7, 8, -1], [9, -1, -1], [0, -1, -1]]


def test_what_is_written_can_be_learnt_from(split: Split, tmp_path: Path) -> None:
    files = write_split(split, tmp_path / "new" / "folder")
    assert files == [tmp_path / "new" / "folder" / name for name in FILES]
    assert sorted(p for p in (tmp_path / "new").rglob("*") if p.is_file()) == sorted(files)
    inner = validation(split)
    for part, folder in ((split, files[0].parent), (inner, files[3].parent)):
        train = pl.read_parquet(folder / "train.parquet")
        assert train.columns == [*PAIR, c.TIMESTAMP, "weight"]
        assert train[c.USER_ID].to_list() == part.train.user_ids[part.train.user].tolist()
        assert train[c.ITEM_ID].to_list() == part.train.catalog.ids[part.train.item].tolist()
        assert train[c.TIMESTAMP].dt.epoch("us").to_list() == part.train.time.tolist()
        assert train[c.TIMESTAMP].dtype == pl.Datetime("us", "UTC")
        asked = pl.read_parquet(folder / "requests.parquet")
        assert asked[c.USER_ID].to_list() == part.train.user_ids[part.users].tolist()
        assert asked[c.TIMESTAMP].dt.epoch("us").to_list() == part.asof.tolist()
    assert pl.read_parquet(files[2]).equals(split.train.catalog.table)
    assert pl.read_parquet(files[5]).equals(pairs_asked(inner))
    assert json.loads(files[6].read_text("utf-8")) == summary(split)


def test_a_summary_is_of_plain_values(split: Split) -> None:
    told = summary(split)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["name"] == split.name
    assert told["n_requests"] == len(split.users)
    assert told["n_targets"] == len(split.target) >= told["n_requests"]
    assert told["n_events"] == split.train.n_events
    assert told["cold_items"] == (split.train.item_counts == 0).sum() > 0
    assert told["fingerprint"] == fingerprint(split)
    if split.cut is None:
        assert told["cut"] is None
    else:
        assert datetime.fromisoformat(told["cut"]).timestamp() * 1e6 == split.cut


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_no_file_tells_what_is_asked_for(seed: int, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    data = crowd(rng, n_users=40, n_items=30)
    # All end on one day, so that every window has targets, of newcomers too.
    late = np.repeat(12 - np.diff(data.ptr), np.diff(data.ptr))
    split = split_of(kind, replace(data, time=data.time + late * DAY_US))
    inner, asked = validation(split), pairs_asked(split)
    for path in write_split(split, tmp_path):
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            if set(PAIR) <= set(table.columns):
                assert table.join(asked, on=PAIR).is_empty(), path
    targets = pl.read_parquet(tmp_path / "validation" / "targets.parquet")
    assert targets.equals(pairs_asked(inner))
    learnt = pl.read_parquet(tmp_path / "validation" / "train.parquet")
    assert learnt.join(targets, on=PAIR).is_empty()
    # What validation asks for happened, and was known at the test.
    known = pl.DataFrame(
        {
            c.USER_ID: split.whole.user_ids[split.whole.user].tolist(),
            c.ITEM_ID: split.whole.catalog.ids[split.whole.item].tolist(),
        }
    )
    assert targets.join(known, on=PAIR, how="anti").is_empty()


def test_a_split_half_written_is_none(split: Split, tmp_path: Path) -> None:
    """The summary stands only beside files that belong to it, and each file is whole."""
    write_split(split, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    other = replace(split, train=replace(split.train, catalog=_unwritable(split)))
    with pytest.raises(pl.exceptions.PolarsError):
        write_split(other, tmp_path)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == sorted(set(FILES) - {"split.json"})
    # Those before the one that failed are new, the others as they were.
    assert (tmp_path / "items.parquet").read_bytes() == before["items.parquet"]
    write_split(split, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_whoever_reads_a_file_is_not_disturbed(tmp_path: Path) -> None:
    data = crowd(_rng(), n_users=120)
    write_split(split_of("time", data), tmp_path)
    with ExitStack() as stack:
        opened = {n: stack.enter_context((tmp_path / n).open("rb")) for n in FILES}
        before = {name: (tmp_path / name).read_bytes() for name in FILES}
        write_split(split_of("leave-one-out", data), tmp_path)
        assert {name: file.read() for name, file in opened.items()} == before
    assert (tmp_path / "train.parquet").read_bytes() != before["train.parquet"]


def _unwritable(split: Split) -> Catalog:
    """The catalogue with a column that Parquet has no type for."""
    table = split.train.catalog.table
    return Catalog(table.with_columns(odd=pl.Series([object()] * len(table), dtype=pl.Object)))


def test_a_split_too_small_to_be_split_again_is_not_written(tmp_path: Path) -> None:
    split = leave_one_out(shop([[0, 1], [1, 2], [2, 3]], ["thing"] * 5), least=2)
    with pytest.raises(DataError, match="it needs both"):
        write_split(split, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def swapped(data: Dataset, name: str) -> Dataset:
    """The data with the first two entries of an array that differ changed for each other."""
    values = getattr(data, name).copy()
    other = int(np.flatnonzero(values != values[0])[0])
    values[[0, other]] = values[[other, 0]]
    return replace(data, **{name: values})


def regrouped(data: Dataset) -> Dataset:
    """The first event of one user is another's."""
    ptr = data.ptr.copy()
    ptr[2] += 1
    return replace(data, ptr=ptr)


def renamed(split: Split) -> Dataset:
    table = split.train.catalog.table
    odd = pl.when(pl.int_range(len(table)) == 3).then(pl.lit("x")).otherwise(c.ITEM_ID)
    return replace(split.train, catalog=Catalog(table.with_columns(odd.alias(c.ITEM_ID))))


CHANGES: dict[str, Callable[[Split], Split]] = {
    "time": lambda s: replace(s, train=swapped(s.train, "time")),
    "item": lambda s: replace(s, train=swapped(s.train, "item")),
    "user_ids": lambda s: replace(s, train=swapped(s.train, "user_ids")),
    "ptr": lambda s: replace(s, train=regrouped(s.train)),
    "item ids": lambda s: replace(s, train=renamed(s)),
    "users": lambda s: replace(s, users=s.users[::-1]),
    "targets": lambda s: replace(s, target=s.target[::-1]),
    "bounds": lambda s: replace(s, target_ptr=np.append(s.target_ptr, len(s.target))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_fingerprint_tells_splits_apart(what: str, split: Split) -> None:
    assert fingerprint(CHANGES[what](split)) != fingerprint(split)


def test_fingerprints_of_all_kinds_differ() -> None:
    data = crowd(_rng(), n_users=120)
    splits = [split_of(kind, data) for kind in KINDS]
    splits += [*time_windows(data, n=3, days=1), *map(validation, splits)]
    assert len({fingerprint(split) for split in splits}) == len(splits)


FINGERPRINT = """
import numpy as np
from tests.worlds import crowd
from tailrec.data.exchange import fingerprint
from tailrec.data.split import leave_one_out
print(fingerprint(leave_one_out(crowd(np.random.default_rng(5), n_users=120))))
"""


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    told = {fingerprint(leave_one_out(crowd(_rng(), n_users=120)))}
    for seed in ("1", "2"):
        command = [sys.executable, "-c", FINGERPRINT]
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {"PATH": "/usr/bin", "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=root, env=environment
        )
        told.add(done.stdout.strip())
    assert len(told) == 1


@pytest.mark.parametrize("whole", [True, False])
def test_own_slates_come_back_with_the_same_figures(
    whole: bool, split: Split, tmp_path: Path
) -> None:
    words = words_of(split.train)
    model = Ease().fit(split.train, words, rng=_rng())
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    facets = facets_of(split.train.catalog, words.words)

    def recommend(queries: QueryBatch, k: int) -> ItemsBatch:
        made = model.candidates(queries, k)
        return made if whole else shortened(made)

    ours = evaluate(split, recommend, masks=masks, facets=facets, chunk=len(split))
    slates = recommend(split.queries, 20)
    rows_of(split, slates).sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "own")
    back = read_slates(tmp_path / "own", split, 20)
    np.testing.assert_array_equal(back.ids, slates.ids)
    falls = back.scores[:, 1:] < back.scores[:, :-1]
    assert falls[back.ids[:, 1:] != PADDING].all()
    assert np.isneginf(back.scores[back.ids == PADDING]).all()
    theirs = evaluate(split, lambda _, __: back, masks=masks, facets=facets, chunk=len(split))
    assert theirs.figures == ours.figures
    np.testing.assert_array_equal(read_slates(tmp_path / "own", split, 5).ids, slates.ids[:, :5])


def shortened(slates: ItemsBatch) -> ItemsBatch:
    """Every other slate loses its end; some have nothing left."""
    size = np.where(np.arange(len(slates)) % 2, np.arange(len(slates)) % 5, slates.ids.shape[1])
    gone = np.arange(slates.ids.shape[1]) >= size[:, None]
    return ItemsBatch(
        np.where(gone, np.int32(PADDING), slates.ids),
        np.where(gone, np.float32(-np.inf), slates.scores),
    )


def test_rows_are_read_by_their_rank(small: Split, tmp_path: Path) -> None:
    assert read_slates(file_of(tmp_path, FULL[::-1]), small, 3).ids.tolist() == READ
    # What stands below the places asked for, and users nobody asked for, are not looked at.
    more = [
        *FULL,
        ("u0", "i1", 4),
        ("u0", "no such item", 9),
        ("u3", "nor this", 1),
        (None, "i1", 1),
    ]
    assert read_slates(file_of(tmp_path, more), small, 3).ids.tolist() == READ
    assert read_slates(file_of(tmp_path, more), small, 1).ids.tolist() == [[7], [9], [0]]


def test_places_left_open_are_closed(small: Split, tmp_path: Path) -> None:
    gaps = [("u0", "i7", 2), ("u0", "i8", 3), ("u1", "i9", 3), ("u2", "i0", 1)]
    read = read_slates(file_of(tmp_path, gaps), small, 3)
    assert read.ids.tolist() == READ
    assert read.scores.tolist() == [[-1, -2, -np.inf], *[[-1, -np.inf, -np.inf]] * 2]


@pytest.mark.parametrize("rank", [1, None, 0, 50])
def test_an_empty_slate_is_a_row_without_an_item(
    rank: int | None, small: Split, tmp_path: Path
) -> None:
    rows = [("u0", None, rank), *FULL[2:]]
    assert read_slates(file_of(tmp_path, rows), small, 3).ids.tolist() == [[-1] * 3, *READ[1:]]
    nothing = [(f"u{n}", None, rank) for n in range(3)]
    table = pl.DataFrame(nothing, schema=[*PAIR, c.RANK], orient="row")
    table.cast({c.ITEM_ID: pl.String, c.RANK: pl.Int64}).write_parquet(tmp_path / "none")
    assert (read_slates(tmp_path / "none", small, 3).ids == PADDING).all()


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.UInt32, pl.Int64, pl.UInt64])
def test_ranks_are_any_whole_numbers(
    dtype: type[pl.DataType], small: Split, tmp_path: Path
) -> None:
    table = pl.read_parquet(file_of(tmp_path, FULL))
    table.with_columns(pl.col(c.RANK).cast(dtype)).write_parquet(tmp_path / "typed")
    for k in (3, 300):
        assert read_slates(tmp_path / "typed", small, k).ids[:, :3].tolist() == READ


def test_columns_that_are_not_needed_are_not_looked_at(small: Split, tmp_path: Path) -> None:
    path = file_of(tmp_path, FULL, score=["high", None, "low", "low"], note=[[1], [2], [], None])
    assert read_slates(path, small, 3).ids.tolist() == READ


def test_ids_need_not_be_text(tmp_path: Path) -> None:
    data = shop([[0, 1, 2], [1, 2, 3], [2, 3, 4], [5]], ["thing"] * 10)
    table = data.catalog.table.with_columns(pl.col(c.ITEM_ID).str.slice(1))
    numbered = replace(
        data, catalog=Catalog(table), user_ids=np.array(["10", "11", "12", "13"], object)
    )
    split = leave_one_out(numbered)
    rows = [(int(str(u)[1:]) + 10, int(str(i)[1:]), rank) for u, i, rank in FULL]
    assert read_slates(file_of(tmp_path, rows), split, 3).ids.tolist() == READ
    table = pl.read_parquet(tmp_path / "slates.parquet").cast(
        {c.USER_ID: pl.Int32, c.ITEM_ID: pl.String}
    )
    table.cast({c.ITEM_ID: pl.Categorical}).write_parquet(tmp_path / "coded")
    assert read_slates(tmp_path / "coded", split, 3).ids.tolist() == READ


def test_one_file_may_hold_several_splits(tmp_path: Path) -> None:
    splits = time_windows(crowd(_rng(), n_users=120), n=2, days=2)
    made = [_first_items(split) for split in splits]
    tables = [
        rows_of(s, m).with_columns(split=pl.lit(s.name)) for s, m in zip(splits, made, strict=True)
    ]
    pl.concat(tables).write_parquet(tmp_path / "both")
    for split, slates in zip(splits, made, strict=True):
        np.testing.assert_array_equal(read_slates(tmp_path / "both", split, 3).ids, slates.ids)
    assert not np.array_equal(made[0].ids, made[1].ids)
    tables[0].write_parquet(tmp_path / "first")
    with pytest.raises(DataError, match=f"no slate for {len(splits[1])} of the {len(splits[1])}"):
        read_slates(tmp_path / "first", splits[1], 3)


def _first_items(split: Split) -> ItemsBatch:
    """Three items by a rule that differs from request to request."""
    first = (np.arange(len(split)) + len(split)) % 40
    ids = (first[:, None] + np.arange(3)).astype(np.int32)
    return ItemsBatch(ids, np.zeros(ids.shape, np.float32))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (FULL[1:3], "no slate for 1 of the 3 requests of 'leave-one-out'"),
        ([("x", "i1", 1)], "no slate for 3 of the 3"),
        ([*FULL, ("u1", "i77", 2)], "1 items that the catalogue does not have, 'i77' for one"),
        ([*FULL, ("u1", "i1", 1)], "each place of a slate, from rank 1 on, is filled once"),
        ([*FULL, ("u1", "i1", 0)], "each place of a slate, from rank 1 on, is filled once"),
        ([*FULL, ("u1", "i1", -1)], "each place of a slate, from rank 1 on, is filled once"),
        ([*FULL, ("u1", "i1", None)], "each place of a slate, from rank 1 on, is filled once"),
        (
            [(u, i, float(str(r))) for u, i, r in FULL],
            r"rank \(Float64\); slates need .* whole number",
        ),
        ([(u, i, str(r)) for u, i, r in FULL], r"rank \(String\); slates need .* whole number"),
        ([([u], i, r) for u, i, r in FULL], "user_id, item_id are to be names"),
    ],
)
def test_slates_that_do_not_fit(
    rows: list[tuple[object, object, object]], says: str, small: Split, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says) as error:
        read_slates(file_of(tmp_path, rows), small, 3)
    assert "slates.parquet" in str(error.value)


def test_files_that_are_no_slates(small: Split, tmp_path: Path) -> None:
    pl.DataFrame({c.USER_ID: ["u0"], "item": ["i1"], c.RANK: [1]}).write_parquet(tmp_path / "odd")
    with pytest.raises(DataError, match=r"columns user_id \(String\), item \(String\), rank"):
        read_slates(tmp_path / "odd", small, 3)
    (tmp_path / "text").write_text("user_id,item_id,rank\nu0,i1,1\n", "utf-8")
    for name in ("text", "no such file"):
        with pytest.raises(DataError, match=f"{name} cannot be read as Parquet"):
            read_slates(tmp_path / name, small, 3)


def test_instants_are_written_in_utc(tmp_path: Path) -> None:
    write_split(leave_one_out(shop([[0, 1, 2, 3]] * 3, ["a"] * 5)), tmp_path)
    train = pl.read_parquet(tmp_path / "train.parquet")
    assert train[c.TIMESTAMP][1] == datetime(1970, 1, 2, tzinfo=UTC)


def test_slates_of_several_splits_must_say_which(tmp_path: Path) -> None:
    path = tmp_path / "slates.parquet"
    table = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "rank": [1]})
    table.write_parquet(path)
    splits = time_windows(crowd(np.random.default_rng(5), n_users=60), n=2, days=2)
    check_slates(path, splits[:1])
    with pytest.raises(DataError, match="no column 'split', and there are 2 splits"):
        check_slates(path, splits)
    table.with_columns(split=pl.lit(splits[0].name)).write_parquet(path)
    check_slates(path, splits)


def test_an_earlier_export_leaves_no_further_split(tmp_path: Path) -> None:
    data = crowd(np.random.default_rng(5), n_users=120)
    write_splits(time_windows(data, n=3, days=2), tmp_path)
    files = write_splits(time_windows(data, n=1, days=2), tmp_path)
    assert [path.parent.name for path in tmp_path.glob("*/split.json")] == ["0"]
    assert all(path.exists() for path in files)
