"""All areas, boundaries and map shapes, put together from the sources. Pure but for reading the installed packages.

Where the sources disagree, what is done about it stands here as data: RENAMED, MERGED, LISTED, WITHOUT_BOUNDARY.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy
import numpy.typing
import shapely

from geo.cells import Pin
from geo.chains import chains
from geo.history import founded, retired
from geo.jurisdictions import JURISDICTIONS, Jurisdiction
from geo.sources import BEGINNING, BOUNDARY_SOURCE, HISTORY_SOURCE, PLACE_SOURCE, TREE_SOURCE, Boundary, Change, Division, Place
from schema.areas import ROOT, Level, Tree

# Boundary file's code -> the Ministry's: the file is older than the renaming.
RENAMED = {"460321": "460302", "460322": "460303", "540422": "540481", "540530": "540581"}
# Set up in 2025 from these; five northern towns of the second went to 500109, which no boundary shows yet.
MERGED = {"500157": ("500105", "500112")}
# In the boundary file but not in the Ministry's tree: places run by a province or prefecture without a code of GB/T 2260.
LISTED = {"629700": "620000", "629800": "620000", "629900": "620000", "632857": "632800"}
# Set up in 2024; their land still shows as the counties that they were cut from.
WITHOUT_BOUNDARY = frozenset({"653228", "653229"})

OUR_SOURCE = "zhijian"
Degrees = numpy.typing.NDArray[numpy.float64]
EARTH_RADIUS = 6378137.0  # EPSG:3857

# Last zoom at which a shape is drawn -> tolerance in degrees, about one pixel of 1/512 tile there; 0: as received.
STEPS = {3: 0.1, 4: 0.05, 5: 0.025, 7: 0.006, 22: 0.0}

_SUFFIXES = ("街道办事处", "街道", "民族乡", "苏木", "地区", "镇", "乡")


@dataclass(frozen=True)
class Spot:
    """A point inside an area, WGS 84, and where it is from."""

    lon: float
    lat: float
    source: str


@dataclass(frozen=True)
class Area:
    """A row of the table `area`; `bounds` are west, south, east, north."""

    code: str
    name: str
    level: Level
    tree: Tree
    parent: str | None
    valid_from: date
    source: str
    valid_to: date | None = None
    full_name: str = ""
    chain: tuple[str, ...] = ()
    other_codes: tuple[str, ...] = ()
    layers: tuple[Level, ...] = ()
    spot: Spot | None = None
    bounds: tuple[float, float, float, float] | None = None


def areas(
    divisions: Iterable[Division],
    changes: Iterable[Change],
    boundaries: Iterable[Boundary],
    places: Iterable[Place],
    members: Mapping[str, Sequence[str]] | None = None,
) -> list[Area]:
    """Every area of both trees, current and retired, complete with chain, layers, spot and bounds.

    `members` names the jurisdictions of an area; those that are declared, if None.
    """
    changes, boundaries = list(changes), list(boundaries)
    rows = _rows([*divisions, *_listed(boundaries)], changes)
    parents = {code: row.parent for code, row in rows.items()}
    lines = chains(parents, memberships() if members is None else members)
    layers = _layers(rows.values(), boundaries)
    spots = _spots(rows, boundaries, places)
    boxes = {boundary.code: boundary.geometry.bounds for boundary in boundaries}
    return [
        replace(row, chain=line, full_name=_full_name(row, rows, line), layers=layers[code], spot=spots.get(code), bounds=boxes.get(code))
        for (code, row), line in zip(rows.items(), lines.values(), strict=True)
    ]


def memberships() -> dict[str, tuple[str, ...]]:
    """The declared jurisdictions of each area that has one."""
    found: dict[str, list[str]] = defaultdict(list)
    for jurisdiction in JURISDICTIONS:
        for member in jurisdiction.members:
            found[member].append(jurisdiction.code)
    return {code: tuple(codes) for code, codes in found.items()}


def settled(boundaries: Iterable[Boundary]) -> list[Boundary]:
    """The boundaries under today's codes, with those of merged areas derived; the merged ones stay, retired."""
    renamed = [replace(boundary, code=RENAMED.get(boundary.code, boundary.code)) for boundary in boundaries]
    known = {boundary.code for boundary in renamed}
    return renamed + [_merged(code, parts, renamed) for code, parts in MERGED.items() if known.issuperset(parts)]


def merged_away() -> frozenset[str]:
    """Codes whose boundary is history: they are on no map of today."""
    return frozenset(part for parts in MERGED.values() for part in parts)


def _merged(code: str, parts: tuple[str, ...], boundaries: Iterable[Boundary]) -> Boundary:
    outlines = [boundary.geometry for boundary in boundaries if boundary.code in parts]
    return Boundary(code, "", Level.COUNTY, shapely.union_all(outlines), "derived")


def _listed(boundaries: Iterable[Boundary]) -> list[Division]:
    """What only the boundary file lists: the special places, Taiwan, and the districts of Taiwan and Hong Kong."""
    found = {boundary.code: boundary for boundary in boundaries}
    special = [Division(code, found[code].name, Level.COUNTY, parent, BOUNDARY_SOURCE) for code, parent in LISTED.items() if code in found]
    taiwan = [Division(code, found[code].name, Level.PROVINCE, ROOT, BOUNDARY_SOURCE) for code in ("710000",) if code in found]
    districts = [
        Division(code, boundary.name, Level.COUNTY, f"{code[:2]}0000", BOUNDARY_SOURCE)
        for code, boundary in found.items()
        if code[:2] in ("71", "81") and not code.endswith("0000")
    ]
    return taiwan + districts + special


def _rows(divisions: list[Division], changes: list[Change]) -> dict[str, Area]:
    starts = {code: days[-1] for code, days in founded(changes).items()}
    country = Area(ROOT, "中华人民共和国", Level.COUNTRY, Tree.DIVISION, None, BEGINNING, TREE_SOURCE)
    current = [
        Area(row.code, row.name, row.level, Tree.DIVISION, row.parent, starts.get(row.code, BEGINNING), row.source) for row in divisions
    ]
    past = [
        Area(old.code, old.name, old.level, Tree.DIVISION, old.parent, old.valid_from, HISTORY_SOURCE, old.valid_to)
        for old in retired(changes, {row.code for row in divisions})
    ]
    return {row.code: row for row in [country, *current, *past, *map(_zone, JURISDICTIONS)]}


def _zone(zone: Jurisdiction) -> Area:
    return Area(
        zone.code, zone.name, Level.JURISDICTION, Tree.JURISDICTION, zone.parent, zone.valid_from, OUR_SOURCE, other_codes=zone.other_codes
    )


def _layers(rows: Collection[Area], boundaries: Iterable[Boundary]) -> dict[str, tuple[Level, ...]]:
    found: dict[str, set[Level]] = defaultdict(set)
    for boundary in boundaries:
        if boundary.code not in merged_away():
            found[boundary.code].add(boundary.layer)
    for code in WITHOUT_BOUNDARY:
        found[code].add(Level.COUNTY)
    cities = {row.code for row in rows if row.level == Level.CITY and Level.COUNTY not in found[row.code]}
    for row in rows:
        if row.level in (Level.COUNTRY, Level.TOWNSHIP, Level.JURISDICTION):
            found[row.code].add(row.level)
        # No county holds it (加格达奇's streets): on the level of counties it stands for itself.
        if row.level == Level.TOWNSHIP and row.parent in cities:
            found[row.code].add(Level.COUNTY)
    return defaultdict(tuple, {code: tuple(level for level in Level if level in levels) for code, levels in found.items()})


def _full_name(row: Area, rows: Mapping[str, Area], chain: tuple[str, ...]) -> str:
    names = [rows[code].name for code in reversed(chain) if rows[code].tree == Tree.DIVISION]
    return "".join(names) if names and row.tree == Tree.DIVISION else row.name


def pins(rows: Iterable[Area]) -> list[Pin]:
    """The townships that have a point."""
    return [
        Pin(row.code, row.parent or "", row.spot.lon, row.spot.lat)
        for row in rows
        if row.level == Level.TOWNSHIP and row.spot and not row.valid_to
    ]


def _spots(rows: Mapping[str, Area], boundaries: list[Boundary], places: Iterable[Place]) -> dict[str, Spot]:
    inner = shapely.point_on_surface([boundary.geometry for boundary in boundaries])
    found = {boundary.code: Spot(point.x, point.y, BOUNDARY_SOURCE) for boundary, point in zip(boundaries, inner, strict=True)}
    counties = [boundary for boundary in boundaries if boundary.layer == Level.COUNTY and boundary.code not in merged_away()]
    townships = [row for row in rows.values() if row.level == Level.TOWNSHIP]
    return found | township_spots(townships, counties, places)


def township_spots(townships: Iterable[Area], counties: list[Boundary], places: Iterable[Place]) -> dict[str, Spot]:
    """Where a place inside the county bears the township's name; the full name beats the stem, then the larger place wins."""
    exact = {(row.parent, row.name): row.code for row in townships}
    stems = _unique((county, stem(name), code) for (county, name), code in exact.items())
    best: dict[str, tuple[tuple[bool, int, int], Place]] = {}
    for county, place in _within(counties, list(places)):
        for name in place.names:
            code = exact.get((county, name))
            rank = (code is not None, place.population, -place.id)
            code = code or stems.get((county, stem(name)))
            if code and (code not in best or rank > best[code][0]):
                best[code] = (rank, place)
    return {code: Spot(place.lon, place.lat, f"{PLACE_SOURCE} {place.id}") for code, (_, place) in best.items()}


def stem(name: str) -> str:
    """A township's name without its kind: 二道白河镇 is 二道白河."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) + 1:
            return name.removesuffix(suffix)
    return name


def _unique(names: Iterable[tuple[str | None, str, str]]) -> dict[tuple[str | None, str], str]:
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for county, name, code in names:
        found[county, name].append(code)
    return {key: codes[0] for key, codes in found.items() if len(codes) == 1}


def _within(counties: list[Boundary], places: list[Place]) -> list[tuple[str, Place]]:
    tree = shapely.STRtree([county.geometry for county in counties])
    points = shapely.points([[place.lon, place.lat] for place in places])
    inside, holders = tree.query(points, predicate="intersects")
    return [(counties[holder].code, places[place]) for place, holder in zip(inside, holders, strict=True)]


def shapes(boundaries: Iterable[Boundary]) -> Iterator[tuple[Level, int, str, shapely.Geometry]]:
    """Each layer of today's map at each step of zoom, in Web Mercator, neighbours sharing their simplified edges."""
    present = [boundary for boundary in boundaries if boundary.code not in merged_away()]
    for layer in (Level.PROVINCE, Level.CITY, Level.COUNTY):
        members = [boundary for boundary in present if boundary.layer == layer]
        outlines = numpy.array([boundary.geometry for boundary in members])
        for step, tolerance in STEPS.items():
            simple = shapely.coverage_simplify(outlines, tolerance) if tolerance else outlines
            for member, outline in zip(members, shapely.transform(simple, web_mercator), strict=True):
                yield layer, step, member.code, outline


def web_mercator(degrees: Degrees) -> Degrees:
    """EPSG:3857 metres of lon lat degrees, both (n, 2) float64."""
    north = numpy.log(numpy.tan(numpy.pi / 4 + numpy.radians(degrees[:, 1]) / 2))
    return numpy.stack([numpy.radians(degrees[:, 0]), north], axis=1) * EARTH_RADIUS
