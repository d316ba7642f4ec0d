"""The stamper: gives every committed change a position in the feed. One in the whole cluster, elected by an advisory lock.

Writers only queue their changes, in their own transactions. A position is given after the commit, by one session that also locks
the head, so positions become visible in their order and a reader who has seen N will never find anything new below N.
Its commits must be durable before they are seen (never `synchronous_commit = off`): else a crash would give one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from sync.lineage import ensure_lineage

Connect = Callable[[], Awaitable[Any]]

PENDING_CHANNEL = "zhijian_pending"
FEED_CHANNEL = "zhijian_feed"
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection that dies raises, and what a server that restarts answers."""

_ELECTION_KEY = 0x7A68696A66656564  # "zhijfeed"; advisory locks are per database
_BATCH = 5000
_POLL_SECONDS = 0.05
_CANDIDATE_SECONDS = 0.25
_STAMP_TIMEOUT_SECONDS = 30
_LONGEST_PAYLOAD = 7900  # PostgreSQL refuses 8,000 bytes

_PLACE = """INSERT INTO sync_scope_doc (scope, record, doc_id, pos, state)
  SELECT scope, record, doc_id, (SELECT pos FROM sync_head) + rank, state FROM touched"""
# Documents that the feed doesn't know yet go in without a look for each of their rows: nobody else writes them while the head is locked.
_STAMP = f"""
WITH taken AS (
  DELETE FROM sync_pending WHERE id <= (SELECT max(id) FROM (SELECT id FROM sync_pending ORDER BY id LIMIT $1) AS first)
  RETURNING id, record, doc_id, scopes_in, scopes_out
), ranked AS (
  SELECT *, dense_rank() OVER (ORDER BY last) AS rank FROM (SELECT *, max(id) OVER (PARTITION BY record, doc_id) AS last FROM taken) AS t
), mention AS (
  SELECT id, record, doc_id, rank, unnest(scopes_in) AS scope, 'in' AS state FROM ranked
  UNION ALL SELECT id, record, doc_id, rank, unnest(scopes_out), 'out' FROM ranked
), touched AS MATERIALIZED (
  SELECT DISTINCT ON (doc_id, scope, record) scope, record, doc_id, rank, state FROM mention WHERE scope IS NOT NULL
  ORDER BY doc_id, scope, record, id DESC, state
), known AS MATERIALIZED (
  SELECT doc_id FROM ranked WHERE EXISTS (SELECT FROM sync_scope_doc s WHERE s.doc_id = ranked.doc_id OFFSET 0)
), placed AS (
  {_PLACE} WHERE doc_id NOT IN (SELECT doc_id FROM known) ORDER BY doc_id, scope, record
), replaced AS (
  {_PLACE} WHERE doc_id IN (SELECT doc_id FROM known) ORDER BY doc_id, scope, record
  ON CONFLICT (doc_id, scope, record) DO UPDATE SET pos = excluded.pos, state = excluded.state
), moved AS (
  UPDATE sync_head SET pos = pos + (SELECT max(rank) FROM ranked) WHERE EXISTS (SELECT FROM ranked) RETURNING pos
), told AS (
  SELECT CASE WHEN sum(octet_length(scope) + 1) > {_LONGEST_PAYLOAD} THEN '*' ELSE coalesce(string_agg(scope, ' '), '') END AS scopes
  FROM (SELECT DISTINCT scope FROM touched) AS every
)
SELECT (SELECT count(*) FROM taken) AS taken, (SELECT max(rank) FROM ranked) AS documents,
  pg_notify('{FEED_CHANNEL}', moved.pos || ' ' || scopes)
FROM moved, told"""

_SESSION = {
    "application_name": "zhijian-stamper",
    "jit": "off",
    # A leader that is frozen or unreachable must lose its session, and with it the lock, before anybody waits for it for long.
    "idle_session_timeout": "1000ms",
    "idle_in_transaction_session_timeout": "1000ms",
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "1",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The lineage of the database, the last position given out, and the one up to which tombstones were trimmed."""

    epoch: str
    pos: int
    trimmed_pos: int = 0


@dataclass(frozen=True)
class Lag:
    """Changes that have no position yet, and the age of the oldest in seconds (0.0 when there are none)."""

    count: int
    oldest_seconds: float


def connector(connect: str | Connect) -> Connect:
    """A factory of asyncpg connections from a DSN, or the factory itself."""
    return (lambda: asyncpg.connect(connect, timeout=2)) if isinstance(connect, str) else connect


async def read_head(connection: Any) -> Head:
    """The head as this server has it; read it on the connection that serves the page."""
    row = await connection.fetchrow("SELECT epoch, pos, trimmed_pos FROM sync_head")
    return Head(row["epoch"], row["pos"], row["trimmed_pos"]) if row else Head("", 0)


async def read_lag(connection: Any) -> Lag:
    """How far the stamper is behind the writers."""
    row = await connection.fetchrow(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 AS age FROM sync_pending"
    )
    return Lag(row["count"], max(0.0, row["age"]))


async def ensure_head(connection: Any) -> None:
    """Begin a lineage in a database that has none, or another one where the database has moved or gone back."""
    await ensure_lineage(connection)


async def drain(connection: Any) -> int:
    """Stamp everything that is pending, on the caller's asyncpg connection; number of documents stamped."""
    await ensure_head(connection)
    total = 0
    while documents := (await _stamp(connection, _BATCH))[1]:
        total += documents
    return total


async def _stamp(connection: Any, batch: int) -> tuple[int, int]:
    """One batch: queue rows taken and documents stamped."""
    async with connection.transaction():
        # A statement of its own: the next one must see what the last holder of this lock has written.
        await connection.execute("SELECT FROM sync_head FOR UPDATE")
        row = await connection.fetchrow(_STAMP, batch, timeout=_STAMP_TIMEOUT_SECONDS)
    return (row["taken"], row["documents"]) if row else (0, 0)


class Stamper:
    """Runs in every node; stamps in the one that holds the lock."""

    def __init__(self, connect: str | Connect, batch: int = _BATCH) -> None:
        """`connect` must lead to the primary itself: a pooler that shares sessions would share the lock."""
        self._connect = connector(connect)
        self._batch = batch
        self._wake = asyncio.Event()
        self.leading = False
        self.documents = 0  # stamped since the start, for the metrics

    async def run(self) -> None:
        """Stand for election and stamp, until cancelled; a lost connection is replaced."""
        while True:
            try:
                await self._session()
            except LOST as lost:
                log.warning("stamper: connection lost (%s), trying again", lost)
                await asyncio.sleep(_CANDIDATE_SECONDS)

    async def _session(self) -> None:
        connection = await self._connect()
        try:
            await _configure(connection)
            await _elect(connection)
            await self._lead(connection)
        finally:
            self.leading = False
            await release(connection)

    async def _lead(self, connection: Any) -> None:
        await ensure_head(connection)
        await connection.add_listener(PENDING_CHANNEL, self._notified)
        self.leading = True
        log.info("stamper: elected")
        while True:
            self._wake.clear()
            if await self._work(connection) < self._batch:
                await self._rest()

    async def _work(self, connection: Any) -> int:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM sync_pending)", timeout=_STAMP_TIMEOUT_SECONDS):
            return 0
        taken, documents = await _stamp(connection, self._batch)
        self.documents += documents
        return taken

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)

    def _notified(self, *_: object) -> None:
        self._wake.set()


async def _configure(connection: Any) -> None:
    await connection.execute("SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items()))


async def _elect(connection: Any) -> None:
    """Wait until this session holds the lock, which ends with the session, however that ends."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ELECTION_KEY):  # noqa: ASYNC110 - the lock is in the database
        await asyncio.sleep(_CANDIDATE_SECONDS)


async def release(connection: Any) -> None:
    """Close the session politely, or at least surely."""
    try:
        await connection.close(timeout=1)
    except (TimeoutError, *LOST):
        connection.terminate()
