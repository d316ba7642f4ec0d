"""Looks areas up: one with its ancestors, those below, and the one that a retired code became."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from schema.areas import ROOT, Level, Tree

ON = "coalesce(CAST(:on AS date), current_date)"


def valid(alias: str, on: str = ON) -> str:
    """The condition in SQL under which a row with valid_from and valid_to holds on the day of parameter `on`; null is today."""
    return f"({alias}.valid_from <= {on} AND ({alias}.valid_to IS NULL OR {alias}.valid_to > {on}))"


def inside(alias: str, code: str) -> str:
    """The condition in SQL for being `code` (parameter `area`) or below it."""
    # Two conditions, not one with OR, so that the planner knows how many rows come.
    return "true" if code == ROOT else f"{alias}.chain @> ARRAY[:area]"


@dataclass(frozen=True)
class AreaName:
    """An area as it is named in a list or a chain."""

    code: str
    name: str
    level: Level
    tree: Tree


@dataclass(frozen=True)
class AreaPlace(AreaName):
    """An area with its place on the map: `point` lon lat, `bounds` west south east north, WGS 84; None where no source has one."""

    full_name: str
    valid_from: date
    valid_to: date | None
    point: tuple[float, float] | None
    bounds: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class AreaDetail(AreaPlace):
    """`ancestors` from the province down, without the area itself; `levels` of the areas below it, from the top."""

    ancestors: tuple[AreaName, ...]
    levels: tuple[Level, ...]


_PLACE = "a.code, a.name, a.level, a.tree, a.full_name, a.valid_from, a.valid_to, ST_X(a.point) AS lon, ST_Y(a.point) AS lat, a.bounds"
_ONE = text(f"""
SELECT {_PLACE}, a.chain FROM area a WHERE a.code = :code OR a.other_codes @> ARRAY[:code]
 ORDER BY a.code = :code DESC, a.code LIMIT 1""")
_NAMES = text("""
SELECT a.code, a.name, a.level, a.tree FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY u(code, place)
  JOIN area a ON a.code = u.code ORDER BY u.place""")


async def area_detail(connection: AsyncConnection, code: str) -> AreaDetail | None:
    """The area of a code, retired ones and codes of other books included; None if there is none."""
    row = (await connection.execute(_ONE, {"code": code})).one_or_none()
    if row is None:
        return None
    ancestors = await area_names(connection, row.chain[:0:-1])
    return AreaDetail(**_place(row), ancestors=tuple(ancestors), levels=await _levels_below(connection, row.code))


async def areas_below(connection: AsyncConnection, code: str, level: Level, on: date | None = None) -> list[AreaPlace]:
    """The areas of one level inside an area, in order of code; a level tiles the country, so 北京 is also among the cities."""
    query = f"SELECT {_PLACE} FROM area a WHERE {inside('a', code)} AND a.layers @> ARRAY[:level] AND {valid('a')} ORDER BY a.code"
    rows = await connection.execute(text(query), {"area": code, "level": level.value, "on": on})
    return [AreaPlace(**_place(row)) for row in rows]


async def area_names(connection: AsyncConnection, codes: Sequence[str]) -> list[AreaName]:
    """The names of codes, in the order asked; unknown codes are left out."""
    rows = await connection.execute(_NAMES, {"codes": list(codes)})
    return [AreaName(row.code, row.name, Level(row.level), Tree(row.tree)) for row in rows]


async def _levels_below(connection: AsyncConnection, code: str) -> tuple[Level, ...]:
    below = f"{inside('a', code)} AND a.code NOT IN (:area, '{ROOT}') AND a.valid_to IS NULL"
    query = f"SELECT DISTINCT unnest(a.layers) FROM area a WHERE {below}"
    found = set(await connection.scalars(text(query), {"area": code}))
    return tuple(level for level in Level if level in found)


def _place(row: Any) -> dict[str, Any]:
    return {
        "code": row.code,
        "name": row.name,
        "level": Level(row.level),
        "tree": Tree(row.tree),
        "full_name": row.full_name,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "point": None if row.lon is None else (row.lon, row.lat),
        "bounds": None if row.bounds is None else tuple(row.bounds),
    }
