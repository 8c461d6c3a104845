"""Commands that ask a running service."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.running import Running

from tailrec.data.store import Store
from tailrec.settings import Settings
from tailrec.shop import Shop


@pytest.fixture
def address(served: Running, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the simulated shop is served, with a key in the environment."""
    monkeypatch.setenv("TAILREC_KEY", served.key("read"))
    return served.url


def test_a_slate_is_what_the_service_noted_as_shown(
    ask: Callable[..., Any], run: Run, served: Running, address: str
) -> None:
    words = ("recommend", "--server", address, "--user", "U000145", "-k", 3, "--tail", 0.5)
    told = ask(*words)
    assert [row["rank"] for row in told] == [1, 2, 3]
    assert {row["user_id"] for row in told} == {"U000145"}
    assert {row["source"] for row in told} == {"model"}
    (slate_id,) = {row["slate_id"] for row in told}
    assert _noted(served, slate_id) == [row["item_id"] for row in told]
    table = run(*words).stdout
    assert f"recommended by {address}" in table
    assert told[0]["item_id"] in table
    assert ", model " in table


def _noted(served: Running, slate_id: str) -> list[str]:
    """Items of a slate in the store; it is written a moment after the answer."""
    with Store.open(served.folders[0] / "store.db") as store:
        for _ in range(100):
            found = store.read("slates").filter(slate_id=slate_id)
            if len(found):
                ids: list[str] = json.loads(found["item_ids"].item())
                return ids
            time.sleep(0.05)
    pytest.fail(f"slate {slate_id} is not in the store")


def test_what_the_person_has_is_shown_when_asked_for(
    ask: Callable[..., Any], served: Running, address: str
) -> None:
    with Shop.open(served.folders[0]) as shop:
        data = shop.dataset()
    own = data.user == data.user_index["U000147"]
    has = set(data.catalog.ids[data.item[own]])
    words = ("recommend", "--server", address, "--user", "U000147", "-k", 100)
    less, more = (
        {row["item_id"] for row in ask(*words, *further)} for further in ((), ("--include-seen",))
    )
    assert not less & has
    assert more & has


def test_search_says_how_it_read_a_word(ask: Callable[..., Any], run: Run, address: str) -> None:
    words = ("search", "wall clokc", "--server", address, "-k", 3)
    found = ask(*words)
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert "clock" in found[0]["title"]
    assert "'clokc' read as 'clock'" in run(*words).stdout


def test_explain_says_why_and_why_not(ask: Callable[..., Any], run: Run, address: str) -> None:
    (first,) = ask("recommend", "--server", address, "--user", "U000146", "-k", 1)
    words = ("explain", "U000146", first["item_id"], "--server", address)
    why = ask(*words)
    assert (why["shown"], why["rank"]) == (True, 1)
    assert why["score"] == pytest.approx(first["score"], rel=1e-4)
    table = run(*words).stdout
    head = f"{first['item_id']} for U000146: rank 1, score {why['score']:.4f}"
    assert head in " ".join(table.split())
    had = why["reasons"][0]["item_id"]
    table = run("explain", "U000146", had, *words[3:]).stdout
    assert f"{had} for U000146: not shown (" in " ".join(table.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("recommend", "--users", "all"), "--users cannot go with --server"),
        (("recommend", "--shop", "there", "--model", "v1"), "--shop, --model cannot go with"),
        (("explain", "a", "b", "--asof", "2026-01-01"), "--asof cannot go with --server"),
        (("search", "mug", "--model", "v1"), "--model cannot go with --server"),
    ],
)
def test_options_of_a_folder_are_refused(
    run: Run, address: str, words: tuple[str, ...], says: str
) -> None:
    result = run(*words, "--server", address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_errors_are_one_line(run: Run, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("recommend", "--user", "a", "--server")
    result = run(*words, "ftp://here")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be https://HOST" in result.stderr
    result = run(*words, address, "-k", 10**6)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tailrec: n 1000000: Input should be less than or equal to")
    monkeypatch.setenv("TAILREC_KEY", "wrong")
    result = run(*words, address)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "401" in result.stderr
    monkeypatch.delenv("TAILREC_KEY")
    result = run(*words, address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "set TAILREC_KEY" in result.stderr


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILREC_KEY", "very-secret")
    assert Settings.read().key == "very-secret"
    assert "very-secret" not in repr(Settings.read())
