"""A small invented country: provinces of cities of counties on a grid of degrees, as boundaries, tree and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.chains import chains
from geo.versions import AREA_COLUMNS, BOUNDARY_COLUMNS, take_over, take_over_boundaries
from schema.areas import ROOT, Level

BEGINNING = date(2000, 1, 1)
__all__ = ["AREA_COLUMNS", "BEGINNING", "BOUNDARY_COLUMNS", "country", "outlines"]


def level_of(code: str) -> Level:
    if code == ROOT:
        return Level.COUNTRY
    if code.startswith("J"):
        return Level.JURISDICTION
    return Level.TOWNSHIP if len(code) == 9 else _DIGITS[len(code.rstrip("0"))]


_DIGITS = {2: Level.PROVINCE, 4: Level.CITY, 6: Level.COUNTY, 5: Level.COUNTY, 3: Level.CITY, 1: Level.PROVINCE}


async def country(
    connection: AsyncConnection, parents: Mapping[str, str], on: date, members: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Make the tree say what `parents` says, from `on`; the codes whose chains changed."""
    tree: dict[str, str | None] = {ROOT: None, **parents}
    lines = chains(tree, members or {})
    rows = [
        (
            code,
            f"名{code}",
            f"名{code}",
            level_of(code),
            "jurisdiction" if code.startswith("J") else "division",
            parent,
            BEGINNING,
            None,
            lines[code],
            (),
            (level_of(code),),
            "test",
            None,
            None,
            None,
        )
        for code, parent in tree.items()
    ]
    return await take_over(connection, rows, on)


async def outlines(connection: AsyncConnection, shapes: Mapping[str, BaseGeometry], on: date) -> list[str]:
    """Make these the outlines of their codes from `on`; the codes whose outline is new."""
    rows = [(code, "zhijian", "test", "official", shapely.to_wkb(shape)) for code, shape in shapes.items()]
    return await take_over_boundaries(connection, rows, list(shapes), on)


async def empty(connection: AsyncConnection) -> None:
    drawn = "area_boundary, area_piece, area_shape, area_tile"
    tables = f"area, area_version, {drawn}, area_succession, jurisdiction_member, area_source, area_job"
    await connection.execute(text(f"DELETE FROM {tables.split(', ', maxsplit=1)[0]}"))
    for table in tables.split(", ")[1:]:
        await connection.execute(text(f"DELETE FROM {table}"))
