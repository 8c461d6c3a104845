"""Listening to a stream: addresses, and words of people who mistyped them."""

import signal
from pathlib import Path

import pytest
from tests.serving.redis_server import free_port, redis_server, send, url_of

from tailrec.data.store import Store
from tailrec.errors import DataError, ProviderError
from tailrec.serving.stream import consume


def test_a_stream_is_drained_and_signals_are_given_back(tmp_path: Path, store: Store) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with redis_server(tmp_path, free_port()) as client:
        send(client, "events", [{"user_id": "ada", "item_id": "mug", "type": "view"}])
        counts = consume(store, url_of(client), "events", once=True)
        (consumer,) = client.xinfo_consumers("events", "tailrec")
    assert (counts.messages, counts.new, store.count("events")) == (1, 1, 1)
    assert consumer["name"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    "source",
    ["http://secret@a", "secret", "redis://:secret@127.0.0.1:secret/0", "kafka://me:secret@a:1"],
)
def test_an_address_that_cannot_be_read_is_not_shown(store: Store, source: str) -> None:
    with pytest.raises(DataError, match="write ") as told:
        consume(store, source, "events")
    assert "secret" not in str(told.value)


def test_a_server_that_is_not_there(store: Store) -> None:
    port = free_port()
    with pytest.raises(ProviderError, match=str(port)) as told:
        consume(store, f"redis://me:secret@127.0.0.1:{port}/0", "events", once=True)
    assert "secret" not in str(told.value)
