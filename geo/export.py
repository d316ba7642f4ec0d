"""Shapes of areas for files that leave the house."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.tiles import step
from schema.areas import Level

FINE_UP_TO = 150
"""So many areas come with their finer shapes; more would make a file that no program opens gladly."""
_FINE, _COARSE = 7, 5  # zooms of the tiles whose simplification is taken

_SHAPES = text("""
SELECT a.code, coalesce(ST_AsGeoJSON(ST_ForcePolygonCCW(ST_Transform(s.geom, 4326)), 5), ST_AsGeoJSON(a.point, 6)) AS shape
  FROM area a LEFT JOIN area_shape s ON s.code = a.code AND s.layer = :layer AND s.step = :step
 WHERE a.code = ANY(:codes)""")


async def shapes(connection: AsyncConnection, level: Level, codes: Sequence[str]) -> dict[str, str | None]:
    """GeoJSON geometries by code, WGS 84: the boundary, else the area's point; None where no source has either."""
    zoom = _FINE if len(codes) <= FINE_UP_TO else _COARSE
    rows = await connection.execute(_SHAPES, {"layer": level.value, "step": step(zoom), "codes": list(codes)})
    return {row.code: row.shape for row in rows}
