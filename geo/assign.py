"""Which county many points lie in, outside the database: a grid of cells that lie in one county, and Shapely for the rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import numpy.typing
import shapely
from shapely.geometry.base import BaseGeometry

CELL = 0.05  # degrees: a tenth of the points of China are left to Shapely
_BORDER = -2
Degrees = numpy.typing.NDArray[numpy.float64]
Numbers = numpy.typing.NDArray[numpy.int32]


class Assigner:
    """Outlines made ready; `codes` in order, as `assign` numbers them."""

    def __init__(self, outlines: Mapping[str, BaseGeometry], cell: float = CELL) -> None:
        self.codes = sorted(outlines)
        self.outlines: Any = numpy.array([outlines[code] for code in self.codes], dtype=object)
        west, south, east, north = shapely.total_bounds(self.outlines)
        self.origin, self.cell = numpy.array([west, south]), cell
        self.columns, self.rows = int((east - west) / cell) + 1, int((north - south) / cell) + 1
        self.grid = self._grid()

    def assign(self, points: Degrees) -> Numbers:
        """The place in `codes` of the county of each point, -1 outside all; on a border the smallest code.

        points  (n, 2) float64, lon lat in degrees, WGS 84
        """
        at = numpy.floor((points - self.origin) / self.cell).astype(numpy.int64)
        known = (at >= 0).all(axis=1) & (at[:, 0] < self.columns) & (at[:, 1] < self.rows)
        found = numpy.full(len(points), -1, dtype=numpy.int32)
        found[known] = self.grid[at[known, 1], at[known, 0]]
        border = numpy.flatnonzero(found == _BORDER)
        found[border] = by_tree(self.outlines, points[border])
        return found

    def _grid(self) -> Numbers:
        x, y = numpy.meshgrid(numpy.arange(self.columns), numpy.arange(self.rows))
        west, south = self.origin[0] + x.ravel() * self.cell, self.origin[1] + y.ravel() * self.cell
        # A hair wider than the cell, so that rounding never puts a point of the rim on the wrong side.
        rim = self.cell * 1e-6
        boxes = shapely.box(west - rim, south - rim, west + self.cell + rim, south + self.cell + rim)
        tree = shapely.STRtree(boxes)
        county, inside = tree.query(self.outlines, predicate="contains_properly")
        touching = numpy.bincount(tree.query(self.outlines, predicate="intersects")[1], minlength=len(boxes))
        grid = numpy.where(touching == 0, numpy.int32(-1), numpy.int32(_BORDER))
        alone = touching[inside] == 1  # where outlines overlap, both are asked
        grid[inside[alone]] = county[alone]
        return grid.reshape(self.rows, self.columns)


def by_tree(outlines: Any, points: Degrees) -> Numbers:
    """The same by Shapely alone: the place of the first outline that each point intersects, -1 outside all."""
    found = numpy.full(len(points), len(outlines), dtype=numpy.int32)
    places: Any = shapely.points(points)
    holder, held = shapely.STRtree(places).query(outlines, predicate="intersects")
    numpy.minimum.at(found, held, holder.astype(numpy.int32))
    found[found == len(outlines)] = -1
    return found
