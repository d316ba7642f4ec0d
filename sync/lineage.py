"""The lineage of the database: an epoch that ends when the database turns out to be another one, or an older state of this one.

`sync_head.home` says where the epoch began: cluster, timeline, database and table. A restored dump, a point-in-time recovery, a
promoted standby and a copy of the database each change one of the four. A file-level copy that was put back changes none: there a
terminal that has seen a later position than the database has given out proves it (`renew_behind`).

With each epoch the revisions of documents begin above all that the epoch before can have given out, so that a terminal's revision
always says which history it belongs to. On asyncpg connections to the primary.

A planned switch to a standby loses nothing, and need not end the epoch. `hand_over` stops all writing and then forgets the home, as the
last thing that is written: a standby that has this has everything, and settles in the same epoch; one that lacks it ends the epoch.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sync.numbers import forget

REVISIONS = 1_000_000
"""Revisions that a document has room for in one epoch; 2,147 epochs fit into the column."""

_HOME = """concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
  left(pg_walfile_name(pg_current_wal_lsn()), 8),
  (SELECT oid FROM pg_database WHERE datname = current_database()),
  CAST(CAST('sync_head' AS regclass) AS oid))"""
_BEGIN = f"""INSERT INTO sync_head (id, epoch, pos, home) VALUES (1, gen_random_uuid()::text, 0, {_HOME}) ON CONFLICT DO NOTHING"""
_RENEW = f"""UPDATE sync_head SET home = {_HOME},
  epoch = CASE WHEN home IS NULL THEN epoch ELSE gen_random_uuid()::text END,
  revision_floor = revision_floor + CASE WHEN home IS NULL THEN 0 ELSE {REVISIONS} END"""


async def ensure_lineage(connection: Any) -> str:
    """The epoch of this database: begun where there is none, ended where the database has moved or gone back."""
    await connection.execute(_BEGIN)
    await _renew(connection, f"home IS DISTINCT FROM {_HOME}")
    epoch: str = await connection.fetchval("SELECT epoch FROM sync_head")
    return epoch


async def renew(connection: Any) -> str:
    """Ends the epoch whatever the signs say. Document numbers are the caller's to see to."""
    await connection.execute("UPDATE sync_head SET home = '' WHERE home IS NULL")
    epoch: str = await connection.fetchval(f"{_RENEW} RETURNING epoch")
    return epoch


async def renew_behind(connection: Any, epoch: str, pos: int) -> None:
    """Ends `epoch` if it has not reached `pos`, which it gave out: the database went back without a sign."""
    await _renew(connection, "epoch = $1 AND pos < $2", epoch, pos)


async def _renew(connection: Any, where: str, *values: Any) -> None:
    if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM sync_head WHERE {where})", *values):
        return  # without waiting for whoever stamps
    async with connection.transaction():
        before = await connection.fetchval("SELECT epoch FROM sync_head FOR UPDATE")
        if await connection.fetchval(f"{_RENEW} WHERE {where} RETURNING epoch", *values) not in (None, before):
            await forget(connection)


_NAME = "(SELECT quote_ident(current_database()))"
_OTHERS = """FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND backend_start <= $1"""


async def hand_over(connection: Any) -> None:
    """Before a planned switch: from here on the database refuses writes, until `take_over`. The connection's role must own it."""
    await connection.execute(f"ALTER DATABASE {await connection.fetchval(f'SELECT {_NAME}')} SET default_transaction_read_only = on")
    await _end_sessions(connection)
    async with connection.transaction():
        await connection.execute("SET TRANSACTION READ WRITE")
        await connection.execute("UPDATE sync_head SET home = NULL")


async def take_over(connection: Any) -> str:
    """After the switch, on the new primary (or on the old one, when nothing came of it): writes go on. Returns the epoch."""
    name = await connection.fetchval(f"SELECT {_NAME}")
    async with connection.transaction():
        await connection.execute("SET TRANSACTION READ WRITE")
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        epoch = await ensure_lineage(connection)
    await _end_sessions(connection)
    return epoch


async def _end_sessions(connection: Any) -> None:
    """Ends the sessions that began before now, which live by the setting of their beginning, and waits until they are gone."""
    now = await connection.fetchval("SELECT clock_timestamp()")
    while await connection.fetchval(f"SELECT count(pg_terminate_backend(pid)) {_OTHERS}", now):  # noqa: ASYNC110 - the sessions are the database's
        await asyncio.sleep(0.05)
