"""A road graph from an edge list, and minutes over it. Pure but for reading the file.

The file is small enough for memory (a province's main roads, some 100,000 edges). CSV: a line per edge with the columns
from_lon, from_lat, to_lon, to_lat, minutes and, if it is there, oneway (1: only from -> to). GeoPackage: a table of LINESTRING
features in WGS 84 with a column minutes and, if it is there, oneway; first and last vertex are the nodes.
Nodes are the same if they agree to 1e-6 degrees (0.1 m).
"""

from __future__ import annotations

import csv
import hashlib
import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from geo.access import Floats, as_points, distances, in_space, over_ground, straight_minutes

Edge = tuple[float, float, float, float, float, bool]
"""from lon lat, to lon lat, minutes, one way."""

_HEAD = 8  # bytes of a GeoPackage geometry before its envelope
_ENVELOPE = (0, 32, 48, 48, 64)


class RoadsError(ValueError):
    """The file is no edge list; the text says where."""


@dataclass(frozen=True, eq=False)
class Roads:
    """Nodes (n, 2) lon lat, and the minutes of the edges between them; `digest` is the file's SHA-256."""

    nodes: Floats
    minutes: Any  # scipy's csr_array has no type of its own
    digest: str

    def travel(self, demand: Floats, sites: Floats, limit: float = math.inf) -> Floats:
        """(n, m) minutes from each demand to each site: to the nearest node, along the roads, and off again.

        Off the road by the straight line and the assumed detour. Infinite where no road leads or beyond `limit`.
        """
        if not len(demand) or not len(sites):
            return np.full((len(demand), len(sites)), np.inf)
        (to_road, entry), (from_road, leave) = self._snapped(demand), self._snapped(sites)
        targets, back = np.unique(leave, return_inverse=True)
        along = dijkstra(self.minutes.T, directed=True, indices=targets, limit=limit)
        total: Floats = to_road[:, None] + along[back][:, entry].T + from_road[None, :]
        direct = straight_minutes(distances(demand, sites))
        same = entry[:, None] == leave[None, :]  # both at one node: across, not there and back
        total = np.where(same, np.minimum(total, direct), total)
        return np.where(total <= limit, total, np.inf)

    def _snapped(self, points: Floats) -> tuple[Floats, Any]:
        chord, node = cKDTree(in_space(self.nodes)).query(in_space(points))
        return straight_minutes(over_ground(chord)), node


def read_roads(path: Path) -> Roads:
    """Raises RoadsError for a file that is none of the two kinds, or has no edge."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        return roads_of(_gpkg_edges(path) if path.suffix == ".gpkg" else _csv_edges(path), digest)
    except (KeyError, TypeError, ValueError, sqlite3.Error, shapely.errors.ShapelyError) as error:
        raise RoadsError(f"{path.name}: {error}") from error


def roads_of(edges: Iterable[Edge], digest: str = "") -> Roads:
    """Raises ValueError without edges, for a place that is none, or for minutes that are not above 0."""
    rows = list(edges)
    if not rows:
        raise ValueError("no edges")
    table = np.array([row[:5] for row in rows], dtype=np.float64)
    if not (np.isfinite(table[:, 4]).all() and (table[:, 4] > 0).all()):
        raise ValueError("minutes are above 0")
    nodes, number = np.unique(as_points(np.round(table[:, :4], 6)), axis=0, return_inverse=True)
    start, end = number.reshape(-1, 2).T
    both = ~np.array([row[5] for row in rows])
    first, last = np.concatenate((start, end[both])), np.concatenate((end, start[both]))
    return Roads(nodes, _quickest(first, last, np.concatenate((table[:, 4], table[both, 4])), len(nodes)), digest)


def _quickest(first: Any, last: Any, minutes: Floats, size: int) -> Any:
    """Parallel edges would be added up by a sparse matrix: the quickest stays."""
    order = np.lexsort((minutes, last, first))
    first, last, minutes = first[order], last[order], minutes[order]
    new = np.ones(len(first), dtype=bool)
    new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    return csr_array((minutes[new], (first[new], last[new])), shape=(size, size))


def _csv_edges(path: Path) -> Iterator[Edge]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            ends = (float(row["from_lon"]), float(row["from_lat"]), float(row["to_lon"]), float(row["to_lat"]))
            yield *ends, float(row["minutes"]), row.get("oneway") in ("1", "true")


def _gpkg_edges(path: Path) -> Iterator[Edge]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        table, column = file.execute("SELECT table_name, column_name FROM gpkg_geometry_columns").fetchone()
        known = {row[1] for row in file.execute(f'PRAGMA table_info("{table}")')}
        oneway = "oneway" if "oneway" in known else "0"
        for blob, minutes, one in file.execute(f'SELECT "{column}", minutes, {oneway} FROM "{table}"'):
            line = shapely.from_wkb(blob[_HEAD + _ENVELOPE[blob[3] >> 1 & 7] :])
            (lon, lat, *_), (to_lon, to_lat, *_) = line.coords[0], line.coords[-1]
            yield lon, lat, to_lon, to_lat, float(minutes), bool(one)
