"""A day's inspections, against every order on small worlds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo import routes
from geo.planning import carry_out
from geo.routes import Day, length, plan_day
from geo.travel import Travel
from schema.planning import PlanKind


def day(seed: int, n: int, limit: float = 200.0, *, closed: bool = True, priority: tuple[int, ...] | None = None) -> Day:
    chance = np.random.default_rng(seed)
    places = chance.uniform(0, 40, (n + 1, 2))
    travel = np.linalg.norm(places[:, None] - places[None], axis=2)
    return Day(travel, chance.integers(5, 40, n).astype(float), limit, closed, priority)


def best(asked: Day) -> tuple[int, float]:
    """Most stops, then least travel, of every order of every choice."""
    found = (0, 0.0)
    for count in range(1, len(asked.visits) + 1):
        lengths = [length(asked, order) for order in itertools.permutations(range(len(asked.visits)), count)]
        ways = [
            length(asked, order) - asked.visits[list(order)].sum()
            for order, total in zip(itertools.permutations(range(len(asked.visits)), count), lengths, strict=True)
            if total <= asked.limit
        ]
        if ways:
            found = (count, float(min(ways)))
    return found


@given(st.integers(0, 10_000), st.integers(0, 5), st.floats(0, 250), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_small_day_is_the_best_of_all_orders(seed: int, n: int, limit: float, closed: bool) -> None:
    asked = day(seed, n, limit, closed=closed)
    found = plan_day(asked)
    count, travel = best(asked)
    assert len(found.stops) == count
    assert found.travel == pytest.approx(travel)
    assert found.proven


@given(st.integers(0, 10_000), st.integers(1, 24), st.floats(0, 600), st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_day_is_longer_than_its_limit_and_each_stop_is_visited_or_left_out(seed: int, n: int, limit: float, closed: bool) -> None:
    asked = day(seed, n, limit, closed=closed)
    found = plan_day(asked)
    order = [each.stop for each in found.stops]
    assert sorted([*order, *found.left_out]) == list(range(n))
    assert found.back <= limit + 1e-6
    assert found.back == pytest.approx(length(asked, order))
    place, now = 0, 0.0
    for each in found.stops:
        assert each.arrives == pytest.approx(now + asked.travel[place, each.stop + 1])
        assert each.leaves == pytest.approx(each.arrives + asked.visits[each.stop])
        place, now = each.stop + 1, each.leaves


@pytest.mark.parametrize("closed", [True, False])
def test_the_quick_search_is_near_the_best(closed: bool) -> None:
    ratios = []
    for seed in range(8):
        asked = day(seed, 9, 1e6, closed=closed)
        quick = routes._good_order(asked)
        assert len(quick) == 9
        ratios.append((length(asked, quick) - asked.visits.sum()) / plan_day(asked).travel)
    assert min(ratios) >= 1 - 1e-9
    assert np.mean(ratios) < 1.05


def test_higher_priority_comes_in_first_where_not_all_fit() -> None:
    travel = np.ones((4, 4)) - np.eye(4)
    for n in (3, routes.EXACT + 2):
        travel = np.ones((n + 1, n + 1)) - np.eye(n + 1)
        asked = Day(travel, np.full(n, 10.0), 13.0, True, tuple([0] * (n - 1) + [1]))
        assert [each.stop for each in plan_day(asked).stops] == [n - 1]


def test_a_stop_without_a_way_is_left_out() -> None:
    travel = np.array([[0, 5, np.inf], [5, 0, np.inf], [np.inf, np.inf, 0]])
    found = plan_day(Day(travel, np.array([10.0, 10.0]), 480.0))
    assert ([each.stop for each in found.stops], found.left_out, found.back) == ([0], (1,), 20.0)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="fit together"):
        plan_day(Day(np.zeros((2, 2)), np.zeros(2), 10.0))
    with pytest.raises(ValueError, match="not negative"):
        plan_day(Day(np.zeros((2, 2)), np.array([-1.0]), 10.0))


def carried_out(lons: list[float], severe: list[bool] | None = None, **asked: object) -> dict[str, Any]:
    """A run over stops on one parallel, from 125.0; an hour at each."""
    names = [f"{lon}" for lon in lons]
    stops = {"id": names, "name": names, "lon": lons, "lat": [43.8] * len(lons), "severe": severe or [False] * len(lons)}
    usual = {"start": [125.0, 43.8], "end": None, "visitMinutes": 60.0, "dayMinutes": 480.0, "closed": True, "severeFirst": False}
    return carry_out(PlanKind.ROUTE, {"stops": stops, **usual, **asked}, Travel())


def test_a_day_that_ends_elsewhere_goes_there() -> None:
    found = carried_out([125.2, 125.1], end=[125.3, 43.8])
    assert [each["lon"] for each in found["stops"]] == [125.1, 125.2]
    one_degree = 80.465  # km along the parallel of 43.8
    assert found["km"] == pytest.approx(0.3 * one_degree, rel=1e-3)
    assert [each["km"] for each in found["stops"]] == pytest.approx([0.1 * one_degree] * 2, rel=1e-3)
    assert found["endsAt"] == pytest.approx(120 + found["travelMinutes"], abs=0.02)
    assert carried_out([125.2, 125.1])["km"] == pytest.approx(0.4 * one_degree, rel=1e-3)


@pytest.mark.parametrize(("severe_first", "visited", "left"), [(True, 125.3, 125.1), (False, 125.1, 125.3)])
def test_where_one_must_be_left_out_the_severe_may_come_first(severe_first: bool, visited: float, left: float) -> None:
    found = carried_out([125.1, 125.3], [False, True], dayMinutes=170.0, severeFirst=severe_first)
    assert [each["lon"] for each in found["stops"]] == [visited]
    assert [(each["lon"], each["why"]) for each in found["leftOut"]] == [(left, "DAY_FULL")]
