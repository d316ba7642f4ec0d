"""The map of today's outlines, drawn once when they change: simplified by zoom, and for far zooms cut into tiles as well.

A far tile holds a thousand areas of which it shows a corner of each; cut beforehand they need only be put together, with whatever values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.bulk import copy
from geo.gazetteer import STEPS
from schema.areas import Level

DEEPEST = max(STEPS)
CUT_TO = 7  # the last zoom whose tiles are cut; from the next on a tile holds few areas, and there would be many tiles
# From which zoom a layer is in the tile: before it, its areas are smaller than a few pixels.
FIRST_ZOOM = {Level.PROVINCE: 0, Level.CITY: 2, Level.COUNTY: 3, Level.TOWNSHIP: 9}
EXTENT, MARGIN = 4096, 64  # units of a tile, and how far beyond its edge its areas reach
HALF = 20037508.342789244  # metres from the middle of the map of EPSG:3857 to its edge

# Not ST_AsMVTGeom: it cuts and mends every polygon, also those that lie inside the tile, and takes most of the time (geo/README.md).
DRAWN = """ST_SnapToGrid(ST_Affine(ST_ForcePolygonCW(ST_CollectionExtract(
    CASE WHEN {geom} @ {box} THEN {geom} ELSE ST_ClipByBox2D({geom}, {box}::box2d) END, 3)),
    {scale}, 0, 0, -{scale}, {right}, {down}), 1)"""
"""SQL of what a tile shows of an outline, in its units."""


def step(z: int) -> int:
    """The step of simplification that is drawn at zoom `z`."""
    return next(last for last in STEPS if z <= last)


async def redraw(connection: AsyncConnection, shapes: Sequence[tuple[Any, ...]]) -> None:
    """Put these (layer, step, code, WKB in Web Mercator) in the place of all shapes but the townships'."""
    await connection.execute(text("DELETE FROM area_shape WHERE layer <> 'township'"))
    await copy(connection, "area_shape", "layer, step, code, geom", shapes)
    await cut(connection)


async def cut(connection: AsyncConnection) -> None:
    """Cut the shapes of the far zooms into their tiles anew."""
    await connection.execute(text("DELETE FROM area_tile"))
    await connection.execute(_CUT)


_ZOOMS = ", ".join(
    f"('{layer.value}', {z}, {step(z)}, {2 * HALF / 2**z!r}::float8)"
    for layer, first in FIRST_ZOOM.items()
    for z in range(first, CUT_TO + 1)
)
_REACH = MARGIN / EXTENT


def _tiles(first: str, last: str) -> str:
    """SQL of the columns or rows of tiles between two distances from the map's edge, in metres; none beyond the map."""
    ends = f"floor(({first}) / z.edge - {_REACH})::integer", f"floor(({last}) / z.edge + {_REACH})::integer"
    return f"generate_series(greatest({ends[0]}, 0), least({ends[1]}, (1 << z.zoom) - 1))"


_CUT = text(f"""
INSERT INTO area_tile (layer, zoom, x, y, code, geom)
SELECT layer, zoom, x, y, code, ST_SetSRID(geom, 0) FROM (
  SELECT t.layer, t.zoom, t.x, t.y, t.code, {
    DRAWN.format(
        geom="t.geom", box="t.box", scale="t.scale", right=f"{HALF} * t.scale - t.x * {EXTENT}", down=f"{HALF} * t.scale - t.y * {EXTENT}"
    )
} AS geom
    FROM (SELECT z.layer, z.zoom, x, y, s.code, s.geom, ST_TileEnvelope(z.zoom, x, y, margin => {_REACH}) AS box, {EXTENT} / z.edge AS scale
            FROM (VALUES {_ZOOMS}) z(layer, zoom, step, edge) JOIN area_shape s ON s.layer = z.layer AND s.step = z.step
            CROSS JOIN LATERAL {_tiles(f"ST_XMin(s.geom) + {HALF}", f"ST_XMax(s.geom) + {HALF}")} x
            CROSS JOIN LATERAL {_tiles(f"{HALF} - ST_YMax(s.geom)", f"{HALF} - ST_YMin(s.geom)")} y OFFSET 0) t
   WHERE t.geom && t.box OFFSET 0) t
 WHERE NOT ST_IsEmpty(geom) ORDER BY layer, zoom, x, y, code""")
