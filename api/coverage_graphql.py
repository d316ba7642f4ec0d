"""Indicators in GraphQL: values by area, trend, ranking, the records behind them, targets. The counting is `geo.coverage`'s."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

import strawberry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry import Info

from api.accounts import audit
from api.authority import require_area
from api.context import RequestContext
from api.graphql.passthrough import Ready
from api.graphql.types import AreaName, Date
from geo import coverage as counting
from geo import periods
from geo.coverage import Day, Part
from geo.indicators import engine, today
from geo.scope import in_scope
from geo.targets import OPS, Target, set_target
from schema.actor import Actor
from schema.areas import ROOT, Level, Tree
from schema.indicators import Areas, Catalogue, Indicator, Period, Side
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
strawberry.enum(Tree, name="Tree", description="Divisions by law, or jurisdictions (管委会、功能区) beside them.")
strawberry.enum(Period, name="PeriodLength", description="How long the periods of a trend are.")
strawberry.enum(Part, name="IndicatorPart", description="What counts, all that could, or what is missing.")
MOST, MOST_PERIODS = 1000, 60


@strawberry.type(description="An indicator's value for one area.")
class AreaValue:
    area: AreaName
    numerator: int | None = strawberry.field(description="Null: suppressed, or not known of that day.")
    denominator: int | None = strawberry.field(
        description="Null: suppressed or not known of that day, or the indicator is a number and has none."
    )
    value: float | None = strawberry.field(description="Share from 0 to 1; null where the denominator is 0: no data, not 0 %.")
    target: float | None = strawberry.field(description="What is aimed at, 0 to 1; null without a target.")
    gap: float | None = strawberry.field(description="target - value; null if either is.")
    provenance: str = strawberry.field(description="What was counted, as of which day.")
    suppressed: bool = strawberry.field(description="Too few persons to publish; other counts of persons are rounded to multiples of 5.")
    met: bool | None = strawberry.field(description="Whether the target is met; null without value or target.")
    target_source: str | None = strawberry.field(description="Whose target it is, for which year, by which source.")


@strawberry.type(description="An indicator's value for one area in one period.")
class PeriodValue:
    period: str
    as_of: str = strawberry.field(description="The day for which it holds.")
    value: AreaValue


@strawberry.type(description="An area with its place.")
class RankedValue:
    rank: int = strawberry.field(description="Equal values share a place.")
    value: AreaValue


@strawberry.type(description="A record, or an area where areas are counted, that makes part of an indicator.")
class CoverageRecord:
    record: str
    id: strawberry.ID
    label: str
    area: strawberry.ID
    cursor: str


@strawberry.type(description="A page of the records of an indicator.")
class CoverageRecordPage:
    records: list[CoverageRecord]
    end_cursor: str | None = strawberry.field(description="For `after` of the next page; null when this is the last.")


@strawberry.type(description="What an indicator means, and whether it can be counted yet.")
class IndicatorInfo:
    id: strawberry.ID
    label: str
    unit: str = strawberry.field(description="% for a share (values are 0 to 1), else what one is counted in.")
    formula: str
    formula_version: int
    scope: str
    source: str
    confidence: str
    note: str
    countable: bool
    waits_for: list[str] = strawberry.field(description="Records that must come first.")
    personal: bool = strawberry.field(description="Counts persons: rounded, suppressed under 10, as of whole months.")
    periodic: bool = strawberry.field(description="Counts events of a period; others hold on a day.")


@strawberry.type(description="What is aimed at in an area from a year on.")
class IndicatorTarget:
    area: strawberry.ID
    indicator: strawberry.ID
    year: int
    op: str
    value: float
    source: str


async def coverage(
    info: ContextInfo,
    indicator: strawberry.ID,
    area: strawberry.ID,
    level: Level,
    tree: Tree | None = None,
    period: str | None = None,
    as_of: Date | None = None,
) -> list[AreaValue]:
    """`tree`: only areas of it, or held by it. `period` (2020, 2020Q3, 2020-07) ends the counting on its last day, or before on `asOf`."""
    actor, declared = info.context.signed_in(), find_indicator(indicator)
    day = find_day(info.context.now, period, as_of)
    async with info.context.database.engine.connect() as connection:
        await check_scope(connection, actor, area)
        found = await counting.coverage(connection, actor, declared, area, level, day, tree)
    return cast(list[AreaValue], Ready(found, _readers(declared)))


async def trend(
    info: ContextInfo,
    indicator: strawberry.ID,
    area: strawberry.ID,
    periods: list[str] | None = None,
    length: Period = Period.MONTH,
    count: int = 12,
    as_of: Date | None = None,
) -> list[PeriodValue]:
    """The given periods, all of one length, or the last `count` up to `asOf`."""
    actor, declared = info.context.signed_in(), find_indicator(indicator)
    on = _date(as_of) or today(info.context.now)
    spans = _spans(periods, length, count, on)
    days = [Day(min(span.last, on), span.length) for span in spans]
    async with info.context.database.engine.connect() as connection:
        await check_scope(connection, actor, area)
        found = await counting.trend(connection, actor, declared, area, days)
    return [
        PeriodValue(period=span.name, as_of=row.on.isoformat(), value=shown_value(declared, row))
        for span, row in zip(spans, found, strict=False)
    ]


async def ranking(
    info: ContextInfo,
    indicator: strawberry.ID,
    area: strawberry.ID,
    level: Level,
    period: str | None = None,
    as_of: Date | None = None,
    best_first: bool = False,
    first: int = 100,
) -> list[RankedValue]:
    """Those farthest from the aim first; areas without data have no place."""
    actor, declared = info.context.signed_in(), find_indicator(indicator)
    day = find_day(info.context.now, period, as_of)
    async with info.context.database.engine.connect() as connection:
        await check_scope(connection, actor, area)
        found = await counting.coverage(connection, actor, declared, area, level, day)
    places = counting.ranked(found, best_first=best_first)[: _limit(first)]
    return [RankedValue(rank=place, value=shown_value(declared, row)) for place, row in places]


async def coverage_records(
    info: ContextInfo,
    indicator: strawberry.ID,
    area: strawberry.ID,
    part: Part,
    period: str | None = None,
    as_of: Date | None = None,
    first: int = 50,
    after: str | None = None,
) -> CoverageRecordPage:
    """Only records that the reader may read; never persons for those who may not read persons."""
    actor, declared = info.context.signed_in(), find_indicator(indicator)
    day, limit = find_day(info.context.now, period, as_of), _limit(first)
    async with info.context.database.engine.connect() as connection:
        await check_scope(connection, actor, area)
        found = await counting.items(connection, actor, declared, area, part, day, limit + 1, after or "")
    records = [_record(each) for each in found]
    return CoverageRecordPage(records=records[:limit], end_cursor=records[limit - 1].cursor if len(records) > limit else None)


async def indicators(info: ContextInfo) -> list[IndicatorInfo]:
    info.context.signed_in()
    declared = engine().declared
    return [_info(declared, indicator) for indicator in declared.indicators.values()]


async def set_indicator_target(
    info: ContextInfo, indicator: strawberry.ID, area: strawberry.ID, year: int, value: float, source: str, op: str = ">="
) -> IndicatorTarget:
    context = info.context
    actor, declared = context.signed_in(), find_indicator(indicator)
    _check_target(year, op, value, source)
    target = Target(area, declared.id, year, op, value, declared.scope, source, "sure")
    async with context.database.engine.begin() as connection:
        await require_area(connection, actor, area)
        before = await set_target(connection, target, actor.user_id)
        detail = {"indicator": declared.id, "year": year, "before": before, "after": [op, value, source]}
        await audit(connection, context.now, "TARGET_SET", user_id=actor.user_id, device_id=actor.device_id, area=area, detail=detail)
    return IndicatorTarget(area=area, indicator=indicator, year=year, op=op, value=value, source=source)


async def check_scope(connection: AsyncConnection, actor: Actor, code: str) -> None:
    """The country belongs to nobody's chain: there, everybody finds the areas of their own.

    Raises Refused: AREA_UNKNOWN, AREA_OUT_OF_SCOPE.
    """
    chain = await connection.scalar(_CHAIN, {"code": code})
    if chain is None:
        raise Refused(Problem("AREA_UNKNOWN", f"没有代码为 {code} 的区划或管辖区。", "area"))
    if code != ROOT and not in_scope(actor, chain):
        raise Refused(Problem("AREA_OUT_OF_SCOPE", "该地区不在您的辖区范围内。", "area"))


_CHAIN = text("SELECT chain FROM area WHERE code = :code")


def find_indicator(name: str) -> Indicator:
    """Raises Refused: INDICATOR_UNKNOWN."""
    found = engine().declared.indicators.get(name)
    if found is None:
        raise Refused(Problem("INDICATOR_UNKNOWN", f"没有指标 {name}。", "indicator"))
    return found


def _date(text: str | None, field: str = "asOf") -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused(Problem("DATE_INVALID", "日期应写作 YYYY-MM-DD。", field)) from None


def find_day(now: datetime.datetime, period: str | None, as_of: str | None) -> Day:
    """The last day of the period that has come; without a period the year so far. Raises Refused: DATE_INVALID, PERIOD_INVALID."""
    on = _date(as_of)
    if period is None:
        return Day(on or today(now))
    span = _span(period, "period")
    return Day(min(span.last, on or today(now)), span.length)


def _span(text: str, field: str) -> periods.Span:
    span = periods.parse(text)
    if span is None:
        raise Refused(Problem("PERIOD_INVALID", f"周期应写作 2020、2020Q3 或 2020-07，收到 {text!r}。", field))
    return span


def _spans(texts: Sequence[str] | None, length: Period, count: int, on: datetime.date) -> list[periods.Span]:
    if texts is None:
        if not 1 <= count <= MOST_PERIODS:
            raise Refused(Problem("LIMIT_INVALID", f"count 应在 1 与 {MOST_PERIODS} 之间。", "count"))
        return periods.latest(on, length, count)
    spans = [_span(text, "periods") for text in texts]
    if len(spans) > MOST_PERIODS or len({span.length for span in spans}) != 1:
        raise Refused(Problem("PERIOD_INVALID", f"周期应同为年、季或月，且不超过 {MOST_PERIODS} 个。", "periods"))
    return spans


def _limit(first: int) -> int:
    if not 1 <= first <= MOST:
        raise Refused(Problem("LIMIT_INVALID", f"first 应在 1 与 {MOST} 之间，收到 {first}。", "first"))
    return first


def _check_target(year: int, op: str, value: float, source: str) -> None:
    if op not in OPS:
        raise Refused(Problem("TARGET_INVALID", f"比较方式应为 {'、'.join(OPS)} 之一。", "op"))
    if not 1949 <= year <= 2200:
        raise Refused(Problem("TARGET_INVALID", "年份应在 1949 与 2200 之间。", "year"))
    if not math.isfinite(value) or value < 0:
        raise Refused(Problem("TARGET_INVALID", "目标值不得为负；比率写作 0 到 1。", "value"))
    if not source.strip() or len(source) > 500:
        raise Refused(Problem("TARGET_INVALID", "目标须写明依据，不超过 500 字。", "source"))


def _readers(indicator: Indicator) -> dict[str, Callable[[counting.AreaValue], Any]]:
    """How each field of an AreaValue is read from what was counted."""
    note = f"{indicator.id} v{indicator.version}, {indicator.note or formula(engine().declared, indicator)}, "
    return {
        "area": lambda row: {"code": row.code, "name": row.name, "derived": row.derived},
        "numerator": attrgetter("numerator"),
        "denominator": attrgetter("denominator"),
        "value": attrgetter("value"),
        "target": lambda row: None if row.target is None else row.target.value,
        "gap": attrgetter("gap"),
        "provenance": lambda row: f"{note}{row.on}",
        "suppressed": attrgetter("suppressed"),
        "met": attrgetter("met"),
        "targetSource": lambda row: row.target and _target_source(row.target),
    }


_SIGNS = {">=": "≥", "=": "=", "<=": "≤"}


def _target_source(target: Target) -> str:
    whose = "全国" if target.area == ROOT else target.area
    return f"{whose} {target.year} 年：{_SIGNS[target.op]} {target.value:g}；{target.source}"


def shown_value(indicator: Indicator, row: counting.AreaValue) -> AreaValue:
    values = {python: read(row) for python, read in zip(_FIELDS, _readers(indicator).values(), strict=True)}
    return AreaValue(**{**values, "area": AreaName(code=strawberry.ID(row.code), name=row.name, derived=row.derived)})


_FIELDS = ("area", "numerator", "denominator", "value", "target", "gap", "provenance", "suppressed", "met", "target_source")


def _record(item: counting.Item) -> CoverageRecord:
    return CoverageRecord(
        record=item.record, id=strawberry.ID(item.id), label=item.label, area=strawberry.ID(item.area), cursor=item.cursor
    )


def formula(declared: Catalogue, indicator: Indicator) -> str:
    top, whole = (_side(declared, side) for side in indicator.sides)
    return f"{top} ÷ {whole}" if whole else top


def _side(declared: Catalogue, side: Side) -> str:
    return side.label if isinstance(side, Areas) else declared.measures[side].label if side else ""


def _info(declared: Catalogue, indicator: Indicator) -> IndicatorInfo:
    return IndicatorInfo(
        id=strawberry.ID(indicator.id),
        label=indicator.label,
        unit=indicator.unit,
        formula=formula(declared, indicator),
        formula_version=indicator.version,
        scope=indicator.scope,
        source=indicator.source,
        confidence=indicator.confidence.value,
        note=indicator.note,
        countable=not indicator.waits,
        waits_for=list(indicator.waits),
        personal=declared.personal(indicator),
        periodic=declared.periodic(indicator),
    )


@strawberry.type
class CoverageQuery:
    coverage: list[AreaValue] = strawberry.field(resolver=coverage, description="An indicator for each area of `level` within `area`.")
    trend: list[PeriodValue] = strawberry.field(resolver=trend, description="An indicator for one area over several periods.")
    ranking: list[RankedValue] = strawberry.field(resolver=ranking, description="The areas of `level` within `area` by their value.")
    coverage_records: CoverageRecordPage = strawberry.field(
        resolver=coverage_records, description="The records that make an indicator, by area and id, paged by cursor."
    )
    indicators: list[IndicatorInfo] = strawberry.field(resolver=indicators, description="Every indicator that is declared.")


@strawberry.type
class CoverageMutation:
    set_indicator_target: IndicatorTarget = strawberry.mutation(
        resolver=set_indicator_target,
        description="Sets what is aimed at in an area and, unless they have their own, below it; for administrators and supervisors.",
    )
