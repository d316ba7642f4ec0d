"""Coverage in GraphQL: one indicator over the areas of one level. The counting is `geo.coverage`'s."""

from __future__ import annotations

import datetime

import strawberry
from strawberry import Info

from api.accounts_graphql import AreaName
from api.context import RequestContext
from api.graphql.types import Date
from geo import coverage as counting
from schema.areas import Level, Tree
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
COORDINATOR_TOWNSHIPS = "COORDINATOR-TOWNSHIPS"  # 有在岗协管员的乡镇占比, requirements section 7
TARGET = 1.0  # every township has one: S1 六(二是)


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
    tree: Tree = Tree.DIVISION,
    period: str | None = None,
    as_of: Date | None = None,
) -> list[AreaValue]:
    """`period` is for indicators that count events; this one counts who is in office on `as_of`, today if it is not given."""
    actor = info.context.signed_in()
    if indicator != COORDINATOR_TOWNSHIPS:
        raise Refused(Problem("INDICATOR_UNKNOWN", f"There is no indicator {indicator!r}.", "indicator"))
    on = _day(as_of) or info.context.now.date()
    async with info.context.database.engine.connect() as connection:
        found = await counting.township_coverage(connection, actor, area, on, level, tree)
    return [_value(row, on) for row in found]


def _day(text: str | None) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused(Problem("DATE_INVALID", "A date is written YYYY-MM-DD.", "asOf")) from None


def _value(row: counting.AreaCoverage, on: datetime.date) -> AreaValue:
    return AreaValue(
        area=AreaName(code=row.code, name=row.name),
        numerator=row.numerator,
        denominator=row.denominator,
        value=row.value,
        target=TARGET,
        gap=None if row.value is None else TARGET - row.value,
        provenance=f"coordinator.status ACTIVE, {on}",
    )


@strawberry.type
class CoverageQuery:
    coverage: list[AreaValue] = strawberry.field(resolver=coverage, description="An indicator for each area of `level` within `area`.")
