"""Outlines of an administrator's own file (GeoPackage, GeoJSON, shapefile …) in the place of those that are there, from a day on.

A file is checked as a whole before anything is written: what is wrong with it is a list of findings, errors stop the import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import orjson
import shapely
from pyogrio.raw import read  # type: ignore[import-untyped]  # ships no types
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import gazetteer
from geo.area_tiles import redraw
from geo.cells import Pin, cells
from geo.coordinates import Datum, to_wgs84
from geo.divisions import note_source, replace_cells
from geo.sources import Boundary
from geo.versions import leave_places, mark_derived, take_over_boundaries
from schema.areas import Level
from schema.problems import Problem, Refused
from schema.values import area_code

GEOGRAPHIC = frozenset({4326, 4490, 4258})
OVERLAP = 0.01  # of the smaller area; less is two surveys of one border
SAME = 0.5  # an outline that shares less than this with the one it replaces is another area's, or in another datum


@dataclass(frozen=True)
class Outline:
    code: str
    name: str
    geometry: BaseGeometry


@dataclass(frozen=True)
class Finding:
    """`error`: the file is not imported."""

    error: bool
    kind: str
    code: str
    message: str


def read_file(
    path: Path, code_field: str, name_field: str | None = None, datum: Datum = Datum.WGS84
) -> tuple[list[Outline], list[Finding], int]:
    """The file's outlines in WGS 84 or in the projection of the EPSG code that is returned with them, and what is wrong with rows.

    Raises Refused FILE_UNREADABLE and FIELD_UNKNOWN.
    """
    try:
        meta, _, geometries, columns = read(path, force_2d=True)
    except Exception as error:
        raise Refused(Problem("FILE_UNREADABLE", f"无法读取边界文件：{error}", "file")) from None
    fields = {str(name): column for name, column in zip(meta["fields"], columns, strict=True)}
    for field in filter(None, (code_field, name_field)):
        if field not in fields:
            raise Refused(Problem("FIELD_UNKNOWN", f"文件没有字段 {field}，有：{'、'.join(fields)}", "field"))
    names = fields[name_field] if name_field else [""] * len(geometries)
    rows = zip(fields[code_field], names, shapely.from_wkb(geometries), strict=True)
    findings: list[Finding] = []
    outlines = [found for row in rows if (found := _outline(*row, findings))]
    if datum in (Datum.GCJ02, Datum.BD09):
        outlines = [replace(each, geometry=_shifted(each.geometry, datum)) for each in outlines]
    return outlines, findings, _epsg(str(meta.get("crs") or ""), findings)


def _epsg(crs: str, findings: list[Finding]) -> int:
    authority, _, number = crs.partition(":")
    if authority == "EPSG" and number.isdigit():
        return 4326 if int(number) in GEOGRAPHIC else int(number)
    findings.append(Finding(True, "CRS", "", f"文件没有注明 EPSG 坐标参考系（{crs[:60] or '空'}）"))
    return 4326


def _outline(code: Any, name: Any, geometry: BaseGeometry | None, findings: list[Finding]) -> Outline | None:
    shown = str(code).removesuffix(".0").removeprefix("156")
    try:
        known = area_code(shown)
    except ValueError as error:
        findings.append(Finding(True, "CODE", shown, str(error)))
        return None
    if geometry is None or geometry.is_empty or geometry.geom_type not in ("Polygon", "MultiPolygon"):
        findings.append(Finding(True, "GEOMETRY", known, "没有多边形"))
        return None
    if not geometry.is_valid:
        findings.append(Finding(False, "INVALID", known, f"图形无效，已修复：{shapely.is_valid_reason(geometry)}"))
        geometry = _surface(shapely.make_valid(geometry))
    return Outline(known, str(name), geometry)


def _surface(geometry: BaseGeometry) -> BaseGeometry:
    parts = [part for each in shapely.get_parts(geometry) for part in shapely.get_parts(each) if part.geom_type == "Polygon"]
    return shapely.union_all(parts)


def _shifted(geometry: BaseGeometry, datum: Datum) -> BaseGeometry:
    return shapely.transform(geometry, lambda degrees: numpy.array([to_wgs84(lon, lat, datum) for lon, lat in degrees]))


_PROJECT = text("SELECT ST_AsBinary(ST_Transform(ST_GeomFromWKB(g, :epsg), 4326)) FROM unnest(CAST(:geometries AS bytea[])) g")
_KNOWN = text("""
SELECT a.code, a.level, a.parent_code, 'county' = ANY(a.layers) AS county, ST_AsBinary(b.geom) AS geom FROM area a
  LEFT JOIN area_boundary b ON b.code = a.code AND b.valid_to IS NULL AND b.provenance <> 'derived'
 WHERE a.code = ANY(CAST(:codes AS text[])) AND a.valid_to IS NULL""")


async def check(connection: AsyncConnection, outlines: Sequence[Outline], epsg: int) -> tuple[list[Outline], list[Finding]]:
    """The outlines in WGS 84, and what is wrong with them together: codes, overlaps, datum."""
    if epsg != 4326:
        asked = {"epsg": epsg, "geometries": [shapely.to_wkb(each.geometry) for each in outlines]}
        projected = shapely.from_wkb(list(await connection.scalars(_PROJECT, asked)))
        outlines = [replace(each, geometry=geometry) for each, geometry in zip(outlines, projected, strict=True)]
    rows = (await connection.execute(_KNOWN, {"codes": [each.code for each in outlines]})).all()
    levels = {row.code: row.level for row in rows}
    old = {row.code: shapely.from_wkb(row.geom) for row in rows if row.geom is not None}
    twice = [code for code, times in Counter(each.code for each in outlines).items() if times > 1]
    findings = [Finding(True, "TWICE", code, "代码出现多次") for code in twice]
    findings += [Finding(True, "UNKNOWN", each.code, f"没有在用的区划代码（{each.name}）") for each in outlines if each.code not in levels]
    findings += _overlaps([each for each in outlines if each.code not in twice], levels)
    findings += _datum(outlines, old)
    return list(outlines), findings


def _overlaps(outlines: Sequence[Outline], levels: dict[str, str]) -> Iterable[Finding]:
    shapes = numpy.array([each.geometry for each in outlines])
    for one, other in shapely.STRtree(shapes).query(shapes, predicate="intersects").T:
        first, second = outlines[one], outlines[other]
        if one >= other or levels.get(first.code) != levels.get(second.code):
            continue
        share = shapely.intersection(first.geometry, second.geometry).area / min(first.geometry.area, second.geometry.area)
        if share > 1e-9:
            yield Finding(bool(share > OVERLAP), "OVERLAP", first.code, f"与 {second.code} 重叠 {share:.4%}")


def _datum(outlines: Sequence[Outline], old: dict[str, BaseGeometry]) -> Iterable[Finding]:
    """Outlines that fit those that they replace better when read in another datum, or not at all."""
    pairs = [(each, old[each.code]) for each in outlines if each.code in old]
    for each, before in pairs:
        plain = _likeness(each.geometry, before)
        try:
            better = {datum: _likeness(_shifted(each.geometry, datum), before) for datum in (Datum.GCJ02, Datum.BD09)}
        except Refused:
            better = {}
        best = max(better, key=lambda datum: better[datum], default=None)
        if best and better[best] > plain + (1 - plain) / 2 and plain < 0.9999:
            yield Finding(True, "DATUM", each.code, f"按 {best.value} 读取与现有边界更吻合（{plain:.3f} → {better[best]:.3f}）")
        elif plain < SAME:
            yield Finding(False, "ELSEWHERE", each.code, f"与现有边界只重合 {plain:.1%}")


def _likeness(one: BaseGeometry, other: BaseGeometry) -> float:
    """Shared area of two outlines by the area of both together, 0 to 1."""
    together = shapely.union(one, other).area
    return float(shapely.intersection(one, other).area / together) if together else 0.0


async def bring_in(connection: AsyncConnection, outlines: Sequence[Outline], source: str, on: date) -> tuple[str, ...]:
    """Put checked outlines in the place of those of their codes from the day `on`; the codes whose outline is new.

    A second time changes nothing. Townships that are derived from a changed county are derived anew, the map is drawn anew, and
    positions are left to be checked anew.
    """
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('zhijian areas'))"))
    levels = {row.code: row for row in await connection.execute(_KNOWN, {"codes": [each.code for each in outlines]})}
    rows = [(each.code, source, on.isoformat(), "official", shapely.to_wkb(each.geometry)) for each in outlines]
    await connection.execute(
        text("DELETE FROM area_piece WHERE layer = 'derived' AND code = ANY(CAST(:codes AS text[]))"), {"codes": list(levels)}
    )
    await connection.execute(
        text(
            "DELETE FROM area_boundary b USING area a WHERE a.code = b.code AND a.level = 'township' AND b.provenance = 'derived'"
            " AND b.code = ANY(CAST(:codes AS text[]))"
        ),
        {"codes": list(levels)},
    )
    leaves = [code for code, row in levels.items() if row.level == Level.TOWNSHIP or row.county]
    changed = await take_over_boundaries(connection, rows, leaves, on, replace_all=True)
    if not changed:
        return ()
    counties = sorted({levels[code].parent_code if levels[code].level == Level.TOWNSHIP else code for code in changed})
    await _bounds(connection, outlines)
    await replace_cells(connection, await _derived(connection, counties), counties)
    await _draw(connection)
    await mark_derived(connection)
    await leave_places(connection)
    await note_source(connection, source, f"{on.isoformat()} {len(changed)}")
    return tuple(changed)


async def _bounds(connection: AsyncConnection, outlines: Sequence[Outline]) -> None:
    boxes = [{"code": each.code, "box": list(each.geometry.bounds)} for each in outlines]
    statement = (
        "UPDATE area a SET bounds = n.box FROM json_to_recordset(CAST(:boxes AS json)) AS n(code text, box float8[]) WHERE a.code = n.code"
    )
    await connection.execute(text(statement), {"boxes": orjson.dumps(boxes).decode()})


_COUNTIES = text("""
SELECT a.code, ST_AsBinary(b.geom) AS geom, (SELECT count(*) FROM area t WHERE t.parent_code = a.code AND t.level = 'township'
  AND t.valid_to IS NULL) AS townships FROM area a JOIN area_boundary b ON b.code = a.code AND b.valid_to IS NULL
 WHERE a.code = ANY(CAST(:codes AS text[]))""")
_PINS = text("""
SELECT code, parent_code, ST_X(point) AS lon, ST_Y(point) AS lat FROM area
 WHERE parent_code = ANY(CAST(:codes AS text[])) AND level = 'township' AND valid_to IS NULL AND point IS NOT NULL""")


async def _derived(connection: AsyncConnection, counties: Sequence[str]) -> list[tuple[str, BaseGeometry]]:
    rows = (await connection.execute(_COUNTIES, {"codes": list(counties)})).all()
    pins = [Pin(*row) for row in await connection.execute(_PINS, {"codes": list(counties)})]
    outlines = {row.code: shapely.from_wkb(row.geom) for row in rows}
    return cells(outlines, pins, {row.code: row.townships for row in rows})


_MAP = text("""
SELECT u.layer, a.code, a.name, ST_AsBinary(b.geom) AS geom FROM area a CROSS JOIN unnest(a.layers) u(layer)
  JOIN area_boundary b ON b.code = a.code AND b.valid_to IS NULL
 WHERE u.layer IN ('province', 'city', 'county') AND a.valid_to IS NULL ORDER BY u.layer, a.code""")


async def _draw(connection: AsyncConnection) -> None:
    """The map of the country anew: simplified neighbours share their edges only if they are simplified together."""
    rows = await connection.execute(_MAP)
    boundaries = [Boundary(row.code, row.name, Level(row.layer), shapely.from_wkb(row.geom)) for row in rows]
    shapes = [(layer, step, code, shapely.to_wkb(geometry)) for layer, step, code, geometry in gazetteer.shapes(boundaries)]
    await redraw(connection, shapes)
