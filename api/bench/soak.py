"""Topic `soak`: memory of the server while terminals pull, push and ask for news all at once; flat is what it should be."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import cycle
from time import perf_counter

from api.bench.client import Client
from api.bench.field import COUNTY, OURS, Field, require
from api.bench.processes import resident_megabytes
from api.bench.report import Figure
from api.bench.sync import Tokens, catch_up, sync_round
from api.bench.terminals import signed_in
from schema.actor import Role

PUSHED, PAGE = 20, 200
WARM_UP = 1 / 3  # of the time: pools, caches and allocator find their size
ALLOWED_MEGABYTES = 4.0
SAMPLES_PER_SECOND = 4
Sample = tuple[float, float]
"""Seconds since the start, MB."""


async def soak(field: Field) -> list[Figure]:
    township = await field.connection.fetchval("SELECT min(code) FROM area WHERE parent_code = $1 AND valid_to IS NULL", COUNTY)
    before, done = await field.count("SELECT count(*) FROM enterprise"), Counter[str]()
    terminals = await signed_in(field, Role.INSPECTOR, COUNTY, field.sizes.soak_clients)
    async with Client(field.ports[OURS], terminals[0][1]) as client:
        tokens, _ = await catch_up(client)
    end = perf_counter() + field.sizes.soak_seconds
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(_sample(field, end))
        for _, token in terminals:
            group.create_task(_work(field, Client(field.ports[OURS], token), dict(tokens), township, end, done))
    arrived = await field.count("SELECT count(*) FROM enterprise") - before
    require(arrived == done["pushed"], f"{done['pushed']} new enterprises, got {arrived}")
    return [
        *(Figure(f"soak.{name}", count, "documents" if name != "requests" else "") for name, count in done.items()),
        *_memory(sampling.result()),
    ]


def _memory(samples: list[Sample]) -> list[Figure]:
    """Slope and growth are of the time after the warm-up."""
    warm = samples[int(len(samples) * WARM_UP) :]
    slope = statistics.linear_regression([at for at, _ in warm], [size for _, size in warm]).slope * 60
    third = max(1, len(warm) // 3)
    growth = statistics.mean(size for _, size in warm[-third:]) - statistics.mean(size for _, size in warm[:third])
    return [
        Figure("soak.memory.start", round(samples[0][1], 1), "MB"),
        Figure("soak.memory.end", round(samples[-1][1], 1), "MB"),
        Figure("soak.memory.slope", round(slope, 2), "MB/min after warm-up"),
        Figure("soak.memory.growth", round(growth, 2), "MB after warm-up"),
        Figure("soak.memory.flat", float(growth < ALLOWED_MEGABYTES), f"1: grew by less than {ALLOWED_MEGABYTES:g} MB"),
    ]


async def _sample(field: Field, end: float) -> list[Sample]:
    began, found = perf_counter(), []
    while True:
        at = perf_counter()
        found.append((at - began, resident_megabytes(field.processes[OURS])))
        field.tell(f"soak: {found[-1][1]:.1f} MB, {max(0.0, end - at):.0f} s to go")
        if at >= end and len(found) > 5:
            return found
        await asyncio.sleep(1 / SAMPLES_PER_SECOND)


async def _work(field: Field, opening: Client, tokens: Tokens, township: str, end: float, done: Counter[str]) -> None:
    """One terminal: it pushes, asks for news, and begins anew, in turn."""
    async with opening as client:
        turns: list[Callable[[], Awaitable[None]]] = [
            lambda: _push(field, client, township, done),
            lambda: _news(client, tokens, done),
            lambda: _begin(client, done),
            lambda: _news(client, tokens, done),
        ]
        for turn in cycle(turns):
            if perf_counter() >= end and done["pushed"]:
                return
            await turn()
            done["requests"] += 1


async def _push(field: Field, client: Client, township: str, done: Counter[str]) -> None:
    answer = await client.post(field.stock.push(PUSHED, township))
    require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))
    done["pushed"] += PUSHED


async def _news(client: Client, tokens: Tokens, done: Counter[str]) -> None:
    done["pulled"] += await sync_round(client, tokens)


async def _begin(client: Client, done: Counter[str]) -> None:
    """The first pages of a terminal that has nothing."""
    done["pulled"] += await sync_round(client, {}, PAGE)
