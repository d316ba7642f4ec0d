"""How well people reach sites: distances on the ellipsoid, nearest sites, share within a reach, floating catchments. Pure.

Points are (n, 2) float64, lon lat in degrees, WGS 84. They are laid into space (metres from the centre of the earth), where a
k-d tree finds neighbours truly: nearest in degrees is wrong for 8 % of patients at our latitudes. A chord in space becomes a
length over ground by the mean radius of the ellipsoid: within 10 ppm of the geodesic up to 1,000 km, 0.35 % at the far side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Weighing = Callable[[Floats], Floats]
"""How much a site at a cost counts, from 0 to 1."""

SEMI_MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563  # WGS 84
MEAN_RADIUS = SEMI_MAJOR * (1 - FLATTENING / 3)
DETOUR = 1.4  # road over straight line where no road graph is loaded: assumed, to be measured per province
KM_PER_HOUR = 40.0  # of a car on country roads: assumed


def as_points(pairs: Any) -> Floats:
    """(n, 2) of any sequence of lon lat; n may be 0. Raises ValueError for what is no place on earth."""
    points = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(points).all() and (np.abs(points) <= (180.0, 90.0)).all()):
        raise ValueError("a point is lon, lat in degrees")
    return points


def in_space(points: Floats) -> Floats:
    """(n, 3) metres from the centre of the earth, on the ellipsoid."""
    lon, lat = np.radians(points).T
    square = FLATTENING * (2 - FLATTENING)
    normal = SEMI_MAJOR / np.sqrt(1 - square * np.sin(lat) ** 2)
    flat = normal * np.cos(lat)
    return np.column_stack((flat * np.cos(lon), flat * np.sin(lon), normal * (1 - square) * np.sin(lat)))


def over_ground(chord: Floats) -> Floats:
    """Metres along the ellipsoid of chords in metres; infinite stays infinite."""
    with np.errstate(invalid="ignore"):
        bent = 2 * MEAN_RADIUS * np.arcsin(np.minimum(chord / (2 * MEAN_RADIUS), 1.0))
    return np.where(np.isinf(chord), np.inf, bent)


def chord_of(metres: float) -> float:
    """The chord in metres that belongs to a length over ground."""
    return float(2 * MEAN_RADIUS * np.sin(min(metres / (2 * MEAN_RADIUS), np.pi / 2)))


def distances(demand: Floats, sites: Floats) -> Floats:
    """(n, m) metres between each demand and each site."""
    return over_ground(cdist(in_space(demand), in_space(sites)))


def nearest(demand: Floats, sites: Floats, k: int = 1) -> tuple[Floats, Integers]:
    """Metres to the nearest `k` sites of each demand, and which these are: both (n, k), nearest first.

    Where there are fewer than `k` sites the rest is infinite and -1.
    """
    if not len(sites) or not len(demand):
        return np.full((len(demand), k), np.inf), np.full((len(demand), k), -1, dtype=np.int64)
    chord, which = cKDTree(in_space(sites)).query(in_space(demand), k=list(range(1, k + 1)))
    return over_ground(chord), np.where(which < len(sites), which, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Demand and sites that reach each other at a cost (metres, or minutes): three arrays of equal length."""

    demand: Integers
    site: Integers
    cost: Floats
    shape: tuple[int, int]


def pairs_within(demand: Floats, sites: Floats, metres: float) -> Pairs:
    """All pairs not farther from each other than `metres` over ground; none where either is empty."""
    shape = (len(demand), len(sites))
    if 0 in shape:
        empty = np.empty(0, dtype=np.int64)
        return Pairs(empty, empty, np.empty(0), shape)
    slack = 1 + 1e-12  # the bent chord decides, not the straight one
    found = cKDTree(in_space(demand)).sparse_distance_matrix(cKDTree(in_space(sites)), chord_of(metres) * slack, output_type="ndarray")
    cost = over_ground(found["v"])
    kept = cost <= metres
    return Pairs(found["i"][kept].astype(np.int64), found["j"][kept].astype(np.int64), cost[kept], shape)


def pairs_of(costs: Floats, limit: float) -> Pairs:
    """The pairs of a full (n, m) matrix of costs that are within `limit`."""
    demand, site = np.nonzero(costs <= limit)
    return Pairs(demand.astype(np.int64), site.astype(np.int64), costs[demand, site], (costs.shape[0], costs.shape[1]))


def straight_minutes(metres: Floats, detour: float = DETOUR, km_per_hour: float = KM_PER_HOUR) -> Floats:
    """Minutes by road estimated from the straight line, for where no road graph is loaded."""
    return metres * (detour * 60.0 / (km_per_hour * 1000.0))


def share_within(weights: Floats, costs: Floats, limit: float) -> float | None:
    """Share of the demand (by weight) whose cost is within `limit`; None where there is no demand."""
    total = float(weights.sum())
    return float(weights[costs <= limit].sum()) / total if total > 0 else None


# --- floating catchments ----------------------------------------------------------------------------------------------------


def gaussian(sigma: float) -> Weighing:
    """1 at no cost, 0.61 at `sigma`. Raises ValueError unless `sigma` is above 0."""
    if not sigma > 0:
        raise ValueError("sigma is above 0")
    return lambda cost: np.exp(-(cost**2) / (2 * sigma**2))


def stepwise(steps: Mapping[float, float]) -> Weighing:
    """The weight of the first step that the cost does not exceed, 0 beyond the last. Raises ValueError for a negative weight."""
    ends = sorted(steps)
    if any(steps[end] < 0 for end in ends):
        raise ValueError("weights are not negative")
    weights = np.array([*(steps[end] for end in ends), 0.0])
    return lambda cost: weights[np.searchsorted(ends, cost, side="left")]


def two_step(pairs: Pairs, demand: Floats, supply: Floats) -> Floats:
    """Supply per head of demand that each demand reaches, everything in the catchment counting the same (2SFCA).

    (n,) in units of supply per unit of demand; 0.0 where no site is in reach. A site that nobody reaches serves nobody. Between
    equal weights of demand the values sum up to the supply that is in reach of somebody. Source: Luo and Wang 2003.
    """
    return _floating(pairs, np.ones_like(pairs.cost), demand, supply)


def enhanced(pairs: Pairs, demand: Floats, supply: Floats, weighing: Weighing) -> Floats:
    """As `two_step`, what is farther counting less on both steps. Source: Luo and Qi 2009."""
    return _floating(pairs, weighing(pairs.cost), demand, supply)


def three_step(pairs: Pairs, demand: Floats, supply: Floats, weighing: Weighing) -> Floats:
    """As `enhanced`, each demand divided among the sites that it reaches, so that many sites are not each asked for all of it.

    Source: Wan, Zou and Sternberg 2012.
    """
    weight = weighing(pairs.cost)
    total = np.bincount(pairs.demand, weight, minlength=pairs.shape[0]).astype(np.float64)
    return _floating(pairs, weight * _ratio(weight, total[pairs.demand]), demand, supply)


def _floating(pairs: Pairs, weight: Floats, demand: Floats, supply: Floats) -> Floats:
    matrix = csr_array((weight, (pairs.demand, pairs.site)), shape=pairs.shape)
    rate = _ratio(supply, matrix.T @ demand)
    reached: Floats = matrix @ rate
    return reached


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(below, dtype=np.float64), where=below > 0)
