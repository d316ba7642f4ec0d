"""What a restore takes over from the database that it replaces: what was locked and withdrawn there, the document numbers that it gave
out, and where it let terminals see documents that are elsewhere again.

A number that stands on paper can't be taken back, so a restored series goes on where the lost one ended. A document that had moved to
another county after the backup is on that county's terminals, and nothing in the backup would take it from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from sync.feed import Head
from sync.numbers import forget

TABLES: Mapping[str, tuple[str, str]] = {
    "device": (
        "revoked_at IS NOT NULL",
        "WHERE EXISTS (SELECT FROM user_account u WHERE u.id = carried.user_id)"
        " ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at, revoked_by = excluded.revoked_by,"
        " revoked_for = excluded.revoked_for, wiped_at = excluded.wiped_at",
    ),
    "user_grant": (
        "valid_to IS NOT NULL",
        "WHERE EXISTS (SELECT FROM user_grant g WHERE (g.id, g.user_id, g.scope) = (carried.id, carried.user_id, carried.scope))"
        " ON CONFLICT (id) DO UPDATE SET valid_from = excluded.valid_from, valid_to = excluded.valid_to",
    ),
    "number_series": ("true", "ON CONFLICT (series, area_code, year) DO UPDATE SET last = greatest(t.last, excluded.last)"),
    "number_block": ("true", "ON CONFLICT DO NOTHING"),
    "number_fate": ("true", "ON CONFLICT DO NOTHING"),
}
"""Table -> which of the old rows, and what follows INSERT … SELECT."""

_COLUMNS = """SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
  AND attgenerated = '' ORDER BY attnum"""
_LOCKED_OUT = "SELECT id::text FROM user_account WHERE NOT active"
_LOCK_OUT = "UPDATE user_account SET active = false WHERE id::text = ANY($1::text[])"


_STILL = ("user_account", "user_grant", "device", "number_series", "number_block", "number_fate", "sync_scope_doc")
_THERE = "SELECT t FROM unnest($1::text[]) AS t WHERE to_regclass(t) IS NOT NULL"
_IN = "SELECT scope, record, doc_id FROM sync_scope_doc WHERE state = 'in' AND (pos > $2 OR $1 <> (SELECT epoch FROM sync_head))"
_MOVED_BACK = """WITH known AS (
    SELECT record, doc_id, array_agg(scope) AS scopes, array_agg(scope) FILTER (WHERE state = 'in') AS now
    FROM sync_scope_doc WHERE (record, doc_id) IN (SELECT record, doc_id FROM carried) GROUP BY record, doc_id)
  INSERT INTO sync_pending (record, doc_id, scopes_in, scopes_out)
  SELECT c.record, c.doc_id, coalesce(k.now, '{}'), array_agg(c.scope) FROM carried c JOIN known k USING (record, doc_id)
  WHERE c.scope <> ALL (k.scopes) GROUP BY c.record, c.doc_id, k.now ORDER BY c.doc_id"""


@asynccontextmanager
async def still(url: str) -> AsyncIterator[None]:
    """Until the end, or until its sessions are ended, the database of `url` gives out nothing that would have to be carried over."""
    connection = await asyncpg.connect(url)
    try:
        there = [row["t"] for row in await connection.fetch(_THERE, _STILL)]
        while there and not await _lock(connection, there):
            pass  # a writer who had one of them, and wanted another
        yield
    finally:
        connection.terminate()


async def _lock(connection: Any, tables: Sequence[str]) -> bool:
    try:
        await connection.execute(f"BEGIN; LOCK TABLE {', '.join(tables)} IN SHARE MODE")
    except asyncpg.DeadlockDetectedError:
        await connection.execute("ROLLBACK")
        return False
    return True


async def carry_over(old_url: str, fresh: Any, backup: Head) -> None:
    """Into `fresh`, inside its transaction, from the database of `old_url`; `backup` is the head that was restored, all of it stamped.

    Where the old database is empty, what it gave out is unknown.
    """
    old = await asyncpg.connect(old_url)
    try:
        if await old.fetchval("SELECT to_regclass('user_account') IS NULL"):
            await forget(fresh)
            return
        await fresh.execute(_LOCK_OUT, [row[0] for row in await old.fetch(_LOCKED_OUT)])
        for table, (which, conflict) in TABLES.items():
            await _carry(old, fresh, table, which, conflict)
        await _copy(old, fresh, "sync_scope_doc", "scope, record, doc_id", _IN, backup.epoch, backup.pos)
        await fresh.execute(_MOVED_BACK)
        await fresh.execute("DROP TABLE carried")
    finally:
        await old.close()


async def _carry(old: Any, fresh: Any, table: str, which: str, conflict: str) -> None:
    """Whichever columns both have: the old database may be of an older or a newer version."""
    there = {row[0] for row in await old.fetch(_COLUMNS, table)}
    columns = ", ".join(row[0] for row in await fresh.fetch(_COLUMNS, table) if row[0] in there)
    if not columns:
        return
    await _copy(old, fresh, table, columns, f"SELECT {columns} FROM {table} WHERE {which}")
    await fresh.execute(f"INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM carried {conflict}")
    await fresh.execute("DROP TABLE carried")


async def _copy(old: Any, fresh: Any, table: str, columns: str, query: str, *values: Any) -> None:
    """What the query finds in the old database, as the table `carried` in the new one."""
    with tempfile.TemporaryFile() as rows:
        await old.copy_from_query(query, *values, output=rows)
        rows.seek(0)
        await fresh.execute(f"CREATE TEMP TABLE carried ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
        await fresh.copy_to_table("carried", source=rows)
