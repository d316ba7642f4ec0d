"""Loads all areas of China into the database: idempotent, in one transaction, by COPY."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import gazetteer, sources
from geo.gazetteer import Area
from geo.history import day
from geo.jurisdictions import JURISDICTIONS, Jurisdiction
from geo.sources import BEGINNING, Boundary, BoundarySource, Change
from schema.areas import Level

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) as a long job goes on."""


@dataclass(frozen=True)
class Counts:
    """What the tables hold after a load; `loaded` is False when there was nothing to do."""

    areas: int
    successions: int
    boundaries: int
    pieces: int
    shapes: int
    loaded: bool


SOURCE = "areas"
_CODE = ("chains", "divisions", "gazetteer", "history", "jurisdictions", "sources")
STEPS = 7
# Vertices of a piece: 64 to 256 take the same time to load and to ask (measured, geo/README.md).
PIECE_VERTICES = 128
_TABLES = "area, area_succession, area_boundary, area_piece, area_shape"
_COUNTS = text(
    "SELECT (SELECT count(*) FROM area), (SELECT count(*) FROM area_succession), (SELECT count(*) FROM area_boundary), "
    "(SELECT count(*) FROM area_piece), (SELECT count(*) FROM area_shape)"
)


def quiet(what: str, done: int, total: int) -> None:
    """A `Progress` for those who do not watch."""


async def load_areas(
    connection: AsyncConnection, progress: Progress = quiet, boundary_source: BoundarySource = sources.boundaries
) -> Counts:
    """Fill the area tables from the installed data packages, unless they hold this version already.

    Runs in the caller's transaction, holds out a second loader meanwhile, and replaces what an older version loaded;
    what is declared of jurisdictions is added, never taken away.
    """
    version = data_version()
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('zhijian areas'))"))
    known = await connection.scalar(text("SELECT version FROM area_source WHERE name = :name"), {"name": SOURCE})
    if known == version:
        return await _counts(connection, loaded=False)
    await _load(connection, progress, boundary_source)
    await connection.execute(
        text("INSERT INTO area_source (name, version) VALUES (:name, :version) ON CONFLICT (name) DO UPDATE SET version = :version"),
        {"name": SOURCE, "version": version},
    )
    return await _counts(connection, loaded=True)


def data_version() -> str:
    """The packages' versions and a digest of the code that reads them: either changes what is loaded."""
    folder = Path(__file__).parent
    code = b"".join((folder / f"{name}.py").read_bytes() for name in _CODE)
    return f"{sources.data_version()} zhijian=={hashlib.sha256(code).hexdigest()[:12]}"


async def _load(connection: AsyncConnection, progress: Progress, boundary_source: BoundarySource) -> None:
    progress("read the division tree and the code history", 0, STEPS)
    tree, changes = sources.divisions(), sources.changes()
    progress("read the boundaries", 1, STEPS)
    boundaries = gazetteer.settled(boundary_source())
    # GEOS works in its thread while PostgreSQL works on the rest.
    shapes = asyncio.create_task(asyncio.to_thread(_shape_records, boundaries))
    progress("read the places", 2, STEPS)
    places = sources.places()
    progress("put the areas together", 3, STEPS)
    rows = gazetteer.areas(tree, changes, boundaries, places)
    await connection.execute(text(f"TRUNCATE {_TABLES}"))
    await _copy_areas(connection, rows, changes)
    progress("cut the boundaries into pieces", 4, STEPS)
    await _copy_boundaries(connection, rows, boundaries)
    progress("simplify the map", 5, STEPS)
    await _copy(connection, "area_shape", "layer, step, code, geom", await shapes)
    progress("gather statistics", 6, STEPS)
    await connection.execute(text(f"ANALYZE {_TABLES}"))
    progress("areas are loaded", STEPS, STEPS)


async def _copy_areas(connection: AsyncConnection, rows: Iterable[Area], changes: Iterable[Change]) -> None:
    await _copy(connection, "area", _AREA_COLUMNS, [_area(row) for row in rows])
    past = [(one.old_code, one.new_code, day(one.year), one.kind, one.old_name, one.new_name, one.source) for one in changes]
    await _copy(connection, "area_succession", 'old_code, new_code, "on", kind, old_name, new_name, source', past)
    await connection.execute(text(_ADD_MEMBER), [member for zone in JURISDICTIONS for member in _members(zone)])


_AREA_COLUMNS = (
    "code, name, full_name, level, tree, parent_code, valid_from, valid_to, chain, other_codes, layers, source, point, point_source, bounds"
)


def _area(row: Area) -> tuple[Any, ...]:
    spot = (shapely.to_wkb(shapely.Point(row.spot.lon, row.spot.lat)), row.spot.source) if row.spot else (None, None)
    who = (row.code, row.name, row.full_name, row.level, row.tree, row.parent, row.valid_from, row.valid_to)
    return (*who, row.chain, row.other_codes, row.layers, row.source, *spot, row.bounds)


_ADD_MEMBER = (
    "INSERT INTO jurisdiction_member (jurisdiction_code, area_code, valid_from, note) "
    "VALUES (:jurisdiction, :area, :since, :note) ON CONFLICT DO NOTHING"
)


def _members(zone: Jurisdiction) -> list[dict[str, Any]]:
    return [{"jurisdiction": zone.code, "area": area, "since": zone.valid_from, "note": note} for area, note in zone.members.items()]


async def _copy_boundaries(connection: AsyncConnection, rows: Iterable[Area], boundaries: Sequence[Boundary]) -> None:
    spans = {row.code: (row.valid_from, row.valid_to) for row in rows}
    finest = {boundary.code: boundary for boundary in boundaries}  # a code on two layers has one boundary, the finer layer's
    origin = (sources.BOUNDARY_SOURCE, sources.BOUNDARY_VINTAGE)
    records = [
        (code, *spans.get(code, (BEGINNING, None)), *origin, found.provenance, shapely.to_wkb(found.geometry))
        for code, found in finest.items()
    ]
    await _copy(connection, "area_boundary", "code, valid_from, valid_to, source, vintage, provenance, geom", records)
    leaves = [boundary.code for boundary in boundaries if boundary.layer == Level.COUNTY]
    await connection.execute(
        text(
            "INSERT INTO area_piece (code, valid_from, valid_to, geom) "
            "SELECT code, valid_from, valid_to, ST_Subdivide(geom, :vertices) FROM area_boundary WHERE code = ANY(:leaves)"
        ),
        {"leaves": leaves, "vertices": PIECE_VERTICES},
    )


def _shape_records(boundaries: Iterable[Boundary]) -> list[tuple[Any, ...]]:
    return [(layer, step, code, shapely.to_wkb(geometry)) for layer, step, code, geometry in gazetteer.shapes(boundaries)]


_GEOMETRY = {
    "area": ("point", "ST_GeomFromWKB(point, 4326)"),
    "area_boundary": ("geom", "ST_Multi(ST_GeomFromWKB(geom, 4326))"),
    "area_shape": ("geom", "ST_Multi(ST_GeomFromWKB(geom, 3857))"),
}


async def _copy(connection: AsyncConnection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """COPY by way of a temporary table that holds the geometry as plain WKB."""
    names = [name.strip() for name in columns.split(",")]
    geometry, made = _GEOMETRY.get(table, ("", ""))
    listed = ", ".join(f"NULL::bytea AS {name}" if name == geometry else name for name in names)
    await connection.execute(text(f"CREATE TEMPORARY TABLE loading ON COMMIT DROP AS SELECT {listed} FROM {table} LIMIT 0"))
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.copy_records_to_table("loading", records=rows, columns=[name.strip('"') for name in names])
    values = ", ".join(made if name == geometry else name for name in names)
    await connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {values} FROM loading"))
    await connection.execute(text("DROP TABLE loading"))


async def _counts(connection: AsyncConnection, *, loaded: bool) -> Counts:
    areas, successions, boundaries, pieces, shapes = (await connection.execute(_COUNTS)).one()
    return Counts(areas, successions, boundaries, pieces, shapes, loaded)
