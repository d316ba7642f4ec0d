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


_STATE = "code, name, full_name, level, tree, parent_code, valid_from, valid_to, chain, other_codes, layers, point, bounds"
# Two plain tables without a join: so PostgreSQL looks codes up in both by index.
EVERY = f"(SELECT {_STATE}, derived FROM area UNION ALL SELECT {_STATE}, false FROM area_version)"
"""FROM item: every state that an area has had; to be narrowed by `valid`."""


def areas_on(alias: str, on: date | None) -> str:
    """FROM item: areas as they are, or, if there is a day, every state of them."""
    return f"area {alias}" if on is None else f"{EVERY} {alias}"


@dataclass(frozen=True)
class AreaName:
    """An area as it is named in a list or a chain; `derived`: its outline is not surveyed."""

    code: str
    name: str
    level: Level
    tree: Tree
    derived: bool


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


_PLACE = (
    "a.code, a.name, a.level, a.tree, a.derived, a.full_name, a.valid_from, a.valid_to,"
    " ST_X(a.point) AS lon, ST_Y(a.point) AS lat, a.bounds"
)


def _one(on: date | None) -> str:
    # A code that was not in use on the day is answered as it was first after it, or last before it.
    nearest = "" if on is None else f"{valid('a')} DESC, a.valid_from > {ON} DESC, a.valid_from, "
    found = "a.code = :code OR a.other_codes @> ARRAY[:code]"
    return f"SELECT {_PLACE}, a.chain FROM {areas_on('a', on)} WHERE {found} ORDER BY a.code = :code DESC, {nearest}a.code LIMIT 1"


def _names(on: date | None) -> str:
    order = "" if on is None else f", {valid('a')} DESC, a.valid_from"
    return f"""
SELECT DISTINCT ON (u.place) a.code, a.name, a.level, a.tree, a.derived
  FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY u(code, place) JOIN {areas_on("a", on)} ON a.code = u.code
 ORDER BY u.place{order}"""


def _day(on: date | None) -> dict[str, date]:
    return {} if on is None else {"on": on}


async def area_detail(connection: AsyncConnection, code: str, on: date | None = None) -> AreaDetail | None:
    """The area of a code, retired ones and codes of other books included; None if there is none. As it was on the day `on`."""
    row = (await connection.execute(text(_one(on)), {"code": code, **_day(on)})).one_or_none()
    if row is None:
        return None
    ancestors = await area_names(connection, row.chain[:0:-1], on)
    return AreaDetail(**_place(row), ancestors=tuple(ancestors), levels=await _levels_below(connection, row.code))


async def areas_below(connection: AsyncConnection, code: str, level: Level, on: date | None = None) -> list[AreaPlace]:
    """The areas of one level inside an area, in order of code; a level tiles the country, so 北京 is also among the cities."""
    where = f"{inside('a', code)} AND a.layers @> ARRAY[:level] AND {valid('a')}"
    query = f"SELECT {_PLACE} FROM {areas_on('a', on)} WHERE {where} ORDER BY a.code"
    rows = await connection.execute(text(query), {"area": code, "level": level.value, "on": on})
    return [AreaPlace(**_place(row)) for row in rows]


async def area_names(connection: AsyncConnection, codes: Sequence[str], on: date | None = None) -> list[AreaName]:
    """The names of codes, in the order asked; unknown codes are left out."""
    rows = await connection.execute(text(_names(on)), {"codes": list(codes), **_day(on)})
    return [AreaName(row.code, row.name, Level(row.level), Tree(row.tree), row.derived) for row in rows]


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
        "derived": row.derived,
        "full_name": row.full_name,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "point": None if row.lon is None else (row.lon, row.lat),
        "bounds": None if row.bounds is None else tuple(row.bounds),
    }
