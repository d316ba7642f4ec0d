"""Coverage in GraphQL: one indicator over the areas of one level. The counting is `geo.coverage`'s."""

from __future__ import annotations

import datetime

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry import Info

from api.context import RequestContext
from api.graphql.types import AreaName, Date
from geo import coverage as counting
from geo.areas import area_detail
from geo.scope import in_scope
from schema.actor import Actor
from schema.areas import ROOT, Level, Tree
from schema.problems import Problem, Refused
from schema.registry import load

ContextInfo = Info[RequestContext, None]
strawberry.enum(Tree, name="Tree", description="Divisions by law, or jurisdictions (管委会、功能区) beside them.")
TARGET = 1.0  # every township has a coordinator: requirements B52


@strawberry.type(description="An indicator's value for one area.")
class AreaValue:
    area: AreaName
    numerator: int
    denominator: int
    value: float | None = strawberry.field(description="Share from 0 to 1; null where the denominator is 0: no data, not 0 %.")
    target: float | None = strawberry.field(description="What is aimed at, 0 to 1; null without a target.")
    gap: float | None = strawberry.field(description="target - value; null if either is.")
    provenance: str = strawberry.field(description="What was counted, as of which day.")


async def coverage(
    info: ContextInfo,
    indicator: strawberry.ID,
    area: strawberry.ID,
    level: Level,
    tree: Tree | None = None,
    period: str | None = None,
    as_of: Date | None = None,
) -> list[AreaValue]:
    """A level says its tree already, and this indicator counts who is in office on one day: `tree` and `period` wait for others."""
    actor = info.context.signed_in()
    if indicator != counting.COORDINATOR_TOWNSHIPS:
        raise Refused(Problem("INDICATOR_UNKNOWN", f"没有指标 {indicator}。", "indicator"))
    on = _day(as_of) or info.context.now.date()
    async with info.context.database.engine.connect() as connection:
        await _check_scope(connection, actor, area)
        found = await counting.township_coverage(connection, actor, load()["coordinator"], area, level, on)
    return [_value(row, on) for row in found]


async def _check_scope(connection: AsyncConnection, actor: Actor, code: str) -> None:
    """The country belongs to nobody's chain: there, everybody finds the areas of their own."""
    found = await area_detail(connection, code)
    chain = [] if found is None else [found.code, *(above.code for above in found.ancestors)]
    if chain and code != ROOT and not in_scope(actor, chain):
        raise Refused(Problem("AREA_OUT_OF_SCOPE", "该地区不在您的辖区范围内。", "area"))


def _day(text: str | None) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused(Problem("DATE_INVALID", "日期应写作 YYYY-MM-DD。", "asOf")) from None


def _value(row: counting.AreaValue, on: datetime.date) -> AreaValue:
    return AreaValue(
        area=AreaName(code=strawberry.ID(row.code), name=row.name),
        numerator=row.numerator,
        denominator=row.denominator,
        value=row.value,
        target=TARGET,
        gap=None if row.value is None else TARGET - row.value,
        provenance=f"coordinator.status = ACTIVE, {on}",
    )


@strawberry.type
class CoverageQuery:
    coverage: list[AreaValue] = strawberry.field(resolver=coverage, description="An indicator for each area of `level` within `area`.")
