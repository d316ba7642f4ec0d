"""Pulls answered by a hot standby miss nothing; when it lags or dies the primary answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from sync.feed import Stamper, drain, read_head
from tests.lineage.lineage_world import prepare, serving, until
from tests.lineage.standby_world import Standby, caught_up, execute, make, remove
from tests.sync.feed_world import Terminal, queue, readable

_AREAS = ("220102", "220103")


@pytest.fixture(scope="module")
def follower(cluster_url: str) -> Iterator[Standby]:
    """One for all tests of this module; the last one promotes it."""
    made = make(cluster_url)
    yield made
    remove(made)


@pytest.fixture
async def url(database_url: str) -> str:
    """A database whose commits are on the disk before they are seen, as in production: what is streamed is what is flushed."""
    await prepare(database_url)
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute("SET synchronous_commit = on")
    await connection.execute("CREATE TABLE probe (id uuid PRIMARY KEY, scopes text[] NOT NULL, version int NOT NULL)")
    await connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    await connection.close()
    return database_url


async def test_pulls_on_a_standby_see_one_s_own_writes_and_survive_its_lag_and_death(url: str, follower: Standby, tmp_path: Path) -> None:
    there = follower.url(url)
    await caught_up(url, follower)
    async with serving(url, tmp_path, read_database_url=there) as world:
        pool = world.app.state.database.pool
        client = await world.sign_in("ins")
        (enterprise,) = [client.new("甲厂", visits=0)]
        await client.push((None, enterprise))
        for number in range(1, 20):
            await world.stamped()
            await client.pull()
            assert client.held[enterprise["id"]]["visits"] == number - 1
            await client.push(client.edited(enterprise["id"], visits=number))
        assert pool.on_standby >= 19
        assert pool.fallen_back == 0

        await execute(there, "SELECT pg_wal_replay_pause()")
        await client.push(client.edited(enterprise["id"], visits=100))
        await world.stamped()
        await client.pull()
        assert client.held[enterprise["id"]]["visits"] == 100
        assert pool.fallen_back == 1
        await execute(there, "SELECT pg_wal_replay_resume()")
        await _used_again(pool, client)

        follower.stop()
        await client.push(client.edited(enterprise["id"], visits=200))
        await world.stamped()
        await client.pull()
        assert client.held[enterprise["id"]]["visits"] == 200
        follower.start()
        await _used_again(pool, client)


async def _used_again(pool, client) -> None:  # type: ignore[no-untyped-def]
    before = pool.on_standby

    async def used() -> bool:
        await client.pull()
        return bool(pool.on_standby > before)

    pool._resting_until = 0.0
    await until(used)


async def test_readers_on_a_standby_miss_nothing_behind_an_idle_writer(url: str, follower: Standby) -> None:
    await caught_up(url, follower)
    idle = await asyncpg.connect(url)
    transaction = idle.transaction()
    await transaction.start()
    await idle.execute("INSERT INTO probe VALUES (gen_random_uuid(), $1, 1)", list(_AREAS))
    stamper = Stamper(url)
    running = asyncio.create_task(stamper.run())
    terminals = [Terminal(frozenset(_AREAS[:1])), Terminal(frozenset(_AREAS))]
    stop = asyncio.Event()
    readers = [asyncio.create_task(_reader(follower.url(url), terminal, stop)) for terminal in terminals]
    await asyncio.gather(*(_writer(url, seed) for seed in range(4)))
    primary = await asyncpg.connect(url)
    await until(lambda: _stamped(primary))
    await caught_up(url, follower)
    stop.set()
    await asyncio.gather(*readers)
    for terminal in terminals:
        assert terminal.documents == await readable(primary, terminal.scopes)
        assert len(terminal.documents) > 50
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await transaction.rollback()
    for connection in (idle, primary):
        await connection.close()


async def _stamped(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    return not await connection.fetchval("SELECT EXISTS (SELECT FROM sync_pending)")


async def _writer(url: str, seed: int) -> None:
    """Overlapping transactions, so that commits come in another order than inserts."""
    chance, connection = random.Random(seed), await asyncpg.connect(url)
    for number in range(60):
        async with connection.transaction():
            for part in range(2):
                doc_id = UUID(int=(seed << 64) + number * 2 + part + 1)
                scopes = [chance.choice(_AREAS)]
                await connection.execute("INSERT INTO probe VALUES ($1, $2, 1)", doc_id, scopes)
                await queue(connection, doc_id, scopes, [])
                await asyncio.sleep(chance.random() * 0.01)
    await connection.close()


async def _reader(url: str, terminal: Terminal, stop: asyncio.Event) -> None:
    connection = await asyncpg.connect(url)
    while not stop.is_set():
        await terminal.pull(connection, 20)
        await asyncio.sleep(0.002)
    await terminal.catch_up(connection, 20)
    await connection.close()


async def test_a_promoted_standby_is_another_lineage(url: str, follower: Standby) -> None:
    """It may lack the primary's last commits, and nobody can know."""
    primary = await asyncpg.connect(url)
    await drain(primary)
    before = await read_head(primary)
    await primary.close()
    await caught_up(url, follower)
    follower.promote()
    connection = await asyncpg.connect(follower.url(url))
    assert await read_head(connection) == before
    await drain(connection)
    after = await read_head(connection)
    await drain(connection)
    assert await read_head(connection) == after
    await connection.close()
    assert (after.epoch != before.epoch, after.pos) == (True, before.pos)
