"""Keeps the curves and counts of the indicators up: a changed document at once, a new day by counting again, all of it on request.

One step is one transaction, and the row of `indicator_state` is its lock, so that in each moment one node works. A step follows the
positions of the feed, which the stamper gives in order of commit, and derives the areas of changed documents anew: doing one twice changes
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.curves import AMOUNT, Curves, areas_of, curves, documents, past_links
from geo.curves import COLUMNS as CURVE
from geo.facts import COLUMNS, facts, spans
from schema.areas import ROOT
from schema.indicators import ZONE, Catalogue, Measure, catalogue
from schema.registry import Registry, load

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) as a long job goes on."""

MANY, MANY_OF_ALL = 300, 0.2  # areas, and their share of those with values: 33 us a document there, 7 us when all are counted (2026-11)
_IN_USE = text("SELECT count(DISTINCT area) FROM indicator_curve WHERE measure = ANY(CAST(:names AS text[]))")
BATCH = 20_000  # an area is derived once for all that has changed in it


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
        """By record, the measures whose values are kept up."""
        found: dict[str, list[Measure]] = {}
        for measure in self.declared.measures.values():
            if measure.kept:
                found.setdefault(measure.record, []).append(measure)
        return {record: tuple(measures) for record, measures in found.items()}

    def summed(self, record: str) -> tuple[Measure, ...]:
        """Those of a record that are kept as curves."""
        return tuple(measure for measure in self.kept()[record] if not measure.personal)

    def personal(self, record: str) -> tuple[Measure, ...]:
        """Those that are kept as facts: how a count of persons is rounded depends on who they are."""
        return tuple(measure for measure in self.kept()[record] if measure.personal)

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
    # Planning these statements takes longer than they do; so each is planned once per session.
    await connection.execute(text("SET LOCAL plan_cache_mode = 'force_generic_plan'"))
    pos, documents = await _touched(connection, made, state.pos, top, batch)
    if await _nearly_all(connection, made, documents):
        await _all(connection, made, State(epoch, top, on, mark), quiet)
        return True
    for record, areas in documents.items():
        await refresh(connection, record, areas, on, made)
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
    declared = "".join(facts(made.registry, measures) for measures in made.kept().values()) + _WAY
    return hashlib.sha256(f"{declared}{await connection.scalar(FINGERPRINT)}".encode()).hexdigest()[:16]


# --- everything -----------------------------------------------------------------------------------------------------------


async def _all(connection: AsyncConnection, made: Engine, state: State, progress: Progress) -> int:
    """How many curves and facts there are then."""
    records = list(made.kept())
    await _spend(connection)
    # Not TRUNCATE: whoever reads goes on reading the old values until the commit.
    for table in ("indicator_past", "indicator_curve", "indicator_fact"):
        await connection.execute(text(f"DELETE FROM {table}"))
    total = 0
    for done, name in enumerate(records):
        progress(name, done, len(records) + 1)
        await connection.execute(text(f"INSERT INTO indicator_past (record, link, doc_id) {past_links(made.registry[name])}"))
        if measures := made.summed(name):
            total += await _draw(connection, curves(made.registry, measures))
        if measures := made.personal(name):
            total += (await connection.execute(text(f"INSERT INTO indicator_fact ({COLUMNS}) {facts(made.registry, measures)}"))).rowcount
    progress("count", len(records), len(records) + 1)
    await recount(connection, state.day)
    await _save(connection, state)
    progress("values are kept", len(records) + 1, len(records) + 1)
    return total


async def draw(connection: AsyncConnection, measures: Sequence[Measure], made: Engine | None = None) -> int:
    """The curves of some measures anew, without their counts; how many."""
    made = made or engine()
    by_record: dict[str, tuple[Measure, ...]] = {}
    for measure in measures:
        by_record[measure.record] = (*by_record.get(measure.record, ()), measure)
    await _spend(connection)
    names = [each.name for measure in measures for each in spans(measure)]
    await connection.execute(text("DELETE FROM indicator_curve WHERE measure = ANY(CAST(:names AS text[]))"), {"names": names})
    return sum([await _draw(connection, curves(made.registry, together)) for together in by_record.values()])


async def _spend(connection: AsyncConnection) -> None:
    """Lets this transaction take memory and processors, of which the server's own sessions take little."""
    for setting in ("statement_timeout = 0", "work_mem = '128MB'", "max_parallel_workers_per_gather = 4"):
        await connection.execute(text(f"SET LOCAL {setting}"))


async def _draw(connection: AsyncConnection, found: Curves) -> int:
    """All curves of a record's measures; how many."""
    total = 0
    await connection.execute(text(f"CREATE TEMPORARY TABLE changed ON COMMIT DROP AS {found.changes}"))
    await connection.execute(text("CREATE INDEX ON changed (doc_id, revision)"))
    await connection.execute(text("ANALYZE changed"))
    await connection.execute(text(f"CREATE TEMPORARY TABLE edited ON COMMIT DROP AS {found.edits}"))
    await connection.execute(text("ANALYZE edited"))
    for query in found.queries:
        # In two statements, since INSERT takes no parallel workers.
        await connection.execute(text(f"CREATE TEMPORARY TABLE drawn ON COMMIT DROP AS {query}"))
        total += (await connection.execute(text(f"INSERT INTO indicator_curve ({CURVE}) SELECT {CURVE} FROM drawn ORDER BY 1, 2"))).rowcount
        await connection.execute(text("DROP TABLE drawn"))
    await connection.execute(text("DROP TABLE edited, changed"))
    return total


async def recount(connection: AsyncConnection, on: date) -> None:
    """The counts of a day, from the curves."""
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("DELETE FROM indicator_count"))
    await connection.execute(_RECOUNT, {"on": on})


_WAY = "2"  # of keeping: another one asks for a recompute
_ROLL_UP = f"JOIN area a ON a.code = l.area CROSS JOIN unnest(a.chain || '{ROOT}'::text) u(code)"
_WIDE = "coalesce(t.layers && ARRAY['country', 'province', 'city', 'county', 'jurisdiction'], false)"
_RECOUNT = text(f"""
INSERT INTO indicator_count (measure, area, n, wide)
SELECT r.measure, r.code, r.n, {_WIDE} FROM (
  SELECT l.measure, u.code, sum(l.n::float8) AS n FROM (SELECT c.measure, c.area, {AMOUNT.format("c", ":on")} AS n FROM indicator_curve c) l
    {_ROLL_UP} WHERE l.n <> 0 GROUP BY l.measure, u.code) r LEFT JOIN area t ON t.code = r.code ORDER BY r.measure, r.code""")


# --- what has changed -----------------------------------------------------------------------------------------------------


# By scope of a province: every document that counts has one, and a page is read from the index of the pull.
CHANGED = text("""
SELECT d.record, d.doc_id::text, d.pos FROM (SELECT code FROM area WHERE level = 'province') s
 CROSS JOIN unnest(CAST(:records AS text[])) r(record)
 CROSS JOIN LATERAL (SELECT f.record, f.doc_id, f.pos FROM sync_scope_doc f
   WHERE f.scope = s.code AND f.record = r.record AND f.pos > :after AND f.pos <= :top ORDER BY f.pos LIMIT :batch) d
 ORDER BY d.pos LIMIT :batch""")


async def _touched(connection: AsyncConnection, made: Engine, after: int, top: int, batch: int) -> tuple[int, dict[str, list[str]]]:
    """The areas of the next changed documents, by the record to derive anew there, and the position up to which these are all."""
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
            below = ids if name == record else await connection.scalars(_above(made, record, name), {"ids": sorted(ids)})
            areas = await touched(connection, made, record, sorted(below))
            found.setdefault(name, set()).update(areas)
    return (rows[-1].pos if len(rows) == batch else top), {name: sorted(areas) for name, areas in found.items() if areas}


async def _nearly_all(connection: AsyncConnection, made: Engine, found: Mapping[str, Sequence[str]]) -> bool:
    """Whether so many areas are touched that counting everything, which needs no look at single areas, is sooner done."""
    for record, areas in found.items():
        if len(areas) > MANY and made.summed(record):
            names = [each.name for measure in made.summed(record) for each in spans(measure)]
            in_use = await connection.scalar(_IN_USE, {"names": names})
            if len(areas) > MANY_OF_ALL * (in_use or 0):
                return True
    return False


async def touched(connection: AsyncConnection, made: Engine, record: str, ids: Sequence[str]) -> list[str]:
    """The smallest areas in which documents count or once did; notes where they once were."""
    await connection.execute(_past(made, record), {"ids": list(ids)})
    return [code for code in await connection.scalars(_areas(made, record), {"ids": list(ids)}) if code]


async def refresh(connection: AsyncConnection, record: str, areas: Sequence[str], on: date, made: Engine | None = None) -> None:
    """Derives what a record's measures are in these smallest areas, and moves the counts of day `on` by the difference."""
    made = made or engine()
    for statement in _refresh(made, record):
        await connection.execute(statement, {"areas": list(areas), "on": on})


_IDS = "CAST(:ids AS uuid[])"


@cache
def _above(made: Engine, record: str, name: str) -> TextClause:
    """Those documents that have, or had, something below them on the way down to record `name`: the others change nothing there."""
    below = made.registry[name]
    while (parent := below.by_name[below.scope.parent]).ref != record:
        below = made.registry[parent.ref]
    return text(f"""
SELECT k.id::text FROM unnest({_IDS}) k(id) WHERE EXISTS (SELECT FROM {below.name} r WHERE r.{parent.name} = k.id)
   OR EXISTS (SELECT FROM indicator_past o WHERE o.link = k.id::text AND o.record = '{below.name}')""")


@cache
def _past(made: Engine, record: str) -> TextClause:
    found = past_links(made.registry[record], f" AND c.doc_id = ANY({_IDS})")
    return text(f"INSERT INTO indicator_past (record, link, doc_id) {found} ON CONFLICT DO NOTHING")


@cache
def _areas(made: Engine, record: str) -> TextClause:
    return text(areas_of(made.registry, made.registry[record], _IDS))


@cache
def _refresh(made: Engine, record: str) -> tuple[TextClause, ...]:
    summed, personal = made.summed(record), made.personal(record)
    return (*([_redraw(made, summed)] if summed else []), *(_refact(made, personal) if personal else []))


def _names(measures: Sequence[Measure]) -> str:
    return "ARRAY[" + ", ".join(f"'{each.name}'" for measure in measures for each in spans(measure)) + "]"


def _redraw(made: Engine, measures: tuple[Measure, ...]) -> TextClause:
    return text(f"""
WITH fresh AS MATERIALIZED ({curves(made.registry, measures, of_areas=True).statement}
), held AS MATERIALIZED (
  SELECT {CURVE} FROM indicator_curve WHERE measure = ANY({_names(measures)}) AND area = ANY(CAST(:areas AS text[]))
), gone AS (
  DELETE FROM indicator_curve c USING held h WHERE (c.measure, c.area) = (h.measure, h.area)
     AND NOT EXISTS (SELECT FROM fresh n WHERE (n.measure, n.area) = (h.measure, h.area))
), drawn AS (
  INSERT INTO indicator_curve AS c ({CURVE}) SELECT {CURVE} FROM fresh
  ON CONFLICT (measure, area) DO UPDATE SET days = excluded.days, totals = excluded.totals
   WHERE (c.days, c.totals) IS DISTINCT FROM (excluded.days, excluded.totals)
), moved AS (
  SELECT measure, area, {AMOUNT.format("n", ":on")} AS n FROM fresh n
  UNION ALL SELECT measure, area, -{AMOUNT.format("h", ":on")} FROM held h
)
INSERT INTO indicator_count AS c (measure, area, n, wide)
SELECT r.measure, r.code, r.n, {_WIDE} FROM (
  SELECT l.measure, u.code, sum(l.n) AS n FROM (SELECT measure, area, sum(n) AS n FROM moved GROUP BY measure, area) l {_ROLL_UP}
   WHERE l.n <> 0 GROUP BY l.measure, u.code HAVING sum(l.n) <> 0) r LEFT JOIN area t ON t.code = r.code ORDER BY r.measure, r.code
ON CONFLICT (measure, area) DO UPDATE SET n = c.n + excluded.n""")


def _refact(made: Engine, measures: tuple[Measure, ...]) -> Iterator[TextClause]:
    record = made.registry[measures[0].record]
    yield text(f"DELETE FROM indicator_fact WHERE measure = ANY({_names(measures)}) AND area = ANY(CAST(:areas AS text[]))")
    found = facts(made.registry, measures, ids=f"ARRAY({documents(made.registry, record, 'CAST(:areas AS text[])')})")
    yield text(f"INSERT INTO indicator_fact ({COLUMNS}) SELECT {COLUMNS} FROM ({found}) f WHERE f.area = ANY(CAST(:areas AS text[]))")
