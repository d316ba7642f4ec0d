"""What it costs to get from demand to sites: kilometres, or minutes along the roads where a graph is loaded. Pure once read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np

from geo.access import DETOUR, KM_PER_HOUR, Floats, distances, straight_minutes
from geo.roads import Roads, read_roads

FILES = ("roads.gpkg", "roads.csv")
"""In the data folder of each node, the same on all; the first that is there."""


class Unit(StrEnum):
    KM = "KM"
    MINUTES = "MINUTES"


@dataclass(frozen=True, eq=False)
class Travel:
    """How costs are computed: `roads` None: the straight line times a detour factor, at an even speed."""

    roads: Roads | None = None
    detour: float = DETOUR
    km_per_hour: float = KM_PER_HOUR

    def costs(self, demand: Floats, sites: Floats, unit: Unit, limit: float = math.inf) -> Floats:
        """(n, m) in `unit`; infinite where no road leads, or beyond `limit`."""
        if unit is Unit.MINUTES and self.roads is not None:
            return self.roads.travel(demand, sites, limit)
        metres = distances(demand, sites)
        found = metres / 1000.0 if unit is Unit.KM else straight_minutes(metres, self.detour, self.km_per_hour)
        return np.where(found <= limit, found, np.inf)

    def said(self, unit: Unit) -> str:
        """In words, for the answer."""
        if unit is Unit.KM:
            return "椭球面直线距离"
        if self.roads is not None:
            return f"路网 {self.roads.digest[:12]}"
        return f"直线距离 × 绕行系数 {self.detour:g}，时速 {self.km_per_hour:g} 公里（未装入路网）"


def roads_file(data: Path) -> Path | None:
    """The edge list of a data folder, if there is one."""
    return next((data / name for name in FILES if (data / name).is_file()), None)


def load_roads(data: Path) -> Roads | None:
    """The road graph of a data folder, read again when the file is another. Raises RoadsError."""
    path = roads_file(data)
    return None if path is None else _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _loaded(path: Path, changed: int) -> Roads:
    return read_roads(path)
