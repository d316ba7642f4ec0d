"""Keeps facts and counts of the indicators up: a changed document at once, a new day by counting again, all of it on request.

One step is one transaction, and the row of `indicator_state` is its lock, so that in each moment one node works. A step follows the
positions of the feed, which the stamper gives in order of commit; doing a document twice changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.facts import COLUMNS, facts
from schema.areas import ROOT
from schema.indicators import ZONE, Catalogue, Measure, catalogue
from schema.registry import Registry, load

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) as a long job goes on."""

BATCH = 2000


def quiet(what: str, done: int, total: int) -> None:
    """A `Progress` for those who do not watch."""


def today(now: datetime) -> date:
    """The day in China."""
    return now.astimezone(ZoneInfo(ZONE)).date()


@dataclass(frozen=True, eq=False)
class Engine:
    """What is kept up: measures by record. `engine()` is this release's."""

    registry: Registry
    declared: Catalogue

    def kept(self) -> Mapping[str, tuple[Measure, ...]]:
        """By record, the measures whose facts are stored."""
        found: dict[str, list[Measure]] = {}
        for measure in self.declared.measures.values():
            if measure.kept:
                found.setdefault(measure.record, []).append(measure)
        return {record: tuple(measures) for record, measures in found.items()}

    def followed(self) -> Mapping[str, tuple[str, ...]]:
        """By record whose changes matter, the records to derive anew: itself, and those that take area and conditions from it."""
        found: dict[str, set[str]] = {}
        for name in self.kept():
            above = self.registry[name]
            found.setdefault(name, set()).add(name)
            while above.scope.parent:
                above = self.registry[above.by_name[above.scope.parent].ref]
                found.setdefault(above.name, set()).add(name)
        return {name: tuple(sorted(records)) for name, records in found.items()}


@cache
def engine() -> Engine:
    """Of the records and indicators of this release."""
    return Engine(load(), catalogue())


@dataclass(frozen=True)
class State:
    """How far the kept values are; they hold on `day`."""

    epoch: str
    pos: int
    day: date
    fingerprint: str


FINGERPRINT = text("SELECT coalesce(string_agg(name || version, ',' ORDER BY name), '') FROM area_source")
_STATE = "SELECT epoch, pos, day, fingerprint FROM indicator_state"
_LOCK = text(f"{_STATE} FOR UPDATE SKIP LOCKED")
_FIRST = text("INSERT INTO indicator_state (id, epoch, pos, day, fingerprint) VALUES (1, '', 0, :day, '') ON CONFLICT DO NOTHING")
HEAD = text("SELECT epoch, pos, trimmed_pos FROM sync_head")
_SAVE = text("UPDATE indicator_state SET epoch = :epoch, pos = :pos, day = :day, fingerprint = :fingerprint")


SETTLED = "SELECT EXISTS (SELECT FROM indicator_state s JOIN sync_head h ON s.epoch = h.epoch AND s.pos = h.pos AND s.fingerprint <> '')"
"""Whether the kept values have come to the head of this epoch's feed."""


async def read_state(connection: AsyncConnection) -> State | None:
    """How far it is; None before the first step."""
    row = (await connection.execute(text(_STATE))).one_or_none()
    return State(*row) if row and row.fingerprint else None


async def step(connection: AsyncConnection, on: date, made: Engine | None = None, batch: int = BATCH) -> bool:
    """Bring the kept values closer to the head of the feed: whether there is more to do at once.

    The first one, one after an update or after new areas, and one of another epoch, count everything. Commits nothing. False also when
    another node is at it.
    """
    made = made or engine()
    state = await _locked(connection, on)
    if state is None:
        return False
    head = (await connection.execute(HEAD)).one_or_none()
    epoch, top = (head.epoch, head.pos) if head else ("", 0)
    mark = await _fingerprint(connection, made)
    lost = head is not None and state.pos < head.trimmed_pos  # what left an area meanwhile is no longer told here
    if (state.epoch, state.fingerprint) != (epoch, mark) or top < state.pos or lost:
        await _all(connection, made, State(epoch, top, on, mark), quiet)
        return True
    if state.day != on:
        await recount(connection, on)
    pos, documents = await _changed(connection, made, state.pos, top, batch)
    for record, ids in documents.items():
        await refresh(connection, record, ids, on, made)
    if (pos, on) != (state.pos, state.day):
        await _save(connection, State(epoch, pos, on, mark))
    return pos < top


async def recompute(connection: AsyncConnection, on: date, progress: Progress = quiet, made: Engine | None = None) -> int:
    """Count everything anew in the caller's transaction: all or nothing. How many facts there are."""
    made = made or engine()
    await connection.execute(_FIRST, {"day": on})
    await connection.execute(text(f"{_STATE} FOR UPDATE"))
    head = (await connection.execute(HEAD)).one_or_none()
    mark = await _fingerprint(connection, made)
    return await _all(connection, made, State(head.epoch if head else "", head.pos if head else 0, on, mark), progress)


async def _locked(connection: AsyncConnection, on: date) -> State | None:
    row = (await connection.execute(_LOCK)).one_or_none()
    if row is None:
        await connection.execute(_FIRST, {"day": on})
        row = (await connection.execute(_LOCK)).one_or_none()
    return State(*row) if row else None


async def _save(connection: AsyncConnection, state: State) -> None:
    await connection.execute(_SAVE, vars(state))


async def _fingerprint(connection: AsyncConnection, made: Engine) -> str:
    declared = "".join(facts(made.registry, measures) for measures in made.kept().values())
    return hashlib.sha256(f"{declared}{await connection.scalar(FINGERPRINT)}".encode()).hexdigest()[:16]


# --- everything -----------------------------------------------------------------------------------------------------------


async def _all(connection: AsyncConnection, made: Engine, state: State, progress: Progress) -> int:
    measures = [measure for kept in made.kept().values() for measure in kept]
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    # Not TRUNCATE: whoever reads goes on reading the old values until the commit.
    await connection.execute(text("DELETE FROM indicator_fact"))
    total = 0
    for done, measure in enumerate(measures):
        # One by one, since the planner then looks at the rows that count alone; in the order of the index, which grows at its end.
        progress(measure.name, done, len(measures) + 1)
        found = facts(made.registry, (measure,))
        total += (await connection.execute(text(f"INSERT INTO indicator_fact ({COLUMNS}) {found} ORDER BY 1, 4, 2"))).rowcount
    progress("count", len(measures), len(measures) + 1)
    await recount(connection, state.day)
    await _save(connection, state)
    progress("values are kept", len(measures) + 1, len(measures) + 1)
    return total


async def recount(connection: AsyncConnection, on: date) -> None:
    """The counts of a day, from the facts."""
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("DELETE FROM indicator_count"))
    await connection.execute(_RECOUNT, {"on": on})


_ROLL_UP = f"JOIN area a ON a.code = l.area CROSS JOIN unnest(a.chain || '{ROOT}'::text) u(code)"
_RECOUNT = text(f"""
INSERT INTO indicator_count (measure, area, n)
SELECT l.measure, u.code, sum(l.n) FROM (
  SELECT measure, area, sum(amount) AS n FROM indicator_fact
   WHERE starts <= :on AND ends > :on AND unit_id IS NULL GROUP BY measure, area
  UNION ALL
  SELECT measure, area, count(DISTINCT unit_id) FROM indicator_fact
   WHERE starts <= :on AND ends > :on AND unit_id IS NOT NULL GROUP BY measure, area
) l {_ROLL_UP} GROUP BY l.measure, u.code ORDER BY l.measure, u.code""")


# --- what has changed -----------------------------------------------------------------------------------------------------


# By scope of a province: every document that counts has one, and a page is read from the index of the pull.
CHANGED = text("""
SELECT d.record, d.doc_id::text, d.pos FROM (SELECT code FROM area WHERE level = 'province') s
 CROSS JOIN unnest(CAST(:records AS text[])) r(record)
 CROSS JOIN LATERAL (SELECT f.record, f.doc_id, f.pos FROM sync_scope_doc f
   WHERE f.scope = s.code AND f.record = r.record AND f.pos > :after AND f.pos <= :top ORDER BY f.pos LIMIT :batch) d
 ORDER BY d.pos LIMIT :batch""")


async def _changed(connection: AsyncConnection, made: Engine, after: int, top: int, batch: int) -> tuple[int, dict[str, list[str]]]:
    """The next changed documents, by the record to derive anew, and the position up to which these are all."""
    if after >= top:
        return top, {}
    followed = made.followed()
    parameters = {"records": list(followed), "after": after, "top": top, "batch": batch}
    rows = (await connection.execute(CHANGED, parameters)).all()
    changed: dict[str, set[str]] = {}
    for row in rows:
        changed.setdefault(row.record, set()).add(row.doc_id)
    found: dict[str, set[str]] = {}
    for record, ids in changed.items():
        for name in followed[record]:
            found.setdefault(name, set()).update(await _below(connection, made, record, name, sorted(ids)))
    return (rows[-1].pos if len(rows) == batch else top), {name: sorted(ids) for name, ids in found.items()}


async def _below(connection: AsyncConnection, made: Engine, above: str, name: str, ids: Sequence[str]) -> Sequence[str]:
    """Documents of `name` that hang on documents `ids` of `above`, directly or over what lies between."""
    if above == name:
        return ids
    record = made.registry[name]
    parent = record.by_name[record.scope.parent].ref
    between = await _below(connection, made, above, parent, ids)
    query = text(f"SELECT id::text FROM {name} WHERE {record.scope.parent} = ANY(CAST(:ids AS uuid[]))")
    return (await connection.scalars(query, {"ids": list(between)})).all()


async def refresh(connection: AsyncConnection, record: str, ids: Sequence[str], on: date, made: Engine | None = None) -> None:
    """Replaces the facts of these documents by those they have now, and moves the counts of day `on` by the difference."""
    made = made or engine()
    await connection.execute(_refresh(made, record), {"ids": list(ids), "on": on})


_SAME = " AND ".join(f"{{0}}.{name} IS NOT DISTINCT FROM {{1}}.{name}" for name in COLUMNS.split(", "))


@cache
def _refresh(made: Engine, record: str) -> TextClause:
    # A unit counts once, so what other documents say of it decides whether it counts before and after.
    return text(f"""
WITH fresh AS MATERIALIZED ({facts(made.registry, made.kept()[record], of_ids=True)}
), held AS MATERIALIZED (
  SELECT f.ctid AS place, {COLUMNS} FROM indicator_fact f WHERE f.doc_id = ANY(CAST(:ids AS uuid[]))
), gone AS (
  DELETE FROM indicator_fact f USING held h WHERE f.ctid = h.place AND NOT EXISTS (SELECT FROM fresh n WHERE {_SAME.format("n", "h")})
), added AS (
  INSERT INTO indicator_fact ({COLUMNS})
  SELECT {COLUMNS} FROM fresh n WHERE NOT EXISTS (SELECT FROM held h WHERE {_SAME.format("n", "h")})
), own AS (
  SELECT measure, doc_id, unit_id, area, -amount AS amount FROM held WHERE starts <= :on AND ends > :on
  UNION ALL
  SELECT measure, doc_id, unit_id, area, amount FROM fresh WHERE starts <= :on AND ends > :on
), moved AS (
  SELECT measure, area, sum(amount) AS n FROM own WHERE unit_id IS NULL GROUP BY measure, area
  UNION ALL
  SELECT o.measure, o.area, bool_or(o.amount > 0)::int - bool_or(o.amount < 0)::int FROM own o
   WHERE o.unit_id IS NOT NULL AND NOT EXISTS (
     SELECT FROM indicator_fact f WHERE f.unit_id = o.unit_id AND f.measure = o.measure AND f.area = o.area
        AND f.starts <= :on AND f.ends > :on AND f.doc_id <> ALL(CAST(:ids AS uuid[])))
   GROUP BY o.measure, o.area, o.unit_id
)
INSERT INTO indicator_count AS c (measure, area, n)
SELECT l.measure, u.code, sum(l.n) FROM moved l {_ROLL_UP} WHERE l.n <> 0 GROUP BY l.measure, u.code HAVING sum(l.n) <> 0
 ORDER BY l.measure, u.code
ON CONFLICT (measure, area) DO UPDATE SET n = c.n + excluded.n""")
