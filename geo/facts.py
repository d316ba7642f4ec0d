"""From records to facts, in SQL: which document counts for which measure, where, and from which day to which.

A row's versions are rebuilt from its history (`sync_change`): the row as it is, with the old values of all later changes put back.
The first version is taken to have been so before the register knew of it, or a past day would have no enterprises at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from schema.base import Record
from schema.indicators import Measure, Period, day
from schema.registry import Registry

COLUMNS = "measure, doc_id, unit_id, area, starts, ends, amount"
_LENGTH = {Period.YEAR: "year", Period.QUARTER: "quarter", Period.MONTH: "month"}
_STEP = {Period.YEAR: "1 year", Period.QUARTER: "3 months", Period.MONTH: "1 month"}
_ALWAYS, _NEVER = "'-infinity'::date", "'infinity'::date"


def fact_name(measure: Measure, period: Period) -> str:
    """Under which name its facts stand: an event has one for each length of period."""
    return f"{measure.name}@{period.value}" if measure.on else measure.name


@cache
def facts(registry: Registry, measures: tuple[Measure, ...], *, of_ids: bool = False) -> str:
    """A query for all facts of measures of one record, with COLUMNS; `of_ids`: of the documents in `:ids` alone."""
    record = registry[measures[0].record]
    lines = "\n    UNION ALL ".join(line for measure in measures for line in _lines(measure))
    join, area = _place(registry, record)
    return f"""
  SELECT m.measure, t.id AS doc_id, m.unit_id, {area} AS area,
         greatest(t.begins, m.since) AS starts, least(t.ends, m.until) AS ends, m.amount
    FROM ({_versions(record, _columns(record, measures), of_ids=of_ids)}) t {join}
    CROSS JOIN LATERAL ({lines}) AS m(measure, unit_id, holds, since, until, amount)
   WHERE NOT t.deleted AND m.holds AND greatest(t.begins, m.since) < least(t.ends, m.until) AND {area} IS NOT NULL"""


def _lines(measure: Measure) -> Iterator[str]:
    unit = f"t.{measure.unit}" if measure.unit else "NULL::uuid"
    for period in Period if measure.on else (Period.YEAR,):
        holds, since, until = f"({measure.holds})", measure.since or "NULL", measure.until or "NULL"
        if measure.on:
            holds, since = f"{holds} AND {measure.on} IS NOT NULL", measure.on
            until = f"(date_trunc('{_LENGTH[period]}', {measure.on}::timestamp) + interval '{_STEP[period]}')::date"
        amount = measure.amount or "1"
        yield f"SELECT '{fact_name(measure, period)}', {unit}, {holds}, ({since})::date, ({until})::date, ({amount})::integer"


def _columns(record: Record, measures: Iterable[Measure]) -> tuple[str, ...]:
    """What of the row decides: changes of other columns make no version."""
    written = " ".join(part for each in measures for part in (each.holds, each.since, each.until, each.on, each.amount))
    named = {*re.findall(r"\bt\.(\w+)", written), *(each.unit for each in measures), record.scope.area, record.scope.parent}
    return tuple(sorted(named - {"", "id", "deleted"}))


def _place(registry: Registry, record: Record) -> tuple[str, str]:
    """The joins up to the record that has an area, and that area; `p` is the parent."""
    joins, alias = "", "t"
    while not record.scope.area and record.scope.parent:
        above = "p" if alias == "t" else f"{alias}p"
        parent = registry[record.by_name[record.scope.parent].ref]
        joins += f" LEFT JOIN {parent.name} {above} ON {above}.id = {alias}.{record.scope.parent} AND NOT {above}.deleted"
        record, alias = parent, above
    return joins, f"{alias}.{record.scope.area}"


def _versions(record: Record, columns: Sequence[str], *, of_ids: bool) -> str:
    """The row as it is, since the day of its last change; then each earlier version."""
    now = "".join(f", t.{name}" for name in columns)
    then = "".join(f", b.{name}" for name in columns)
    decisive = [*columns, "deleted"]
    listed = "ARRAY[" + ", ".join(f"'{name}'" for name in decisive) + "]"
    chosen = " AND c.doc_id = ANY(CAST(:ids AS uuid[]))" if of_ids else ""
    change = (
        f"SELECT c.doc_id, c.revision, {day('c.at')} AS day FROM sync_change c"
        f" WHERE c.record = '{record.name}' AND c.kind <> 'CREATE' AND c.changes ?| {listed}{chosen}"
    )
    undo = (
        "SELECT jsonb_object_agg(e.key, e.value -> 0 ORDER BY o.revision DESC) FROM sync_change o CROSS JOIN jsonb_each(o.changes) e"
        f" WHERE o.doc_id = c.doc_id AND o.record = '{record.name}' AND o.kind <> 'CREATE' AND o.revision >= c.revision"
        f" AND e.key = ANY({listed})"  # the last of equal keys stays: the oldest change says how it was before
    )
    only = " WHERE t.id = ANY(CAST(:ids AS uuid[]))" if of_ids else ""
    return f"""
    SELECT t.id, t.deleted{now}, coalesce(c.day, {_ALWAYS}) AS begins, {_NEVER} AS ends
      FROM {record.name} t LEFT JOIN (SELECT doc_id, max(day) AS day FROM ({change}) c GROUP BY doc_id) c ON c.doc_id = t.id{only}
    UNION ALL
    SELECT t.id, b.deleted{then}, coalesce(lag(c.day) OVER (PARTITION BY c.doc_id ORDER BY c.revision), {_ALWAYS}), c.day
      FROM ({change}) c JOIN {record.name} t ON t.id = c.doc_id CROSS JOIN LATERAL jsonb_populate_record(t, ({undo})) b"""
