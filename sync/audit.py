"""The audit's hash chain: entries are chained after their commit, a batch at a time, by whichever node holds the lock; and verified.

Writers do nothing for it: they only insert. An entry that is not chained yet is found by its absence from the chain, from
`audit_progress.complete_to` on: below that id no transaction is left that could still commit an entry.
A chain shows a change of what it covers to everybody who can't write it anew. Whoever can is found by an earlier `heads`, kept
elsewhere; each hour the chain of the country notes the heads of all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schema.areas import ROOT
from sync.chain import DIGESTS, FIRST, link
from sync.feed import LOST, Connect, connector, release

HEADS = "CHAIN_HEADS"  # the kind of the entry that notes them
_KEY = 0x7A68696A61756474  # "zhijaudt"
_BATCH = 2000
_POLL_SECONDS = 0.5
_SWEEP_SECONDS = 5.0  # between looks for entries whose transaction took longer than that of a later id
_HEADS_SECONDS = 3600.0
_SHARE = 0.05  # of one core at most, so that pushes do not feel it; a backlog waits (17,700 entries/s, 2026-11, 2 busy cores)

log = logging.getLogger(__name__)

_MICROSECONDS = "(extract(epoch FROM {} ) * 1000000)::bigint"
SOURCES: Mapping[str, tuple[str, str]] = {
    "change": (
        "sync_change",
        f"json_build_array({{0}}.id, {{0}}.record, {{0}}.doc_id, {{0}}.revision, {{0}}.user_id, {{0}}.device_id, {{0}}.kind,"
        f" {_MICROSECONDS.format('{0}.at')}, {{0}}.edited_at_ms, {{0}}.changes, {{0}}.area)::text",
    ),
    "entry": (
        "audit_entry",
        f"json_build_array({{0}}.id, {_MICROSECONDS.format('{0}.at')}, {{0}}.kind, {{0}}.user_id, {{0}}.device_id, {{0}}.area,"
        " {0}.detail)::text",
    ),
}
"""By source: the table, and all its columns as one text. A further column needs a further source: what is chained can't change."""

_TRY = "SELECT pg_try_advisory_xact_lock($1)"
_UNCHAINED = (
    "{columns} FROM {table} c WHERE c.id > $1 AND NOT EXISTS (SELECT FROM audit_chain a WHERE a.source = '{source}' AND a.entry_id = c.id)"
)
_ENDS = """SELECT k.area, last.seq, last.hash FROM unnest($1::text[]) AS k(area),
  LATERAL (SELECT seq, hash FROM audit_chain a WHERE a.area = k.area ORDER BY seq DESC LIMIT 1) AS last"""
_CHAIN = """INSERT INTO audit_chain (area, seq, source, entry_id, algorithm, hash)
  SELECT area, seq, $6, entry_id, $5, hash
  FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) AS r(area, seq, entry_id, hash)"""
_COMPLETE_TO = "SELECT complete_to FROM audit_progress WHERE source = $1"
_OLDEST = """SELECT coalesce(extract(epoch FROM clock_timestamp() - (SELECT c.at FROM {table} c
    WHERE c.id > coalesce((SELECT complete_to FROM audit_progress WHERE source = '{source}'), 0)
    AND NOT EXISTS (SELECT FROM audit_chain a WHERE a.source = '{source}' AND a.entry_id = c.id) ORDER BY c.id LIMIT 1)), 0)::float8"""
_ADVANCE = """INSERT INTO audit_progress (source, complete_to) VALUES ($1, $2)
  ON CONFLICT (source) DO UPDATE SET complete_to = greatest(audit_progress.complete_to, excluded.complete_to)"""
_HORIZON = """SELECT pg_snapshot_xmin(s)::text::bigint AS oldest, pg_snapshot_xmax(s)::text::bigint AS next,
  (SELECT coalesce(max(id), 0) FROM {table}) AS last FROM pg_current_snapshot() AS s"""
_ALL_HEADS = """WITH RECURSIVE area AS (
    (SELECT area FROM audit_chain ORDER BY area LIMIT 1)
    UNION ALL
    SELECT (SELECT n.area FROM audit_chain n WHERE n.area > area.area ORDER BY n.area LIMIT 1) FROM area WHERE area.area IS NOT NULL)
  SELECT k.area, last.seq, last.hash FROM area k,
    LATERAL (SELECT seq, hash FROM audit_chain a WHERE a.area = k.area ORDER BY seq DESC LIMIT 1) AS last WHERE k.area IS NOT NULL"""
_NOTE = "INSERT INTO audit_entry (at, kind, area, detail) VALUES (clock_timestamp(), $1, $2, $3::text::jsonb)"


async def behind(connection: Any) -> float:
    """Age in seconds of the oldest entry that is committed and not chained; 0.0 when there is none."""
    ages: list[float] = [await connection.fetchval(_OLDEST.format(table=table, source=source)) for source, (table, _) in SOURCES.items()]
    return max(0.0, *ages)


def content(source: str, alias: str) -> str:
    """SQL of an entry's columns as one text."""
    return SOURCES[source][1].format(alias)


async def heads(connection: Any) -> dict[str, tuple[int, str]]:
    """The end of each area's chain: its length and last hash, to be kept where nobody who runs the database can write."""
    return {row["area"]: (row["seq"], row["hash"].hex()) for row in await connection.fetch(_ALL_HEADS)}


@dataclass
class _Look:
    """Where the search stands in one source; `ripe` is complete once no transaction older than `after` runs."""

    cursor: int = 0
    ripe: int = 0
    after: int = 0


class Chainer:
    """Runs in every node; in each moment one of them chains. `chained` counts since the start."""

    def __init__(self, connect: str | Connect, algorithm: str = "sha256") -> None:
        self._connect = connector(connect)
        self.algorithm = algorithm
        self.chained = 0
        self._looks: dict[str, _Look] = {}
        self._next_sweep = self._next_heads = 0.0

    async def run(self) -> None:
        """Chain what has been committed, until cancelled; a lost connection is replaced."""
        while True:
            try:
                await self._session()
            except (TimeoutError, *LOST) as lost:
                log.warning("audit: connection lost (%s), trying again", lost)
                await asyncio.sleep(_POLL_SECONDS)

    async def drain(self) -> int:
        """Chains everything that can be seen now; how many entries."""
        connection = await self._connect()
        try:
            total = 0
            while done := await self.step(connection):
                total += done
                self._next_sweep = 0.0
            return total
        finally:
            await release(connection)

    async def _session(self) -> None:
        connection = await self._connect()
        self._looks.clear()
        self._next_heads = time.monotonic() + _HEADS_SECONDS
        try:
            while True:
                began = time.monotonic()
                done = await self.step(connection)
                await self._note_heads(connection)
                spent = time.monotonic() - began
                await asyncio.sleep(spent / _SHARE if done >= _BATCH else max(_POLL_SECONDS, spent / _SHARE))
        finally:
            await release(connection)

    async def step(self, connection: Any) -> int:
        """One batch of each source; 0 when another node is at it."""
        sweep = time.monotonic() >= self._next_sweep
        async with connection.transaction():
            if not await connection.fetchval(_TRY, _KEY):
                self._looks.clear()
                return 0
            done = sum([await self._step(connection, source, sweep=sweep) for source in SOURCES])
        if sweep and done < _BATCH:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        self.chained += done
        return done

    async def _step(self, connection: Any, source: str, *, sweep: bool) -> int:
        table = SOURCES[source][0]
        look = self._looks.setdefault(source, _Look())
        complete_to = await connection.fetchval(_COMPLETE_TO, source) or 0
        columns = f"SELECT c.id, coalesce(c.area, '{ROOT}') AS area, {content(source, 'c')} AS content"
        sql = _UNCHAINED.format(columns=columns, table=table, source=source) + f" ORDER BY c.id LIMIT {_BATCH}"
        since = complete_to if sweep else max(complete_to, look.cursor)
        horizon = await connection.fetchrow(_HORIZON.format(table=table)) if sweep else None
        rows = await connection.fetch(sql, since)
        if rows:
            await self._append(connection, source, rows)
            look.cursor = max(look.cursor, rows[-1]["id"])
        if horizon and len(rows) < _BATCH:
            await self._advance(connection, source, look, horizon)
        return len(rows)

    async def _append(self, connection: Any, source: str, rows: Sequence[Any]) -> None:
        areas = sorted({row["area"] for row in rows})
        ends = {row["area"]: (row["seq"], row["hash"]) for row in await connection.fetch(_ENDS, areas)}
        links = list(_links(DIGESTS[self.algorithm], ends, source, rows))
        await connection.execute(_CHAIN, *(list(each) for each in zip(*links, strict=True)), self.algorithm, source)

    @staticmethod
    async def _advance(connection: Any, source: str, look: _Look, horizon: Any) -> None:
        """What had an id at a sweep is all chained once every transaction of that time has ended; an idle writer delays only this."""
        if look.ripe and horizon["oldest"] >= look.after:
            await connection.execute(_ADVANCE, source, look.ripe)
            look.ripe = 0
        if not look.ripe:
            look.ripe, look.after = horizon["last"], horizon["next"]

    async def _note_heads(self, connection: Any) -> None:
        if time.monotonic() < self._next_heads:
            return
        self._next_heads = time.monotonic() + _HEADS_SECONDS
        async with connection.transaction():
            if await connection.fetchval(_TRY, _KEY):
                await note_heads(connection)


async def note_heads(connection: Any) -> None:
    """An entry in the country's chain with the ends of all chains."""
    found = await heads(connection)
    await connection.execute(_NOTE, HEADS, ROOT, orjson.dumps(found).decode())


def _links(digest: Any, ends: dict[str, tuple[int, bytes]], source: str, rows: Sequence[Any]) -> Iterator[tuple[str, int, int, bytes]]:
    for row in rows:
        area = row["area"]
        seq, previous = ends.get(area, (0, FIRST))
        ends[area] = seq + 1, link(digest, previous, area, seq + 1, source, row["id"], row["content"])
        yield area, seq + 1, row["id"], ends[area][1]


@dataclass(frozen=True)
class Fault:
    """Something in the audit that is not as it was chained.

    kind  ALTERED: an entry, or its place in the chain; MISSING: the entry of a link; GAP: links; INSERTED: an entry beside the chain;
          CUT: the chain is shorter than it was, or another; CONFLICT_ALTERED: what was refused is not what was logged
    """

    kind: str
    area: str
    seq: int | None
    source: str
    entry_id: int | None

    def __str__(self) -> str:
        place = f"area {self.area}" + (f" number {self.seq}" if self.seq else "")
        return f"{self.kind} {place}" + (f": {SOURCES[self.source][0]} {self.entry_id}" if self.source in SOURCES else "")


@dataclass
class Report:
    """What `verify` counted; `pending` entries are committed and not chained yet."""

    links: int = 0
    areas: int = 0
    pending: int = 0


_VERIFY = f"""SELECT a.area, a.seq, a.source, a.entry_id, a.algorithm, a.hash,
  CASE WHEN c.id IS NOT NULL THEN {content("change", "c")} WHEN e.id IS NOT NULL THEN {content("entry", "e")} END AS content
FROM audit_chain a LEFT JOIN sync_change c ON a.source = 'change' AND c.id = a.entry_id
LEFT JOIN audit_entry e ON a.source = 'entry' AND e.id = a.entry_id ORDER BY a.area, a.seq"""
_NOTED = f"SELECT detail::text FROM audit_entry WHERE kind = '{HEADS}' ORDER BY id"
CONFLICT_DIGEST = (
    "encode(sha256(convert_to(jsonb_build_array({0}.record, {0}.doc_id, {0}.field, {0}.policy, {0}.outcome, {0}.code, {0}.message,"
    " {0}.base, {0}.mine, {0}.theirs, {0}.author_id, {0}.device_id, {0}.occurred_at AT TIME ZONE 'UTC')::text, 'UTF8')), 'hex')"
)
"""SQL of a digest over what is said of a conflict when it arises; a person's decision comes later."""
_CONFLICTS = f"""SELECT e.id, coalesce(e.area, '{ROOT}') AS area FROM audit_entry e
  LEFT JOIN sync_conflict t ON t.id = (e.detail->>'conflict')::uuid
  WHERE e.kind IN ('REFUSED', 'CONFLICT') AND e.detail ? 'digest' AND e.detail->>'digest' IS DISTINCT FROM {CONFLICT_DIGEST.format("t")}"""


async def verify(connection: Any, report: Report, kept: Mapping[str, tuple[int, str]] | None = None) -> AsyncIterator[Fault]:
    """Every fault, in one snapshot (or the caller's transaction); counts into `report`. `kept` are heads from elsewhere.

    An altered entry is named itself; what follows it is judged by the hash that stands, so one fault doesn't hide others.
    """
    within = connection.is_in_transaction()
    async with connection.transaction() if within else connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL statement_timeout = 0")
        noted = await _noted(connection, kept)
        async for fault in _walk(connection, report, noted):
            yield fault
        for (area, seq), _ in noted.items():  # what the walk met is taken out
            yield Fault("CUT", area, seq, "", None)
        for source in SOURCES:
            for fault in await _beside(connection, source, report):
                yield fault
        for row in await connection.fetch(_CONFLICTS):
            yield Fault("CONFLICT_ALTERED", row["area"], None, "entry", row["id"])


async def _noted(connection: Any, kept: Mapping[str, tuple[int, str]] | None) -> dict[tuple[str, int], set[str]]:
    noted: dict[tuple[str, int], set[str]] = {}
    documents = [orjson.loads(row["detail"]) for row in await connection.fetch(_NOTED)]
    for document in [*documents, kept or {}]:
        for area, (seq, hexadecimal) in document.items():
            noted.setdefault((area, seq), set()).add(hexadecimal)
    return noted


async def _walk(connection: Any, report: Report, noted: dict[tuple[str, int], set[str]]) -> AsyncIterator[Fault]:
    area, seq, previous = "", 0, FIRST
    async for row in connection.cursor(_VERIFY, prefetch=2000):
        if row["area"] != area:
            area, seq, previous = row["area"], 0, FIRST
            report.areas += 1
        if row["seq"] != seq + 1:
            yield Fault("GAP", area, seq + 1, "", None)
        seq = row["seq"]
        report.links += 1
        if row["content"] is None:
            yield Fault("MISSING", area, seq, row["source"], row["entry_id"])
        elif _relink(row, previous) != row["hash"]:
            yield Fault("ALTERED", area, seq, row["source"], row["entry_id"])
        previous = row["hash"]
        if noted.pop((area, seq), {previous.hex()}) != {previous.hex()}:
            yield Fault("CUT", area, seq, row["source"], row["entry_id"])


def _relink(row: Any, previous: bytes) -> bytes | None:
    digest = DIGESTS.get(row["algorithm"])
    return digest and link(digest, previous, row["area"], row["seq"], row["source"], row["entry_id"], row["content"])


async def _beside(connection: Any, source: str, report: Report) -> list[Fault]:
    complete_to = await connection.fetchval(_COMPLETE_TO, source) or 0
    columns = f"SELECT c.id, coalesce(c.area, '{ROOT}') AS area"
    rows = await connection.fetch(_UNCHAINED.format(columns=columns, table=SOURCES[source][0], source=source), -(2**62))
    late = [row for row in rows if row["id"] <= complete_to]
    report.pending += len(rows) - len(late)
    return [Fault("INSERTED", row["area"], None, source, row["id"]) for row in late]
