"""Topic `planning`: floating catchments beside PySAL's `access`, and siting beside what greedy alone finds, on invented places.

PySAL is a dependency of development: where it is missing, ours stands alone.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from api.bench.field import OURS, Field, require
from api.bench.report import Figure, Rounds
from geo import access, siting
from geo.access import Floats
from geo.siting import Aim, Siting

REACH, WIDTH = 30_000.0, 15_000.0  # metres
WEST, EAST, SOUTH, NORTH = 122.0, 131.0, 41.0, 46.0  # about Jilin
KM = 50.0  # of a covering
SECONDS = 120.0  # for a proof


async def planning(field: Field) -> list[Figure]:
    field.tell("planning: floating catchments")
    found = await asyncio.to_thread(_catchments, field)
    for aim in Aim:
        field.tell(f"planning: {aim.value.lower()}")
        found += await asyncio.to_thread(_siting, field, aim)
    return found


def _places(chance: np.random.Generator, count: int) -> Floats:
    return np.column_stack((chance.uniform(WEST, EAST, count), chance.uniform(SOUTH, NORTH, count)))


def _catchments(field: Field) -> list[Figure]:
    """Enhanced two-step, from the same pairs; finding the pairs is measured apart."""
    chance = np.random.default_rng(1)
    demand, sites = _places(chance, field.sizes.patients), _places(chance, field.sizes.places)
    people, supply = np.ones(len(demand)), chance.integers(10, 100, len(sites)).astype(float)
    finding, rounds = Rounds("planning.pairs.seconds", "s", less_is_better=True), Rounds("planning.2sfca.seconds", "s", less_is_better=True)
    weighing = access.gaussian(WIDTH)
    values: dict[str, Floats] = {}
    for _ in range(field.rounds):
        started = perf_counter()
        pairs = access.pairs_within(demand, sites, REACH)
        finding.add(OURS, perf_counter() - started)
        contestants: dict[str, Callable[[], Floats]] = {OURS: partial(access.enhanced, pairs, people, supply, weighing)}
        for name, run in {**contestants, **_pysal(pairs, people, supply)}.items():
            started = perf_counter()
            values[name] = run()
            rounds.add(name, perf_counter() - started)
    for theirs in values.values():
        require(bool(np.allclose(values[OURS], theirs, rtol=1e-9, atol=0)), "equal values")
    return [Figure("planning.pairs", len(pairs.cost), "pairs within 30 km"), *finding.figures(), *rounds.figures()]


def _pysal(pairs: access.Pairs, people: Floats, supply: Floats) -> dict[str, Callable[[], Floats]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pandas as pd
            from access import Access, weights
    except ImportError:
        return {}

    def run() -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return measured()

    def measured() -> Floats:
        return np.asarray(
            peer.enhanced_two_stage_fca(max_cost=REACH, weight_fn=weights.gaussian(WIDTH)).iloc[:, -1].fillna(0), dtype=np.float64
        )

    people_table = pd.DataFrame({"id": range(len(people)), "n": people})
    supply_table = pd.DataFrame({"id": range(len(supply)), "s": supply})
    costs = pd.DataFrame({"origin": pairs.demand, "dest": pairs.site, "cost": pairs.cost})
    names = {"cost_origin": "origin", "cost_dest": "dest", "cost_name": "cost"}
    keys = {"demand_index": "id", "demand_value": "n", "supply_index": "id", "supply_value": "s"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer: Any = Access(demand_df=people_table, supply_df=supply_table, cost_df=costs, **keys, **names)
    return {"access": run}


def _siting(field: Field, aim: Aim) -> list[Figure]:
    number, candidates, townships = field.sizes.siting
    chance = np.random.default_rng(2)
    costs = access.distances(_places(chance, townships), _places(chance, candidates)) / 1000
    weights = np.floor(chance.gamma(2, 20, townships)) * 5
    limit = KM if aim is Aim.COVERING else np.inf
    asked = Siting(aim, weights, costs, np.full(townships, np.inf), number, limit)
    found = siting.solve(asked, SECONDS)
    name = f"planning.{aim.value.lower()}"
    better = found.value / found.first if aim is Aim.COVERING else found.first / found.value
    return [
        Figure(f"{name}.seconds", round(found.seconds, 3), "s until proven" if found.proven else "s, not proven"),
        Figure(f"{name}.gap", round(found.gap * 100, 4), "% to the bound"),
        Figure(f"{name}.value", round(found.value, 1), "patients" if aim is Aim.COVERING else "patients x km", "greedy", round(better, 4)),
        Figure(f"{name}.greedy.seconds", round(found.first_seconds, 3), "s"),
    ]
