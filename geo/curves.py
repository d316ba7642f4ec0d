"""From records to curves, in SQL: how much of a measure there is in each smallest area, from which day on.

A curve is two arrays: days in their order, and the amount that holds from each. The amount of any day is found in it by halving, so a past
day costs as much as today. Measures that begin and end alike are counted in one pass over their record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from geo.facts import ALWAYS, NEVER, Spanned, changes, edits, facts, place, spans
from schema.base import Record
from schema.indicators import Measure
from schema.registry import Registry

COLUMNS = "measure, area, days, totals"
AMOUNT = "coalesce({0}.totals[width_bucket({1}, {0}.days)], 0)"
"""SQL of what curve {0} holds on day {1}: before its first day nothing."""


_AREAS = "CAST(:areas AS text[])"
_CHOSEN = "ARRAY(SELECT id FROM chosen)"


@dataclass(frozen=True)
class Curves:
    """Queries that together find all curves of some measures of one record, with COLUMNS, and what they read.

    changes  to be had as `changed` by `edits`
    edits    to be had as `edited` by the queries: the versions of rows that were changed
    chosen   to be had as `chosen` by them: the documents that they look at, in whose history `edits` looks itself; "" means all
    """

    changes: str
    edits: str
    queries: tuple[str, ...]
    chosen: str = ""

    @property
    def statement(self) -> str:
        """All of it as one query, of chosen documents."""
        union = " UNION ALL ".join(self.queries)
        return f"WITH chosen AS MATERIALIZED ({self.chosen}), edited AS MATERIALIZED ({self.edits}) {union}"


@cache
def curves(registry: Registry, measures: tuple[Measure, ...], *, of_areas: bool = False) -> Curves:
    """All curves of measures of one record; `of_areas`: of the areas in `:areas` alone."""
    record = registry[measures[0].record]
    units = tuple(measure for measure in measures if measure.unit)
    plain = tuple(measure for measure in measures if not measure.unit)
    ids = _CHOSEN if of_areas else ""
    queries = (*_alike(registry, record, plain, ids), *([_united(registry, units, ids)] if units else []))
    decisive = plain or units
    if of_areas:
        return Curves("", edits(record, decisive, ids), queries, documents(registry, record, _AREAS))
    return Curves(changes(record, decisive), edits(record, decisive, source="changed"), queries)


def _alike(registry: Registry, record: Record, measures: Sequence[Measure], ids: str) -> Iterator[str]:
    """One query for all measures with the same first and last day."""
    found: dict[tuple[str, str], list[Spanned]] = {}
    for measure in measures:
        for each in spans(measure):
            found.setdefault((each.since, each.until), []).append(each)
    for together in found.values():
        yield _counted(registry, record, together, ids)


def _counted(registry: Registry, record: Record, together: Sequence[Spanned], ids: str) -> str:
    # As if every row had always been as it is, which is one quick scan; then what is otherwise with those that were changed.
    chosen = f" WHERE t.id = ANY({ids})" if ids else ""
    always = f"(SELECT t.*, {ALWAYS} AS begins, {NEVER} AS ends, 1 AS sign FROM {record.name} t{chosen})"
    events = " UNION ALL ".join(_events(registry, record, together, source, ids) for source in (always, "edited"))
    return _cumulated(events, [each.name for each in together])


def _events(registry: Registry, record: Record, together: Sequence[Spanned], source: str, ids: str) -> str:
    """What begins less what ends, by area and day. What has dates of its own is passed on as it is: hardly two rows have the same."""
    join, area = place(registry, record)
    since, until = together[0].since, together[0].until
    first, last = f"greatest(t.begins, ({since})::date)", f"least(t.ends, ({until})::date)"
    event, day, sign = "", first, "t.sign"
    if until != "NULL" or source == "edited":
        event, day, sign = f" CROSS JOIN LATERAL (VALUES ({first}, 1), ({last}, -1)) e(day, sign)", "e.day", "t.sign * e.sign"
    amounts = [f"CASE WHEN {each.holds} THEN ({sign} * ({each.amount}))::float8 ELSE 0 END" for each in together]
    few = since == "NULL"
    columns = ", ".join(f"sum({amount}) AS n{at}" if few else f"{amount} AS n{at}" for at, amount in enumerate(amounts))
    any_holds = " OR ".join(f"({each.holds})" for each in together)
    here = f" AND {area} = ANY({_AREAS})" if ids else ""
    grouped = " GROUP BY 1, 2" if few else ""
    return f"""SELECT {area} COLLATE "C" AS area, {day} AS day, {columns} FROM {source} t{join}{event}
     WHERE NOT t.deleted AND ({any_holds}) AND {area} IS NOT NULL{here} AND {first} < {last} AND {day} < {NEVER}{grouped}"""


def _cumulated(events: str, names: Sequence[str]) -> str:
    """From what comes and goes to what there is from each day on."""
    numbers = range(len(names))
    running = ", ".join(f"sum(e.n{at}) OVER w AS s{at}" for at in numbers)
    arrays = ", ".join(f"array_agg(r.s{at}::bigint) AS a{at}" for at in numbers)
    named = ", ".join(f"('{name}', c.a{at})" for at, name in enumerate(names))
    return f"""
  SELECT v.measure, c.area, c.days, v.totals FROM (
    SELECT r.area, array_agg(r.day) AS days, {arrays} FROM (
      SELECT e.area, e.day, lead(e.day) OVER w AS after, {running} FROM ({events}) e WINDOW w AS (PARTITION BY e.area ORDER BY e.day)) r
     WHERE r.after IS DISTINCT FROM r.day GROUP BY r.area) c
    CROSS JOIN LATERAL (VALUES {named}) v(measure, totals) WHERE 0 <> ANY(v.totals)"""


def _united(registry: Registry, measures: tuple[Measure, ...], ids: str) -> str:
    """Of measures that count what their rows name: what overlaps is one."""
    every = facts(registry, measures, ids=ids)
    here = f" WHERE f.area = ANY({_AREAS})" if ids else ""
    order = "PARTITION BY measure, area, unit_id ORDER BY starts, ends"
    return f"""
  SELECT r.measure, r.area, array_agg(r.day) AS days, array_agg(r.total) AS totals FROM (
    SELECT m.measure, m.area COLLATE "C" AS area, e.day, lead(e.day) OVER w AS after, sum(e.sign) OVER w AS total FROM (
      SELECT measure, area, min(starts) AS starts, max(ends) AS ends FROM (
        SELECT *, count(*) FILTER (WHERE reach IS NULL OR starts > reach) OVER ({order}) AS island FROM (
          SELECT f.*, max(ends) OVER ({order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach FROM ({every}) f{here}) o) i
      GROUP BY measure, area, unit_id, island) m
    CROSS JOIN LATERAL (VALUES (m.starts, 1), (m.ends, -1)) e(day, sign) WHERE e.day < {NEVER}
    WINDOW w AS (PARTITION BY m.measure, m.area COLLATE "C" ORDER BY e.day)) r
   WHERE r.after IS DISTINCT FROM r.day GROUP BY r.measure, r.area"""


# --- which documents may count in an area -----------------------------------------------------------------------------------


def documents(registry: Registry, record: Record, areas: str) -> str:
    """A query for the ids of the documents that count in these areas (SQL of a text[]), or once did."""
    if record.scope.area:
        now = f"SELECT r.id FROM {record.name} r WHERE r.scopes && {areas} AND r.{record.scope.area} = ANY({areas})"
        return f"{now} UNION SELECT o.doc_id FROM indicator_past o WHERE o.record = '{record.name}' AND o.link = ANY({areas})"
    parent = registry[record.by_name[record.scope.parent].ref]
    above = f"ARRAY({documents(registry, parent, areas)})"
    past = f"SELECT o.doc_id FROM indicator_past o WHERE o.record = '{record.name}' AND o.link = ANY({above}::text[])"
    return f"SELECT r.id FROM {record.name} r WHERE r.{record.scope.parent} = ANY({above}) UNION {past}"


def areas_of(registry: Registry, record: Record, ids: str) -> str:
    """A query for the areas in which documents (SQL of a uuid[]) count, or once did."""
    past = f"SELECT o.link FROM indicator_past o WHERE o.record = '{record.name}' AND o.doc_id = ANY({ids})"
    if record.scope.area:
        return f"SELECT r.{record.scope.area} FROM {record.name} r WHERE r.id = ANY({ids}) UNION {past}"
    parent = registry[record.by_name[record.scope.parent].ref]
    now = f"SELECT r.{record.scope.parent} FROM {record.name} r WHERE r.id = ANY({ids})"
    return areas_of(registry, parent, f"ARRAY({now} UNION SELECT p.link::uuid FROM ({past}) p)")


def past_links(record: Record, only: str = "") -> str:
    """A query for the former areas, or parents, of documents: (record, link, doc_id)."""
    column = record.scope.area or record.scope.parent
    link = f"c.changes -> '{column}' ->> 0"
    return f"""SELECT DISTINCT c.record, {link} AS link, c.doc_id FROM sync_change c
     WHERE c.record = '{record.name}' AND c.kind <> 'CREATE' AND c.changes ? '{column}' AND {link} IS NOT NULL{only}"""
