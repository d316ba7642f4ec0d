"""The lineage of the database: an epoch that ends when the database turns out to be another one, or an older state of this one.

`sync_head.home` says where the epoch began: cluster, timeline, database and table. A restored dump, a point-in-time recovery, a
promoted standby and a copy of the database each change one of the four. A file-level copy that was put back changes none: there a
terminal that has seen a later position than the database has given out proves it (`renew_behind`).

With each epoch the revisions of documents begin above all that the epoch before can have given out, so that a terminal's revision
always says which history it belongs to. On asyncpg connections to the primary.
"""

from __future__ import annotations

from typing import Any

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
    await connection.execute(f"{_RENEW} WHERE home IS DISTINCT FROM {_HOME}")
    epoch: str = await connection.fetchval("SELECT epoch FROM sync_head")
    return epoch


async def renew(connection: Any) -> str:
    """Ends the epoch whatever the signs say."""
    await connection.execute("UPDATE sync_head SET home = '' WHERE home IS NULL")
    epoch: str = await connection.fetchval(f"{_RENEW} RETURNING epoch")
    return epoch


async def renew_behind(connection: Any, epoch: str, pos: int) -> None:
    """Ends `epoch` if it has not reached `pos`, which it gave out: the database went back without a sign."""
    await connection.execute(f"{_RENEW} WHERE epoch = $1 AND pos < $2", epoch, pos)
