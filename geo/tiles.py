"""Vector tiles of area boundaries: without rights, the same for whoever is signed in; with an indicator's values, those of the reader."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from geo.area_tiles import CUT_TO, DEEPEST, DRAWN, EXTENT, FIRST_ZOOM, HALF, MARGIN
from geo.coverage import AreaValue
from geo.reads import Reads
from schema.areas import Level
from schema.problems import Problem, Refused

VERSION_SQL = (
    "SELECT md5(string_agg(name || version, ' ' ORDER BY name)) AS version FROM area_source WHERE name NOT IN ('members', 'chains')"
)


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
    row = await reads.fetchrow(_tile_of(z <= CUT_TO, "$1::text AS level"), *_place(layer, z, x, y))
    return row["tile"] or b""


async def valued_tile(reads: Reads, level: Level, values: Mapping[str, AreaValue], z: int, x: int, y: int) -> bytes:
    """The layer of a level with the values of an indicator; areas without an entry in `values` are left out, b"" if all are."""
    if z < FIRST_ZOOM[level]:
        return b""
    place = _place(level, z, x, y)
    inside = await reads.fetch(_NEAR_INSIDE if z > CUT_TO else _FAR_INSIDE, *place[:4])
    shown = [values[row["code"]] for row in inside if row["code"] in values]
    if not shown:
        return b""
    columns = [[_said(value, name) for value in shown] for name in _SAID]
    row = await reads.fetchrow(_valued(z), *place, *columns)
    return row["tile"] or b""


def _said(value: AreaValue, name: str) -> object:
    if name == "target":
        return value.target.value if value.target else None
    return (value.suppressed or None) if name == "suppressed" else getattr(value, name)


def _place(layer: Level, z: int, x: int, y: int) -> tuple[str | int | float, ...]:
    """Layer and tile; for those that are not cut yet also what brings metres to units of the tile: scale and shifts."""
    scale = EXTENT * 2**z / (2 * HALF)
    near = (scale, HALF * scale - x * EXTENT, HALF * scale - y * EXTENT) if z > CUT_TO else ()
    return layer.value, z, x, y, *near


_BOX = f"WITH b AS MATERIALIZED (SELECT ST_TileEnvelope($2::integer, $3::integer, $4::integer, margin => {MARGIN / EXTENT}) AS box)"
_NEAR = f"b JOIN area_shape s ON s.layer = $1::text AND s.step = {DEEPEST} AND s.geom && b.box"
_GEOM = DRAWN.format(geom="s.geom", box="b.box", scale="$5::float8", right="$6::float8", down="$7::float8")
_FAR = "area_tile s"
_FAR_TILE = "s.layer = $1::text AND s.zoom = $2::integer AND s.x = $3::integer AND s.y = $4::integer"
_NEAR_INSIDE = f"{_BOX} SELECT s.code FROM {_NEAR}"
_FAR_INSIDE = f"SELECT s.code FROM {_FAR} WHERE {_FAR_TILE}"


@cache
def _tile_of(far: bool, columns: str, join: str = "") -> str:
    """SQL of a layer; the fence (OFFSET 0) keeps a geometry from being made once more to be tested."""
    shown = f"s.code, a.name, {columns}, NULLIF(a.derived, false) AS derived"
    found = f"{{}} JOIN area a USING (code){join}"
    if far:
        return f"SELECT {_MVT} AS tile FROM (SELECT {shown}, s.geom FROM {found.format(_FAR)} WHERE {_FAR_TILE}) t"
    inside = f"SELECT {shown}, {_GEOM} AS geom FROM {found.format(_NEAR)} OFFSET 0"
    return f"{_BOX} SELECT {_MVT} AS tile FROM ({inside}) t WHERE NOT ST_IsEmpty(t.geom)"


_MVT = f"ST_AsMVT(t, $1::text, {EXTENT}, 'geom')"
_SAID = ("code", "value", "numerator", "denominator", "target", "gap", "suppressed")


def _valued(z: int) -> str:
    at = 5 if z <= CUT_TO else 8
    types = ("text[]", "float8[]", "integer[]", "integer[]", "float8[]", "float8[]", "boolean[]")
    given = ", ".join(f"${number}::{kind}" for number, kind in enumerate(types, at))
    said = ", ".join(f"v.{name}" for name in _SAID[1:])
    return _tile_of(z <= CUT_TO, f"$1::text AS level, {said}", f" JOIN unnest({given}) v({', '.join(_SAID)}) USING (code)")


async def areas_version(reads: Reads) -> str:
    """Changes when the boundaries do: the tiles' ETag."""
    row = await reads.fetchrow(VERSION_SQL)
    return row["version"] or "none"


def check_tile(z: int, x: int, y: int) -> None:
    """Raises Refused TILE_UNKNOWN unless the tile exists."""
    if not (0 <= z <= DEEPEST and 0 <= x < 2**z and 0 <= y < 2**z):
        raise Refused(Problem("TILE_UNKNOWN", f"没有瓦片 {z}/{x}/{y}。", "tile"))
