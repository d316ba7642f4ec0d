"""What a change of areas means for records: new scopes by way of the feed, so that terminals follow, and positions checked anew.

The work is in `area_job` and is done batch by batch, each in a transaction of its own: whoever is interrupted goes on where it
stopped, and a second run finds nothing. Pushes go on meanwhile. One that read the old chain and is still under way when its area is
worked through would keep the old scopes: if any transaction is open then, the areas are looked at again when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from geo.placing import judge
from schema.base import Record
from schema.registry import Registry
from sync.placing import claim_of
from sync.scoping import QUEUE, cascade
from sync.store import json_expression

Told = Callable[[str, int, int], None]
"""Told (what, done, total) as it goes on; total 0: not known."""

_CODES = 20  # areas whose records move in one transaction
_ROWS = 2000  # positions judged in one statement
_ONE_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('zhijian rescoping'))")
_WAITING = sa.text("SELECT EXISTS (SELECT FROM area_job)")
_OLDER = """SELECT FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND a.backend_type = 'client backend' AND a.xact_start < {}"""
# Scopes go first: the verdict on a position depends on them.
_NEXT = sa.text(f"""
SELECT id, kind, codes, record, after::text, done, started FROM area_job j
 WHERE settled_at IS NULL OR NOT EXISTS ({_OLDER.format("j.settled_at")}) ORDER BY kind DESC, id LIMIT 1 FOR UPDATE""")
_START = sa.text("UPDATE area_job SET started = true WHERE id = :id")
_LOOK_AGAIN = sa.text(f"""
INSERT INTO area_job (kind, codes, started, settled_at) SELECT kind, codes, true, clock_timestamp() FROM area_job
 WHERE id = :id AND kind = 'scopes' AND EXISTS ({_OLDER.format("clock_timestamp()")})""")


@dataclass(frozen=True)
class Job:
    id: int
    kind: str
    codes: Sequence[str]
    record: str | None
    after: str | None
    done: int
    started: bool


async def waiting(engine: AsyncEngine) -> bool:
    """Whether there is anything to do."""
    async with engine.connect() as connection:
        return bool(await connection.scalar(_WAITING))


async def run(engine: AsyncEngine, registry: Registry, told: Told = lambda *_: None) -> int:
    """Work until nothing is left to do, or another process has the work; returns how many rows changed."""
    changed = 0
    while True:
        async with engine.begin() as connection:
            step = await work(connection, registry, told)
        if step is None:
            return changed
        changed += step


async def work(connection: AsyncConnection, registry: Registry, told: Told = lambda *_: None) -> int | None:
    """One batch in the caller's transaction: rows changed, or None if there is nothing that can be done now."""
    if not await connection.scalar(_ONE_AT_A_TIME):
        return None
    row = (await connection.execute(_NEXT)).first()
    if row is None:
        return None
    job = Job(*row)
    if not job.started:
        await connection.execute(_START, {"id": job.id})
        await connection.execute(_LOOK_AGAIN, {"id": job.id})
    step = _scopes if job.kind == "scopes" else _places
    changed = await step(connection, registry, job, told)
    if changed:
        await connection.execute(sa.text("SELECT pg_notify('zhijian_pending', '')"))
    return changed


# --- scopes -------------------------------------------------------------------------------------------------------------

_LEFT = sa.text("UPDATE area_job SET codes = :codes, done = done + :done WHERE id = :id")
_OVER = sa.text("DELETE FROM area_job WHERE id = :id")


async def _scopes(connection: AsyncConnection, registry: Registry, job: Job, told: Told) -> int:
    codes, left = job.codes[:_CODES], job.codes[_CODES:]
    changed = 0
    for record in registry.values():
        if record.scope.area:
            moved = list(await connection.scalars(_move(record), {"codes": codes}))
            changed += len(moved)
            await cascade(connection, record, registry, moved)
    await connection.execute(_MOVE_CONFLICTS, {"codes": codes})
    if left:
        await connection.execute(_LEFT, {"id": job.id, "codes": list(left), "done": changed})
    else:
        await connection.execute(_OVER, {"id": job.id})
    told("records follow their areas", job.done + changed, 0)
    return changed


@cache
def _move(record: Record) -> sa.TextClause:
    """Gives the rows of areas their chains' scopes; what a row belongs to by its keys or its parent stays."""
    return sa.text(
        f"""WITH moved AS (
          SELECT t.id, t.scopes AS was, t.deleted, ARRAY(SELECT DISTINCT s COLLATE "C" FROM unnest(a.chain || ARRAY(
            SELECT k FROM unnest(t.scopes) k WHERE k LIKE '%:%')) s ORDER BY 1) AS now
          FROM {record.name} t JOIN area a ON a.code = t.{record.scope.area}
          WHERE t.scopes && CAST(:codes AS text[]) AND t.{record.scope.area} = ANY(CAST(:codes AS text[])) ORDER BY t.id FOR UPDATE OF t
        ), changed AS (
          UPDATE {record.name} t SET scopes = m.now FROM moved m
          WHERE m.id = t.id AND NOT (m.was @> m.now AND m.was <@ m.now) RETURNING t.id, m.was, m.now, m.deleted
        ), queued AS (
          {QUEUE} SELECT '{record.name}', id, CASE WHEN deleted THEN '{{}}' ELSE now END,
            ARRAY(SELECT unnest(was) EXCEPT SELECT unnest(CASE WHEN deleted THEN '{{}}' ELSE now END))
          FROM changed ORDER BY id
        ) SELECT id::text FROM changed ORDER BY id"""
    )


# The inbox of an area that got a new chain: whoever is above it now arbitrates what is above it there.
_MOVE_CONFLICTS = sa.text(
    f"""WITH place AS (
      SELECT c.id, c.scopes AS was, i.role, a.chain FROM sync_conflict c
      CROSS JOIN LATERAL (SELECT split_part(s, ':', 2) AS role, array_agg(split_part(s, ':', 3)) AS codes
        FROM unnest(c.scopes) s WHERE s LIKE 'inbox:%' GROUP BY 1) i
      CROSS JOIN LATERAL (SELECT a.chain FROM area a WHERE a.code = ANY(i.codes) ORDER BY cardinality(a.chain) DESC, a.code LIMIT 1) a
      WHERE c.scopes && ARRAY(SELECT 'inbox:' || r || ':' || k FROM unnest(CAST(:codes AS text[])) k,
        unnest(ARRAY['ADMIN', 'SUPERVISOR', 'INSPECTOR', 'COORDINATOR', 'CDC', 'REHAB']) r)
    ), wanted AS (
      SELECT p.id, p.was,
        ARRAY(SELECT k FROM unnest(p.was) k WHERE k NOT LIKE 'inbox:%') || array_agg('inbox:' || p.role || ':' || u.code) AS now
      FROM place p CROSS JOIN unnest(p.chain) u(code) GROUP BY p.id, p.was
    ), changed AS (
      UPDATE sync_conflict c SET scopes = w.now FROM wanted w WHERE w.id = c.id AND NOT (w.was @> w.now AND w.was <@ w.now)
      RETURNING c.id, w.was, w.now
    ) {QUEUE} SELECT 'sync_conflict', id, now, ARRAY(SELECT unnest(was) EXCEPT SELECT unnest(now)) FROM changed ORDER BY id"""
)


# --- places -------------------------------------------------------------------------------------------------------------

_CURSOR = sa.text("UPDATE area_job SET record = :record, after = CAST(:after AS uuid), done = done + :done WHERE id = :id")


async def _places(connection: AsyncConnection, registry: Registry, job: Job, told: Told) -> int:
    """Judges the next positions of the job's record, and writes the verdicts that are new."""
    placed = [record for record in registry.values() if record.place]
    record = next((each for each in placed if each.name >= (job.record or "")), None)
    if record is None:
        await connection.execute(_OVER, {"id": job.id})
        return 0
    rows = (await connection.execute(_positions(record), {"after": job.after if record.name == job.record else None})).all()
    changed = await _judge_anew(connection, record, rows)
    following = next((each.name for each in placed if each.name > record.name), "~")
    onward = {"record": record.name, "after": rows[-1].id} if len(rows) == _ROWS else {"record": following, "after": None}
    await connection.execute(_CURSOR, {"id": job.id, "done": changed, **onward})
    told(f"positions of {record.label}", job.done + changed, 0)
    return changed


@cache
def _positions(record: Record) -> sa.TextClause:
    point = json_expression(record.by_name[f"{record.place}_wgs84"])
    return sa.text(
        f"SELECT t.id::text AS id, t.{record.place}::text AS position, ({point})::text AS point, t.scopes,"
        f" t.place_check, t.place_area_code, t.place_datum FROM {record.name} t WHERE t.{record.place}_wgs84 IS NOT NULL"
        f" AND (CAST(:after AS uuid) IS NULL OR t.id > CAST(:after AS uuid)) ORDER BY t.id LIMIT {_ROWS} FOR UPDATE OF t"
    )


async def _judge_anew(connection: AsyncConnection, record: Record, rows: Sequence[Any]) -> int:
    documents = [{record.place: orjson.loads(row.position), f"{record.place}_wgs84": orjson.loads(row.point)} for row in rows]
    claims = [claim for document, row in zip(documents, rows, strict=True) if (claim := claim_of(record, document, row.scopes))]
    verdicts = await judge(connection, claims) if claims else []
    news = [
        {"id": row.id, "place_check": verdict.check, "place_area_code": verdict.area, "place_datum": verdict.datum}
        for row, verdict in zip(rows, verdicts, strict=True)
        if (row.place_check, row.place_area_code, row.place_datum) != (verdict.check, verdict.area, verdict.datum)
    ]
    if news:
        await connection.execute(_write(record), {"rows": orjson.dumps(news).decode()})
    return len(news)


@cache
def _write(record: Record) -> sa.TextClause:
    """Flags are the server's: like a change of scopes they are told to terminals, but are nobody's edit and no revision."""
    return sa.text(
        f"""WITH written AS (
          UPDATE {record.name} t SET place_check = n.place_check, place_area_code = n.place_area_code, place_datum = n.place_datum
          FROM json_to_recordset(CAST(:rows AS json)) AS n(id uuid, place_check text, place_area_code text, place_datum text)
          WHERE n.id = t.id RETURNING t.id, t.scopes, t.deleted
        ) {QUEUE} SELECT '{record.name}', id, scopes, '{{}}' FROM written WHERE NOT deleted ORDER BY id"""
    )
