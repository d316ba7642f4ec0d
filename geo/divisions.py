"""Loads all areas of China into the database: idempotent, in one transaction, set by set."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import gazetteer, sources, versions
from geo.area_tiles import redraw
from geo.bulk import copy, stage
from geo.cells import cells
from geo.gazetteer import OUR_SOURCE, Area
from geo.history import day
from geo.jurisdictions import JURISDICTIONS, Jurisdiction
from geo.sources import Boundary, BoundarySource, Change
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
_CODE = ("area_tiles", "cells", "chains", "divisions", "gazetteer", "history", "jurisdictions", "sources")
STEPS = 8
_TABLES = "area, area_succession, area_boundary, area_piece, area_shape, area_tile"
_COUNTS = text(
    "SELECT (SELECT count(*) FROM area), (SELECT count(*) FROM area_succession), (SELECT count(*) FROM area_boundary), "
    "(SELECT count(*) FROM area_piece), (SELECT count(*) FROM area_shape)"
)


def quiet(what: str, done: int, total: int) -> None:
    """A `Progress` for those who do not watch."""


async def load_areas(
    connection: AsyncConnection,
    progress: Progress = quiet,
    boundary_source: BoundarySource = sources.boundaries,
    *,
    on: date | None = None,
) -> Counts:
    """Bring the area tables to what the installed data packages say, unless they hold this version already.

    What a newer version says differently is valid from the day `on` (today if None), and what it replaces stays as history: see
    `geo.versions`. Memberships of jurisdictions that are declared are added, never taken away. Runs in the caller's transaction
    and holds out a second loader meanwhile. What the records need is left to `sync.rescoping`.
    """
    version = data_version()
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('zhijian areas'))"))
    known = await connection.scalar(text("SELECT version FROM area_source WHERE name = :name"), {"name": SOURCE})
    if known == version:
        return await _counts(connection, loaded=False)
    await _load(connection, progress, boundary_source, on or await today(connection))
    await note_source(connection, SOURCE, version)
    return await _counts(connection, loaded=True)


async def today(connection: AsyncConnection) -> date:
    """The database's day."""
    found: date = await connection.scalar(text("SELECT current_date"))
    return found


async def note_source(connection: AsyncConnection, name: str, version: str) -> None:
    """Which version of a source the tables hold now."""
    await connection.execute(
        text(
            "INSERT INTO area_source (name, version) VALUES (:name, :version)"
            " ON CONFLICT (name) DO UPDATE SET version = :version, loaded_at = current_date"
        ),
        {"name": name, "version": version},
    )


def data_version() -> str:
    """The packages' versions and a digest of the code that reads them: either changes what is loaded."""
    folder = Path(__file__).parent
    code = b"".join((folder / f"{name}.py").read_bytes() for name in _CODE)
    return f"{sources.data_version()} zhijian=={hashlib.sha256(code).hexdigest()[:12]}"


async def _load(connection: AsyncConnection, progress: Progress, boundary_source: BoundarySource, on: date) -> None:
    progress("read the division tree and the code history", 0, STEPS)
    tree, changes = sources.divisions(), sources.changes()
    progress("read the boundaries", 1, STEPS)
    boundaries = gazetteer.settled(boundary_source())
    # GEOS works in its thread while PostgreSQL works on the rest.
    shapes = asyncio.create_task(asyncio.to_thread(_shape_records, boundaries))
    progress("read the places", 2, STEPS)
    places = sources.places()
    progress("put the areas together", 3, STEPS)
    await connection.execute(text(_ADD_MEMBER), [member for zone in JURISDICTIONS for member in _members(zone)])
    rows = gazetteer.areas(tree, changes, boundaries, places, await versions.memberships(connection, on))
    derived = asyncio.create_task(asyncio.to_thread(derive, rows, boundaries))
    await versions.take_over(connection, [_area(row) for row in rows], on)
    await _replace_history(connection, changes)
    progress("cut the boundaries into pieces", 4, STEPS)
    await _take_over_boundaries(connection, boundaries, on)
    progress("derive the townships", 5, STEPS)
    await replace_cells(connection, await derived)
    progress("simplify the map", 6, STEPS)
    await redraw(connection, await shapes)
    progress("gather statistics", 7, STEPS)
    await connection.execute(text(f"ANALYZE {_TABLES}"))
    progress("areas are loaded", STEPS, STEPS)


async def _replace_history(connection: AsyncConnection, changes: Iterable[Change]) -> None:
    past = [(one.old_code, one.new_code, day(one.year), one.kind, one.old_name, one.new_name, one.source) for one in changes]
    await connection.execute(text("DELETE FROM area_succession"))
    await copy(connection, "area_succession", 'old_code, new_code, "on", kind, old_name, new_name, source', past)


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


async def _take_over_boundaries(connection: AsyncConnection, boundaries: Sequence[Boundary], on: date) -> None:
    finest = {boundary.code: boundary for boundary in boundaries}  # a code on two layers has one boundary, the finer layer's
    origin = (sources.BOUNDARY_SOURCE, sources.BOUNDARY_VINTAGE)
    records = [(code, *origin, found.provenance, shapely.to_wkb(found.geometry)) for code, found in finest.items()]
    leaves = [boundary.code for boundary in boundaries if boundary.layer == Level.COUNTY]
    await versions.take_over_boundaries(connection, records, leaves, on)


def derive(rows: Sequence[Area], boundaries: Iterable[Boundary]) -> list[tuple[str, BaseGeometry]]:
    """The outlines of townships with a point: `geo.cells`."""
    outlines = {boundary.code: boundary.geometry for boundary in boundaries if boundary.layer == Level.COUNTY}
    townships = Counter(row.parent or "" for row in rows if row.level == Level.TOWNSHIP and not row.valid_to)
    return cells(outlines, gazetteer.pins(rows), townships)


async def replace_cells(connection: AsyncConnection, derived: Sequence[tuple[str, BaseGeometry]], counties: Sequence[str] = ()) -> None:
    """Put derived outlines in the place of those of `counties`, or of all; townships with a surveyed outline keep theirs.

    They have no history: they follow from the points and outlines of today.
    """
    chosen = {"all": not counties, "counties": list(counties)}
    for statement in _DROP_CELLS:
        await connection.execute(text(statement), chosen)
    rows = [(code, OUR_SOURCE, "voronoi", "derived", shapely.to_wkb(outline)) for code, outline in derived]
    await stage(connection, "area_boundary", versions.BOUNDARY_COLUMNS, rows)
    for statement in _ADD_CELLS:
        await connection.execute(text(statement))
    await versions.mark_derived(connection)


_OF_TOWNSHIPS = "USING area a WHERE a.code = t.code AND a.level = 'township' AND (:all OR a.parent_code = ANY(CAST(:counties AS text[])))"
_DROP_CELLS = (
    f"DELETE FROM area_boundary t {_OF_TOWNSHIPS} AND t.provenance = 'derived'",
    f"DELETE FROM area_piece t {_OF_TOWNSHIPS} AND t.layer = 'derived'",
    f"DELETE FROM area_shape t {_OF_TOWNSHIPS} AND t.layer = 'township'",
)
_ADD_CELLS = (
    "DELETE FROM staged_area_boundary s USING area_boundary b WHERE b.code = s.code AND b.valid_to IS NULL",
    f"INSERT INTO area_boundary (valid_from, {versions.BOUNDARY_COLUMNS})"
    " SELECT a.valid_from, s.code, s.source, s.vintage, s.provenance, s.geom FROM staged_area_boundary s JOIN area a USING (code)",
    "INSERT INTO area_piece (code, valid_from, layer, geom)"
    " SELECT s.code, a.valid_from, 'derived', (ST_Dump(s.geom)).geom FROM staged_area_boundary s JOIN area a USING (code)",
    "INSERT INTO area_shape (layer, step, code, geom) SELECT 'township', 22, t.code, ST_Transform(t.geom, 3857) FROM area_boundary t"
    " JOIN area a USING (code) WHERE a.level = 'township' AND t.valid_to IS NULL ON CONFLICT DO NOTHING",
)


def _shape_records(boundaries: Iterable[Boundary]) -> list[tuple[Any, ...]]:
    return [(layer, step, code, shapely.to_wkb(geometry)) for layer, step, code, geometry in gazetteer.shapes(boundaries)]


async def _counts(connection: AsyncConnection, *, loaded: bool) -> Counts:
    areas, successions, boundaries, pieces, shapes = (await connection.execute(_COUNTS)).one()
    return Counts(areas, successions, boundaries, pieces, shapes, loaded)
