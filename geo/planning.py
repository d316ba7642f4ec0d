"""What a planning run computes: from inputs as JSON to a result as JSON, with progress. Pure.

Inputs are tables as lists by column, made by the API when the run is started and kept with it, so that any node can compute the same
again. Counts of persons in them are rounded; the result shows sums from ten on (geo/disclosure.py), and for siting every township is
listed, whether anybody lives there or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from geo.access import Floats, as_points
from geo.disclosure import published
from geo.routes import Day, plan_day
from geo.siting import Aim, Progress, Sited, Siting, quiet, solve
from geo.travel import Travel, Unit
from schema.planning import PlanKind

Json = dict[str, Any]


def carry_out(kind: PlanKind, inputs: Json, travel: Travel, progress: Progress = quiet) -> Json:
    """The result. Raises ValueError for inputs that do not fit together."""
    return _route(inputs, travel) if kind is PlanKind.ROUTE else _siting(kind, inputs, travel, progress)


def _points(table: Json) -> Floats:
    return as_points(list(zip(table["lon"], table["lat"], strict=True)))


def _siting(kind: PlanKind, inputs: Json, travel: Travel, progress: Progress) -> Json:
    unit, limit = Unit(inputs["unit"]), inputs["limit"] if inputs["limit"] is not None else math.inf
    demand = _points(inputs["demand"])
    persons = np.array(inputs["demand"]["persons"], dtype=np.float64)
    costs = travel.costs(demand, _points(inputs["candidates"]), unit)
    standing = travel.costs(demand, _points(inputs["sites"]), unit).min(axis=1, initial=np.inf)
    capacity = None if inputs["capacity"] is None else np.full(costs.shape[1], float(inputs["capacity"]))
    asked = Siting(Aim(kind.value), persons, costs, standing, inputs["number"], limit, capacity)
    found = solve(asked, inputs["seconds"], progress)
    return _sited(inputs, asked, found, costs, standing) | {"unit": unit.value, "limit": inputs["limit"], "travel": travel.said(unit)}


def _sited(inputs: Json, asked: Siting, found: Sited, costs: Floats, standing: Floats) -> Json:
    persons, chosen = asked.weights, found.chosen
    new = costs[:, chosen].min(axis=1, initial=np.inf)
    serves = np.where(new < standing, chosen[np.argmin(costs[:, chosen], axis=1)] if len(chosen) else -1, -1)
    best = np.minimum(new, standing)
    total = published(int(persons.sum()))
    return {
        "chosen": [_chosen(inputs, int(site), persons[(serves == site) & (best <= asked.limit)]) for site in chosen],
        "patients": total,
        "reachedBefore": _reached(persons, standing, asked.limit),
        "reachedAfter": _reached(persons, best, asked.limit) if asked.capacity is None else published(int(_covered(asked, found, best))),
        "meanBefore": _mean(persons, standing),
        "meanAfter": _mean(persons, best),
        "bound": None if total is None or asked.aim is Aim.MEDIAN else published(int(found.bound)),
        "meanBound": None if total is None or asked.aim is Aim.COVERING else found.bound / total,
        "gap": found.gap,
        "proven": found.proven,
        "firstGap": _first_gap(found),
        "firstSeconds": round(found.first_seconds, 3),
        "seconds": round(found.seconds, 3),
        "method": found.method,
        "areas": _areas(inputs, serves, best, asked.limit),
    }


def _chosen(inputs: Json, site: int, persons: Floats) -> Json:
    """A new site with those who have it nearest, as many as it can take."""
    where = {name: inputs["candidates"][name][site] for name in ("id", "name", "lon", "lat")}
    some = min(float(persons.sum()), inputs["capacity"] or math.inf)
    return {**where, "reached": published(int(some))}


def _covered(asked: Siting, found: Sited, best: Floats) -> float:
    """With capacities: what the sites can take, not who is near."""
    return found.value if asked.aim is Aim.COVERING else float(asked.weights[best <= asked.limit].sum())


def _reached(persons: Floats, costs: Floats, limit: float) -> int | None:
    return published(int(persons[costs <= limit].sum()))


def _mean(persons: Floats, costs: Floats) -> float | None:
    """Of those who have a way at all."""
    way = np.isfinite(costs)
    some = published(int(persons[way].sum()))
    return None if some is None else float(persons[way] @ costs[way]) / some


def _first_gap(found: Sited) -> float:
    above = max(abs(found.first), abs(found.value))
    return abs(found.first - found.value) / above if above else 0.0


def _areas(inputs: Json, serves: Any, best: Floats, limit: float) -> list[Json]:
    demand, candidates = inputs["demand"], inputs["candidates"]
    return [
        {
            "area": code,
            "name": demand["name"][at],
            "patients": published(demand["persons"][at]),
            "cost": float(best[at]) if math.isfinite(best[at]) else None,
            "reached": bool(best[at] <= limit),
            "site": None if serves[at] < 0 else candidates["id"][int(serves[at])],
            "placed": demand["placed"][at],
        }
        for at, code in enumerate(demand["code"])
        if demand["layer"][at]
    ]


def _route(inputs: Json, travel: Travel) -> Json:
    stops = inputs["stops"]
    visits = np.full(len(stops["id"]), float(inputs["visitMinutes"]))
    minutes, lines = _between(inputs, travel, Unit.MINUTES), _between(inputs, travel, Unit.KM)
    ranks = [int(severe) for severe in stops["severe"]] if inputs["severeFirst"] else None
    found = plan_day(Day(minutes, visits, float(inputs["dayMinutes"]), inputs["closed"], ranks))
    order = [0, *(each.stop + 1 for each in found.stops)]
    legs = [float(lines[one, other]) for one, other in pairwise([*order, 0] if inputs["closed"] and found.stops else order)]
    return {
        "stops": [
            {**_named(stops, each.stop), "arrives": round(each.arrives, 2), "leaves": round(each.leaves, 2), "km": round(leg, 3)}
            for each, leg in zip(found.stops, legs, strict=False)
        ],
        "leftOut": [_named(stops, at) | {"why": _why(minutes, visits, inputs, at)} for at in found.left_out],
        "travelMinutes": round(found.travel, 2),
        "km": round(sum(legs), 3),
        "endsAt": round(found.back, 2),
        "proven": found.proven,
        "travel": travel.said(Unit.MINUTES),
    }


def _between(inputs: Json, travel: Travel, unit: Unit) -> Floats:
    """From each place to each, the start first; its column is the way to where the day ends."""
    places = np.vstack((as_points([inputs["start"]]), _points(inputs["stops"])))
    costs = travel.costs(places, places, unit)
    np.fill_diagonal(costs, 0.0)
    if inputs["end"] is not None:
        costs[:, 0] = travel.costs(places, as_points([inputs["end"]]), unit)[:, 0]
    return costs


def _named(stops: Json, at: int) -> Json:
    return {name: stops[name][at] for name in ("id", "name", "lon", "lat", "severe")}


def _why(minutes: Floats, visits: Floats, inputs: Json, at: int) -> str:
    alone = minutes[0, at + 1] + visits[at] + (minutes[at + 1, 0] if inputs["closed"] else 0.0)
    if not math.isfinite(alone):
        return "NO_WAY"
    return "TOO_FAR" if alone > inputs["dayMinutes"] else "DAY_FULL"


def tables(rows: Sequence[Json]) -> Json:
    """Rows as lists by column."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
