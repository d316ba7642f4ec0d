"""Throws away files that no document names any more, and bytes that no row knows: never what a document may still need.

A file is first marked, when it is found to be named by no document that is live or was issued; after the retention it is collected
if that is still so, in two steps: its row says PROMISED again (from here on nobody relies on the bytes), then the bytes go. Both
steps hold the row's lock and look for uploads on their way; whoever names or sends the file takes the same lock, so one of the two
always sees the other. Backup and restore keep all collectors of a database out for as long as they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from schema.base import Record
from schema.registry import Registry
from sync.files import KEPT, content_key, thumbnail_key
from sync.vault import Vault

RETENTION = timedelta(days=30)
_BATCH = 200
_MARKED_AT_ONCE = 5000
_KEY = 0x7A68696A66696C65  # "zhijfile"; advisory locks are per database


async def keep_out(connection: Any) -> None:
    """Keeps collectors out until the asyncpg connection ends or lets them in; waits for the one that is at work."""
    await connection.execute("SELECT pg_advisory_lock_shared($1)", _KEY)


@dataclass
class Collected:
    """What one node has collected so far."""

    files: int = 0
    bytes: int = 0
    strays: int = 0  # objects in the store that no row knew
    unnamed: int = 0  # files that wait for the end of their retention, as of the last round


class Collector:
    """Any node may run it, several at once."""

    def __init__(self, engine: AsyncEngine, vault: Vault, registry: Registry, retention: timedelta = RETENTION) -> None:
        self.engine = engine
        self.vault = vault
        self.registry = registry
        self.retention = retention
        self.collected = Collected()

    async def collect(self, now: datetime) -> None:
        """One round: mark, give up, throw away; then bytes that a crash or a restore left in the store."""
        await self._mark(now)
        while await self._give_up(now):
            pass
        await self._strays(now)
        while await self._throw_away():
            pass

    async def _mark(self, now: datetime) -> None:
        after, unnamed = "", 0
        while True:
            async with self.engine.begin() as connection:
                hashes = list((await connection.execute(_BETWEEN, {"after": after, "most": _MARKED_AT_ONCE})).scalars())
                if not hashes:
                    break
                await connection.execute(_marking(self.registry), {"hashes": hashes, "now": now})
                unnamed += await connection.scalar(_UNNAMED, {"hashes": hashes}) or 0
            after = hashes[-1]
        self.collected.unnamed = unnamed

    async def _give_up(self, now: datetime) -> int:
        """Files whose retention is over and that are still named nowhere: they count as promised from now on."""
        async with self.engine.begin() as connection:
            if not await connection.scalar(_TRY, {"key": _KEY}):
                return 0
            hashes = list((await connection.execute(_OVERDUE, {"before": now - self.retention, "most": _BATCH})).scalars())
            found = (await connection.execute(_giving_up(self.registry), {"hashes": hashes, "now": now})).all() if hashes else []
            await connection.execute(_UNPROVE, {"hashes": [sha256 for sha256, _ in found]})
        self.collected.files += sum(size is not None for _, size in found)
        self.collected.bytes += sum(size or 0 for _, size in found)
        return len(found)

    async def _throw_away(self) -> int:
        async with self.engine.begin() as connection:
            if not await connection.scalar(_TRY, {"key": _KEY}):
                return 0
            hashes = list((await connection.execute(_GIVEN_UP, {"most": _BATCH})).scalars())
            await self.vault.discard([key(sha256) for sha256 in hashes for key in (content_key, thumbnail_key)])
            await connection.execute(_GONE, {"hashes": hashes})
            await connection.execute(_GONE_BUT_NAMED, {"hashes": hashes})
        return len(hashes)

    async def _strays(self, now: datetime) -> None:
        for prefix in ("content", "thumbnails"):
            async for batch in self.vault.listed(prefix):
                old = [key for key, at in batch if at < now - self.retention]
                await self._stray_files(sorted({key.rpartition("/")[2].removesuffix(".jpg") for key in old}), now)
        async for batch in self.vault.listed("pieces"):
            await self._stray_pieces([key for key, at in batch if at < now - KEPT])

    async def _stray_files(self, hashes: Sequence[str], now: datetime) -> None:
        async with self.engine.begin() as connection:
            self.collected.strays += (await connection.execute(_STRAYS, {"hashes": hashes, "now": now})).rowcount if hashes else 0

    async def _stray_pieces(self, keys: Sequence[str]) -> None:
        owners = {key: owner for key in keys if (owner := _owner(key))}
        async with self.engine.connect() as connection:
            alive = set((await connection.execute(_ALIVE, {"ids": sorted(set(owners.values()))})).scalars())
        strays = [key for key, owner in owners.items() if owner not in alive]
        await self.vault.discard(strays)
        self.collected.strays += len(strays)


def _owner(key: str) -> str | None:
    """The upload of a piece."""
    try:
        return str(UUID(key.split("/")[-2]))
    except (ValueError, IndexError):
        return None


def _named(registry: Registry) -> str:
    """Whether a document that is live or was issued names the file `e`; items of records that this release doesn't know count."""
    tests = [_named_by(record) for record in registry.values() if record.evidence]
    known = ", ".join(f"'{record.name}'" for record in registry.values())
    return f"(EXISTS (SELECT FROM evidence_item i WHERE i.sha256 = e.sha256 AND i.record NOT IN ({known})) OR {' OR '.join(tests)})"


def _named_by(record: Record) -> str:
    stands = "(NOT t.deleted OR t.issued_at IS NOT NULL)" if record.issued_when else "NOT t.deleted"
    return (
        f"EXISTS (SELECT FROM evidence_item i JOIN {record.name} t ON t.id = i.doc_id"
        f" WHERE i.sha256 = e.sha256 AND i.record = '{record.name}' AND {stands})"
    )


_BETWEEN = sa.text("SELECT sha256 FROM evidence WHERE sha256 > :after AND NOT kept AND collected_at IS NULL ORDER BY sha256 LIMIT :most")
_UNNAMED = sa.text("SELECT count(*) FROM evidence WHERE sha256 = ANY(CAST(:hashes AS text[])) AND unnamed_since IS NOT NULL")
_TRY = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
_WHOSE = "sha256 = ANY(CAST(:hashes AS text[]))"
_SENDING = "EXISTS (SELECT FROM upload u WHERE u.sha256 = e.sha256 AND u.state = 'RECEIVING')"


@cache
def _marking(registry: Registry) -> sa.TextClause:
    return sa.text(
        f"WITH judged AS (SELECT e.sha256, {_named(registry)} AS named FROM evidence e WHERE e.{_WHOSE}), news AS ("
        " SELECT e.sha256, j.named FROM evidence e JOIN judged j USING (sha256) WHERE j.named = (e.unnamed_since IS NOT NULL)"
        " ORDER BY e.sha256 FOR UPDATE OF e SKIP LOCKED)"
        " UPDATE evidence e SET unnamed_since = CASE WHEN n.named THEN NULL ELSE CAST(:now AS timestamptz) END"
        " FROM news n WHERE n.sha256 = e.sha256"
    )


_OVERDUE = sa.text(
    "SELECT e.sha256 FROM evidence e WHERE e.unnamed_since <= :before AND e.collected_at IS NULL AND NOT e.kept"
    " ORDER BY e.sha256 LIMIT :most FOR UPDATE SKIP LOCKED"
)


@cache
def _giving_up(registry: Registry) -> sa.TextClause:
    """A statement of its own: it sees what those did who had the locks before."""
    named = _named(registry)
    return sa.text(
        f"WITH fate AS (SELECT e.sha256, e.size, e.state, {named} AS named, {_SENDING} AS sending FROM evidence e WHERE e.{_WHOSE}),"
        " saved AS (UPDATE evidence e SET unnamed_since = NULL FROM fate f WHERE f.sha256 = e.sha256 AND (f.named OR f.sending))"
        " UPDATE evidence e SET state = 'PROMISED', received_at = NULL, verified_at = NULL, unnamed_since = NULL,"
        " collected_at = CAST(:now AS timestamptz), width = NULL, height = NULL, thumbnail = false, image_problem = NULL,"
        " exif_taken_at = NULL, exif_wgs84 = NULL FROM fate f WHERE f.sha256 = e.sha256 AND NOT f.named AND NOT f.sending"
        " RETURNING e.sha256, CASE WHEN f.state = 'VERIFIED' THEN f.size END"
    )


_UNPROVE = sa.text(
    f"WITH gone AS (DELETE FROM evidence_proof WHERE {_WHOSE})"
    f" UPDATE evidence_item SET proven = false, position_check = NULL, distance = NULL WHERE {_WHOSE} AND proven"
)
_GIVEN_UP = sa.text(
    "SELECT e.sha256 FROM evidence e WHERE e.collected_at IS NOT NULL AND e.state = 'PROMISED'"
    " ORDER BY e.sha256 LIMIT :most FOR UPDATE SKIP LOCKED"
)
_GONE = sa.text(
    f"DELETE FROM evidence e WHERE e.{_WHOSE} AND NOT {_SENDING} AND NOT EXISTS (SELECT FROM evidence_item i WHERE i.sha256 = e.sha256)"
)
_GONE_BUT_NAMED = sa.text(f"UPDATE evidence SET collected_at = NULL WHERE {_WHOSE}")
_STRAYS = sa.text(
    "INSERT INTO evidence AS e (sha256, state, collected_at) SELECT h, 'PROMISED', CAST(:now AS timestamptz)"
    ' FROM unnest(CAST(:hashes AS text[])) AS h ORDER BY h COLLATE "C" ON CONFLICT (sha256)'
    " DO UPDATE SET collected_at = EXCLUDED.collected_at WHERE e.state = 'PROMISED' AND e.collected_at IS NULL"
)
_ALIVE = sa.text("SELECT CAST(id AS text) FROM upload WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'RECEIVING'")
