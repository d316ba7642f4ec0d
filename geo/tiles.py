"""Vector tiles of area boundaries: without rights, the same for whoever is signed in; with an indicator's values, those of the reader."""

from __future__ import annotations

from collections.abc import Mapping

from geo.coverage import AreaValue
from geo.gazetteer import STEPS
from geo.reads import Reads
from schema.areas import Level
from schema.problems import Problem, Refused

VERSION_SQL = "SELECT md5(string_agg(name || version, ' ' ORDER BY name)) AS version FROM area_source WHERE name <> 'members'"
DEEPEST = max(STEPS)
# From which zoom a layer is in the tile: before it, its areas are smaller than a few pixels.
FIRST_ZOOM = {Level.PROVINCE: 0, Level.CITY: 2, Level.COUNTY: 3, Level.TOWNSHIP: 9}

EXTENT, MARGIN = 4096, 64  # units of a tile, and how far beyond its edge its areas reach
HALF = 20037508.342789244  # metres from the middle of the map of EPSG:3857 to its edge


async def area_tile(reads: Reads, z: int, x: int, y: int) -> bytes:
    """The Mapbox vector tile of province, city, county and (from zoom 9) township boundaries, one layer each.

    Features have `code`, `name` and `level`, and `derived` (true) where the outline is not surveyed.
    b"" where nothing is. Raises Refused TILE_UNKNOWN for a tile that does not exist.
    """
    check_tile(z, x, y)
    return b"".join([await area_layer(reads, layer, z, x, y) for layer in FIRST_ZOOM])


async def area_layer(reads: Reads, layer: Level, z: int, x: int, y: int) -> bytes:
    """One layer of `area_tile`: tiles are concatenations of layers."""
    if z < FIRST_ZOOM[layer]:
        return b""
    row = await reads.fetchrow(_PLAIN, *_place(layer, z, x, y))
    return row["tile"] or b""


async def valued_tile(reads: Reads, level: Level, values: Mapping[str, AreaValue], z: int, x: int, y: int) -> bytes:
    """The layer of a level with the values of an indicator; areas without an entry in `values` are left out, b"" if all are."""
    if z < FIRST_ZOOM[level]:
        return b""
    place = _place(level, z, x, y)
    inside = await reads.fetch(_INSIDE, *place[:5])
    shown = [values[row["code"]] for row in inside if row["code"] in values]
    if not shown:
        return b""
    columns = [[_said(value, name) for value in shown] for name in _SAID]
    row = await reads.fetchrow(_VALUED, *place, *columns)
    return row["tile"] or b""


def _said(value: AreaValue, name: str) -> object:
    if name == "target":
        return value.target.value if value.target else None
    return (value.suppressed or None) if name == "suppressed" else getattr(value, name)


def _place(layer: Level, z: int, x: int, y: int) -> tuple[str, int, int, int, int, float, float, float]:
    """Layer, step, tile, and what brings metres to units of the tile: scale and shifts."""
    scale = EXTENT * 2**z / (2 * HALF)
    shifts = HALF * scale - x * EXTENT, HALF * scale - y * EXTENT
    return layer.value, DEEPEST if layer is Level.TOWNSHIP else step(z), z, x, y, scale, *shifts


# Not ST_AsMVTGeom: it cuts and mends every polygon, also those that lie inside the tile, and takes most of the time (geo/README.md).
_BOX = f"WITH b AS MATERIALIZED (SELECT ST_TileEnvelope($3::integer, $4::integer, $5::integer, margin => {MARGIN / EXTENT}) AS box)"
_INSIDE_BOX = "s.layer = $1::text AND s.step = $2::integer AND s.geom && b.box"
_GEOM = """ST_SnapToGrid(ST_Affine(ST_ForcePolygonCW(ST_CollectionExtract(
    CASE WHEN s.geom @ b.box THEN s.geom ELSE ST_ClipByBox2D(s.geom, b.box::box2d) END, 3)),
    $6::float8, 0, 0, -$6::float8, $7::float8, $8::float8), 1) AS geom"""


def _tile_of(columns: str, join: str = "") -> str:
    """SQL of a layer; the fence (OFFSET 0) keeps the geometry from being made once more to be tested."""
    return f"""{_BOX}
SELECT ST_AsMVT(t, $1::text, {EXTENT}, 'geom') AS tile FROM (
  SELECT s.code, a.name, {columns}, NULLIF(a.derived, false) AS derived, {_GEOM}
    FROM b JOIN area_shape s ON {_INSIDE_BOX} JOIN area a USING (code){join} OFFSET 0
) t WHERE NOT ST_IsEmpty(t.geom)"""


_SAID = ("code", "value", "numerator", "denominator", "target", "gap", "suppressed")
_INSIDE = f"{_BOX} SELECT s.code FROM b JOIN area_shape s ON {_INSIDE_BOX}"
_PLAIN = _tile_of("$1::text AS level")
_VALUED = _tile_of(
    "$1::text AS level, v.value, v.numerator, v.denominator, v.target, v.gap, v.suppressed",
    f"""
    JOIN unnest($9::text[], $10::float8[], $11::integer[], $12::integer[], $13::float8[], $14::float8[], $15::boolean[])
         v({", ".join(_SAID)}) USING (code)""",
)


async def areas_version(reads: Reads) -> str:
    """Changes when the boundaries do: the tiles' ETag."""
    row = await reads.fetchrow(VERSION_SQL)
    return row["version"] or "none"


def step(z: int) -> int:
    """The step of simplification that is drawn at zoom `z`."""
    return next(last for last in STEPS if z <= last)


def check_tile(z: int, x: int, y: int) -> None:
    """Raises Refused TILE_UNKNOWN unless the tile exists."""
    if not (0 <= z <= DEEPEST and 0 <= x < 2**z and 0 <= y < 2**z):
        raise Refused(Problem("TILE_UNKNOWN", f"没有瓦片 {z}/{x}/{y}。", "tile"))
