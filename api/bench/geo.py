"""Topic `geo`. First 1,000,000 points to the counties that hold them, in PostgreSQL and outside, beside Shapely; then `coverage`.

Every way must give every point the same county, or the run fails: a fast wrong answer is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy
import shapely

from api.bench.coverage import coverage
from api.bench.field import Field
from api.bench.report import Figure
from geo.assign import Assigner, by_tree

SEED = 20261122
_OUTLINES = """
SELECT DISTINCT p.code, b.wkb FROM area_piece p JOIN LATERAL (SELECT ST_AsBinary(b.geom) AS wkb FROM area_boundary b
 WHERE b.code = p.code AND b.valid_to IS NULL) b ON true WHERE p.layer = 'county' AND p.valid_to IS NULL ORDER BY p.code"""
# Pieces outside, points inside behind a fence: the planner, left alone, flips them and takes up to nine times as long.
_ASSIGN = """
SELECT h.n, min(p.code) AS code FROM area_piece p CROSS JOIN LATERAL (
  SELECT b.n FROM bench_point b WHERE ST_Intersects(p.geom, b.geom) OFFSET 0) h
 WHERE p.layer = 'county' AND p.valid_to IS NULL GROUP BY h.n"""
Result = TypeVar("Result")


class Ground(Protocol):
    """What of `api.bench.measure.Field` is needed here."""

    @property
    def connection(self) -> Any: ...


@dataclass(frozen=True)
class Way:
    """One way of assignment: seconds, and the number of the county of each point, -1 outside all."""

    seconds: float
    counties: Any


async def geo(field: Field) -> list[Figure]:
    """Both halves."""
    return [*await assignment(field), *await coverage(field)]


async def assignment(field: Field) -> list[Figure]:
    """Seconds for the assignment of 1,000,000 points by each way, once all agree."""
    field.tell(f"geo: {field.sizes.spots:,} points to their counties")
    return await assign(field, field.sizes.spots)


async def assign(field: Ground, points: int) -> list[Figure]:
    """The same for any number of points."""
    rows = await field.connection.fetch(_OUTLINES)
    outlines = {row["code"]: shapely.from_wkb(row["wkb"]) for row in rows}
    built, assigner = _timed(lambda: Assigner(outlines))
    spots = _spots(assigner, points)
    plain = Way(*_timed(lambda: by_tree(assigner.outlines, spots)))
    grid = Way(*_timed(lambda: assigner.assign(spots)))
    inside = await _in_database(field.connection, assigner, spots)
    for name, way in (("grid", grid), ("database", inside)):
        wrong = int((way.counties != plain.counties).sum())
        if wrong:
            raise AssertionError(f"{name}: {wrong} of {points} points are not where Shapely says")
    return [
        _figure("geo.assign.database", inside.seconds, plain.seconds),
        _figure("geo.assign.grid", grid.seconds, plain.seconds),
        Figure("geo.assign.grid_built", round(built, 3), "s"),
        Figure("geo.assign.shapely", round(plain.seconds, 3), "s"),
        Figure("geo.assign.equal", 100.0, "% of points"),
    ]


def _figure(name: str, seconds: float, reference: float) -> Figure:
    return Figure(name, round(seconds, 3), "s", "Shapely STRtree", round(reference / seconds, 3))


def _spots(assigner: Assigner, points: int) -> Any:
    west, south, east, north = shapely.total_bounds(assigner.outlines)
    chance = numpy.random.default_rng(SEED)
    spots = numpy.stack([chance.uniform(west, east, points), chance.uniform(south, north, points)], axis=1)
    corners = shapely.get_coordinates(assigner.outlines)
    share = min(len(corners), points // 100)  # one in a hundred on a corner of a border, where ties are decided
    spots[:share] = corners[chance.choice(len(corners), share, replace=False)]
    return spots


async def _in_database(connection: Any, assigner: Assigner, spots: Any) -> Way:
    async with connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE bench_xy (n int, lon float8, lat float8) ON COMMIT DROP")
        rows = [(number, lon, lat) for number, (lon, lat) in enumerate(spots.tolist())]
        await connection.copy_records_to_table("bench_xy", records=rows)
        await connection.execute(
            "CREATE TEMPORARY TABLE bench_point ON COMMIT DROP AS SELECT n, ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS geom FROM bench_xy"
        )
        await connection.execute("CREATE INDEX ON bench_point USING gist (geom)")
        await connection.execute("ANALYZE bench_point")
        began = time.perf_counter()
        await connection.execute(f"CREATE TEMPORARY TABLE bench_county ON COMMIT DROP AS {_ASSIGN}")
        seconds = time.perf_counter() - began
        numbers = {code: number for number, code in enumerate(assigner.codes)}
        counties = numpy.full(len(spots), -1, dtype=numpy.int32)
        for row in await connection.fetch("SELECT code, array_agg(n) AS points FROM bench_county GROUP BY code"):
            counties[row["points"]] = numbers[row["code"]]
        return Way(seconds, counties)


def _timed(do: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    result = do()
    return time.perf_counter() - began, result
