"""Access by township, as it may be published: how near a site is, who is in reach, how much of it each gets. Pure.

Distances are of places and shown as they are; whatever depends on counts of persons is made of rounded counts and hidden where
they are too few (geo/disclosure.py): a catchment of fewer than ten says nothing, and neither does anybody who reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo import access
from geo.access import Floats
from geo.demand import Site, Town
from geo.disclosure import SHOWN_FROM, published
from geo.travel import Travel, Unit
from schema.planning import AccessMeasure

FLOATING = frozenset({AccessMeasure.TWO_STEP, AccessMeasure.ENHANCED, AccessMeasure.THREE_STEP})


@dataclass(frozen=True)
class Asked:
    """`limit` in `unit`; `nearest` how many sites to name."""

    measure: AccessMeasure
    unit: Unit
    limit: float
    nearest: int = 1


@dataclass(frozen=True)
class Near:
    """A site with what it costs to get there."""

    site: Site
    cost: float


@dataclass(frozen=True)
class TownValue:
    """value: cost to the nearest site, 1.0 or 0.0 for in reach or not, or capacity per person; None: no way, no place, or suppressed."""

    town: Town
    patients: int | None
    value: float | None
    suppressed: bool
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Access:
    """patients: None if too few; share: of the patients with a place, who are in reach; None: no patients, or too few to say.

    unplaced  townships without any point
    """

    towns: tuple[TownValue, ...]
    patients: int | None
    share: float | None
    unplaced: int
    said: str


def reach(towns: Sequence[Town], sites: Sequence[Site], asked: Asked, travel: Travel) -> Access:
    """Access of each township, in their order. Without sites nobody is in reach; without patients there is no share."""
    placed = [town for town in towns if town.lon is not None]
    demand = access.as_points([(town.lon, town.lat) for town in placed])
    costs = travel.costs(demand, access.as_points([(site.lon, site.lat) for site in sites]), asked.unit)
    persons = np.array([town.persons for town in placed], dtype=np.float64)
    values, hidden = _values(asked, costs, persons, sites)
    order = np.argsort(costs, axis=1, kind="stable")[:, : asked.nearest]
    shown = {town.code: (at, order[at]) for at, town in enumerate(placed)}
    return Access(
        towns=tuple(_town(town, shown.get(town.code), costs, values, hidden, sites) for town in towns if town.layer),
        patients=published(int(persons.sum())),
        share=_share(asked, costs, persons),
        unplaced=len(towns) - len(placed),
        said=travel.said(asked.unit),
    )


def _town(town: Town, place: tuple[int, Floats] | None, costs: Floats, values: Floats, hidden: Floats, sites: Sequence[Site]) -> TownValue:
    patients = published(town.persons)
    if place is None:
        return TownValue(town, patients, None, False, ())
    at, order = place
    near = tuple(Near(sites[int(site)], float(costs[at, int(site)])) for site in order if math.isfinite(costs[at, int(site)]))
    shown = not hidden[at] and math.isfinite(values[at])
    return TownValue(town, patients, float(values[at]) if shown else None, bool(hidden[at]), near)


def _values(asked: Asked, costs: Floats, persons: Floats, sites: Sequence[Site]) -> tuple[Floats, Floats]:
    """(n,) values, and which of them are hidden."""
    least = costs.min(axis=1, initial=np.inf)
    nothing = np.zeros(len(persons), dtype=np.float64)
    if asked.measure is AccessMeasure.NEAREST:
        return least, nothing
    if asked.measure not in FLOATING:
        return (least <= asked.limit).astype(np.float64), nothing
    pairs = access.pairs_of(costs, asked.limit)
    few = np.bincount(pairs.site, persons[pairs.demand], minlength=len(sites)) < SHOWN_FROM
    hidden = np.bincount(pairs.demand, few[pairs.site], minlength=len(persons)) > 0
    return _floating(asked, pairs, persons, supply_of(sites)), hidden.astype(np.float64)


def _floating(asked: Asked, pairs: access.Pairs, persons: Floats, supply: Floats) -> Floats:
    if asked.measure is AccessMeasure.TWO_STEP:
        return access.two_step(pairs, persons, supply)
    weighing = access.gaussian(asked.limit / 2)  # at the limit 0.14 of what is at the door
    step = access.enhanced if asked.measure is AccessMeasure.ENHANCED else access.three_step
    return step(pairs, persons, supply, weighing)


def supply_of(sites: Sequence[Site]) -> Floats:
    """Capacities; where a site doesn't say, the mean of those that do, and 1 for each if none does."""
    known = [site.capacity for site in sites if site.capacity is not None]
    other = sum(known) / len(known) if known else 1.0
    return np.array([other if site.capacity is None else site.capacity for site in sites], dtype=np.float64)


def _share(asked: Asked, costs: Floats, persons: Floats) -> float | None:
    if asked.measure not in {AccessMeasure.WITHIN_KM, AccessMeasure.WITHIN_MINUTES}:
        return None
    inside = costs.min(axis=1, initial=np.inf) <= asked.limit
    total, some = published(int(persons.sum())), published(int(persons[inside].sum()))
    if total is None:
        return None
    if not inside.any():
        return 0.0  # said by the map alone
    return None if some is None else access.share_within(persons, np.where(inside, 0.0, np.inf), 0.0)
