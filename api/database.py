"""The two doors to PostgreSQL: an engine for writes and a pool for bulk reads, opened with the app and closed with it."""

from __future__ import annotations

from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

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
    """`engine` (SQLAlchemy, writes, the primary) and `pool` (asyncpg, bulk reads, `read_url`) exist between `open` and `close`."""

    engine: AsyncEngine
    pool: asyncpg.Pool[asyncpg.Record]

    def __init__(self, url: str, read_url: str | None = None, *, engine_size: int = 10, pool_size: int = 10) -> None:
        self.url = plain_url(url)
        self.read_url = plain_url(read_url or url)
        self.engine_size = engine_size
        self.pool_size = pool_size

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self.url, server_settings=SESSION, timeout=10)

    async def open(self) -> None:
        """Raises OSError or asyncpg.PostgresError when the database can't be reached."""
        self.engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=self.connect, pool_size=self.engine_size, max_overflow=0, pool_pre_ping=False
        )
        self.pool = await asyncpg.create_pool(
            self.read_url, min_size=0, max_size=self.pool_size, server_settings=SESSION, statement_cache_size=512, timeout=10
        )

    async def close(self) -> None:
        await self.engine.dispose()
        try:
            await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    def usage(self) -> dict[str, int]:
        """Connections in use, by door."""
        engine_pool: Any = self.engine.pool
        return {"engine": engine_pool.checkedout(), "pool": self.pool.get_size() - self.pool.get_idle_size()}
