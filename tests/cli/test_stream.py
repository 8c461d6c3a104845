"""`tailrec consume`, with a real Redis."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result
from tests.serving.redis_server import free_port, redis_server, send, url_of

from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]
GOOD = {"user_id": "ada", "item_id": "mug", "type": "view"}


def test_consume_says_what_became_of_the_messages(run: Run, ask: Asks, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    run("init", shop)
    with redis_server(tmp_path, free_port()) as client:
        send(client, "clicks", [GOOD, [GOOD, {**GOOD, "type": "cart"}], b"no event"])
        words = ("consume", "--shop", shop, "--from", url_of(client), "--stream", "clicks")
        assert ask(*words, "--once") == {
            "messages": 3,
            "events": 3,
            "new": 3,
            "rejected": 1,
            "claimed": 0,
            "lost": 0,
        }
        result = run(*words, "--once", "--group", "other", "--consumer", "b", "--idle", "5s")
    assert result.stdout == "3 messages with 3 events, 0 of them new; 1 rejected\n"
    with Shop.open(shop) as opened:
        assert opened.store.count("events") == 3


def test_mistakes_end_with_bad_input(run: Run, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    run("init", shop)
    result = run("consume", "--shop", shop, "--from", "amqp://me:secret@host")
    assert result.exit_code == 2
    assert "redis://HOST:PORT/0 or kafka://HOST:PORT" in result.stderr
    assert "secret" not in result.stderr
    result = run("consume", "--shop", shop, "--from", f"redis://127.0.0.1:{free_port()}/0")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
