"""The pool for bulk reads: a hot standby where there is one and it is fresh, else the primary.

A read on the standby is never older than the question: the primary says how far its log reaches now, and the standby must have
replayed it. So whoever has written, been woken or been answered before finds at least that, on whatever node. The price is one
tiny question to the primary for all reads that begin at the same time. Without a primary the standby answers with what it has.

A restore gives the database's name to another one. On the standby that ends no session, so each says which database it reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

PATIENCE = 0.5  # seconds that a read waits for the standby to catch up
REST = 2.0  # seconds without the standby after it was too late or away
_POLL = 0.002
_ANSWER_SECONDS = 2.0  # for a question about the log; a server that takes longer is gone

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidCatalogNameError,  # a standby so far behind that it lacks the database
    asyncpg.SerializationError,  # a query that stood in the way of recovery
    asyncpg.ObjectNotInPrerequisiteStateError,  # a snapshot that recovery has overtaken
)
_DATABASE = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
_WRITTEN = f"SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint AS pos, ({_DATABASE}) AS database"
_REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint AS pos, 0 AS database WHERE pg_is_in_recovery()"

Pool = Any
"""asyncpg.Pool, or anything with `acquire`."""

Result = TypeVar("Result")
Work = Callable[[Any], Awaitable[Result]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """A position in the log, and the database in which it was asked."""

    pos: int
    database: int


class Mirror(asyncpg.Connection):
    """A session on the standby; it reads the database that had the name when it began."""

    database = 0


async def know(connection: Mirror) -> None:
    """To be done with each new session on the standby."""
    connection.database = await connection.fetchval(_DATABASE)


class Behind(Exception):  # noqa: N818 - a state of the server that was asked
    """The server knows less than the asker has been told before."""


class Together:
    """One answer for all who ask meanwhile; it is never older than the asking."""

    def __init__(self, ask: Callable[[], Awaitable[Place]]) -> None:
        self._ask = ask
        self._running: asyncio.Task[Place] | None = None
        self._next: asyncio.Task[Place] | None = None

    async def answer(self) -> Place:
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[Place] | None) -> Place:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._ask()


class ReadPool:
    """Reads on `standby` if it is fresh, else on `primary`."""

    def __init__(self, primary: Pool, standby: Pool | None = None, patience: float = PATIENCE) -> None:
        self.primary, self.standby, self.patience = primary, standby, patience
        self.on_standby = self.fallen_back = 0  # reads since the start, for the metrics
        self._resting_until = 0.0
        self._database: int | None = None  # the primary's, as far as it is known
        self._written = Together(lambda: _ask(primary, _WRITTEN))
        self._replayed = Together(lambda: _ask(standby, _REPLAYED))

    async def read(self, work: Work[Result]) -> Result:
        """The result of `work(connection)`; done again on the primary when the standby fails or is `Behind`."""
        if self.standby is not None:
            if await self._fresh():
                try:
                    return await self._on_standby(work)
                except Behind:
                    pass
                except AWAY as error:
                    self._rest(type(error).__name__)
            self.fallen_back += 1
        async with self.primary.acquire() as connection:
            return await work(connection)

    async def fetch(self, sql: str, *values: Any) -> Any:
        return await self.read(lambda connection: connection.fetch(sql, *values))

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        return await self.read(lambda connection: connection.fetchrow(sql, *values))

    async def fetchval(self, sql: str, *values: Any) -> Any:
        return await self.read(lambda connection: connection.fetchval(sql, *values))

    async def execute(self, sql: str, *values: Any) -> Any:
        """On the primary: it may write."""
        async with self.primary.acquire() as connection:
            return await connection.execute(sql, *values)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """A connection to the primary, for several statements that must not be done again; others take `read`."""
        async with self.primary.acquire() as connection:
            yield connection

    async def close(self) -> None:
        pools = [pool for pool in (self.primary, self.standby) if pool is not None]
        for pool in pools:
            try:
                await asyncio.wait_for(pool.close(), 10)
            except TimeoutError:
                pool.terminate()

    async def lag_bytes(self) -> int | None:
        """How much of the primary's log the standby has not replayed; None when either can't say."""
        try:
            written, replayed = await _ask(self.primary, _WRITTEN), await _ask(self.standby, _REPLAYED)
        except AWAY:
            return None
        return max(0, written.pos - replayed.pos) if replayed.pos >= 0 else None

    async def _on_standby(self, work: Work[Result]) -> Result:
        assert self.standby is not None
        async with self.standby.acquire(timeout=_ANSWER_SECONDS) as connection:
            if self._database in (None, connection.database):
                result = await work(connection)
                self.on_standby += 1
                return result
        await self.standby.expire_connections()
        raise Behind

    async def _fresh(self) -> bool:
        """Whether the standby has all that the primary has now; it gets `patience` seconds for it."""
        now = asyncio.get_running_loop().time()
        if now < self._resting_until:
            return False
        try:
            target = await self._written.answer()
        except AWAY:
            return True  # nobody writes without a primary
        self._database = target.database
        try:
            return await self._reaches(target.pos, now + self.patience)
        except AWAY as error:
            return self._rest(type(error).__name__)

    async def _reaches(self, target: int, end: float) -> bool:
        while (await self._replayed.answer()).pos < target:
            if asyncio.get_running_loop().time() > end:
                return self._rest("lagging")
            await asyncio.sleep(_POLL)
        return True

    def _rest(self, why: str) -> bool:
        log.warning("standby: %s, reading from the primary", why)
        self._resting_until = asyncio.get_running_loop().time() + REST
        return False


async def _ask(pool: Pool, sql: str) -> Place:
    """A position in the log; -1 from a server that is no standby (any more)."""
    async with asyncio.timeout(_ANSWER_SECONDS), pool.acquire() as connection:
        found = await connection.fetchrow(sql)
        return Place(found["pos"], found["database"]) if found and found["pos"] is not None else Place(-1, 0)
