"""Keys open their own shop, as far as their role goes, as often as they may."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from tailrec.data.keys import ROLES, Keys, parts_of
from tailrec.data.schema import KEYS
from tailrec.serving.access import FRESH_S, LOOK_AGAIN_S, Access, Caller, Refused
from tailrec.serving.front import Front
from tailrec.shop import Shop

SLACK_S = 0.5
"""What a busy machine may add."""


def opened(folder: Path, *, serve: str = "") -> Front:
    """An empty shop, served."""
    Shop.create(folder).close()
    recipe = folder / "tailrec.toml"
    recipe.write_text(recipe.read_text("utf-8") + serve, "utf-8")
    return Front(folder.name, Shop.open(folder))


@pytest.fixture
def fronts(tmp_path: Path) -> Iterator[list[Front]]:
    with ExitStack() as stack:
        fronts = []
        for name in ("one", "two"):
            fronts.append(opened(tmp_path / name))
            stack.callback(fronts[-1].close)
        yield fronts


@pytest.fixture
def front(fronts: list[Front]) -> Front:
    return fronts[0]


def key_of(front: Front, role: str = "read") -> str:
    return Keys(front.shop.store).create(role)


def id_of(key: str) -> str:
    parts = parts_of(key)
    assert parts is not None
    return parts[0]


def opens(access: Access, key: str | None) -> Caller | None:
    try:
        return access.caller(key)
    except Refused as refused:
        told = (refused.status, refused.retry_s)
    assert told == (401, None)
    return None


def test_a_key_opens_its_own_shop_in_its_role(fronts: list[Front]) -> None:
    keys = {(front.name, role): key_of(front, role) for front in fronts for role in ROLES}
    access = Access(fronts, 1)
    for (name, role), key in keys.items():
        caller = access.caller(key)
        assert (caller.front.name, caller.role, caller.key_id) == (name, role, id_of(key))


def test_a_role_may_what_those_before_it_may(front: Front) -> None:
    may = {mine: [Caller(front, "", mine).may(needed) for needed in ROLES] for mine in ROLES}
    assert may == {
        "read": [True, False, False],
        "write": [True, True, False],
        "admin": [True, True, True],
    }


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_opens(front: Front, key: str | None) -> None:
    with pytest.raises(Refused, match="X-API-Key") as refused:
        Access([front], 1).caller(key)
    assert (refused.value.status, refused.value.retry_s) == (401, None)


def test_what_is_no_key_or_nobodys_opens_nothing(fronts: list[Front]) -> None:
    one, two = (key_of(front) for front in fronts)
    access = Access(fronts, 1)
    id_one, secret_one = parts_of(one) or ("", "")
    _, secret_two = parts_of(two) or ("", "")
    strange = [
        "x", "trk", "trk_", "trk__", f"trk_{id_one}", f"trk_{id_one}_", f"trk__{secret_one}",
        f"trk_{id_one}_{secret_two}", f"trk_{id_one}_{secret_one}x",
        f"trk_{id_one}_{secret_one[:-1]}",
        f"TRK_{id_one}_{secret_one}", one.upper(), one + " ", f" {one}", "trk_nobody_" + secret_one,
        "' OR 1=1 --", "trk_%_%", "é" * 5_000, "trk_\x00_\x00",
    ]  # fmt: skip
    for key in strange:
        assert opens(access, key) is None, key
    assert opens(access, one) is not None


def test_a_key_of_one_shop_never_opens_another(fronts: list[Front]) -> None:
    keys = [key_of(front) for front in fronts]
    for own, key in zip(fronts, keys, strict=True):
        caller = opens(Access(fronts, 1), key)
        assert caller is not None
        assert caller.front is own
        other = [front for front in fronts if front is not own]
        assert opens(Access(other, 1), key) is None


def test_a_key_that_was_copied_with_a_shop_opens_neither(tmp_path: Path) -> None:
    """Whose data should it show? A new key is the way out, and opens its own."""
    with ExitStack() as stack:
        one = opened(tmp_path / "one")
        stack.callback(one.close)
        key = key_of(one, "admin")
        with one.shop.store.database.connection() as connection:
            one.shop.store.database.scrub(connection)  # all of it into the one file
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        two = Front("two", Shop.open(tmp_path / "two"))
        stack.callback(two.close)
        assert opens(Access([one], 1), key) is not None
        access = Access([one, two], 1)
        assert opens(access, key) is None
        for front in (one, two):
            time.sleep(LOOK_AGAIN_S)
            caller = opens(access, key_of(front))
            assert caller is not None
            assert caller.front is front


def test_a_new_key_opens_as_soon_as_keys_are_looked_at_again(front: Front) -> None:
    access = Access([front], 1)
    key, made = key_of(front), time.monotonic()
    while opens(access, key) is None:
        assert time.monotonic() - made < LOOK_AGAIN_S + SLACK_S
        time.sleep(0.01)


def test_a_revoked_key_stops_to_count_in_time(front: Front) -> None:
    key, other = key_of(front), key_of(front)
    access = Access([front], 1)
    assert opens(access, key) is not None
    Keys(front.shop.store).revoke(id_of(key))
    revoked = time.monotonic()
    while opens(access, key) is not None:
        assert time.monotonic() - revoked < FRESH_S + SLACK_S
        time.sleep(0.02)
    assert opens(access, other) is not None
    assert opens(Access([front], 1), key) is None


def test_asking_for_unknown_keys_reads_the_store_seldom(front: Front) -> None:
    key = key_of(front)
    access = Access([front], 1)
    started = time.monotonic()
    for number in range(3_000):
        assert opens(access, f"trk_{number:012x}_secret") is None
    # Reading the keys takes about a millisecond; so do a thousand guesses.
    assert time.monotonic() - started < 3_000 * 5e-4 + SLACK_S
    assert opens(access, key) is not None


def test_keys_go_on_counting_while_their_store_is_away(fronts: list[Front]) -> None:
    one, two = (key_of(front) for front in fronts)
    access = Access(fronts, 1)
    database = fronts[0].shop.store.database
    with database.transaction() as connection:
        connection.run(text(f"ALTER TABLE {KEYS.name} RENAME TO away"))
    time.sleep(FRESH_S + 0.1)
    for key, front in ((one, fronts[0]), (two, fronts[1])):
        caller = opens(access, key)
        assert caller is not None
        assert caller.front is front
    assert opens(access, "trk_a_b") is None
    later = key_of(fronts[1])
    time.sleep(LOOK_AGAIN_S)
    assert opens(access, later) is not None
    with database.transaction() as connection:
        connection.run(text(f"ALTER TABLE away RENAME TO {KEYS.name}"))
    Keys(fronts[0].shop.store).revoke(id_of(one))
    time.sleep(FRESH_S + 0.1)
    assert opens(access, one) is None


def served(access: Access, key: str, most: int = 50) -> tuple[int, float, float]:
    """Requests that are served at once, what the next one is told to wait, and seconds it took."""
    started, told = time.monotonic(), (429, 0.0)
    n_served = 0
    while n_served < most:
        try:
            access.caller(key)
        except Refused as refused:
            told = (refused.status, refused.retry_s or 0.0)
            break
        n_served += 1
    assert told[0] == 429
    return n_served, told[1], time.monotonic() - started


RATE = 4.0


def test_a_burst_is_served_then_refused_until_it_has_refilled(tmp_path: Path) -> None:
    front = opened(tmp_path / "one", serve=f"\n[serve]\nrequests_per_s = {RATE}\nburst = 5\n")
    key, other = key_of(front), key_of(front)
    access = Access([front], 1)
    n_served, retry_s, took_s = served(access, key)
    assert 5 <= n_served <= 5 + took_s * RATE
    assert 0 < retry_s <= 1 / RATE
    # A refused request costs nothing: after what it was told, the next one is served.
    refused = time.monotonic()
    time.sleep(retry_s + 0.01)
    assert opens(access, key) is not None
    time.sleep(0.5)
    n_served, _, _ = served(access, key)
    assert 1 <= n_served <= 1 + (time.monotonic() - refused) * RATE
    # However long it waits, it has no more than a burst.
    time.sleep(1.6)
    n_served, _, took_s = served(access, key)
    assert 5 <= n_served <= 5 + took_s * RATE
    # One key's haste is not another's, nor that of somebody who is not let in at all.
    for _ in range(20):
        assert opens(access, f"trk_{id_of(other)}_wrong") is None
    assert served(access, other)[0] >= 5
    front.close()


def test_workers_share_a_keys_rate(tmp_path: Path) -> None:
    front = opened(tmp_path / "one", serve="\n[serve]\nrequests_per_s = 2\nburst = 8\n")
    key = key_of(front)
    workers = [Access([front], 4) for _ in range(4)]
    told = [served(access, key) for access in workers]
    assert all(2 <= n_served <= 2 + took_s * 0.5 for n_served, _, took_s in told)
    front.close()
    # Each lets a request through now and then, however small its share of a burst is.
    front = opened(tmp_path / "two", serve="\n[serve]\nrequests_per_s = 1000\nburst = 1\n")
    key = key_of(front)
    assert opens(Access([front], 4), key) is not None
    front.close()


def test_without_a_limit_a_key_comes_as_often_as_it_likes(front: Front) -> None:
    key = key_of(front)
    access = Access([front], 1)
    assert served(access, key, 1_000)[0] == 1_000
