"""Indicators asked: of what should be protected in an area, how much is; on which day, with what target, and which records these are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import EVERY, inside, valid
from geo.curves import AMOUNT, documents
from geo.disclosure import decided, entered, first_day, known_from, published, rounded, settled
from geo.facts import fact_name, facts
from geo.indicators import Engine, engine, read_state
from geo.scope import READABLE
from geo.targets import Target, effective, targets_of
from schema.actor import Actor, Role
from schema.areas import ROOT, Level, Tree
from schema.base import Record, Verb
from schema.indicators import Areas, Indicator, Measure, Period, Side
from schema.indicators import day as day_of
from schema.problems import Problem, Refused

PUBLISHED_TO = frozenset({Role.ADMIN, Role.SUPERVISOR, Role.CDC})
"""Who sees the published counts of persons; nobody sees others."""


class Part(StrEnum):
    """Which records of an indicator: those that count, all that could, or those that are missing."""

    NUMERATOR = "numerator"
    DENOMINATOR = "denominator"
    GAP = "gap"


@dataclass(frozen=True)
class Day:
    """For which day, and for events in the period of which length up to that day."""

    on: date
    period: Period = Period.YEAR


@dataclass(slots=True)  # not frozen, which would cost a map of the country more time than its counting
class AreaValue:
    """An indicator's value for one area on one day.

    numerator, denominator  null: suppressed, or nobody can know it of that day; denominator also null for an indicator that is a number
    suppressed              too few persons to publish
    derived                 the area's outline is not surveyed
    """

    code: str
    name: str
    level: Level
    on: date
    numerator: int | None
    denominator: int | None
    suppressed: bool
    target: Target | None
    derived: bool = False

    @property
    def value(self) -> float | None:
        """0 to 1 for a share; None is *no data*: there is nothing to count, or too little to tell."""
        return self.numerator / self.denominator if self.denominator and self.numerator is not None else None

    @property
    def gap(self) -> float | None:
        """Target minus value."""
        return None if self.value is None or self.target is None else self.target.value - self.value

    @property
    def met(self) -> bool | None:
        return None if self.value is None or self.target is None else self.target.met(self.value)


@dataclass(frozen=True)
class Item:
    """A record, or an area where areas are counted, in a list of those that make an indicator."""

    record: str
    id: str
    label: str
    area: str

    @property
    def cursor(self) -> str:
        return f"{self.area}:{self.id}"


def settled_day(made: Engine, indicator: Indicator, asked: Day, today: date) -> Day:
    """The day for which the answer holds: of persons only the ends of whole months that are past are published."""
    return Day(settled(asked.on, today), asked.period) if made.declared.personal(indicator) else asked


# --- values -----------------------------------------------------------------------------------------------------------------


async def coverage(
    connection: AsyncConnection, actor: Actor, indicator: Indicator, area: str, level: Level, day: Day, tree: Tree | None = None
) -> list[AreaValue]:
    """The indicator for each area of `level` in `area` (and of `tree`, or held by it) as the tree was that day, in order of code.

    Areas outside the actor's scopes are left out. Raises Refused: FORBIDDEN for a role that may not read what is counted,
    INDICATOR_AWAITED for one whose records do not exist yet, AREA_RETIRED for a code that was no longer in use.
    """
    chosen = f"g.layers @> ARRAY[:level] AND {inside('g', area)} AND {valid('g', 'y.d')}{_TREES[tree]}"
    found = await _values(connection, actor, indicator, area, [day], chosen, {"level": level.value}, wide=level not in _NARROW)
    if not found and area != ROOT:
        await _refuse_retired(connection, area, day.on)
    return found


async def trend(connection: AsyncConnection, actor: Actor, indicator: Indicator, area: str, days: Sequence[Day]) -> list[AreaValue]:
    """The indicator for one area on several days of one length of period, in their order. Raises Refused as `coverage`."""
    return await _values(connection, actor, indicator, area, days, "g.code = :area", {})


_NARROW = (Level.TOWNSHIP, Level.VILLAGE)
_RETIRED = text("""
SELECT a.name, a.valid_to, ARRAY(SELECT DISTINCT s.new_code FROM area_succession s
        WHERE s.old_code = a.code AND s.new_code <> a.code ORDER BY 1) AS followers
  FROM area a WHERE a.code = :area AND a.valid_to <= :on""")


async def _refuse_retired(connection: AsyncConnection, area: str, on: date) -> None:
    row = (await connection.execute(_RETIRED, {"area": area, "on": on})).one_or_none()
    if row:
        instead = f"，请改查 {'、'.join(row.followers)}" if row.followers else ""
        message = f"区划代码 {area}（{row.name}）已于 {row.valid_to} 停用，此后没有数据{instead}；停用以前的可用 asOf 查询。"
        raise Refused(Problem("AREA_RETIRED", message, "area"))


def ranked(values: Iterable[AreaValue], *, best_first: bool = False) -> list[tuple[int, AreaValue]]:
    """Areas with their places, equal values sharing one; the farthest from what is aimed at first. Those without data have none."""
    known = [value for value in values if value.value is not None]
    less_is_better = any(value.target and value.target.op == "<=" for value in known)
    known.sort(key=lambda value: ((value.value or 0.0) * (-1 if less_is_better != best_first else 1), value.code))
    places: list[tuple[int, AreaValue]] = []
    for at, value in enumerate(known, 1):
        same = places and places[-1][1].value == value.value
        places.append((places[-1][0] if same else at, value))
    return places


_TREES = {
    None: "",
    Tree.DIVISION: " AND g.tree = 'division'",
    Tree.JURISDICTION: (
        " AND EXISTS (SELECT FROM area j WHERE j.tree = 'jurisdiction' AND j.level = 'jurisdiction' AND j.code = ANY(g.chain))"
    ),
}
_SCOPES = "CAST(:scopes AS text[])"
# Both are asked once, and spare most readers the question at each area.
_OWN = f"EXISTS (SELECT FROM area o WHERE o.code = :area AND o.chain && {_SCOPES})"
_NATIONAL = (
    "NOT EXISTS (SELECT FROM area p WHERE p.layers @> ARRAY['province'] AND p.level = 'province' AND p.valid_to IS NULL"
    f" AND p.code <> ALL({_SCOPES}))"
)
_TODAY = text(f"SELECT {day_of('now()')}")
_DAYS = "day(i, d) AS MATERIALIZED (SELECT * FROM unnest(CAST(:indexes AS integer[]), CAST(:days AS date[])))"


async def _values(
    connection: AsyncConnection,
    actor: Actor,
    indicator: Indicator,
    area: str,
    days: Sequence[Day],
    chosen: str,
    more: dict[str, Any],
    *,
    wide: bool = False,
) -> list[AreaValue]:
    made = engine()
    require_reader(made, actor, indicator)
    query = await _Query.of(connection, made, indicator, area, days)
    query.wide = wide
    wanted = f"wanted AS MATERIALIZED (SELECT DISTINCT g.code FROM day y CROSS JOIN {query.areas_then} g WHERE {chosen})"
    sql = f"""
WITH {_DAYS}, {wanted}, {query.nodes(only=True)},
  top AS {query.read} ({query.side(indicator.numerator)}), whole AS {query.read} ({query.side(indicator.denominator)})
SELECT array_agg(r.i) AS i, array_agg(r.code) AS code, array_agg(r.name) AS name, array_agg(r.level) AS level,
       array_agg(array_to_string(r.chain, ',')) AS chain, array_agg(r.derived) AS derived, array_agg(r.top::bigint) AS top,
       array_agg(r.whole::bigint) AS whole FROM (
  SELECT y.i, g.code, g.name, g.level, g.chain, g.derived, coalesce(top.n, 0) AS top, coalesce(whole.n, 0) AS whole
    FROM day y CROSS JOIN {query.areas_then} g
    LEFT JOIN top ON top.i = y.i AND top.code = g.code LEFT JOIN whole ON whole.i = y.i AND whole.code = g.code
   WHERE {chosen} AND ({_NATIONAL} OR {_OWN} OR (g.chain || '{{}}'::text[]) && {_SCOPES})
   ORDER BY g.code, y.i) r"""
    # One row of arrays: thousands of rows would cost as much as their counting.
    found = (await connection.execute(text(sql), {**query.parameters, **more, "scopes": list(actor.scopes)})).one()
    aims = await targets_of(connection, indicator.id)
    on = query.parameters["days"]
    shown = _Shown(_personal(made, indicator.numerator), _personal(made, indicator.denominator), indicator.denominator == "")
    unknown = [day < query.known_from for day in on]
    return [
        AreaValue(
            code,
            name,
            _LEVELS[level],
            on[i],
            *((None, None, False) if unknown[i] else shown.counts(top, whole)),
            effective(aims, chain.split(","), on[i].year) if aims else None,
            derived,
        )
        for i, code, name, level, chain, derived, top, whole in zip(*(each or () for each in found), strict=True)
    ]


_LEVELS = {level.value: level for level in Level}


@dataclass(frozen=True)
class _Shown:
    """How counts are published: which of them are of persons, and whether there is no denominator."""

    top_personal: bool
    whole_personal: bool
    number: bool

    def counts(self, counted: int, counted_whole: int) -> tuple[int | None, int | None, bool]:
        """Numerator, denominator, and whether something is suppressed."""
        top: int | None = published(counted) if self.top_personal else counted
        whole: int | None = published(counted_whole) if self.whole_personal else counted_whole
        suppressed = top is None or whole is None
        if self.number:
            whole = None
        elif whole is None:
            top = None
        elif top is not None and self.top_personal:
            top = min(top, whole)  # rounded apart, a part may seem larger than the whole
        return top, whole, suppressed


def _personal(made: Engine, side: Side) -> bool:
    return isinstance(side, str) and side != "" and made.declared.measures[side].personal


def require_reader(made: Engine, actor: Actor, indicator: Indicator) -> None:
    """Raises Refused unless the role may see this indicator's values."""
    if indicator.waits:
        waits = "、".join(indicator.waits)
        raise Refused(Problem("INDICATOR_AWAITED", f"指标 {indicator.id} 所需台账尚未建立：{waits}。", "indicator"))
    for name in indicator.measures:
        measure = made.declared.measures[name]
        may = actor.role in PUBLISHED_TO if measure.personal else made.registry[measure.record].may(actor.role, Verb.READ)
        if not may:
            raise Refused(Problem("FORBIDDEN", f"您的角色无权查看指标“{indicator.label}”。", "indicator"))


# --- counting ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Query:
    """The parts of the SQL that count one indicator on some days; `parameters` go with them.

    stored  whether there are kept values at all; else everything is derived when asked
    kept    whether it is about today and counts of today will do
    past    whether areas must be taken as they were
    known_from  the first day of which it is known
    wide    whether no values of townships are asked
    """

    made: Engine
    indicator: Indicator
    area: str
    period: Period
    stored: bool
    kept: bool
    past: bool
    known_from: date
    parameters: dict[str, Any]
    wide: bool = False

    @staticmethod
    async def of(connection: AsyncConnection, made: Engine, indicator: Indicator, area: str, asked: Sequence[Day]) -> _Query:
        state, personal = await read_state(connection), made.declared.personal(indicator)
        now = state.day if state else await connection.scalar(_TODAY)
        days = [settled_day(made, indicator, day, now).on for day in asked]
        today = state is not None and days == [now]
        parameters = {"area": area, "indexes": list(range(len(days))), "days": days} | ({"entered": settled(now, now)} if personal else {})
        period, known = asked[0].period if asked else Period.YEAR, await _known_from(connection, made, indicator)
        return _Query(made, indicator, area, period, state is not None, today and not personal, not today, known, parameters)

    @property
    def areas_then(self) -> str:
        """FROM item: areas, for `valid` to say which state of them."""
        return EVERY if self.past else "area"

    @property
    def read(self) -> str:
        """How to read the two sides: for a map of one level as a whole, in the order of their index, not area by area."""
        return "MATERIALIZED" if self.wide else ""

    def nodes(self, *, only: bool = False) -> str:
        """`node(i, measure, code, n, shown)`: what must be counted, in each area of each chain, as it is and as it may be published.

        only  of the areas in `wanted`, unless areas are counted
        """
        measures = [self.made.declared.measures[name] for name in self.indicator.measures]
        local = [self._local(measure) for measure in measures if not self._ready(measure)]
        then, chain, wanted = "", "a.chain", ""
        if only and not any(isinstance(side, Areas) for side in self.indicator.sides):
            wanted = " JOIN wanted w ON w.code = u.code"
        if self.past:
            then = f" JOIN day y ON y.i = l.i LEFT JOIN area_version v ON v.code = l.area AND {valid('v', 'y.d')}"
            chain = "coalesce(v.chain, a.chain)"
        rolled = f"""SELECT l.i, l.measure, u.code, sum(l.n) AS n, sum(l.shown) AS shown FROM ({" UNION ALL ".join(local)}) l
          JOIN area a ON a.code = l.area{then} CROSS JOIN unnest({chain} || '{ROOT}'::text) u(code){wanted}
         GROUP BY l.i, l.measure, u.code"""
        return f"node AS ({rolled if local else _NOTHING})"

    def _ready(self, measure: Measure) -> bool:
        return self.kept and measure.kept

    def _of(self, name: str, *, wide: bool) -> str:
        """`(i, code, n, shown)` of one measure; what is kept is looked up by area, not read as a whole."""
        measure = self.made.declared.measures.get(name)
        if measure and self._ready(measure):
            named = f"measure = '{fact_name(measure, self.period)}'{' AND wide' if wide else ''}"
            return f"SELECT 0 AS i, area AS code, n, n AS shown FROM indicator_count WHERE {named}"
        return f"SELECT i, code, n, shown FROM node WHERE measure = '{name}'"

    def _local(self, measure: Measure) -> str:
        """What counts in each smallest area."""
        if self.drawn(measure):
            drawn, n = f"'{fact_name(measure, self.period)}'{self._here('c')}", AMOUNT.format("c", "y.d")
            return f"""SELECT y.i, '{measure.name}' AS measure, c.area, {n} AS n, {n} AS shown
              FROM day y CROSS JOIN indicator_curve c WHERE c.measure = {drawn}"""
        if measure.personal:
            return self._persons(measure)
        n = "count(DISTINCT f.unit_id)" if measure.unit else "sum(f.amount)"
        return f"""SELECT y.i, '{measure.name}' AS measure, f.area, {n} AS n, {n} AS shown
          FROM day y JOIN {self.source(measure)} f ON f.starts <= y.d AND f.ends > y.d GROUP BY y.i, f.area"""

    def _persons(self, measure: Measure) -> str:
        known = entered(measure.record, "f.doc_id", "CAST(:entered AS date)")
        return f"""SELECT i, measure, area, {decided("n", "shown")} AS n, shown FROM (
          SELECT i, measure, area, n, {rounded("n", "area")} AS shown FROM (
            SELECT y.i, '{measure.name}' AS measure, f.area, sum(f.amount) AS n
              FROM day y JOIN {self.source(measure)} f ON f.starts <= y.d AND f.ends > y.d WHERE {known} GROUP BY y.i, f.area) c) s"""

    def drawn(self, measure: Measure) -> bool:
        """Whether there are curves of it."""
        return self.stored and measure.kept and not measure.personal

    def _here(self, alias: str) -> str:
        # A list, not a join: the planner must not begin with the facts of the whole country.
        return "" if self.area == ROOT else f" AND {alias}.area = ANY(ARRAY(SELECT code FROM area WHERE chain @> ARRAY[:area]))"

    def source(self, measure: Measure) -> str:
        """The facts of a measure in `area`, stored or derived."""
        name = fact_name(measure, self.period)
        table = "indicator_fact" if measure.kept and self.stored and measure.personal else f"({facts(self.made.registry, (measure,))})"
        return f"(SELECT * FROM {table} s WHERE s.measure = '{name}'{self._here('s')})"

    def listed(self, measure: Measure, without: Measure | None) -> str:
        """`met(id)` and `listed(area, id)`, what counts on the day and is not met: in `:areas`, where there are curves of it."""
        met = self._counting(without) if without else "SELECT NULL::uuid AS id WHERE false"
        here = " AND s.area = ANY(CAST(:areas AS text[]))" if self.drawn(measure) else ""
        # The planner takes them for few and would look at all of one for each of the other: NOT IN is hashed.
        found = f"{self._counting(measure)}{here} AND s.{_own(measure)} NOT IN (SELECT id FROM met)"
        return f"met AS MATERIALIZED ({met}), listed AS MATERIALIZED ({found})"

    def _counting(self, measure: Measure) -> str:
        own = _own(measure)
        return f"""SELECT DISTINCT s.area, s.{own} AS id FROM day y CROSS JOIN {self._facts(measure)} s
          WHERE s.starts <= y.d AND s.ends > y.d AND s.{own} IS NOT NULL"""

    def _facts(self, measure: Measure) -> str:
        """The facts of documents that count in `:areas`, or once did; where there are no curves of it, all."""
        if not self.drawn(measure):
            return self.source(measure)
        registry = self.made.registry
        ids = f"ARRAY({documents(registry, registry[measure.record], 'CAST(:areas AS text[])')})"
        return f"(SELECT * FROM ({facts(registry, (measure,), ids=ids)}) m WHERE m.measure = '{fact_name(measure, self.period)}')"

    def places(self, measure: Measure) -> str:
        """The next `:some` areas from `:from_area` on in which a measure counts on the day."""
        return f"""
WITH {_DAYS}
SELECT place.area FROM day y CROSS JOIN indicator_curve place
 WHERE place.measure = '{fact_name(measure, self.period)}' AND place.area >= CAST(:from_area AS text)
   AND {AMOUNT.format("place", "y.d")} > 0{self._here("place")} ORDER BY place.area LIMIT :some"""

    def side(self, side: Side) -> str:
        """`(i, code, n)` of a measure or of areas, as it may be published."""
        if isinstance(side, Areas):
            return f"""SELECT i, v.code, count(*) AS n FROM ({self.areas(side)}) u
              CROSS JOIN unnest(u.chain || '{ROOT}'::text) v(code) GROUP BY i, v.code"""
        return f"SELECT i, code, shown AS n FROM ({self._of(side, wide=self.wide)}) m"

    def areas(self, side: Areas) -> str:
        """The areas of a level that meet all bounds, on each day."""
        joins, conditions = "", ""
        last = max(self.parameters["days"], default=date.today())  # noqa: DTZ011 - only without days, when nothing is counted
        for at, bound in enumerate(side.bounds):
            joins += (
                f" LEFT JOIN ({self._of(bound.measure, wide=side.level not in _NARROW)}) b{at} ON b{at}.i = y.i AND b{at}.code = u.code"
            )
            conditions += f" AND coalesce(b{at}.n, 0) {'<' if bound.fewer else '>='} {bound.number(last)}"
        return f"""SELECT y.i, u.code, u.name, u.chain FROM day y CROSS JOIN {self.areas_then} u{joins}
          WHERE u.layers @> ARRAY['{side.level.value}'] AND {valid("u", "y.d")} AND {inside("u", self.area)}{conditions}"""


async def _known_from(connection: AsyncConnection, made: Engine, indicator: Indicator) -> date:
    measures = [made.declared.measures[name] for name in indicator.measures]
    firsts = {first_day(measure.record) for measure in measures if measure.personal and measure.until}
    first = await connection.scalar(text(f"SELECT greatest({', '.join(sorted(firsts))})")) if firsts else None
    return known_from(first) if first else date.min


_NOTHING = "SELECT NULL::integer AS i, NULL::text AS measure, NULL::text AS code, 0::numeric AS n, 0::numeric AS shown WHERE false"


# --- records ----------------------------------------------------------------------------------------------------------------


async def items(
    connection: AsyncConnection, actor: Actor, indicator: Indicator, area: str, part: Part, day: Day, first: int, after: str = ""
) -> list[Item]:
    """The records that make a part of an indicator in an area, as many as `first`, after a cursor, by area and id.

    Only records that the actor may read: never persons for those who may not read persons. What was deleted since is left out.
    Raises Refused as `coverage`, PART_INVALID where there is no such part, and DAY_UNKNOWN before the register began, where that matters.
    """
    made = engine()
    require_reader(made, actor, indicator)
    top, whole = indicator.sides
    shown = top if part is Part.NUMERATOR else whole
    if shown == "" or (part is Part.GAP and _listed(made, top) != _listed(made, whole)):
        raise Refused(Problem("PART_INVALID", f"指标 {indicator.id} 没有这一部分的名单。", "part"))
    query = await _Query.of(connection, made, indicator, area, [day])
    if query.parameters["days"][0] < query.known_from:
        raise Refused(Problem("DAY_UNKNOWN", f"指标 {indicator.id} 最早可查 {query.known_from}：此前台账尚未建立，情况不详。", "asOf"))
    query.kept = query.kept and isinstance(shown, Areas)
    area_after, _, id_after = after.partition(":")
    query.parameters |= {"first": first, "area_after": area_after, "id_after": id_after, "scopes": list(actor.scopes)}
    if isinstance(shown, Areas):
        rows = (await connection.execute(text(_areas_listed(query, shown, top, part)), query.parameters)).all()
    else:
        rows = await _paged(connection, query, made.declared.measures[shown], _records_listed(query, actor, shown, top, part))
    return [Item(_listed(made, shown), row.id, row.label or "", row.area) for row in rows]


async def _paged(connection: AsyncConnection, query: _Query, measure: Measure, sql: str) -> list[Any]:
    """Area by area until there are as many as asked, four times as many areas each time: most lists are full after the first."""
    wanted, parameters = query.parameters["first"], query.parameters
    if not query.drawn(measure):
        return list((await connection.execute(text(sql), parameters)).all())
    found: list[Any] = []
    start, some = parameters["area_after"], _SOME_AREAS
    while len(found) < wanted:
        asked = {**parameters, "from_area": start, "some": some}
        areas = list(await connection.scalars(text(query.places(measure)), asked))
        these = {**parameters, "areas": areas[: some - 1], "first": wanted - len(found)}
        found += (await connection.execute(text(sql), these)).all()
        if len(areas) < some:
            break
        start, some = areas[-1], some * 4
    return found


_SOME_AREAS = 17  # one more than are looked through, to begin the next time with


def _listed(made: Engine, side: Side) -> str:
    """The record of which a side lists documents."""
    if isinstance(side, Areas):
        return f"area/{side.level.value}" if side else ""
    measure = made.declared.measures.get(side)
    if measure is None:
        return ""
    return made.registry[measure.record].by_name[measure.unit].ref if measure.unit else measure.record


def _areas_listed(query: _Query, shown: Areas, top: Side, part: Part) -> str:
    missing = f" AND u.code NOT IN (SELECT code FROM ({query.areas(top)}) n)" if part is Part.GAP and isinstance(top, Areas) else ""
    return f"""
WITH {_DAYS}, {query.nodes()}
SELECT u.code AS id, u.name AS label, u.code AS area FROM ({query.areas(shown)}) u
 WHERE u.chain && {_SCOPES} AND u.code > :area_after{missing} AND CAST(:id_after AS text) IS NOT NULL
 ORDER BY u.code LIMIT :first"""


def _records_listed(query: _Query, actor: Actor, shown: str, top: Side, part: Part) -> str:
    made = query.made
    measure = made.declared.measures[shown]
    record = made.registry[_listed(made, shown)]
    if not record.may(actor.role, Verb.READ):
        raise Refused(Problem("FORBIDDEN", f"您的角色无权查看{record.label}。", "part"))
    label, joins = _label(made, record)
    without = made.declared.measures[top] if part is Part.GAP and isinstance(top, str) else None
    return f"""
WITH {_DAYS}, {query.listed(measure, without)}
SELECT r.id::text, {label} AS label, f.area FROM listed f
  JOIN {record.name} r ON r.id = f.id{joins}
 WHERE NOT r.deleted AND {READABLE.format(alias="r", scopes=_SCOPES)}
   AND (f.area, f.id::text COLLATE "C") > (CAST(:area_after AS text), CAST(:id_after AS text))
 ORDER BY f.area, f.id::text COLLATE "C" LIMIT :first"""


def _own(measure: Measure) -> str:
    """The column of its facts that says what counts."""
    return "unit_id" if measure.unit else "doc_id"


def _label(made: Engine, record: Record, alias: str = "r") -> tuple[str, str]:
    """SQL of what a person calls a row, and the joins that it needs: its name, or whose it is."""
    if "name" in record.by_name or not record.scope.parent:
        return (f"{alias}.name" if "name" in record.by_name else f"{alias}.id::text"), ""
    parent = made.registry[record.by_name[record.scope.parent].ref]
    label, joins = _label(made, parent, f"{alias}p")
    return label, f" LEFT JOIN {parent.name} {alias}p ON {alias}p.id = {alias}.{record.scope.parent}{joins}"
