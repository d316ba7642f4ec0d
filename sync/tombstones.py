"""The trimmer: takes tombstones older than the retention out of the feed, into one row per document.

In the feed a document that left its scopes stands once for each of them, with two index entries each. After the retention one row in
`sync_tombstone` remains, read only for a terminal that was away for longer: it is told of what left while it was away, and goes on from
where it was. So no terminal has to start again, whatever its age, and none keeps a ghost. Documents, history and audit are not touched.
Trimmed in the order of positions, so that `sync_head.trimmed_pos` says which are still in the feed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

from sync.feed import LOST, Connect, connector, release

RETENTION = timedelta(days=180)
_KEY = 0x7A68696A746F6D62  # "zhijtomb"
_BATCH = 500  # the stamper waits for a batch: 10 ms
_REST_SECONDS = 60.0  # between looks
_SHARE = 0.05  # of the time at most, so that stamping is not felt
_AGAIN_SECONDS = 5.0

_TRY = "SELECT pg_try_advisory_xact_lock($1)"
_MARK = """INSERT INTO sync_mark (at, pos) SELECT now(), pos FROM sync_head
  WHERE NOT EXISTS (SELECT FROM sync_mark WHERE at > now() - least($1::interval / 10, interval '1 day'))"""
_DUE = "SELECT max(pos) FROM sync_mark WHERE at <= now() - $1::interval"
_FORGET = "DELETE FROM sync_mark WHERE at < (SELECT max(at) FROM sync_mark WHERE at <= now() - $1::interval)"
_TRIM = """
WITH edge AS (
  SELECT max(pos) AS pos FROM (SELECT pos FROM sync_scope_doc WHERE state = 'out' AND pos <= $1 ORDER BY pos LIMIT $2) AS first
), taken AS (
  DELETE FROM sync_scope_doc WHERE state = 'out' AND pos <= (SELECT pos FROM edge) RETURNING scope, record, doc_id, pos
), kept AS (
  INSERT INTO sync_tombstone AS old (record, doc_id, pos, scopes)
  SELECT record, doc_id, max(pos), array_agg(scope ORDER BY scope) FROM taken GROUP BY record, doc_id ORDER BY record, doc_id
  ON CONFLICT (record, doc_id) DO UPDATE SET pos = greatest(old.pos, excluded.pos),
    scopes = ARRAY(SELECT DISTINCT scope FROM unnest(old.scopes || excluded.scopes) AS every(scope) ORDER BY scope)
), told AS (
  UPDATE sync_head SET trimmed_pos = greatest(trimmed_pos, edge.pos) FROM edge WHERE edge.pos IS NOT NULL
)
SELECT count(*) FROM taken"""

log = logging.getLogger(__name__)


class Trimmer:
    """Runs in every node; in each moment one of them trims. `trimmed` counts rows since the start."""

    def __init__(self, connect: str | Connect, retention: timedelta = RETENTION, batch: int = _BATCH) -> None:
        self._connect = connector(connect)
        self.retention = retention
        self.batch = batch
        self.trimmed = 0

    async def run(self) -> None:
        """Trim what is due, until cancelled; a lost connection is replaced."""
        while True:
            try:
                await self._round()
                await asyncio.sleep(_REST_SECONDS)
            except (TimeoutError, *LOST) as lost:
                log.warning("trimmer: connection lost (%s), trying again", lost)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _round(self) -> None:
        connection = await self._connect()
        try:
            while True:
                began = time.monotonic()
                if not await self.step(connection):
                    return
                await asyncio.sleep((time.monotonic() - began) / _SHARE)
        finally:
            await release(connection)

    async def step(self, connection: Any) -> int:
        """One batch, in a transaction of its own; 0 when nothing is due or another node is at it."""
        async with connection.transaction():
            if not await connection.fetchval(_TRY, _KEY):
                return 0
            await connection.execute(_MARK, self.retention)
            due = await connection.fetchval(_DUE, self.retention)
            await connection.execute(_FORGET, self.retention)
            taken: int = await trim(connection, due, self.batch) if due else 0
        self.trimmed += taken
        return taken


async def trim(connection: Any, up_to: int, batch: int = _BATCH) -> int:
    """Moves about `batch` of the oldest tombstones up to a position, within the caller's transaction; how many."""
    # A statement of its own: the next one must see what the stamper, which holds this lock too, has written.
    await connection.execute("SELECT FROM sync_head FOR UPDATE")
    taken: int = await connection.fetchval(_TRIM, up_to, batch)
    return taken
