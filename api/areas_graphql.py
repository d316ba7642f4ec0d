"""Areas in GraphQL, for drilling down and for placing names on a map. What areas there are is public to whoever is signed in."""

from __future__ import annotations

import datetime
from typing import Any

import strawberry
from sqlalchemy import text
from strawberry import Info

from api.context import RequestContext
from schema.areas import ROOT, Level, Tree
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
strawberry.enum(Level, name="AreaLevel", description="How far down an area stands; also a layer of the map.")
strawberry.enum(Tree, name="Tree", description="Divisions by law, or jurisdictions (管委会、功能区) beside them.")
UNKNOWN = Problem("AREA_UNKNOWN", "There is no area with this code.", "area")


@strawberry.type(description="An administrative area in use today.")
class Area:
    code: strawberry.ID
    name: str
    level: Level
    point: list[float] | None = strawberry.field(description="lon, lat of a place inside, WGS 84; null where no source has one.")
    bounds: list[float] | None = strawberry.field(description="west, south, east, north in degrees; null without a boundary.")

    @strawberry.field(description="What it belongs to, from the province down, without itself.")
    async def ancestors(self, info: ContextInfo) -> list[Area]:
        return await _areas(info, _ANCESTORS, code=self.code)

    @strawberry.field(description="The levels below on which it has areas, from the top.")
    async def levels(self, info: ContextInfo) -> list[Level]:
        found = {row["layer"] for row in await _rows(info, _LEVELS, code=self.code, today=info.context.now.date())}
        return [level for level in Level if level in found]


async def area(info: ContextInfo, code: strawberry.ID) -> Area:
    found = await _areas(info, _ONE, code=code)
    if not found:
        raise Refused(UNKNOWN)
    return found[0]


async def areas(info: ContextInfo, parent: strawberry.ID, level: Level) -> list[Area]:
    return await _areas(info, _BELOW, code=parent, level=level.value, today=info.context.now.date())


@strawberry.type
class AreaQuery:
    area: Area = strawberry.field(resolver=area, description="One area by its code; Refused with AREA_UNKNOWN.")
    areas: list[Area] = strawberry.field(resolver=areas, description="The areas within `parent` on one level, in order of code.")


_FIELDS = "a.code, a.name, a.level, ST_X(a.point) AS lon, ST_Y(a.point) AS lat, a.bounds"
_TODAY = "a.valid_from <= :today AND (a.valid_to IS NULL OR a.valid_to > :today)"
_WITHIN = f"a.code <> :code AND (:code = '{ROOT}' OR a.chain @> ARRAY[:code]) AND {_TODAY}"
_ONE = text(f"SELECT {_FIELDS} FROM area a WHERE a.code = :code")
_BELOW = text(f"SELECT {_FIELDS} FROM area a WHERE {_WITHIN} AND :level = ANY(a.layers) ORDER BY a.code")
_ANCESTORS = text(
    f"SELECT {_FIELDS} FROM area me CROSS JOIN unnest(me.chain) AS up(code) JOIN area a ON a.code = up.code "
    f"WHERE me.code = :code AND a.code <> me.code AND a.tree = '{Tree.DIVISION}' ORDER BY cardinality(a.chain), a.code"
)
_LEVELS = text(f"SELECT DISTINCT unnest(a.layers) AS layer FROM area a WHERE {_WITHIN}")


async def _rows(info: ContextInfo, statement: Any, **values: str | datetime.date) -> list[Any]:
    info.context.signed_in()
    async with info.context.database.engine.connect() as connection:
        return list((await connection.execute(statement, values)).mappings())


async def _areas(info: ContextInfo, statement: Any, **values: str | datetime.date) -> list[Area]:
    return [_area(row) for row in await _rows(info, statement, **values)]


def _area(row: Any) -> Area:
    point = None if row["lon"] is None else [row["lon"], row["lat"]]
    return Area(code=row["code"], name=row["name"], level=Level(row["level"]), point=point, bounds=row["bounds"])
