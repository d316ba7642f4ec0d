"""From records to facts, in SQL: which document counts for which measure, where, and from which day to which.

A row's versions are rebuilt from its history (`sync_change`): the row as it is, with the old values of all later changes put back.
The first version is taken to have been so before the register knew of it, or a past day would have no enterprises at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from schema.base import Record
from schema.indicators import Measure, Period, day
from schema.registry import Registry

COLUMNS = "measure, doc_id, unit_id, area, starts, ends, amount"
ALWAYS, NEVER = "'-infinity'::date", "'infinity'::date"
_LENGTH = {Period.YEAR: "year", Period.QUARTER: "quarter", Period.MONTH: "month"}
_STEP = {Period.YEAR: "1 year", Period.QUARTER: "3 months", Period.MONTH: "1 month"}


@dataclass(frozen=True)
class Spanned:
    """A measure under the name of its facts, in SQL over `t` and `p`: what counts, from which day, until which, and how much."""

    name: str
    measure: Measure
    holds: str
    since: str
    until: str
    amount: str


def fact_name(measure: Measure, period: Period) -> str:
    """Under which name its facts stand: an event has one for each length of period."""
    return f"{measure.name}@{period.value}" if measure.on else measure.name


def spans(measure: Measure) -> Iterator[Spanned]:
    """One, or for events one for each length of period."""
    for period in Period if measure.on else (Period.YEAR,):
        holds, since, until = f"({measure.holds})", measure.since or "NULL", measure.until or "NULL"
        if measure.on:
            holds, since = f"{holds} AND {measure.on} IS NOT NULL", measure.on
            until = f"(date_trunc('{_LENGTH[period]}', {measure.on}::timestamp) + interval '{_STEP[period]}')::date"
        yield Spanned(fact_name(measure, period), measure, holds, since, until, measure.amount or "1")


@cache
def facts(registry: Registry, measures: tuple[Measure, ...], *, ids: str = "") -> str:
    """A query for all facts of measures of one record, with COLUMNS; `ids`: SQL of a uuid[], of these documents alone."""
    record = registry[measures[0].record]
    lines = "\n    UNION ALL ".join(_line(each) for measure in measures for each in spans(measure))
    join, area = place(registry, record)
    return f"""
  SELECT m.measure, t.id AS doc_id, m.unit_id, {area} AS area,
         greatest(t.begins, m.since) AS starts, least(t.ends, m.until) AS ends, m.amount
    FROM ({versions(record, measures, ids)}) t{join}
    CROSS JOIN LATERAL ({lines}) AS m(measure, unit_id, holds, since, until, amount)
   WHERE NOT t.deleted AND m.holds AND greatest(t.begins, m.since) < least(t.ends, m.until) AND {area} IS NOT NULL"""


def _line(each: Spanned) -> str:
    unit = f"t.{each.measure.unit}" if each.measure.unit else "NULL::uuid"
    return f"SELECT '{each.name}', {unit}, {each.holds}, ({each.since})::date, ({each.until})::date, ({each.amount})::integer"


def _columns(record: Record, measures: Iterable[Measure]) -> tuple[str, ...]:
    """What of the row decides: changes of other columns make no version."""
    written = " ".join(part for each in measures for part in (each.holds, each.since, each.until, each.on, each.amount))
    named = {*re.findall(r"\bt\.(\w+)", written), *(each.unit for each in measures), record.scope.area, record.scope.parent}
    return tuple(sorted(named - {"", "id", "deleted"}))


def place(registry: Registry, record: Record) -> tuple[str, str]:
    """The joins up to the record that has an area, and that area; `p` is the parent."""
    joins, alias = "", "t"
    while not record.scope.area and record.scope.parent:
        above = "p" if alias == "t" else f"{alias}p"
        parent = registry[record.by_name[record.scope.parent].ref]
        joins += f" LEFT JOIN {parent.name} {above} ON {above}.id = {alias}.{record.scope.parent} AND NOT {above}.deleted"
        record, alias = parent, above
    return joins, f"{alias}.{record.scope.area}"


def versions(record: Record, measures: Sequence[Measure], ids: str = "") -> str:
    """The row as it is, since the day of its last change; then each earlier version. With what decides about the measures."""
    columns, change = _columns(record, measures), _change(record, measures, ids)
    only = f" WHERE t.id = ANY({ids})" if ids else ""
    return f"""
    SELECT t.id, t.deleted{_of("t", columns)}, coalesce(c.day, {ALWAYS}) AS begins, {NEVER} AS ends
      FROM {record.name} t LEFT JOIN (SELECT doc_id, max(day) AS day FROM ({change}) c GROUP BY doc_id) c ON c.doc_id = t.id{only}
    UNION ALL {_earlier(record, columns, change)}"""


def edits(record: Record, measures: Sequence[Measure], ids: str = "", source: str = "") -> str:
    """Of rows that were changed: their versions with `sign` 1, and with -1 the row as if it had always been as it is.

    source  a table in which `changes` has been put; "" looks into the history itself
    """
    columns = _columns(record, measures)
    change = f"SELECT doc_id, revision, day FROM {source}" if source else _change(record, measures, ids)
    return f"""
    SELECT t.id, t.deleted{_of("t", columns)}, s.begins, {NEVER} AS ends, s.sign FROM {record.name} t
      JOIN (SELECT doc_id, max(day) AS day FROM ({change}) c GROUP BY doc_id) c ON c.doc_id = t.id
      CROSS JOIN LATERAL (VALUES (c.day, 1), ({ALWAYS}, -1)) s(begins, sign)
    UNION ALL SELECT v.*, 1 FROM ({_earlier(record, columns, change, source)}) v"""


def changes(record: Record, measures: Sequence[Measure]) -> str:
    """Every change that makes a version: (doc_id, revision, day, changes)."""
    return _change(record, measures, "").replace(" AS day FROM", " AS day, c.changes FROM", 1)


def _change(record: Record, measures: Sequence[Measure], ids: str) -> str:
    listed, chosen = _listed(_columns(record, measures)), f" AND c.doc_id = ANY({ids})" if ids else ""
    return (
        f"SELECT c.doc_id, c.revision, {day('c.at')} AS day FROM sync_change c"
        f" WHERE c.record = '{record.name}' AND c.kind <> 'CREATE' AND c.changes ?| {listed}{chosen}"
    )


def _earlier(record: Record, columns: Sequence[str], change: str, source: str = "") -> str:
    history = f"{source} o" if source else "sync_change o"
    own = "" if source else f" AND o.record = '{record.name}' AND o.kind <> 'CREATE'"
    undo = (
        f"SELECT jsonb_object_agg(e.key, e.value -> 0 ORDER BY o.revision DESC) FROM {history} CROSS JOIN jsonb_each(o.changes) e"
        f" WHERE o.doc_id = c.doc_id AND o.revision >= c.revision{own}"
        f" AND e.key = ANY({_listed(columns)})"  # the last of equal keys stays: the oldest change says how it was before
    )
    return f"""
    SELECT t.id, b.deleted{_of("b", columns)}, coalesce(lag(c.day) OVER (PARTITION BY c.doc_id ORDER BY c.revision), {ALWAYS}), c.day
      FROM ({change}) c JOIN {record.name} t ON t.id = c.doc_id CROSS JOIN LATERAL jsonb_populate_record(t, ({undo})) b"""


def _of(alias: str, columns: Sequence[str]) -> str:
    return "".join(f", {alias}.{name}" for name in columns)


def _listed(columns: Sequence[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{name}'" for name in (*columns, "deleted")) + "]"
