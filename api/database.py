"""The two doors to PostgreSQL: an engine for writes and a pool for bulk reads, opened with the app and closed with it."""

from __future__ import annotations

from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.read_pool import Mirror, ReadPool, know

SESSION = {
    "TimeZone": "UTC",
    "jit": "off",  # compiling costs more than our short queries
    "statement_timeout": "60000",
    "idle_in_transaction_session_timeout": "60000",
    "application_name": "zhijian",
}


def plain_url(url: str) -> str:
    """The address as libpq and asyncpg know it, without SQLAlchemy's driver name."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


class Database:
    """`engine` (SQLAlchemy, writes) and `pool` (asyncpg, bulk reads, on the standby of `read_url`) exist between `open` and `close`."""

    engine: AsyncEngine
    pool: ReadPool

    def __init__(self, url: str, read_url: str | None = None, *, engine_size: int = 10, pool_size: int = 10) -> None:
        self.url = plain_url(url)
        self.read_url = plain_url(read_url) if read_url and plain_url(read_url) != self.url else None
        self.engine_size = engine_size
        self.pool_size = pool_size

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self.url, server_settings=SESSION, timeout=10)

    async def open(self) -> None:
        """Connects on first use, so that a database that is away now may come later."""
        self.engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=self.connect, pool_size=self.engine_size, max_overflow=0, pool_pre_ping=False
        )
        event.listen(self.engine.sync_engine.pool, "checkout", _refuse_dead)
        standby = await self._pool(self.read_url, patience=2, connection_class=Mirror, init=know) if self.read_url else None
        self.pool = ReadPool(await self._pool(self.url, patience=10), standby)

    async def _pool(self, url: str, *, patience: float, **more: Any) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=self.pool_size,
            server_settings=SESSION,
            statement_cache_size=512,
            timeout=patience,
            reset=_leave_as_it_is,
            **more,
        )

    async def close(self) -> None:
        await self.engine.dispose()
        await self.pool.close()

    def usage(self) -> dict[str, int]:
        """Connections in use, by door."""
        engine_pool: Any = self.engine.pool
        doors = {"pool": self.pool.primary, "standby": self.pool.standby}
        used = {door: pool.get_size() - pool.get_idle_size() for door, pool in doors.items() if pool is not None}
        return {"engine": engine_pool.checkedout(), **used}


async def _leave_as_it_is(connection: Any) -> None:
    """Readers change nothing in their session: to clear it would cost each small read a second question. Open transactions end anyway."""


def _refuse_dead(connection: Any, record: Any, proxy: Any) -> None:
    """A connection that the server has ended meanwhile is replaced without asking over the wire."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
