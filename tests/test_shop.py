import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.artifact import get_current, set_current
from tailrec.batch import recommended
from tailrec.candidates.ease import Ease
from tailrec.data.histories import microseconds
from tailrec.data.leaks import check_no_leak
from tailrec.data.live import Live
from tailrec.data.split import inner_split
from tailrec.errors import ArtifactError, DataError, RecipeError, StoreError
from tailrec.shop import Shop
from tailrec.slates import Ask
from tailrec.tuning import choose
from tailrec.tuning_spaces import SPACES, source_named

WORDS_ALONE = "[features]\nencode = false\n"


def new_shop(folder: Path, recipe: str = WORDS_ALONE) -> Shop:
    Shop.create(folder).close()
    (folder / "tailrec.toml").write_text(recipe, "utf-8")
    return Shop.open(folder)


def events(n_users: int, *, same_start: bool = False) -> pl.DataFrame:
    """Everybody buys four of six items, a day apart."""
    return pl.DataFrame(
        {
            c.USER_ID: [f"u{u}" for u in range(n_users) for _ in range(4)],
            c.ITEM_ID: [f"i{(u + step) % 6}" for u in range(n_users) for step in range(4)],
            c.TYPE: "purchase",
            c.TIMESTAMP: [
                datetime(2024, 1, 1 + step + (0 if same_start else u % 20), tzinfo=UTC)
                for u in range(n_users)
                for step in range(4)
            ],
        },
        schema_overrides={c.TIMESTAMP: pl.Datetime("us", "UTC")},
    )


def test_a_new_shop_has_all_defaults_and_nothing_in_it(tmp_path: Path) -> None:
    with Shop.create(tmp_path / "a" / "shop") as shop:
        assert shop.recipe.source.kind == "linear"
        assert shop.versions() == []
        assert {table: shop.store.count(table) for table in c.TABLES} == dict.fromkeys(c.TABLES, 0)
        with pytest.raises(DataError, match="no events that count as history"):
            shop.fit()
        with pytest.raises(ArtifactError, match="no model yet"):
            shop.engine()
    with pytest.raises(DataError, match="is a shop already"):
        Shop.create(tmp_path / "a" / "shop")
    (tmp_path / "file").write_text("here")
    with pytest.raises(DataError, match="is a file"):
        Shop.create(tmp_path / "file")
    with pytest.raises(StoreError, match="is no shop"):
        Shop.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("[source]\nkind = 'magic'\n", "option source"),
        ("[source]\nkind = 'linear'\nridge = -1\n", "ridge"),
        ("colour = 'red'\n", "colour"),
        ("tail = \n", "cannot be read as TOML"),
    ],
)
def test_a_bad_option_is_named(tmp_path: Path, recipe: str, says: str) -> None:
    Shop.create(tmp_path / "shop").close()
    (tmp_path / "shop" / "tailrec.toml").write_text(recipe, "utf-8")
    with pytest.raises(RecipeError, match=says):
        Shop.open(tmp_path / "shop")


def test_until_leaves_out_what_came_later(fitted: Shop) -> None:
    until = datetime(2025, 2, 1, tzinfo=UTC)
    data = fitted.dataset(until=until)
    assert data.now == microseconds(until)
    assert data.time.max() < data.now
    assert 0 < data.n_events < fitted.dataset().n_events
    with pytest.raises(DataError, match="of 0 stored before 2001"):
        fitted.dataset(until=datetime(2001, 1, 1, tzinfo=UTC))


def test_a_fit_until_an_instant_is_that_of_a_shop_without_later_events(
    tmp_path: Path, raw_files: Path
) -> None:
    until = datetime(2025, 2, 1, tzinfo=UTC)
    items, log = pl.read_csv(raw_files / "items.csv"), pl.read_parquet(raw_files / "events.parquet")
    arrays = []
    for name, kept, instant in (
        ("all", log, until),
        ("few", log.filter(pl.col(c.TIMESTAMP) < until), until),
    ):
        with new_shop(tmp_path / name) as shop:
            shop.store.write("items", items.select(c.ITEM_ID, c.TITLE, c.BRAND, c.CATEGORY))
            shop.store.write("events", kept)
            version = shop.fit(until=instant).version
            arrays.append((shop.models / version / "arrays.safetensors").read_bytes())
            assert json.loads((shop.models / version / "card.json").read_text())["data"]["now"] == (
                "2025-02-01T00:00:00+00:00"
            )
    assert arrays[0] == arrays[1]


def test_two_fits_are_byte_for_byte_the_same(shop: Shop) -> None:
    one, other = shop.fit().version, shop.fit().version
    assert one != other
    files = [
        (shop.models / version / "arrays.safetensors").read_bytes() for version in (one, other)
    ]
    assert files[0] == files[1]
    assert shop.versions()[-2:] == [one, other]
    assert get_current(shop.models) == other
    first, *_ = shop.versions()
    # An older model can be asked still, by name.
    assert recommended(shop, user="U000001", version=first).equals(
        recommended(shop, user="U000001")
    )


def test_a_search_for_options_serves_what_it_chose(shop: Shop) -> None:
    told = []
    fitted = shop.fit(budget_s=1.0, on_trial=lambda spent, trial: told.append((spent, trial)))
    assert [trial for _, trial in told] == fitted.trials
    best = choose(fitted.trials)
    assert best.ndcg >= 0.995 * max(trial.ndcg for trial in fitted.trials)
    assert fitted.trials[0].source == shop.recipe.source
    assert shop.engine().recipe.source == best.source
    assert fitted.card["source"] == best.source.model_dump()
    assert fitted.card["validation"] == {"ndcg@10": best.ndcg, "tail_ndcg@10": best.tail_ndcg}
    assert fitted.card["n_trials"] == len(fitted.trials)


def test_leftovers_of_killed_fits_go_and_nothing_else(shop: Shop) -> None:
    (version,) = shop.versions()
    dead, alive = "999999999", "1"
    for owner in (dead, alive):
        shutil.copytree(shop.models / version, shop.models / f".20200101T000000.0-abc.{owner}")
        (shop.models / f".current.{owner}").write_text("half")
    assert shop.versions() == [version]
    new = shop.fit().version
    assert shop.versions() == [version, new]
    left = {entry.name for entry in shop.models.iterdir()}
    assert left == {version, new, "current", ".20200101T000000.0-abc.1", ".current.1"}


def test_erasing_a_person_leaves_no_trace_in_the_next_fit(shop: Shop, tmp_path: Path) -> None:
    user = str(shop.dataset().user_ids[3])
    n_events = len(shop.store.history(user, limit=10_000))
    assert shop.erase(user) == {"events": n_events, "users": 1, "aliases": 0, "slates": 0}
    assert not len(shop.store.history(user))
    assert user not in shop.dataset().user_ids
    version = shop.fit().version
    # The same as in a shop that never met the person.
    with new_shop(tmp_path / "other", recipe="") as other:
        other.cache.symlink_to(shop.cache.resolve())
        for table in ("items", "events"):
            other.store.write(table, shop.store.read(table))
        twin = other.fit().version
        one, same = (
            s.models / v / "arrays.safetensors" for s, v in ((shop, version), (other, twin))
        )
        assert one.read_bytes() == same.read_bytes()
    assert user not in (shop.models / version / "arrays.safetensors").read_bytes().decode("latin-1")
    assert recommended(shop, user=user).equals(
        recommended(shop, user="stranger").with_columns(pl.lit(user).alias(c.USER_ID))
    )
    assert set(shop.erase(user).values()) == {0}


@pytest.mark.parametrize("kind", ["time", "leave-one-out", "cold"])
def test_splits_are_honest(fitted: Shop, kind: str) -> None:
    splits = fitted.splits(kind, windows=2)
    assert len(splits) == (2 if kind == "time" else 1)
    for split in splits:
        check_no_leak(split, fitted.dataset(whole=True))
    with pytest.raises(DataError, match="must be time, leave-one-out or cold"):
        fitted.splits("random")


def test_made_up_times_are_not_split_by(tmp_path: Path) -> None:
    with new_shop(tmp_path / "shop") as shop:
        shop.store.write("events", events(30, same_start=True))
        with pytest.raises(DataError, match="times look made up"):
            shop.splits("time")
        assert len(shop.splits("leave-one-out")[0]) == 30
        data = shop.dataset(whole=True)
        assert inner_split(data, "last").name == "leave-one-out"
    assert inner_split_of_real_times(tmp_path).startswith("time")


def inner_split_of_real_times(tmp_path: Path) -> str:
    with new_shop(tmp_path / "real") as shop:
        shop.store.write("events", events(30))
        return inner_split(shop.dataset(whole=True), "last").name


def test_a_shop_of_events_alone_recommends(tmp_path: Path) -> None:
    with new_shop(tmp_path / "shop") as shop:
        shop.store.write("events", events(30))
        shop.fit()
        slate = recommended(shop, user="u0", ask=Ask(k=5))
        assert sorted(slate[c.ITEM_ID]) == ["i4", "i5"]


def test_hidden_is_what_is_gone_or_not_for_sale(tmp_path: Path) -> None:
    with new_shop(tmp_path / "shop") as shop:
        shop.store.write("events", events(30))
        rows = {c.ITEM_ID: ["i0", "i1", "i2", "i3"], c.TITLE: ["a", "b", "c", "d"]}
        shop.store.write("items", pl.DataFrame(rows | {c.AVAILABLE: [True, False, None, True]}))
        shop.fit()
        engine = shop.engine()
        # i4 and i5 have events and no row.
        assert engine.ids[shop.assortment().hidden].tolist() == ["i1", "i4", "i5"]


def test_the_first_item_of_a_catalogue_hides_what_it_does_not_list(tmp_path: Path) -> None:
    """Of a shop known by its events alone everything is shown, and the same while it is served."""
    with new_shop(tmp_path / "shop") as shop:
        shop.store.write("events", events(30))
        shop.fit()
        before = shop.assortment()
        assert not before.hidden.any()
        shop.store.write("items", pl.DataFrame({c.ITEM_ID: ["i3"], c.TITLE: ["Tea"]}))
        after = before.after(*Live(shop.store).changes(before.revision))
        np.testing.assert_array_equal(after.hidden, shop.assortment().hidden)
        assert after.engine.ids[~after.hidden].tolist() == ["i3"]


def test_a_model_that_is_missing_or_damaged_is_named(shop: Shop) -> None:
    (version,) = shop.versions()
    folder = shop.models / version
    with pytest.raises(ArtifactError, match=r"'nope' is not in .* \(there: 2"):
        shop.engine("nope")
    with pytest.raises(ArtifactError, match=r"'\.\./x' is not in"):
        shop.engine("../x")
    whole = (folder / "arrays.safetensors").read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], b"\xff" * len(whole)):
        (folder / "arrays.safetensors").write_bytes(damaged)
        with pytest.raises(ArtifactError, match=f"{version} is no complete model"):
            shop.engine()
    (folder / "arrays.safetensors").write_bytes(whole)
    recipe = (folder / "recipe.toml").read_text("utf-8")
    for damaged in ("[source]\nkind = 'magic'\n", "[source", recipe.replace("linear", "ease")):
        (folder / "recipe.toml").write_text(damaged, "utf-8")
        with pytest.raises(ArtifactError, match="fit again"):
            shop.engine()
    (folder / "recipe.toml").write_text(recipe, "utf-8")
    assert shop.engine().ids.size == 200
    set_current(shop.models, "gone")
    with pytest.raises(ArtifactError, match="'gone' is not in"):
        shop.engine()


def test_sources_by_name() -> None:
    assert source_named(" ease ") == Ease()
    assert {source_named(kind).kind for kind in SPACES} == set(SPACES)
    with pytest.raises(RecipeError, match=r"source 'magic' is not known; it must be one of linear"):
        source_named("magic")


def test_activity_counts_everything(fitted: Shop) -> None:
    activity = fitted.activity()
    assert activity.n_events == fitted.store.count("events")
    assert np.unique(activity.weight).tolist() == [1.0]


def test_what_came_up_and_what_went_down_is_told(tmp_path: Path) -> None:
    """One item sells only in the last quarter of the time, one only in the last but one."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    days = [0, *range(52, 72), *range(78, 98), 99]
    items = ["a", *["down"] * 20, *["up"] * 20, "a"]
    events = pl.DataFrame(
        {
            "user_id": [f"u{place}" for place in range(len(days))],
            "item_id": items,
            "type": "purchase",
            "timestamp": [start + timedelta(days=day) for day in days],
        }
    )
    names = sorted(set(items))
    with Shop.create(tmp_path / "shop") as shop:
        shop.store.write("items", pl.DataFrame({"item_id": names, "title": names}))
        shop.store.write("events", events)
        moved = shop.movers()
    assert dict(moved.select("item_id", "direction").iter_rows()) == {
        "up": "rises",
        "down": "falls",
    }
    assert moved["title"].to_list() == moved["item_id"].to_list()


def test_nothing_moves_where_times_are_made_up(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    pairs = [(user, step) for user in range(30) for step in range(8)]
    events = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": ["late" if step > 5 else "early" for _, step in pairs],
            "type": "purchase",
            "timestamp": [start + timedelta(days=step) for _, step in pairs],
        }
    )
    with Shop.create(tmp_path / "shop") as shop:
        shop.store.write("items", pl.DataFrame({"item_id": ["early", "late"], "title": "x"}))
        shop.store.write("events", events)
        assert shop.movers().is_empty()
