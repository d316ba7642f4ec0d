"""Writers whose transactions overlap, roll back and stay open, and readers who poll meanwhile and complain of what they see."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from sync.feed import Stamper
from tests.sync.feed_world import Terminal, queue, until

AREAS = ("220102", "220103", "220104")
_INSERT = "INSERT INTO probe VALUES ($1, $2, 1)"
_UPDATE = "UPDATE probe SET version = version + 1 WHERE id = $1 RETURNING version"


@asynccontextmanager
async def stamping(url: str) -> AsyncIterator[Stamper]:
    stamper = Stamper(url)
    task = asyncio.create_task(stamper.run())
    try:
        await until(lambda: stamper.leading, 5)
        yield stamper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def held_open(url: str) -> AsyncIterator[tuple[Any, UUID]]:
    """A transaction that has written a record and its change and says nothing more, and its document; the caller may commit it."""
    connection, doc_id = await asyncpg.connect(url), uuid4()
    await connection.execute("BEGIN")
    await write_one(connection, doc_id)
    yield connection, doc_id
    await connection.close()


@asynccontextmanager
async def idle(url: str) -> AsyncIterator[None]:
    """A transaction that has read, holds a snapshot and a transaction number, and does nothing."""
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
    yield
    await connection.close()


async def write_one(connection: Any, doc_id: UUID) -> None:
    await connection.execute(_INSERT, doc_id, ["220000", AREAS[0]])
    await queue(connection, doc_id, ["220000", AREAS[0]], [])


class _UndoneError(Exception):
    """Rolls a transaction or a savepoint back."""


@dataclass
class Journal:
    """When each version of a document was committed."""

    committed: dict[tuple[UUID, int], float] = field(default_factory=dict)


async def writer(url: str, seed: int, changes: int, journal: Journal) -> None:
    """Overlapping transactions of 0 to 20 ms with savepoints and rollbacks, until so many changes are committed."""
    chance, connection, mine, done = random.Random(seed), await asyncpg.connect(url), list[UUID](), 0
    while done < changes:
        try:
            async with connection.transaction():
                made = [each for each in [await _change(connection, chance, mine) for _ in range(chance.randint(1, 4))] if each]
                await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.1:
                    raise _UndoneError
        except _UndoneError:
            continue
        journal.committed.update(dict.fromkeys(made, time.monotonic()))
        mine += [doc_id for doc_id, version in made if version == 1]
        done += len(made)
    await connection.close()


async def _change(connection: Any, chance: random.Random, mine: list[UUID]) -> tuple[UUID, int] | None:
    """A new document, or now and then a known one again; one in ten is rolled back to its savepoint."""
    again = bool(mine) and chance.random() < 0.2
    doc_id, areas, version = (chance.choice(mine[-20:]) if again else uuid4()), ["220000", AREAS[0]], 1
    try:
        async with connection.transaction():
            if again:
                version = await connection.fetchval(_UPDATE, doc_id)
            else:
                await connection.execute(_INSERT, doc_id, areas)
            await queue(connection, doc_id, areas, [])
            if chance.random() < 0.1:
                raise _UndoneError
    except _UndoneError:
        return None
    return doc_id, version


@dataclass
class Reader(Terminal):
    """Polls; keeps when it saw each version, and what came in the wrong order."""

    seen: dict[tuple[UUID, int], float] = field(default_factory=dict)
    disorder: list[str] = field(default_factory=list)
    reached: int = 0

    async def poll(self, url: str, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(url)
        while not stop.is_set():
            await self.pull(connection, 100)
            await asyncio.sleep(0.005)
        await self.catch_up(connection, 100)
        await connection.close()

    async def look(self, connection: Any, limit: int) -> tuple[list[Any], str]:
        rows, token = await super().look(connection, limit)
        for row in rows:
            self._note(row)
        return rows, token

    def _note(self, row: Any) -> None:
        held = self.documents.get(row["doc_id"], 0)
        if row["ord"] <= self.reached or (row["version"] or 0) < held:
            self.disorder.append(f"{row['doc_id']} version {row['version']} at {row['ord']} after {held} at {self.reached}")
        self.reached = row["ord"]
        self.seen.setdefault((row["doc_id"], row["version"]), time.monotonic())

    def delays(self, journal: Journal) -> list[float]:
        """Seconds from the commit to the reader, of the versions that it met; versions that the next one overtook have none."""
        return sorted(max(0.0, self.seen[key] - at) for key, at in journal.committed.items() if key in self.seen)
