"""What a restore takes over from the database that it replaces: what was locked there, and the document numbers that it gave out.

A number that stands on paper can't be taken back, so a restored series goes on where the lost one ended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import asyncpg

TABLES: Mapping[str, tuple[str, str]] = {
    "device": (
        "revoked_at IS NOT NULL",
        "WHERE EXISTS (SELECT FROM user_account u WHERE u.id = carried.user_id)"
        " ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at, revoked_by = excluded.revoked_by,"
        " revoked_for = excluded.revoked_for, wiped_at = excluded.wiped_at",
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


async def carry_over(old_url: str, fresh: Any) -> None:
    """Into `fresh`, inside its transaction, from the database of `old_url`; an empty one has nothing to give."""
    old = await asyncpg.connect(old_url)
    try:
        if await old.fetchval("SELECT to_regclass('user_account') IS NULL"):
            return
        await fresh.execute(_LOCK_OUT, [row[0] for row in await old.fetch(_LOCKED_OUT)])
        for table, (which, conflict) in TABLES.items():
            await _carry(old, fresh, table, which, conflict)
    finally:
        await old.close()


async def _carry(old: Any, fresh: Any, table: str, which: str, conflict: str) -> None:
    """Whichever columns both have: the old database may be of an older or a newer version."""
    there = {row[0] for row in await old.fetch(_COLUMNS, table)}
    columns = ", ".join(row[0] for row in await fresh.fetch(_COLUMNS, table) if row[0] in there)
    if not columns:
        return
    with tempfile.TemporaryFile() as rows:
        await old.copy_from_query(f"SELECT {columns} FROM {table} WHERE {which}", output=rows)
        rows.seek(0)
        await fresh.execute(f"CREATE TEMP TABLE carried ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
        await fresh.copy_to_table("carried", source=rows)
    await fresh.execute(f"INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM carried {conflict}")
    await fresh.execute("DROP TABLE carried")
