"""Shapes of areas for files that leave the house."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.area_tiles import DEEPEST, step
from schema.areas import Level

FINE_UP_TO = 150
"""So many areas come with their finer shapes; more would make a file that no program opens gladly."""
_FINE, _COARSE = 7, 5  # zooms of the tiles whose simplification is taken


@dataclass(frozen=True)
class Shape:
    """A GeoJSON geometry as text; `derived`: an outline that nobody has surveyed."""

    geometry: str
    derived: bool


_SHAPES = text("""
SELECT a.code, a.derived AND s.geom IS NOT NULL AS derived,
       coalesce(ST_AsGeoJSON(ST_ForcePolygonCCW(ST_Transform(s.geom, 4326)), 5), ST_AsGeoJSON(a.point, 6)) AS geometry
  FROM area a LEFT JOIN area_shape s ON s.code = a.code AND s.layer = :layer AND s.step = :step
 WHERE a.code = ANY(:codes) AND (s.geom IS NOT NULL OR a.point IS NOT NULL)""")


async def shapes(connection: AsyncConnection, level: Level, codes: Sequence[str]) -> dict[str, Shape]:
    """By code, WGS 84: the outline, else the area's point; nothing where no source has either."""
    zoom = DEEPEST if level is Level.TOWNSHIP else _FINE if len(codes) <= FINE_UP_TO else _COARSE
    rows = await connection.execute(_SHAPES, {"layer": level.value, "step": step(zoom), "codes": list(codes)})
    return {row.code: Shape(row.geometry, row.derived) for row in rows}
