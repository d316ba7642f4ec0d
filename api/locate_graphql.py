"""Where a position lies, in GraphQL."""

from __future__ import annotations

import datetime

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.types import AreaName, Date
from geo import locate as places
from geo.coordinates import Datum
from schema.problems import Problem, Refused

strawberry.enum(Datum, name="Datum", description="The coordinate system that a position was given in.")


async def locate(
    info: Info[RequestContext, None], lon: float, lat: float, datum: Datum = Datum.WGS84, as_of: Date | None = None
) -> list[AreaName]:
    """From the province down to the township where it has an outline, be it `derived`; empty outside China."""
    info.context.signed_in()
    async with info.context.database.engine.connect() as connection:
        found = await places.locate(connection, lon, lat, datum, day(as_of))
    return [AreaName(code=strawberry.ID(area.code), name=area.name, derived=area.derived) for area in found]


def day(text: str | None) -> datetime.date | None:
    """The date in a Date argument. Raises Refused."""
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused(Problem("DATE_INVALID", f"日期应写作 YYYY-MM-DD，收到 {text!r}", "asOf")) from None


@strawberry.type
class LocateQuery:
    locate: list[AreaName] = strawberry.field(resolver=locate, description="The chain of areas in which a position lies.")
