"""A streaming standby of the tests' cluster: what `api.fuzz_standby` makes, and how to wait for it."""

from __future__ import annotations

import asyncpg

from api import cluster
from api.fuzz_standby import Standby, make, remove
from tests.lineage.lineage_world import until

__all__ = ["Standby", "caught_up", "execute", "make", "remove"]


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def caught_up(url: str, made: Standby) -> None:
    """Returns when the standby has replayed all that the primary has now."""
    primary = await asyncpg.connect(url)
    target = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    await primary.close()
    connection = await asyncpg.connect(cluster.database_url(made.url(url), "postgres"))

    async def there() -> bool:
        return bool(await connection.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", target))

    await until(there)
    await connection.close()
