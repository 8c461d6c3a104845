"""One short question to a PostgreSQL server, awaited in an event loop.

The store's driver works in threads: handing a request to one and back, and having the server plan
the same statement anew each time, takes several times as long as finding the few rows of one
person. So what every request asks is prepared once per connection and awaited.
"""

import asyncio
from importlib import import_module
from typing import Any, Final

from tailrec.errors import MissingExtra, StoreError

CONNECTIONS: Final = 8
"""Most connections of a process; further questions wait for one."""
TIMEOUT_S: Final = 5.0
"""Seconds to connect, and seconds for an answer."""


class Prompt:
    """A statement on connections of its own. It belongs to one event loop."""

    def __init__(self, address: str, name: str, sql: str) -> None:
        """Nothing is opened yet.

        Args:
            address: of the server, with the password.
            name: the address as it may be shown.
            sql: the statement, with `$1` and so on.
        """
        self._address = address
        self._name = name
        self._sql = sql
        self._idle: list[tuple[Any, Any]] = []
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def rows(self, *values: object) -> list[tuple[Any, ...]]:
        """The rows of the statement.

        Args:
            values: its parameters.

        Raises:
            StoreError: the server refuses, fails or is silent.
            MissingExtra: the packages for PostgreSQL are not installed.
        """
        async with self._free:
            return await self._asked(values)

    def close(self) -> None:
        """Close every connection; call it in the event loop."""
        while self._idle:
            self._idle.pop()[0].terminate()

    async def _asked(self, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        asyncpg = driver("asyncpg")
        connection = None
        try:
            connection, statement = self._idle.pop() if self._idle else await self._connected()
            rows: list[tuple[Any, ...]] = await statement.fetch(*values, timeout=TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            # A server that went away leaves every idle connection dead, so none is kept.
            self.close()
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise StoreError(f"store at {self._name}: {reason}") from error
        else:
            self._idle.append((connection, statement))
            connection = None
        finally:
            # What failed or was given up half-way is not asked again.
            if connection is not None:
                connection.terminate()
        return rows

    async def _connected(self) -> tuple[Any, Any]:
        connection = await driver("asyncpg").connect(self._address, timeout=TIMEOUT_S)
        try:
            return connection, await connection.prepare(self._sql)
        except BaseException:
            connection.terminate()
            raise


def driver(name: str) -> Any:
    """A package that speaks to PostgreSQL, loaded when it is first needed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        message = "a PostgreSQL store needs more packages: pip install 'tailrec[postgres]'"
        raise MissingExtra(message) from error
