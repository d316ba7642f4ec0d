"""What every topic measures in: the contestants, their turns, and what there must be at least. Contestants take turns within each
round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import asyncpg

from api.bench.client import Client
from api.bench.processes import database_milliseconds, processor_milliseconds
from api.bench.report import Figure, Rounds
from api.bench.stock import Stock
from api.settings import Settings
from geo import indicators, points

OURS, PLAIN, FLOOR = "ours", "plain", "floor"
COUNTY, NEIGHBOUR, PROVINCE = "220102", "220103", "220000"
Run = Callable[[], Awaitable[int]]
"""One turn of a contestant: how many documents or requests it was."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything; smaller ones say less and end sooner."""

    page: int = 1000
    pages: int = 20  # of a turn
    pushes: tuple[tuple[int, int, int], ...] = ((100, 40, 1), (1000, 10, 1), (1000, 12, 4))  # per batch, batches per turn, terminals
    alone: int = 200  # requests of one client, one after the other
    together: int = 2000  # requests of all connections
    connections: int = 32
    wakes: int = 50  # per round
    county: int = 10_000  # documents of a first sync, at least
    contested: tuple[int, int] = (500, 4)  # rows per batch, batches per turn
    soak_seconds: float = 30
    soak_clients: int = 8
    patients: int = 100_000  # of floating catchments
    places: int = 2_000
    siting: tuple[int, int, int] = (20, 1000, 900)  # sites, candidates, townships
    points: int = 200_000  # enterprises of the tiles, over the whole country
    spots: int = 1_000_000  # assigned to their counties
    register: int = 300_000  # enterprises that are counted, over the whole country
    tiles: int = 200  # different ones of a zoom
    tile_seconds: float = 2.0  # per turn
    peers: bool = True  # also those that have to be installed


FULL = Sizes()


@dataclass(frozen=True)
class Field:
    """Where the contestants are: ports and processes of our server and the plain one, and a connection to their database."""

    settings: Settings  # of our server
    ports: Mapping[str, int]
    processes: Mapping[str, int]
    postmaster: int | None
    connection: asyncpg.Connection[asyncpg.Record]
    token: str
    stock: Stock
    rounds: int
    sizes: Sizes = FULL
    tell: Callable[[str], object] = print  # progress

    def client(self, name: str) -> Client:
        return Client(self.ports[name], self.token if name == OURS else None)

    def spent(self, name: str) -> float:
        """Processor milliseconds so far of a contestant's process and of the database."""
        own = processor_milliseconds(self.processes[name]) if name in self.processes else 0.0
        return own + (database_milliseconds(self.postmaster) if self.postmaster else 0.0)

    async def kept_up(self) -> None:
        """Until indicators and maps hold what the feed does: else their work falls in another's turn."""
        for settled in (indicators.SETTLED, points.SETTLED):
            while not await self.connection.fetchval(settled):  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.1)

    async def count(self, sql: str, *values: Any) -> int:
        return int(await self.connection.fetchval(sql, *values))


class Race:
    """Contestants take turns; rates, and processor time per 1,000 where the database is on this machine."""

    def __init__(self, field: Field, topic: str, unit: str) -> None:
        self.field = field
        self.topic = topic
        self.rates = Rounds(topic, unit)
        self.costs = Rounds(f"{topic}.cpu", f"ms per 1,000 {unit.partition('/')[0]}", less_is_better=True)

    async def turn(self, name: str, run: Run) -> None:
        spent, started = self.field.spent(name), perf_counter()
        count = await run()
        self.rates.add(name, count / (perf_counter() - started))
        if self.field.postmaster:
            self.costs.add(name, (self.field.spent(name) - spent) * 1000 / count)

    async def rounds(self, contestants: Mapping[str, Run]) -> list[Figure]:
        for number in range(self.field.rounds):
            for name, run in contestants.items():
                self.field.tell(f"{self.topic}: {name}, round {number + 1} of {self.field.rounds}")
                await self.turn(name, run)
        return self.figures()

    def figures(self) -> list[Figure]:
        return [*self.rates.figures(), *(self.costs.figures() if self.costs.values else [])]


def require(true: bool, expected: str) -> None:
    """A figure of work that was not done is none."""
    if not true:
        raise RuntimeError(f"bench expected {expected}")
