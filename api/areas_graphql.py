"""Areas in GraphQL, for drilling down and for placing names on a map. What areas there are is public to whoever is signed in."""

from __future__ import annotations

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.types import AreaName, Date
from api.locate_graphql import day
from geo.areas import AreaDetail, AreaPlace, area_detail, areas_below
from schema.areas import Level
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]


@strawberry.type(description="An administrative area or jurisdiction.")
class Area:
    code: strawberry.ID
    name: str
    full_name: str
    level: Level
    point: list[float] | None = strawberry.field(description="lon, lat of a place inside, WGS 84; null where no source has one.")
    derived: bool = strawberry.field(description="Whether its outline is derived from points and not surveyed.")
    bounds: list[float] | None = strawberry.field(description="west, south, east, north in degrees; null without a boundary.")


@strawberry.type(description="An area and where it stands in the tree.")
class AreaDetails(Area):
    ancestors: list[AreaName] = strawberry.field(description="What it belongs to, from the province down, without itself.")
    levels: list[Level] = strawberry.field(description="The levels below on which it has areas, from the top.")


async def area(info: ContextInfo, code: strawberry.ID, as_of: Date | None = None) -> AreaDetails:
    info.context.signed_in()
    async with info.context.database.engine.connect() as connection:
        found = await area_detail(connection, code, day(as_of))
    if found is None:
        raise Refused(Problem("AREA_UNKNOWN", f"没有代码为 {code} 的区划或管辖区。", "code"))
    return _details(found)


async def areas(info: ContextInfo, parent: strawberry.ID, level: Level, as_of: Date | None = None) -> list[Area]:
    info.context.signed_in()
    on = day(as_of) or info.context.now.date()
    async with info.context.database.engine.connect() as connection:
        return [_area(found) for found in await areas_below(connection, parent, level, on)]


@strawberry.type
class AreaQuery:
    area: AreaDetails = strawberry.field(resolver=area, description="One area by its code, retired ones too; refused with AREA_UNKNOWN.")
    areas: list[Area] = strawberry.field(resolver=areas, description="The areas of one level within `parent`, in order of code.")


def _details(found: AreaDetail) -> AreaDetails:
    ancestors = [AreaName(code=strawberry.ID(above.code), name=above.name, derived=above.derived) for above in found.ancestors]
    return AreaDetails(**vars(_area(found)), ancestors=ancestors, levels=list(found.levels))


def _area(found: AreaPlace) -> Area:
    return Area(
        code=strawberry.ID(found.code),
        name=found.name,
        full_name=found.full_name,
        derived=found.derived,
        level=found.level,
        point=None if found.point is None else list(found.point),
        bounds=None if found.bounds is None else list(found.bounds),
    )
