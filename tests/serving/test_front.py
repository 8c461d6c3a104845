"""A shop as a worker serves it: up to date, and answering whatever breaks."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sqlalchemy import text
from tests.conftest import connect

from tailrec import columns as c
from tailrec.artifact import ARRAYS, get_current, set_current
from tailrec.batch import recommended
from tailrec.data.live import Live
from tailrec.data.store import Store
from tailrec.errors import ArtifactError, StoreError
from tailrec.items import PADDING
from tailrec.serving.access import Caller
from tailrec.serving.asking import NO_HISTORY, understood
from tailrec.serving.front import AT_ONCE, PATIENCE_S, WATCH_S, Front
from tailrec.serving.standby import CONTENT, OLDER
from tailrec.shop import Shop
from tailrec.slates import Ask, search_items
from tailrec.wire import Recommend

SOON_S = 20.0
"""Longer than anything takes that is to come about, also on a busy machine."""
SLACK_S = 1.0


@contextmanager
def serving(folder: Path, *, url: str | None = None) -> Iterator[Front]:
    front = Front("shop", Shop.open(folder, store_url=url))
    try:
        yield front
    finally:
        front.close()


@pytest.fixture(scope="module")
def fitted_light(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the simulated shop, fitted by words alone: an encoder takes long to load."""
    folder = tmp_path_factory.mktemp("light") / "shop"
    shutil.copytree(fitted_folder, folder, symlinks=True, ignore=shutil.ignore_patterns("models"))
    recipe = folder / "tailrec.toml"
    recipe.write_text(recipe.read_text("utf-8") + "[features]\nencode = false\n", "utf-8")
    with Shop.open(folder) as shop:
        shop.fit()
    return folder


@pytest.fixture
def light(fitted_light: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(fitted_light, tmp_path / "light", symlinks=True)


@pytest.fixture
def front(light: Path) -> Iterator[Front]:
    with serving(light) as front:
        yield front


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Folder of a shop without items, events or models."""
    Shop.create(tmp_path / "bare").close()
    return tmp_path / "bare"


def until(true: Callable[[], object]) -> float:
    """Wait for what is to come true; returns the seconds it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < SOON_S
        time.sleep(0.01)
    return time.monotonic() - started


def items(ids: Sequence[str], **values: object) -> pl.DataFrame:
    told = {c.ITEM_ID: list(ids), c.TITLE: [f"quetzalcoatl {item_id}" for item_id in ids]}
    return pl.DataFrame(told).with_columns(pl.lit(v).alias(k) for k, v in values.items())


def slate(front: Front, user: str | None = None, **options: object) -> list[str]:
    """What a person is shown now."""
    body = Recommend.model_validate({"user_id": user, "n": 10, **options})
    asked = understood(Caller(front, "", "admin"), body)
    ids = asked.slate().ids
    return [str(item_id) for item_id in asked.standing.stand.engine.ids[ids[ids != PADDING]]]


def found(front: Front, words: str, revision: int | None = None) -> list[str]:
    stand = front.standing(revision).stand
    best = search_items(stand, words, k=2_000).items
    return [str(item_id) for item_id in stand.engine.ids[best.ids]]


def now_of(front: Front) -> int:
    return front.moment(None)[0].revision


def somebody(front: Front) -> str:
    return str(front.shop.dataset().user_ids[3])


# ---------------------------------------------------------------------------- served as offline


DUE, TIRED = "[slate]\nseen = 'due'\n", "[slate]\nfatigue = 0.5\n"


@pytest.mark.parametrize(
    ("recipe", "tail", "diversity", "ruled"),
    [
        ("", 0.0, 0.0, False),
        ("", 0.4, 0.3, True),
        (DUE, 0.0, 0.0, True),
        (DUE, 0.4, 0.3, False),
        (TIRED, 0.0, 0.3, False),
        (TIRED, 0.4, 0.0, True),
    ],
)
def test_a_served_slate_is_the_offline_slate(
    shop_folder: Path, recipe: str, tail: float, diversity: float, *, ruled: bool
) -> None:
    """Of everybody, item by item and score by score."""
    rules = "[rules]\npin = [{item = 'P000011', position = 2}]\nat_most = {brand = 1}\n"
    rules += "boost = [{filter = {tier = 'tail'}, factor = 1.5}]\n"
    path = shop_folder / "tailrec.toml"
    path.write_text(path.read_text("utf-8") + recipe + (rules if ruled else ""), "utf-8")
    with serving(shop_folder) as front:
        people = [*map(str, front.shop.dataset().user_ids), "nobody we know"]
        first = recommended(front.shop, users="all", ask=Ask(k=6))
        shown_to(front, first)
        (shop_folder / "people.txt").write_text("\n".join(people), "utf-8")
        whole = recommended(
            front.shop, users=str(shop_folder / "people.txt"), ask=Ask(6, tail, diversity)
        )
        caller = Caller(front, "", "read")
        for (user,), offline in whole.group_by([c.USER_ID], maintain_order=True):
            body = Recommend(user_id=user, n=6, tail=tail, diversity=diversity)
            asked = understood(caller, body)
            served = asked.slate()
            ids = asked.standing.stand.engine.ids[served.ids].tolist()
            assert ids == offline[c.ITEM_ID].to_list()
            np.testing.assert_array_equal(served.scores, offline[c.SCORE].to_numpy())
    assert whole[c.USER_ID].n_unique() == len(people)
    # What was shown in vain stepped back, or the comparison above would prove little.
    assert not whole.filter(pl.col(c.USER_ID) != people[-1]).equals(first)


def shown_to(front: Front, slates: pl.DataFrame) -> None:
    """Log slates as shown three times to everybody whose id is even, once long ago."""
    span = front.shop.store.span()
    assert span is not None
    listed = slates.group_by(c.USER_ID, maintain_order=True).agg(c.ITEM_ID)
    rows = [
        {
            c.SLATE_ID: f"{user}-{days}",
            c.USER_ID: user,
            c.TIMESTAMP: span[1] - timedelta(days=days),
            c.ITEM_IDS: str(ids).replace("'", '"'),
        }
        for user, ids in listed.iter_rows()
        if int(user[1:]) % 2 == 0
        for days in (0, 1, 2, 400)
    ]
    front.shop.store.write("slates", pl.DataFrame(rows, schema_overrides=dict(c.SLATES)))


def test_the_encoder_is_there_before_the_first_request(shop_folder: Path) -> None:
    with serving(shop_folder) as front:
        assert "encoder" in vars(front.standing().stand.engine.features)


# ---------------------------------------------------------------------------- changes of items


def test_what_is_put_changed_or_deleted_counts_in_the_next_request(front: Front) -> None:
    before = now_of(front)
    assert "NEW" not in found(front, "quetzalcoatl")
    front.shop.store.write("items", items(["NEW"]))
    assert now_of(front) > before
    assert found(front, "quetzalcoatl", now_of(front)) == ["NEW"]
    user = somebody(front)
    top = slate(front, user)[0]
    front.live.change_item(top, {c.STOCK: 0.0})
    assert top not in slate(front, user)
    front.live.change_item(top, {c.STOCK: 3.0})
    assert slate(front, user)[0] == top
    front.live.delete_item(top)
    front.live.delete_item("NEW")
    assert top not in slate(front, user)
    assert not {top, "NEW"} & {*found(front, "quetzalcoatl", now_of(front))}


def test_what_another_process_changes_counts_too(front: Front, light: Path) -> None:
    with Store.open(light / "store.db") as other:
        other.write("items", items(["NEW"]))
    assert found(front, "quetzalcoatl", now_of(front)) == ["NEW"]


def test_a_catalogue_at_rest_is_left_alone(front: Front) -> None:
    standing = front.standing(now_of(front))
    slate(front, somebody(front))
    assert front.standing(now_of(front)) is standing
    assert front.standing() is standing
    # A revision that never comes is waited for, and no longer than that.
    started = time.monotonic()
    assert front.standing(10_000).stand.revision == standing.stand.revision
    assert time.monotonic() - started < PATIENCE_S + SLACK_S


@pytest.mark.slow
def test_a_large_change_is_taken_in_piece_by_piece(
    bare: Path, fitted: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for all of it; what is known already comes first; at the end it is all there."""
    monkeypatch.setattr("tailrec.serving.front.AT_ONCE", 16)
    assert AT_ONCE == 256
    catalogue = fitted.store.read("items")
    with Store.open(bare / "store.db") as store:
        store.write("items", catalogue)
    with serving(bare) as front:
        n_known = len(front.standing().stand.engine.ids)
        many = items([f"A{number:04}" for number in range(1_500)])
        sold_out = catalogue.head(1).with_columns(pl.lit(0.0).alias(c.STOCK))
        front.shop.store.write("items", pl.concat([many, sold_out], how="diagonal"))
        last, waits, sizes = now_of(front), [], []
        while front.standing().stand.revision < last:
            started = time.monotonic()
            stand = front.standing(last).stand
            waits.append(time.monotonic() - started)
            sizes.append(len(stand.engine.ids) - n_known)
            if sizes[-1]:
                assert stand.hidden[stand.engine.index[catalogue[c.ITEM_ID][0]]]
        assert max(waits) < PATIENCE_S + SLACK_S
        assert any(0 < size < 1_500 for size in sizes)
        assert sizes == sorted(sizes)
        assert len(found(front, "quetzalcoatl")) == 1_500


def test_changes_wait_while_the_store_is_away_and_come_after(front: Front, light: Path) -> None:
    with Store.open(light / "store.db") as other:
        other.write("items", items(["NEW"]))
        revision = now_of(front)
        with away(front.shop.store, "items"):
            assert "NEW" not in found(front, "quetzalcoatl", revision)
        until(lambda: front.standing(revision).stand.revision == revision)
    assert found(front, "quetzalcoatl") == ["NEW"]


# ---------------------------------------------------------------------------- models


def another(front: Front, version: str) -> str:
    """A copy of the served model under another name."""
    folder = front.shop.models
    shutil.copytree(folder / front.standing().version, folder / version)
    return version


def test_a_new_model_is_taken_over_within_seconds(front: Front) -> None:
    front.shop.store.write("items", items(["NEW"]))
    old = front.standing(now_of(front)).version
    user = somebody(front)
    expected = slate(front, user)
    for version in (another(front, "99999999-new"), old):
        set_current(front.shop.models, version)
        while front.standing().version != version:
            assert slate(front, user) == expected  # nobody is refused meanwhile
        assert front.standing().fallback is None
    assert found(front, "quetzalcoatl", now_of(front)) == ["NEW"]
    assert until(lambda: front.standing().version == old) < WATCH_S + SOON_S


def test_a_broken_new_model_changes_nothing_for_long(front: Front) -> None:
    user = somebody(front)
    expected, old = slate(front, user), front.standing().version
    broken = another(front, "99999999-new")
    (front.shop.models / broken / ARRAYS).write_bytes(b"")
    set_current(front.shop.models, broken)
    until(lambda: front.standing().fallback == OLDER)
    assert front.standing().version == old
    assert slate(front, user) == expected
    set_current(front.shop.models, another(front, "99999999-newer"))
    until(lambda: front.standing().fallback is None)
    assert front.standing().version == "99999999-newer"


def test_a_model_that_is_removed_while_it_answers_goes_on_answering(front: Front) -> None:
    user, version = somebody(front), front.standing().version
    expected = slate(front, user)
    shutil.rmtree(front.shop.models / version)
    assert slate(front, user) == expected
    (front.shop.models / "current").unlink()
    time.sleep(2 * WATCH_S)
    front.shop.store.write("items", items(["NEW"]))
    assert found(front, "quetzalcoatl", now_of(front)) == ["NEW"]
    assert (front.standing().version, front.standing().fallback) == (version, None)
    assert slate(front, user) == expected


def test_an_empty_shop_is_ready_as_soon_as_it_has_items(bare: Path) -> None:
    with serving(bare) as front:
        assert not front.ready
        with pytest.raises(ArtifactError, match="put items"):
            front.standing()
        moment, known = front.moment("u")
        assert (moment.revision, known) == (0, True)
        front.shop.store.write("items", items(["NEW"]))
        until(lambda: front.ready)
        assert front.standing(now_of(front)).fallback == CONTENT
        assert found(front, "quetzalcoatl") == ["NEW"]


def test_a_stand_in_is_made_anew_of_what_came_since(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words alone never propose what came after them, so they are read again in time."""
    monkeypatch.setattr("tailrec.serving.front.AGAIN_S", 1.0)
    with Store.open(bare / "store.db") as store:
        store.write("items", items(["A", "B"]))
    with serving(bare) as front:
        assert front.standing().fallback == CONTENT
        front.shop.store.write("items", items(["NEW"]))
        done = {
            c.USER_ID: "u",
            c.ITEM_ID: "A",
            c.TYPE: "purchase",
            c.TIMESTAMP: datetime(2024, 1, 1, tzinfo=UTC),
        }
        front.events.write(full_events(done)).result(SOON_S)
        until(lambda: set(slate(front, "u")) == {"B", "NEW"})
        assert slate(front, "somebody new") == ["A"]


def full_events(*told: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(c.EVENTS) | one for one in told], schema=dict(c.EVENTS))


# ---------------------------------------------------------------------------- the store away


@contextmanager
def away(store: Store, table: str) -> Iterator[None]:
    """For a while, everything that asks for a table fails."""
    run(store, f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        run(store, f"ALTER TABLE {table}_away RENAME TO {table}")


def run(store: Store, sql: str) -> None:
    with store.database.transaction() as connection:
        connection.run(text(sql))


def test_without_the_store_slates_go_on_without_a_history(front: Front) -> None:
    user = somebody(front)
    viewing = {"item_id": "P000005"}
    of_a_stranger = slate(front, None, **viewing)
    of_somebody = slate(front, user, **viewing)
    with away(front.shop.store, "events"):
        moment, known = front.moment(user)
        assert not known
        assert (moment.item_ids, moment.revision) == ([], front.standing().stand.revision)
        asked = understood(
            Caller(front, "", "read"), Recommend.model_validate({"user_id": user, **viewing})
        )
        assert asked.fallback == NO_HISTORY
        assert slate(front, user, **viewing) == of_a_stranger
        assert found(front, "vase")
    assert front.moment(user)[1]
    assert slate(front, user, **viewing) == of_somebody != of_a_stranger


CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
"""Ends every other connection, as a restart does."""


def on_postgres(light: Path, folder: Path, url: str) -> None:
    """A copy of the shop whose store is in PostgreSQL."""
    with Shop.open(light) as shop, Shop.create(folder, store_url=url) as other:
        for name in ("items", "events"):
            other.store.write(name, shop.store.read(name))
        shutil.copytree(shop.models, other.models)


def test_a_server_that_was_restarted_is_not_noticed(
    postgres_server: str, postgres_url: str, light: Path, tmp_path: Path
) -> None:
    """Connections that died between two requests are replaced; a server gone is told."""
    folder = tmp_path / "on-postgres"
    on_postgres(light, folder, postgres_url)
    with Shop.open(light) as shop:
        expected = recommended(shop, user="U000003", ask=Ask(k=10))[c.ITEM_ID].to_list()
    with serving(folder, url=postgres_url) as front:
        assert slate(front, "U000003") == expected
        schema = postgres_url.rpartition("%3D")[2]
        with connect(postgres_server) as server, server.cursor() as cursor:
            cursor.execute(CUT)
            cursor.fetchall()
            moment, known = front.moment("U000003")
            assert known
            assert moment.item_ids
            assert slate(front, "U000003") == expected
            cursor.execute(f"ALTER SCHEMA {schema} RENAME TO {schema}_away")
            assert not front.moment("U000003")[1]
            assert slate(front, "U000003")
            cursor.execute(f"ALTER SCHEMA {schema}_away RENAME TO {schema}")
        assert slate(front, "U000003") == expected


def test_a_front_tells_whether_it_has_a_revision(front: Front) -> None:
    now = now_of(front)
    front.standing(now)
    assert front.has(now)
    front.shop.store.write("items", items(["LATE"]))
    assert now_of(front) == now + 1
    assert not front.has(now + 1)
    front.standing(now + 1)
    assert front.has(now + 1)


def test_an_awaited_history_survives_a_restart_and_misses_a_server_gone(
    postgres_server: str, postgres_url: str, light: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "awaited"
    on_postgres(light, folder, postgres_url)
    schema = postgres_url.rpartition("%3D")[2]

    async def run(front: Front, server: str) -> None:
        expected = front.moment("U000003")
        for _ in range(2):
            moment, known = await front.awaited_moment("U000003")
            assert known
            assert moment.item_ids == expected[0].item_ids
            with connect(server) as admin, admin.cursor() as cursor:
                cursor.execute(CUT)
                cursor.fetchall()
        with connect(server) as admin, admin.cursor() as cursor:
            cursor.execute(f"ALTER SCHEMA {schema} RENAME TO {schema}_away")
            moment, known = await front.awaited_moment("U000003")
            assert (moment.item_ids, known) == ([], False)
            cursor.execute(f"ALTER SCHEMA {schema}_away RENAME TO {schema}")
        assert (await front.awaited_moment("U000003"))[1]
        front.live.close()

    with serving(folder, url=postgres_url) as front:
        asyncio.run(run(front, postgres_server))


# ---------------------------------------------------------------------------- the end


def test_closing_writes_what_waits(light: Path) -> None:
    front = Front("shop", Shop.open(light))
    n_events, n_slates = (front.shop.store.count(name) for name in ("events", "slates"))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    told = [
        full_events({c.USER_ID: f"u{n}", c.ITEM_ID: "P000001", c.TYPE: "view", c.TIMESTAMP: moment})
        for n in range(60)
    ]
    futures = [front.events.write(rows) for rows in told]
    for n in range(60):
        front.slates.write(
            dict.fromkeys(c.SLATES)
            | {c.SLATE_ID: f"s{n}", c.USER_ID: "u", c.TIMESTAMP: moment, c.ITEM_IDS: "[]"}
        )
    front.close()
    assert [future.result(0) for future in futures] == [None] * 60
    with Store.open(light / "store.db") as store:
        assert store.count("events") == n_events + 60
        assert store.count("slates") == n_slates + 60
    with pytest.raises(StoreError, match="stopping"):
        front.events.write(told[0])
    alive = {thread.name for thread in threading.enumerate()}
    assert not {name for name in alive if name.startswith("shop ")}


def test_closing_does_not_wait_for_a_large_change(
    bare: Path, fitted: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.serving.front.AT_ONCE", 4)
    with Store.open(bare / "store.db") as store:
        store.write("items", fitted.store.read("items"))
    with ExitStack() as stack:
        front = stack.enter_context(serving(bare))
        front.shop.store.write("items", items([f"A{number:05}" for number in range(4_000)]))
        stand = front.standing(Live(front.shop.store).revision()).stand
        assert len(stand.engine.ids) < 4_000
        started = time.monotonic()
    assert time.monotonic() - started < 5


def test_a_version_is_what_is_served(front: Front) -> None:
    assert front.standing().version == get_current(front.shop.models)
    assert front.ready
