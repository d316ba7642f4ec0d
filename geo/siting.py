"""Where the next n sites should stand: the most demand in reach (maximal covering) or the least travel (p-median). Pure.

A good answer comes at once, by greedy and swap; then HiGHS looks for a better one and for the bound that no answer can pass, until
it is proven or the time is up. HiGHS is asked directly, with arrays: a modelling layer makes an object for each of the 900,000
pairs of 900 townships and 1,000 candidates. The p-median is first made small by a Lagrangian bound (Cornuéjols, Fisher and Nemhauser
1977), which tells most candidates and pairs to be in no optimum. The same problems by PySAL's `spopt` are the tests' reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import monotonic
from typing import Any

import highspy
import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array, hstack, vstack

from geo.access import Floats, Integers

Progress = Callable[[float, str], None]
"""Told (share of the time or work that is done, what) as it goes on."""

PROVEN = 1e-6  # relative gap below which an answer counts as optimal
ROUNDS = 1500  # of the Lagrangian bound
SHAKES = 20  # without a gain, before the quick search for a better p-median gives up


class Aim(StrEnum):
    COVERING = "COVERING"  # the most demand within the limit
    MEDIAN = "MEDIAN"  # the least demand-weighted cost


@dataclass(frozen=True, eq=False)
class Siting:
    """What is asked.

    weights   (n,) demand, not negative
    costs     (n, m) from each demand to each candidate; infinite: no way
    standing  (n,) to the nearest site that stands already and stays; infinite without any
    capacity  (m,) demand that a candidate can take; None: any. What stands already serves who has it near, without limit.
    """

    aim: Aim
    weights: Floats
    costs: Floats
    standing: Floats
    number: int
    limit: float = math.inf
    capacity: Floats | None = None


@dataclass(frozen=True, eq=False)
class Sited:
    """What was found.

    chosen    candidates in order of number
    value     covered demand, those by standing sites included, or the sum of demand x cost
    bound     no answer has more (COVERING) or less (MEDIAN)
    gap       |bound - value| as a share of the better known; 0.0: proven
    first     the value of the quick answer, and the seconds until it was there
    """

    chosen: Integers
    value: float
    bound: float
    first: float
    first_seconds: float
    seconds: float
    method: str = ""

    @property
    def gap(self) -> float:
        above = max(abs(self.bound), abs(self.value))
        gap = abs(self.bound - self.value) / above if above > 0 and math.isfinite(above) else 0.0
        return gap if gap > PROVEN else 0.0

    @property
    def proven(self) -> bool:
        return self.gap == 0.0


def quiet(share: float, what: str) -> None:
    """A `Progress` for those who do not watch."""


def solve(asked: Siting, seconds: float = 60.0, progress: Progress = quiet) -> Sited:
    """The best answer within `seconds`, with its bound. Fewer than `number` sites where there are not as many candidates.

    In p-median, demand that has no way to any candidate or standing site is left out; no way counts as ten times the farthest.
    Raises ValueError for arrays that do not fit.
    """
    started = monotonic()
    asked = _checked(asked)
    progress(0.0, "first answer")
    chosen = first_answer(asked)
    value = value_of(asked, chosen)
    bound = value if asked.number in {0, asked.costs.shape[1]} else _trivial_bound(asked)
    first = Sited(chosen, value, bound, value, monotonic() - started, 0.0, "greedy + swap")
    progress(0.05, "first answer found")
    if first.proven:
        return replace(first, seconds=monotonic() - started)
    deadline = started + seconds
    solver = _assigned if asked.capacity is not None else _covered if asked.aim is Aim.COVERING else _median
    found = solver(asked, first, deadline, progress)
    return replace(found, seconds=monotonic() - started)


def _checked(asked: Siting) -> Siting:
    n, m = asked.costs.shape
    if asked.weights.shape != (n,) or asked.standing.shape != (n,) or (asked.capacity is not None and asked.capacity.shape != (m,)):
        raise ValueError("weights, costs, standing and capacity do not fit together")
    if asked.number < 0 or (asked.weights < 0).any() or np.isnan(asked.costs).any():
        raise ValueError("number and weights are not negative, costs are numbers")
    counts = asked.weights > 0
    if asked.aim is Aim.MEDIAN:
        counts &= np.isfinite(asked.standing) | np.isfinite(asked.costs).any(axis=1)
    asked = replace(
        asked, weights=asked.weights[counts], costs=asked.costs[counts], standing=asked.standing[counts], number=min(asked.number, m)
    )
    if asked.aim is Aim.COVERING:
        return asked
    return replace(asked, costs=np.minimum(asked.costs, _far(asked)), standing=np.minimum(asked.standing, _far(asked)))


def _far(asked: Siting) -> float:
    """What "no way" costs in comparisons: more than any way."""
    finite = asked.costs[np.isfinite(asked.costs)]
    return float(10.0 * max(finite.max(initial=1.0), asked.standing[np.isfinite(asked.standing)].max(initial=1.0)))


def value_of(asked: Siting, chosen: Integers) -> float:
    """What these sites are worth: demand within the limit, or the sum of demand x cost."""
    if asked.capacity is not None:
        return _transport(asked, chosen)
    best = np.minimum(asked.standing, asked.costs[:, chosen].min(axis=1, initial=np.inf))
    if asked.aim is Aim.COVERING:
        return float(asked.weights[best <= asked.limit].sum())
    return float(asked.weights @ best)


def _trivial_bound(asked: Siting) -> float:
    best = np.minimum(asked.standing, asked.costs.min(axis=1, initial=np.inf))
    if asked.aim is Aim.COVERING:
        return float(asked.weights[best <= asked.limit].sum())
    return float(asked.weights @ best)


# --- the quick answer -------------------------------------------------------------------------------------------------------


def first_answer(asked: Siting) -> Integers:
    """By greedy and swap: usually the optimum, never proven."""
    if asked.capacity is not None:
        return _greedy_with_capacity(asked)
    worth = _worth(asked)
    chosen: list[int] = []
    best = _worth_of(asked, asked.standing)
    for _ in range(asked.number):
        gains = np.maximum(worth - best[:, None], 0.0).sum(axis=0)
        gains[chosen] = -1.0
        chosen.append(int(np.argmax(gains)))
        best = np.maximum(best, worth[:, chosen[-1]])
    return np.sort(_swapped(asked, worth, chosen))


def _worth(asked: Siting) -> Floats:
    """(n, m): the more the better, so that both aims are the same search; finite for every pair."""
    return _worth_of(asked, asked.costs)


def _worth_of(asked: Siting, costs: Floats) -> Floats:
    weights = asked.weights if costs.ndim == 1 else asked.weights[:, None]
    if asked.aim is Aim.COVERING:
        return np.where(costs <= asked.limit, weights, 0.0)
    return -weights * costs


def _swapped(asked: Siting, worth: Floats, chosen: list[int]) -> Integers:
    """Exchanges one site for another as long as that gains, always the best exchange (Resende and Werneck 2007)."""
    standing = _worth_of(asked, asked.standing)
    while chosen:
        first, second, serves = _two_best(worth, standing, chosen)
        gain = np.maximum(worth - first[:, None], 0.0).sum(axis=0)
        best_gain, best_swap = 1e-9 * max(1.0, float(np.abs(first).sum())), None
        for place in range(len(chosen)):
            mine = serves == place
            # Who loses this site has its second best, or the new one where that is better.
            kept = np.clip(worth[mine], second[mine][:, None], first[mine][:, None])
            total = gain - (first[mine][:, None] - kept).sum(axis=0)
            total[chosen] = -np.inf
            at = int(np.argmax(total))
            if total[at] > best_gain:
                best_gain, best_swap = float(total[at]), (place, at)
        if best_swap is None:
            break
        chosen[best_swap[0]] = best_swap[1]
    return np.array(chosen, dtype=np.int64)


def _two_best(worth: Floats, standing: Floats, chosen: list[int]) -> tuple[Floats, Floats, Integers]:
    """Of each demand the best worth among chosen and standing, the second best, and the place in `chosen` of the best; -1: standing."""
    open_ones = np.column_stack((worth[:, chosen], standing))
    order = np.argsort(-open_ones, axis=1, kind="stable")
    rows = np.arange(len(worth))
    serves = np.where(order[:, 0] == len(chosen), -1, order[:, 0])
    return open_ones[rows, order[:, 0]], open_ones[rows, order[:, 1]], serves


def _greedy_with_capacity(asked: Siting) -> Integers:
    """Each time the candidate that can take the most of what nobody takes yet, nearest demand first."""
    assert asked.capacity is not None
    reach = asked.costs <= asked.limit
    left = np.where(asked.standing <= asked.limit, 0.0, asked.weights) if asked.aim is Aim.COVERING else asked.weights.copy()
    chosen: list[int] = []
    for _ in range(asked.number):
        takes = np.minimum(left @ reach, asked.capacity)
        takes[chosen] = -1.0
        site = int(np.argmax(takes))
        chosen.append(site)
        near = np.argsort(asked.costs[:, site], kind="stable")
        near = near[reach[near, site]]
        room = np.clip(asked.capacity[site] - (np.cumsum(left[near]) - left[near]), 0.0, left[near])
        left[near] -= room
    return np.sort(np.array(chosen, dtype=np.int64))


# --- maximal covering -------------------------------------------------------------------------------------------------------


def _covered(asked: Siting, first: Sited, deadline: float, progress: Progress) -> Sited:
    """max sum w z, z_i <= sum of y_j in reach, sum y = number."""
    already = float(asked.weights[asked.standing <= asked.limit].sum())
    reach, weights = _merged(asked)
    n, m = reach.shape
    rows = vstack([hstack([eye_array(n), -reach]), hstack([csr_array((1, n)), csr_array(np.ones((1, m)))])])
    model = Model(
        cost=np.concatenate((-weights, np.zeros(m))),
        upper=np.ones(n + m),
        whole=np.concatenate((np.zeros(n, dtype=bool), np.ones(m, dtype=bool))),
        rows=csr_array(rows),
        row_lower=np.concatenate((np.full(n, -np.inf), [asked.number])),
        row_upper=np.concatenate((np.zeros(n), [asked.number])),
    )
    y = np.zeros(m)
    y[first.chosen] = 1.0
    start = np.concatenate((np.minimum(reach @ y, 1.0), y))
    found = optimise(model, deadline, progress, start)
    return _answer(asked, first, found, already - found.bound, None if found.x is None else found.x[n:])


def _merged(asked: Siting) -> tuple[Any, Floats]:
    """Who is in reach of whom, demands with the same candidates taken together, those that no choice changes left out."""
    reach = asked.costs <= asked.limit
    open_ones = (asked.standing > asked.limit) & reach.any(axis=1)
    if not open_ones.any():
        return csr_array((0, reach.shape[1])), np.zeros(0)
    packed, number = np.unique(np.packbits(reach[open_ones], axis=1), axis=0, return_inverse=True)
    weights = np.bincount(number.ravel(), asked.weights[open_ones], minlength=len(packed)).astype(np.float64)
    return csr_array(np.unpackbits(packed, axis=1, count=reach.shape[1]).astype(np.float64)), weights


def _answer(asked: Siting, first: Sited, found: Optimum, bound: float, y: Floats | None) -> Sited:
    """The better of the quick answer and the solver's, with the better of their bounds."""
    covering = asked.aim is Aim.COVERING
    better = min if covering else max
    bound = better(bound, first.bound) if math.isfinite(bound) else first.bound
    chosen, value = first.chosen, first.value
    if y is not None:
        other = np.flatnonzero(y > 0.5).astype(np.int64)
        its = value_of(asked, other)
        if (its > value) if covering else (its < value):
            chosen, value = other, its
    if found.proven and abs(bound - value) <= 1e-5 * max(abs(value), 1.0):
        bound = value
    return replace(first, chosen=chosen, value=value, bound=bound, method=f"greedy + swap, {found.method}")


# --- p-median ---------------------------------------------------------------------------------------------------------------


@dataclass
class Lagrangian:
    """The bound with its multipliers: `reduced` (m,) is what each candidate gains at most, `prices` (n,) what each demand pays.

    opened  of the sets that bounds would open the one with the least cost: close to the best bound that is often the optimum
    """

    bound: float
    prices: Floats
    reduced: Floats
    opened: Integers


def lagrangian(weighted: Floats, standing: Floats, number: int, above: float, deadline: float, start: Floats) -> Lagrangian:
    """A lower bound of the p-median by subgradient steps towards `above`.

    weighted  (n, m) demand x cost; standing (n,) the same of what stands already
    """
    prices, best = start.copy(), Lagrangian(-np.inf, start, np.zeros(weighted.shape[1]), np.arange(number))
    scale, stale, way = 1.0, 0, np.zeros(len(start))
    least, answer = np.inf, np.arange(number)
    for _ in range(ROUNDS):
        reduced = np.minimum(weighted - prices[:, None], 0.0).sum(axis=0)
        opened = np.argpartition(reduced, number - 1)[:number]
        own = np.minimum(standing - prices, 0.0)
        bound = float(prices.sum() + reduced[opened].sum() + own.sum())
        stale = 0 if bound > best.bound + PROVEN * abs(best.bound) else stale + 1
        if bound > best.bound:
            best = Lagrangian(bound, prices.copy(), reduced, answer)
        cost = float(np.minimum(standing, weighted[:, opened].min(axis=1)).sum())
        if cost < least:
            least, answer, above = cost, opened, min(above, cost)
        if stale >= 20:
            scale, stale, prices, way = scale / 2, 0, best.prices.copy(), np.zeros(len(start))
            continue
        slope = 1.0 - (weighted[:, opened] < prices[:, None]).sum(axis=1) - (own < 0)
        way = slope + 0.7 * way  # a zigzag would be long (Camerini, Fratta and Maffioli 1975)
        length = float(way @ way)
        if length == 0 or scale < 1e-4 or above - best.bound <= PROVEN * abs(above) or monotonic() > deadline:
            break
        prices = prices + scale * 1.05 * max(above - bound, 1e-9) / length * way
    return replace(best, opened=answer)


def shaken(asked: Siting, chosen: Integers, deadline: float) -> Integers:
    """A better answer, if a few sites moved at random and swapped again lead to one; the same each time unless the time is up."""
    worth, chance = _worth(asked), np.random.default_rng(1)
    best, value, idle = chosen, value_of(asked, chosen), 0
    moved = max(1, min(len(chosen) // 4, worth.shape[1] - len(chosen)))
    while idle < SHAKES and asked.number < worth.shape[1] and monotonic() < deadline:
        places = best.copy()
        others = np.setdiff1d(np.arange(worth.shape[1]), best)
        places[chance.choice(len(best), moved, replace=False)] = chance.choice(others, moved, replace=False)
        tried = np.sort(_swapped(asked, worth, list(places)))
        cost = value_of(asked, tried)
        idle += 1
        if cost < value * (1 - PROVEN):
            best, value, idle = tried, cost, 0
    return best


def _median(asked: Siting, first: Sited, deadline: float, progress: Progress) -> Sited:
    better = shaken(asked, first.chosen, monotonic() + 0.25 * max(deadline - monotonic(), 0.0))
    first = replace(first, chosen=better, value=value_of(asked, better))
    weighted, standing = asked.weights[:, None] * asked.costs, asked.weights * asked.standing
    above = float(np.minimum(standing, weighted[:, first.chosen].min(axis=1)).sum())
    open_ones = np.column_stack((weighted[:, first.chosen], standing))
    start = np.sort(open_ones, axis=1)[:, :2].mean(axis=1)
    progress(0.1, "bound")
    low = lagrangian(weighted, standing, asked.number, above, monotonic() + 0.5 * max(deadline - monotonic(), 0.0), start)
    opened = _swapped(asked, _worth(asked), [int(site) for site in low.opened])
    if value_of(asked, opened) < first.value:
        first = replace(first, chosen=np.sort(opened), value=value_of(asked, opened))
        above = min(above, first.value)
    first = replace(first, bound=max(first.bound, min(low.bound, first.value)), method="greedy + swap, Lagrangian bound")
    if first.proven:
        return first
    progress(0.4, "proof")
    return _median_rest(asked, first, low, weighted, standing, above, deadline, progress)


def _median_rest(
    asked: Siting, first: Sited, low: Lagrangian, weighted: Floats, standing: Floats, above: float, deadline: float, progress: Progress
) -> Sited:
    """What the bound does not rule out, by HiGHS: min sum w c x, sum_j x_ij + s_i = 1, x_ij <= y_j, sum y = number."""
    slack = above - low.bound + PROVEN * abs(above)
    last = np.partition(low.reduced, asked.number - 1)[asked.number - 1]
    kept = np.flatnonzero(low.reduced - last <= slack)  # forcing another in costs more than any improvement
    # A pair is in no better answer if its demand pays that much more for it than its price.
    pair = weighted[:, kept] - low.prices[:, None] <= slack
    rows, columns = np.nonzero(pair)
    n, k, m = len(weighted), len(rows), len(kept)
    costs = np.concatenate((weighted[:, kept][rows, columns], standing, np.zeros(m)))
    usable = standing - low.prices <= slack
    number = np.arange(k)
    once = coo_array((np.ones(k), (rows, number)), shape=(n, k))
    opens = coo_array((-np.ones(k), (number, columns)), shape=(k, m))
    matrix = vstack(
        [
            hstack([once, eye_array(n), csr_array((n, m))]),
            hstack([eye_array(k), csr_array((k, n)), opens]),
            hstack([csr_array((1, k + n)), csr_array(np.ones((1, m)))]),
        ]
    )
    model = Model(
        cost=costs,
        upper=np.concatenate((np.ones(k), usable.astype(np.float64), np.ones(m))),
        whole=np.concatenate((np.zeros(k + n, dtype=bool), np.ones(m, dtype=bool))),
        rows=csr_array(matrix),
        row_lower=np.concatenate((np.ones(n), np.full(k, -np.inf), [asked.number])),
        row_upper=np.concatenate((np.ones(n), np.zeros(k), [asked.number])),
    )
    found = optimise(model, deadline, progress, None)
    if found.infeasible:  # everything better was ruled out
        return replace(first, bound=first.value, method="greedy + swap, Lagrangian bound")
    y = None
    if found.x is not None:
        y = np.zeros(asked.costs.shape[1])
        y[kept] = found.x[k + n :]
    # The rest of the answers cost more than `above`: the bound of what was kept is one of all.
    return _answer(asked, first, found, min(found.bound, above), y)


# --- with capacities --------------------------------------------------------------------------------------------------------


def _assigned(asked: Siting, first: Sited, deadline: float, progress: Progress) -> Sited:
    """As both above, with x_ij in demand and sum_i x_ij <= capacity_j y_j; a demand may be divided."""
    model, already = _flow(asked)
    pairs = len(model.cost) - asked.costs.shape[1] - (len(asked.weights) if asked.aim is Aim.MEDIAN else 0)
    found = optimise(model, deadline, progress, None)
    bound = already - found.bound if asked.aim is Aim.COVERING else found.bound
    y = None if found.x is None else found.x[pairs : pairs + asked.costs.shape[1]]
    return _answer(asked, first, found, bound, y)


def _flow(asked: Siting, chosen: Integers | None = None) -> tuple[Model, float]:
    """Columns: x per pair, y per candidate, and for p-median what is left to the sites that stand, or to nobody."""
    assert asked.capacity is not None
    n, m = asked.costs.shape
    covering = asked.aim is Aim.COVERING
    served = asked.standing <= asked.limit if covering else np.zeros(n, dtype=bool)
    rows, columns = np.nonzero((asked.costs <= asked.limit) & np.isfinite(asked.costs) & ~served[:, None])
    k = len(rows)
    number = np.arange(k)
    rest = eye_array(n) if not covering else csr_array((n, 0))
    matrix = vstack(
        [
            hstack([coo_array((np.ones(k), (rows, number)), shape=(n, k)), csr_array((n, m)), rest]),
            hstack(
                [
                    coo_array((np.ones(k), (columns, number)), shape=(m, k)),
                    coo_array((-asked.capacity, (np.arange(m), np.arange(m))), shape=(m, m)),
                    csr_array((m, rest.shape[1])),
                ]
            ),
            hstack([csr_array((1, k)), csr_array(np.ones((1, m))), csr_array((1, rest.shape[1]))]),
        ]
    )
    lower_y, upper_y = np.zeros(m), np.ones(m)
    if chosen is not None:
        upper_y[:] = 0.0
        lower_y[chosen] = upper_y[chosen] = 1.0
    size = asked.number if chosen is None else len(chosen)
    own = -np.ones(k) if covering else asked.costs[rows, columns]
    left = np.zeros(0) if covering else asked.standing
    model = Model(
        cost=np.concatenate((own, np.zeros(m), left)),
        upper=np.concatenate((np.full(k, np.inf), upper_y, np.full(len(left), np.inf))),
        whole=np.concatenate((np.zeros(k, dtype=bool), np.full(m, chosen is None), np.zeros(len(left), dtype=bool))),
        rows=csr_array(matrix),
        row_lower=np.concatenate((np.full(n, -np.inf) if covering else asked.weights, np.full(m, -np.inf), [size])),
        row_upper=np.concatenate((asked.weights, np.zeros(m), [size])),
        lower=np.concatenate((np.zeros(k), lower_y, np.zeros(len(left)))),
    )
    return model, float(asked.weights[served].sum())


def _transport(asked: Siting, chosen: Integers) -> float:
    """What these sites are worth if their capacity is used at best: a linear program."""
    model, already = _flow(asked, chosen)
    found = optimise(model, monotonic() + 60.0, quiet, None)
    return already - found.value if asked.aim is Aim.COVERING else found.value


# --- HiGHS ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Model:
    """min cost x, row_lower <= rows x <= row_upper, lower <= x <= upper, x whole where `whole`."""

    cost: Floats
    upper: Floats
    whole: Any
    rows: Any
    row_lower: Floats
    row_upper: Floats
    lower: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False)
class Optimum:
    """`x` is None where the time was up before any answer; `bound` is below every answer."""

    x: Floats | None
    value: float
    bound: float
    proven: bool
    infeasible: bool
    method: str


def optimise(model: Model, deadline: float, progress: Progress, start: Floats | None) -> Optimum:
    """By HiGHS until proven or `deadline` (monotonic seconds); `start` is an answer to begin with."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # highspy's constructor has no types
    solver.silent()
    seconds = max(deadline - monotonic(), 0.05)
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("mip_rel_gap", PROVEN / 10)
    solver.setOptionValue("threads", 1)  # several plans share a machine with the API
    solver.passModel(_lp(model))
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = list(start)
        solver.setSolution(solution)
    _watch(solver, seconds, progress)
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    proven = status == highspy.HighsModelStatus.kOptimal
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    whole = bool(np.any(model.whole))
    bound = info.mip_dual_bound if whole else info.objective_function_value
    x = np.array(solver.getSolution().col_value) if found else None
    infeasible = status in {highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible}
    return Optimum(x, info.objective_function_value, bound, proven, infeasible, f"HiGHS {solver.version()}")


def _watch(solver: Any, seconds: float, progress: Progress) -> None:
    began = monotonic()

    def told(event: Any) -> None:
        share = min((monotonic() - began) / seconds, 1.0)
        gap = getattr(event.data_out, "mip_gap", math.inf)
        progress(0.5 + 0.5 * share, f"gap {gap:.4f}" if math.isfinite(gap) else "proof")

    solver.cbMipLogging += told


def _lp(model: Model) -> Any:
    columns, rows = len(model.cost), model.rows.shape[0]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns, rows
    lp.col_cost_ = model.cost
    lp.col_lower_ = model.lower if len(model.lower) else np.zeros(columns)
    lp.col_upper_ = model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = model.rows.indptr, model.rows.indices, model.rows.data
    if np.any(model.whole):
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(whole)] for whole in model.whole]
    return lp
