"""Vector tiles of area boundaries: without rights, the same for whoever is signed in; with an indicator's values, those of the reader."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.coverage import AreaValue
from geo.gazetteer import STEPS
from schema.areas import Level
from schema.problems import Problem, Refused

VERSION_SQL = text("SELECT md5(string_agg(name || version, ' ' ORDER BY name)) FROM area_source WHERE name <> 'members'")
DEEPEST = max(STEPS)
# From which zoom a layer is in the tile: before it, its areas are smaller than a few pixels.
FIRST_ZOOM = {Level.PROVINCE: 0, Level.CITY: 2, Level.COUNTY: 3, Level.TOWNSHIP: 9}

_LAYER = """
SELECT ST_AsMVT(t, :layer, 4096, 'geom') FROM (
  SELECT s.code, a.name, NULLIF(a.derived, false) AS derived, ST_AsMVTGeom(s.geom, ST_TileEnvelope(:z, :x, :y), 4096, 64, true) AS geom
    FROM area_shape s JOIN area a USING (code)
   WHERE s.layer = :layer AND s.step = :step AND s.geom && ST_TileEnvelope(:z, :x, :y, margin => 64.0 / 4096)
) t WHERE t.geom IS NOT NULL"""
AREA_LAYER_SQL = text(_LAYER)


async def area_tile(connection: AsyncConnection, z: int, x: int, y: int) -> bytes:
    """The Mapbox vector tile of province, city, county and (from zoom 9) township boundaries, one layer each.

    Features have `code` and `name`, and `derived` (true) where the outline is not surveyed.
    b"" where nothing is. Raises Refused TILE_UNKNOWN for a tile that does not exist.
    """
    check_tile(z, x, y)
    layers = [layer for layer, first in FIRST_ZOOM.items() if z >= first]
    return b"".join([await area_layer(connection, layer, z, x, y) for layer in layers])


async def area_layer(connection: AsyncConnection, layer: Level, z: int, x: int, y: int) -> bytes:
    """One layer of `area_tile`: tiles are concatenations of layers."""
    parameters = {"layer": layer.value, "step": DEEPEST if layer is Level.TOWNSHIP else step(z), "z": z, "x": x, "y": y}
    found: bytes | None = await connection.scalar(AREA_LAYER_SQL, parameters)
    return found or b""


async def valued_tile(connection: AsyncConnection, level: Level, values: Mapping[str, AreaValue], z: int, x: int, y: int) -> bytes:
    """The layer of a level with the values of an indicator; areas without an entry in `values` are left out, b"" if all are."""
    place = {"layer": level.value, "step": step(z), "z": z, "x": x, "y": y}
    inside = await connection.scalars(_INSIDE, place)
    shown = [values[code] for code in inside if code in values]
    if not shown:
        return b""
    columns = {name: [_said(value, name) for value in shown] for name in _SAID}
    found: bytes | None = await connection.scalar(_VALUED, {**place, **columns})
    return found or b""


def _said(value: AreaValue, name: str) -> object:
    if name == "target":
        return value.target.value if value.target else None
    return (value.suppressed or None) if name == "suppressed" else getattr(value, name)


_SAID = ("code", "value", "numerator", "denominator", "target", "gap", "suppressed")
_AT = """s.layer = :layer AND s.step = :step AND s.geom && ST_TileEnvelope(:z, :x, :y, margin => 64.0 / 4096)"""
_INSIDE = text(f"SELECT s.code FROM area_shape s WHERE {_AT}")
_VALUED = text("""
SELECT ST_AsMVT(t, :layer, 4096, 'geom') FROM (
  SELECT v.code, a.name, CAST(:layer AS text) AS level, v.value, v.numerator, v.denominator, v.target, v.gap, v.suppressed,
         ST_AsMVTGeom(s.geom, ST_TileEnvelope(:z, :x, :y), 4096, 64, true) AS geom
    FROM unnest(CAST(:code AS text[]), CAST(:value AS float8[]), CAST(:numerator AS integer[]), CAST(:denominator AS integer[]),
                CAST(:target AS float8[]), CAST(:gap AS float8[]), CAST(:suppressed AS boolean[]))
         v(code, value, numerator, denominator, target, gap, suppressed)
    JOIN area a USING (code) JOIN area_shape s ON s.layer = :layer AND s.step = :step AND s.code = v.code
) t WHERE t.geom IS NOT NULL""")


async def areas_version(connection: AsyncConnection) -> str:
    """Changes when the boundaries do: the tiles' ETag."""
    found: str | None = await connection.scalar(VERSION_SQL)
    return found or "none"


def step(z: int) -> int:
    """The step of simplification that is drawn at zoom `z`."""
    return next(last for last in STEPS if z <= last)


def check_tile(z: int, x: int, y: int) -> None:
    """Raises Refused TILE_UNKNOWN unless the tile exists."""
    if not (0 <= z <= DEEPEST and 0 <= x < 2**z and 0 <= y < 2**z):
        raise Refused(Problem("TILE_UNKNOWN", f"没有瓦片 {z}/{x}/{y}。", "tile"))
