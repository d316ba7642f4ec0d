"""Where sites should stand, against every choice on small worlds and against PySAL's `spopt`."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.siting import Aim, Siting, solve

FAR = np.inf


def world(seed: int, n: int = 7, m: int = 6, number: int = 2, *, aim: Aim = Aim.COVERING, standing: bool = False) -> Siting:
    chance = np.random.default_rng(seed)
    demand, candidates = chance.uniform(0, 10, (n, 2)), chance.uniform(0, 10, (m, 2))
    costs = np.linalg.norm(demand[:, None] - candidates[None], axis=2).round(2).astype(np.float64)
    weights = (chance.integers(0, 9, n) * 5).astype(np.float64)
    already = chance.uniform(0, 8, n).round(2) if standing else np.full(n, FAR)
    return Siting(aim, weights, costs, already, number, limit=3.0 if aim is Aim.COVERING else FAR)


def every_choice(asked: Siting) -> float:
    best = max if asked.aim is Aim.COVERING else min
    choices = itertools.combinations(range(asked.costs.shape[1]), asked.number)
    return best(plainly(asked, choice) for choice in choices)


def plainly(asked: Siting, chosen: tuple[int, ...]) -> float:
    total = 0.0
    for weight, costs, standing in zip(asked.weights, asked.costs, asked.standing, strict=True):
        least = min([standing, *(costs[site] for site in chosen)])
        total += weight * (least <= asked.limit) if asked.aim is Aim.COVERING else (weight * least if weight else 0.0)
    return float(total)


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from(Aim), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_answer_is_the_best_of_all_choices_and_says_so(seed: int, number: int, aim: Aim, standing: bool) -> None:
    asked = world(seed, number=number, aim=aim, standing=standing)
    found = solve(asked, 20.0)
    assert found.value == pytest.approx(every_choice(asked))
    assert found.value == pytest.approx(plainly(asked, tuple(found.chosen)))
    assert found.proven
    assert len(set(found.chosen)) == number


@given(st.integers(0, 10_000), st.sampled_from(Aim))
@settings(max_examples=20, deadline=None)
def test_the_bound_is_never_beaten_and_the_quick_answer_never_better(seed: int, aim: Aim) -> None:
    asked = world(seed, n=12, m=10, number=3, aim=aim, standing=True)
    found = solve(asked, 0.0)  # no time for a proof
    best = every_choice(asked)
    if aim is Aim.COVERING:
        assert found.first <= found.value <= best + 1e-6 <= found.bound + 2e-6
    else:
        assert found.first + 1e-6 >= found.value >= best - 1e-6 >= found.bound - 2e-6


@pytest.mark.parametrize("aim", Aim)
def test_the_answer_equals_that_of_spopt(aim: Aim) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pulp
        from spopt.locate import MCLP, PMedian

        asked = world(5, n=40, m=25, number=4, aim=aim)
        if aim is Aim.COVERING:
            peer = MCLP.from_cost_matrix(asked.costs, asked.weights, asked.limit, p_facilities=4)
        else:
            peer = PMedian.from_cost_matrix(asked.costs, asked.weights, p_facilities=4)
        peer.solve(pulp.HiGHS(msg=False))
    assert solve(asked, 20.0).value == pytest.approx(pulp.value(peer.problem.objective))


@given(st.integers(0, 10_000), st.sampled_from(Aim))
@settings(max_examples=12, deadline=None)
def test_capacity_is_kept_and_wide_capacity_changes_nothing(seed: int, aim: Aim) -> None:
    asked = world(seed, aim=aim, standing=True)
    wide = replace(asked, capacity=np.full(6, asked.weights.sum() + 1.0))
    assert solve(wide, 20.0).value == pytest.approx(every_choice(asked), rel=1e-5, abs=1e-5)
    tight = solve(replace(asked, capacity=np.full(6, 10.0)), 20.0)
    if aim is Aim.COVERING:
        served = asked.weights[asked.standing <= asked.limit].sum()
        assert tight.value <= min(served + 2 * 10.0, every_choice(asked)) + 1e-6
    else:
        assert tight.value >= every_choice(asked) - 1e-6
    assert tight.proven


@pytest.mark.parametrize("aim", Aim)
def test_empty_cases_have_answers(aim: Aim) -> None:
    nothing = np.zeros((0, 3)), np.zeros(0)
    nobody = solve(Siting(aim, nothing[1], nothing[0], nothing[1], 2, 5.0))
    assert (nobody.value, nobody.proven, len(nobody.chosen)) == (0.0, True, 2)
    nowhere = solve(Siting(aim, np.array([10.0]), np.zeros((1, 0)), np.array([4.0]), 2, 5.0))
    assert (nowhere.value, nowhere.proven, len(nowhere.chosen)) == (10.0 if aim is Aim.COVERING else 40.0, True, 0)
    unreachable = solve(Siting(aim, np.array([10.0]), np.full((1, 2), FAR), np.array([FAR]), 1, 5.0))
    assert (unreachable.value, unreachable.proven) == (0.0, True)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="fit together"):
        solve(Siting(Aim.COVERING, np.ones(2), np.ones((3, 2)), np.ones(3), 1))
    with pytest.raises(ValueError, match="not negative"):
        solve(Siting(Aim.COVERING, -np.ones(3), np.ones((3, 2)), np.ones(3), 1))


def test_progress_is_told_and_ends_within_the_time() -> None:
    told: list[float] = []
    asked = world(3, n=150, m=120, number=8, aim=Aim.MEDIAN)
    found = solve(asked, 10.0, lambda share, what: told.append(share))
    assert told == sorted(told)
    assert 0 < found.first_seconds <= found.seconds < 15
    assert found.first >= found.value >= found.bound
    assert found.gap < 0.05
