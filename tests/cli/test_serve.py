"""Keys by command, and a service that says what is wrong before it starts."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result

from tailrec.data.keys import ROLES, Keys, parts_of
from tailrec.shop import Shop

Run = Callable[..., Result]
Ask = Callable[..., Any]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A shop with nothing in it."""
    folder = tmp_path / "empty"
    Shop.create(folder).close()
    return folder


@pytest.mark.parametrize("role", ROLES)
def test_a_key_is_printed_once_and_opens(ask: Ask, empty: Path, role: str) -> None:
    told = ask("keys", "create", "--role", role, "--label", "the till", "--shop", empty)
    key_id, secret = parts_of(told["key"]) or ("", "")
    assert told == {"key": told["key"], "key_id": key_id, "role": role, "label": "the till"}
    with Shop.open(empty) as shop:
        (key,) = Keys(shop.store).all()
    assert key.opens(secret)
    assert (key.role, key.label) == (role, "the till")


def test_without_json_the_key_stands_alone_on_stdout(run: Run, empty: Path) -> None:
    result = run("keys", "create", "--role", "read", "--shop", empty)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert parts_of(line) is not None
    assert "not shown again" in result.stderr


def test_keys_are_listed_without_secrets_and_revoked(run: Run, ask: Ask, empty: Path) -> None:
    made = [ask("keys", "create", "--role", role, "--shop", empty) for role in ROLES]
    listed = ask("keys", "list", "--shop", empty)
    assert [(key["key_id"], key["role"]) for key in listed] == [
        (key["key_id"], key["role"]) for key in made
    ]
    assert all(key["revoked_at"] is None for key in listed)
    gone = made[1]["key_id"]
    assert ask("keys", "revoke", gone, "--shop", empty) == {"revoked": gone}
    listed = ask("keys", "list", "--shop", empty)
    assert [key["key_id"] for key in listed if key["revoked_at"]] == [gone]
    table = run("keys", "list", "--shop", empty).stdout
    for key in made:
        assert key["key_id"] in table
        assert (parts_of(key["key"]) or ("", ""))[1] not in table


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "--role", "owner"), "role is 'owner'; it must be one of read, write, admin"),
        (("create",), "--role"),
        (("revoke", "none"), "'none' is not a key of this shop"),
        (("revoke",), "key_id"),
    ],
)
def test_what_cannot_be_done_with_keys(
    run: Run, empty: Path, words: tuple[str, ...], says: str
) -> None:
    result = run("keys", *words, "--shop", empty)
    assert result.exit_code == 2
    assert says in result.stderr
    assert run("keys", "list", "--shop", empty / "none").exit_code == 1


def test_a_key_is_revoked_once(run: Run, ask: Ask, empty: Path) -> None:
    key_id = ask("keys", "create", "--role", "read", "--shop", empty)["key_id"]
    assert run("keys", "revoke", key_id, "--shop", empty).exit_code == 0
    again = run("keys", "revoke", key_id, "--shop", empty)
    assert again.exit_code == 2
    assert "is revoked already" in again.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--port", "65536"), "less than or equal to 65535"),
        (("--workers", "0"), "greater than or equal to 1"),
        (("--threads", "0"), "greater than or equal to 1"),
        (("--port", "http"), "valid integer"),
    ],
)
def test_options_out_of_range_are_refused(
    run: Run, empty: Path, words: tuple[str, ...], says: str
) -> None:
    result = run("serve", empty, *words)
    assert result.exit_code == 2
    assert says in result.stderr


def test_what_is_no_shop_is_not_served(
    run: Run, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("serve", empty, tmp_path)
    assert result.exit_code == 2
    assert (
        f"{tmp_path} is no shop (no tailrec.toml); run `tailrec init {tmp_path}`" in result.stderr
    )
    monkeypatch.setenv("TAILREC_STORE_URL", f"sqlite:///{tmp_path / 'one.db'}")
    result = run("serve", empty, empty)
    assert result.exit_code == 2
    assert "TAILREC_STORE_URL names one store" in result.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shop_that_cannot_be_opened_is_said_in_one_line(
    run: Run, empty: Path, workers: int
) -> None:
    recipe = empty / "tailrec.toml"
    recipe.write_text("[serve]\nburst = 0\n", "utf-8")
    result = run("serve", empty, "--workers", workers, "--port", "0")
    assert result.exit_code == 2
    assert "burst" in result.stderr
    recipe.write_text("", "utf-8")
    (empty / "store.db").write_bytes(b"no store, but long enough to be one" * 100)
    result = run("serve", empty, "--workers", workers, "--port", "0")
    assert result.exit_code == 1
    assert str(empty) in result.stderr
    (empty / "store.db").unlink()
    for beside in empty.glob("store.db-*"):
        beside.unlink()
    result = run("serve", empty, "--workers", workers, "--port", "0")
    assert result.exit_code == 1
    assert "no store at" in result.stderr


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    words = ["serve", str(folder), "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-m", "tailrec", *words], stderr=subprocess.PIPE, cwd=folder
    )


def test_a_port_in_use_is_said(empty: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(empty, taken.getsockname()[1])
        _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert b"Address already in use" in said


def test_an_empty_shop_waits_for_items_and_ends_well(empty: Path, ask: Ask) -> None:
    key = ask("keys", "create", "--role", "write", "--shop", empty)["key"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(empty, port)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=30
        ) as client:
            wait_for(client, "/v1/health/live", 200)
            waiting = client.get("/v1/health/ready")
            assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "1")
            nothing = client.post("/v1/recommend", json={})
            assert nothing.status_code == 503
            assert "put items" in nothing.json()["detail"]
            items = [{"item_id": f"a{n}", "title": f"Tea {n}"} for n in range(3)]
            assert client.put("/v1/items", json={"items": items}).status_code == 200
            wait_for(client, "/v1/health/ready", 200)
            told = client.post("/v1/recommend", json={"item_id": "a0"}).json()
            assert {item["item_id"] for item in told["items"]} == {"a1", "a2"}
            assert told["fallback"] in ("content", "popular")
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in said
    shutil.rmtree(empty)


def wait_for(client: httpx.Client, path: str, status: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if client.get(path).status_code == status:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{path} did not become {status}")
