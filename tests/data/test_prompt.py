"""Questions awaited from a real PostgreSQL server."""

import asyncio

import pytest
from tests.conftest import connect

from tailrec.data.prompt import CONNECTIONS, Prompt
from tailrec.errors import StoreError

WHO = "SELECT pg_backend_pid(), $1::int"
OF_OURS = "FROM pg_stat_activity WHERE application_name = 'prompt' AND pid <> pg_backend_pid()"


@pytest.fixture
def address(postgres_url: str) -> str:
    """The server's, with a name by which its connections are told apart."""
    return f"{postgres_url}&application_name=prompt"


def asked(server: str, sql: str) -> list[tuple[object, ...]]:
    """What another connection is told."""
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_connections_are_kept_and_bounded(address: str, postgres_server: str) -> None:
    prompt = Prompt(address, "here", WHO)

    async def run() -> None:
        one = [await prompt.rows(number) for number in range(5)]
        assert [row[1] for (row,) in one] == list(range(5))
        assert len({row[0] for (row,) in one}) == 1
        many = await asyncio.gather(*(prompt.rows(number) for number in range(200)))
        assert [row[1] for (row,) in many] == list(range(200))
        assert 1 < len({row[0] for (row,) in many}) <= CONNECTIONS
        prompt.close()
        for _ in range(100):
            if asked(postgres_server, f"SELECT count(*) {OF_OURS}") == [(0,)]:
                return
            await asyncio.sleep(0.05)
        pytest.fail("connections outlive the prompt")

    asyncio.run(run())


def test_a_dead_connection_fails_once(address: str, postgres_server: str) -> None:
    prompt = Prompt(address, "here", WHO)

    async def run() -> None:
        await asyncio.gather(*(prompt.rows(number) for number in range(20)))
        assert asked(postgres_server, f"SELECT pg_terminate_backend(pid) {OF_OURS}")
        with pytest.raises(StoreError, match="store at here: "):
            await prompt.rows(1)
        assert (await prompt.rows(2))[0][1] == 2
        prompt.close()

    asyncio.run(run())


def test_who_gives_up_waiting_leaves_no_answer_to_the_next(address: str) -> None:
    prompt = Prompt(address, "here", "SELECT $1::text, pg_sleep($2)::text")

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(prompt.rows("slow", 30.0), 0.2)
        assert await prompt.rows("quick", 0.0) == [("quick", "")]
        prompt.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sql", "value", "says"),
    [
        ("SELECT $1::text FROM none", "x", 'relation "none" does not exist'),
        ("SELECT $1::int", "x", "invalid input for query argument"),
    ],
)
def test_what_the_server_refuses_is_said(address: str, sql: str, value: str, says: str) -> None:
    prompt = Prompt(address, "here", sql)
    with pytest.raises(StoreError, match=f"store at here: .*{says}"):
        asyncio.run(prompt.rows(value))


def test_nobody_there() -> None:
    prompt = Prompt("postgresql://u:secret@127.0.0.1:9/none", "there", "SELECT 1")
    with pytest.raises(StoreError, match="store at there: ") as told:
        asyncio.run(prompt.rows())
    assert "secret" not in str(told.value)
