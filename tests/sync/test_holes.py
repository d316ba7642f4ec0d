"""No reader misses a change, however the writers' transactions overlap."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from sync.feed import Stamper
from tests.sync.feed_world import Terminal, queue, readable, until

_WRITERS, _READERS, _CHANGES = 8, 3, 5000
_AREAS = ("220102", "220103", "220104")
_INSERT = "INSERT INTO probe VALUES ($1, $2, 1)"
_UPDATE = "UPDATE probe SET version = version + 1 WHERE id = $1"


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


class _UndoneError(Exception):
    """Rolls a transaction or a savepoint back."""


async def _writer(url: str, seed: int, changes: int) -> int:
    """Overlapping transactions of 0 to 20 ms with savepoints and rollbacks; number of changes committed."""
    chance, connection, mine, done = random.Random(seed), await asyncpg.connect(url), list[UUID](), 0
    while done < changes:
        try:
            async with connection.transaction():
                made = [await _change(connection, chance, mine) for _ in range(chance.randint(1, 4))]
                await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.1:
                    raise _UndoneError
        except _UndoneError:
            continue
        mine += [doc_id for doc_id in made if doc_id and doc_id not in mine]
        done += sum(doc_id is not None for doc_id in made)
    await connection.close()
    return done


async def _change(connection: Any, chance: random.Random, mine: list[UUID]) -> UUID | None:
    """A new document, or now and then a known one again; one in ten is rolled back to its savepoint."""
    again = bool(mine) and chance.random() < 0.2
    doc_id, areas = (chance.choice(mine[-20:]) if again else uuid4()), ["220000", _AREAS[0]]
    try:
        async with connection.transaction():
            await (connection.execute(_UPDATE, doc_id) if again else connection.execute(_INSERT, doc_id, areas))
            await queue(connection, doc_id, areas, [])
            if chance.random() < 0.1:
                raise _UndoneError
    except _UndoneError:
        return None
    return doc_id


async def _reader(url: str, terminal: Terminal, stop: asyncio.Event) -> None:
    connection = await asyncpg.connect(url)
    while not stop.is_set():
        await terminal.pull(connection, 50)
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.3)
    await terminal.catch_up(connection, 50)
    await connection.close()


async def test_no_change_is_missed_by_readers_that_poll(feed_url: str) -> None:
    terminals = [Terminal(frozenset(scopes)) for scopes in (["220000"], [_AREAS[0]], ["220000", *_AREAS])][:_READERS]
    stop = asyncio.Event()
    async with stamping(feed_url), asyncio.TaskGroup() as readers:
        for terminal in terminals:
            readers.create_task(_reader(feed_url, terminal, stop))
        done = await asyncio.gather(*(_writer(feed_url, seed, _CHANGES // _WRITERS) for seed in range(_WRITERS)))
        stop.set()
    connection = await asyncpg.connect(feed_url)
    expected = await readable(connection, ["220000"])
    await connection.close()
    assert sum(done) >= _CHANGES
    assert [len(expected.items() - terminal.documents.items()) for terminal in terminals] == [0, 0, 0]
    assert [len(terminal.documents) for terminal in terminals] == [len(expected)] * 3


async def test_an_idle_writer_delays_nobody_and_its_own_change_arrives(feed_url: str) -> None:
    idle, busy = await asyncpg.connect(feed_url), await asyncpg.connect(feed_url)
    terminal = Terminal(frozenset(_AREAS[:1]))
    late, prompt = uuid4(), uuid4()
    async with stamping(feed_url) as stamper:
        opened = idle.transaction()
        await opened.start()
        await _committed(idle, late)
        await _committed(busy, prompt)
        await until(lambda: stamper.documents == 1, 1)
        await terminal.catch_up(busy, 50)
        assert set(terminal.documents) == {prompt}
        await opened.commit()
        await until(lambda: stamper.documents == 2, 1)
        await terminal.catch_up(busy, 50)
    assert set(terminal.documents) == {prompt, late}
    await asyncio.gather(idle.close(), busy.close())


async def _committed(connection: Any, doc_id: UUID) -> None:
    await connection.execute(_INSERT, doc_id, [_AREAS[0]])
    await queue(connection, doc_id, [_AREAS[0]], [])
