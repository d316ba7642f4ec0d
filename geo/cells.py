"""Outlines of townships where no source has one: Voronoi cells of their points, clipped to the county. Pure.

Every point of a county is given to the township whose point is nearest. Where some townships of the county have no point, a cell
reaches no farther than a township's fair share of the county (the circle of the county's area divided by its townships): what is
farther away may well be one of theirs, so it stays the county's, undivided. If all have a point, the cells tile the county.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy
import shapely
from shapely.geometry.base import BaseGeometry

_CIRCLE = 8  # segments of a quarter
SPOT = 6  # decimals of a degree, 10 cm: what is nearer together is one spot, and no cell is too narrow to be computed


@dataclass(frozen=True)
class Pin:
    """A township's point, WGS 84, and the area whose outline is to be divided."""

    code: str
    county: str
    lon: float
    lat: float


def cells(outlines: Mapping[str, BaseGeometry], pins: Iterable[Pin], townships: Mapping[str, int]) -> list[tuple[str, BaseGeometry]]:
    """A (multi-)polygon for each pin inside its county, in order of county and code; they never overlap.

    `townships` counts those of a county, with and without a point. Of two pins on one spot the smaller code has the cell.
    """
    by_county: dict[str, list[Pin]] = defaultdict(list)
    for pin in sorted(pins, key=lambda pin: (pin.county, pin.code)):
        if pin.county in outlines:
            by_county[pin.county].append(pin)
    return [cell for county, held in by_county.items() for cell in _divide(outlines[county], held, townships.get(county, 0))]


def _divide(outline: BaseGeometry, pins: list[Pin], townships: int) -> list[tuple[str, BaseGeometry]]:
    # Degrees of longitude are shortened to the length of those of latitude, so that near is near on the ground.
    narrow = float(numpy.cos(numpy.radians((outline.bounds[1] + outline.bounds[3]) / 2)))
    spots = {(round(pin.lon * narrow, SPOT), round(pin.lat, SPOT)): pin.code for pin in reversed(pins)}
    points = shapely.points(list(spots))
    regions = _regions(points, _scaled(outline, narrow))
    if townships > len(pins):
        share = numpy.sqrt(outline.area * narrow / townships / numpy.pi)
        regions = shapely.intersection(regions, shapely.buffer(points, share, quad_segs=_CIRCLE))
    regions = _widened(regions, narrow)
    shapely.prepare(outline)
    beyond = ~shapely.contains_properly(outline, regions)  # the others need no clipping, which is dear
    regions[beyond] = shapely.intersection(regions[beyond], outline)
    found = ((code, _surface(part)) for code, part in zip(spots.values(), regions, strict=True))
    return sorted((code, part) for code, part in found if not part.is_empty)


def _regions(points: numpy.ndarray, outline: BaseGeometry) -> numpy.ndarray:
    box = shapely.box(*outline.bounds).buffer(1.0)
    if len(points) == 1:
        return numpy.array([box])
    found = shapely.voronoi_polygons(shapely.multipoints(points), extend_to=box, ordered=True)
    return shapely.get_parts(found)


def _scaled(outline: BaseGeometry, narrow: float) -> BaseGeometry:
    return shapely.transform(outline, lambda degrees: degrees * (narrow, 1.0))


def _widened(regions: numpy.ndarray, narrow: float) -> numpy.ndarray:
    return shapely.transform(regions, lambda degrees: degrees / (narrow, 1.0))


def _surface(part: BaseGeometry) -> BaseGeometry:
    """Without the lines and points in which a cell may touch the border."""
    polygons = [each for each in shapely.get_parts(part, return_index=False) if each.geom_type == "Polygon" and each.area > 0]
    return shapely.multipolygons(polygons) if polygons else shapely.MultiPolygon()
