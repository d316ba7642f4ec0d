"""A day's inspections in good order for a team. Pure.

Up to EXACT stops every order is weighed (Held and Karp 1962) and the answer is the best there is; beyond that, insertion, 2-opt and
Or-opt give a good one. As many stops as fit are visited, by priority first; the rest is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo.access import Floats

EXACT = 10
_LEAST = 1e-9  # minutes below which two ways are equally long


@dataclass(frozen=True, eq=False)
class Day:
    """What is asked: a tour from place 0 to some of the places 1..n.

    travel    (n + 1, n + 1) minutes from place to place; infinite: no way
    visits    (n,) minutes at each stop
    limit     minutes of the whole day, travel and visits
    closed    back to place 0 at the end, within the limit
    priority  (n,) higher comes in first where not all fit; None: all the same
    """

    travel: Floats
    visits: Floats
    limit: float
    closed: bool = True
    priority: Sequence[int] | None = None


@dataclass(frozen=True)
class Stop:
    """A stop, 0..n - 1, with minutes since the start of the day."""

    stop: int
    arrives: float
    leaves: float


@dataclass(frozen=True)
class Route:
    """`left_out` in order of number; `back` is the minute at which the day ends. `proven`: no better order or choice exists."""

    stops: tuple[Stop, ...]
    left_out: tuple[int, ...]
    travel: float
    back: float
    proven: bool


def plan_day(asked: Day) -> Route:
    """The most stops (of the highest priority first) that fit into the day, in the order with the least travel.

    Raises ValueError for arrays that do not fit together or times below 0.
    """
    n = len(asked.visits)
    if asked.travel.shape != (n + 1, n + 1) or (asked.priority is not None and len(asked.priority) != n):
        raise ValueError("travel, visits and priority do not fit together")
    if (asked.visits < 0).any() or np.isnan(asked.travel).any() or (asked.travel < 0).any():
        raise ValueError("minutes are not negative")
    order = _best_order(asked) if n <= EXACT else _good_order(asked)
    return _timed(asked, order, proven=n <= EXACT)


def length(asked: Day, order: Sequence[int]) -> float:
    """Minutes of travel and visits of a tour to these stops."""
    way = _travel(asked, order)
    return way + float(asked.visits[list(order)].sum())


def _travel(asked: Day, order: Sequence[int]) -> float:
    places = [0, *(stop + 1 for stop in order), *([0] if asked.closed and order else [])]
    return float(asked.travel[places[:-1], places[1:]].sum())


def _timed(asked: Day, order: Sequence[int], *, proven: bool) -> Route:
    stops, now, place = [], 0.0, 0
    for stop in order:
        arrives = now + float(asked.travel[place, stop + 1])
        now, place = arrives + float(asked.visits[stop]), stop + 1
        stops.append(Stop(stop, arrives, now))
    if asked.closed and order:
        now += float(asked.travel[place, 0])
    left = tuple(sorted(set(range(len(asked.visits))) - set(order)))
    return Route(tuple(stops), left, _travel(asked, order), now, proven)


def _rank(asked: Day, order: Sequence[int]) -> tuple[int, ...]:
    """How much an answer is worth before travel is looked at: the number of stops of each priority, highest first."""
    levels = list(asked.priority) if asked.priority is not None else [0] * len(asked.visits)
    return tuple(sum(levels[stop] == level for stop in order) for level in sorted(set(levels), reverse=True))


# --- every order ------------------------------------------------------------------------------------------------------------


def _best_order(asked: Day) -> list[int]:
    n = len(asked.visits)
    ways = _ways(asked.travel, n)
    best: tuple[tuple[int, ...], float, int, int] | None = None
    for chosen in range(1, 1 << n):
        stops = [stop for stop in range(n) if chosen >> stop & 1]
        ends = ways[chosen] + (asked.travel[1:, 0] if asked.closed else 0.0)
        last = int(np.argmin(ends))
        total = float(ends[last] + asked.visits[stops].sum())
        if total > asked.limit + _LEAST or not np.isfinite(total):
            continue
        rank = _rank(asked, stops)
        if best is None or rank > best[0] or (rank == best[0] and ends[last] < best[1] - _LEAST):
            best = rank, float(ends[last]), chosen, last
    return _followed_back(asked.travel, ways, best[2], best[3]) if best else []


def _ways(travel: Floats, n: int) -> Floats:
    """(2^n, n): minutes of the shortest way through a set of stops that ends at one of them; infinite where it is not of the set."""
    ways = np.full((1 << n, n), np.inf)
    for stop in range(n):
        ways[1 << stop, stop] = travel[0, stop + 1]
    between = travel[1:, 1:]
    for chosen in range(1, 1 << n):
        if chosen & (chosen - 1):
            for stop in range(n):
                if chosen >> stop & 1:
                    ways[chosen, stop] = (ways[chosen ^ 1 << stop] + between[:, stop]).min()
    return ways


def _followed_back(travel: Floats, ways: Floats, chosen: int, last: int) -> list[int]:
    order = [last]
    while rest := chosen ^ 1 << last:
        before = int(np.argmin(ways[rest] + travel[1:, last + 1]))
        chosen, last = rest, before
        order.append(last)
    return order[::-1]


# --- a good order -----------------------------------------------------------------------------------------------------------


def _good_order(asked: Day) -> list[int]:
    """Insert what costs least, smooth, and try again what did not fit, until nothing more does."""
    order: list[int] = []
    while True:
        larger = _smoothed(asked, _filled(asked, order))
        if len(larger) <= len(order):
            return larger if larger else order
        order = larger


def _filled(asked: Day, order: list[int]) -> list[int]:
    """With stops put in where they cost least, the highest priority first, as long as the day allows."""
    levels = list(asked.priority) if asked.priority is not None else [0] * len(asked.visits)
    for level in sorted(set(levels), reverse=True):
        waiting = [stop for stop in range(len(levels)) if levels[stop] == level and stop not in order]
        while waiting:
            total, stop, place = min(_cheapest(asked, order, stop) for stop in waiting)
            if total > asked.limit + _LEAST:
                break
            order = [*order[:place], stop, *order[place:]]
            waiting.remove(stop)
    return order


def _cheapest(asked: Day, order: list[int], stop: int) -> tuple[float, int, int]:
    """(length of the day, stop, place) with the stop where it costs least."""
    at = np.array([0, *(each + 1 for each in order)])
    after = np.array([*at[1:], 0])
    saved = asked.travel[at, after]
    onward = asked.travel[stop + 1, after]
    if not asked.closed or not order:
        saved[-1] = 0.0
        onward[-1] = asked.travel[stop + 1, 0] if asked.closed else 0.0
    added = asked.travel[at, stop + 1] + onward - saved
    place = int(np.argmin(added))
    return length(asked, order) + float(added[place] + asked.visits[stop]), stop, place


def _smoothed(asked: Day, order: list[int]) -> list[int]:
    """By reversing stretches (2-opt) and moving up to three stops elsewhere, either way round (Or-opt), until neither helps."""
    best, way = order, _travel(asked, order)
    while True:
        found = min(((_travel(asked, other), other) for other in _neighbours(best)), default=(way, best), key=lambda each: each[0])
        if found[0] >= way - _LEAST:
            return best
        way, best = found


def _neighbours(order: list[int]) -> list[list[int]]:
    size = len(order)
    turned = [[*order[:i], *order[i:j][::-1], *order[j:]] for i in range(size) for j in range(i + 2, size + 1)]
    moved = []
    for i in range(size):
        for j in range(i + 1, min(i + 3, size) + 1):
            piece, rest = order[i:j], order[:i] + order[j:]
            for place in range(len(rest) + 1):
                if place != i:
                    moved += [[*rest[:place], *piece, *rest[place:]], [*rest[:place], *piece[::-1], *rest[place:]]]
    return turned + moved
