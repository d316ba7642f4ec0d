"""Pulls answered by a hot standby miss nothing; when it lags or dies the primary answers."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from rich.console import Console

from api import cluster
from api.backup import backup, restore
from sync.feed import Head, drain, read_head
from sync.lineage import hand_over, take_over
from tests.lineage.lineage_world import prepare, serving, until
from tests.lineage.standby_world import Standby, caught_up, execute, make, remove
from tests.sync.feed_world import readable
from tests.sync.hole_world import AREAS, Journal, Reader, held_open, idle, stamping, writer

WRITERS, CHANGES = 8, 5000
HELD = float(os.environ.get("ZHIJIAN_HELD_SECONDS", "0"))
"""How long the idle writers stay open at least; 0: as long as the writers take. `make fuzz` says 30."""


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
        assert pool.fallen_back >= 1
        await execute(there, "SELECT pg_wal_replay_resume()")
        await _used_again(pool, client)

        follower.stop()
        await client.push(client.edited(enterprise["id"], visits=200))
        await world.stamped()
        await client.pull()
        assert client.held[enterprise["id"]]["visits"] == 200
        for _ in range(4):  # the primary goes on while it is away: what it has not received is kept for it
            await execute(url, "SELECT pg_logical_emit_message(false, 'away', repeat('x', 1 << 20)), pg_switch_wal()")
        await execute(url, "CHECKPOINT")
        follower.start()
        await _used_again(pool, client)


async def test_after_a_restore_a_standby_reads_the_database_in_place_not_the_one_set_aside(
    url: str, follower: Standby, tmp_path: Path
) -> None:
    await caught_up(url, follower)
    keys, quiet = tmp_path / "keys", Console(file=io.StringIO())
    async with serving(url, tmp_path, read_database_url=follower.url(url)) as world:
        client = await world.sign_in("ins")
        await client.push((None, client.new("甲厂")))
        await world.stamped()
        await backup(url, tmp_path / "b", keys, quiet)
        await client.push((None, client.new("备份之后")))
        await world.stamped()
        await client.pull()
        aside = await restore(url, tmp_path / "b", keys, quiet)
        await world.again()
        other = await world.sign_in("ins", "ins-2")
        await other.pull()
        assert [document["name"] for document in other.held.values()] == ["甲厂"]
        await _used_again(world.app.state.database.pool, other)
    await cluster.drop_database(cluster.database_url(url, "postgres"), aside)


async def _used_again(pool, client) -> None:  # type: ignore[no-untyped-def]
    before = pool.on_standby

    async def used() -> bool:
        await client.pull()
        return bool(pool.on_standby > before)

    pool._resting_until = 0.0
    await until(used)


async def test_no_reader_on_primary_or_standby_misses_a_change_behind_idle_writers(url: str, follower: Standby) -> None:
    """8 writers, 5,000 changes; a transaction that has written and one that is idle stay open all the time, HELD seconds at least."""
    await caught_up(url, follower)
    journal, stop, began = Journal(), asyncio.Event(), time.monotonic()
    scopes = (["220000"], ["220000", *AREAS])
    readers = [Reader(frozenset(each)) for each in (*scopes, *scopes)]
    places = [url] * len(scopes) + [follower.url(url)] * len(scopes)
    primary = await asyncpg.connect(url)
    async with stamping(url), held_open(url) as (opened, late), idle(url):
        polling = [asyncio.create_task(reader.poll(place, stop)) for reader, place in zip(readers, places, strict=True)]
        seed = 0
        while not seed or time.monotonic() - began < HELD:
            await asyncio.gather(*(writer(url, seed + number, CHANGES // WRITERS, journal) for number in range(WRITERS)))
            seed += WRITERS
        expected = await readable(primary, ["220000"])
        await until(lambda: _all_hold(readers, expected), 5)  # while both are still open
        await opened.execute("COMMIT")
        await until(lambda: _all_hold(readers, {**expected, late: 1}), 5)
        stop.set()
        await asyncio.gather(*polling)
    await primary.close()
    assert len(journal.committed) >= CHANGES
    assert [reader.disorder for reader in readers] == [[]] * len(readers)
    for place, reader in zip(places, readers, strict=True):
        delays = reader.delays(journal)
        middle, most = delays[len(delays) // 2], delays[-1]
        print(f"{'primary' if place == url else 'standby'}: {len(journal.committed)} changes, delay p50 {middle:.3f} s, max {most:.3f} s")
        assert most < 5


async def _all_hold(readers: list[Reader], expected: dict[UUID, int]) -> bool:
    return all(reader.documents == expected for reader in readers)


@pytest.fixture
async def handed_over(cluster_url: str, template: str) -> AsyncIterator[tuple[str, Head]]:
    """Another database of the same server, given up for a planned switch while somebody was connected, and its head before."""
    name = f"test_{os.getpid()}_given"
    url = await cluster.create_database(cluster_url, name, template)
    connection, busy = await asyncpg.connect(url), await asyncpg.connect(url)
    await drain(connection)
    before = await read_head(connection)
    await hand_over(connection)
    assert busy.is_closed() or not await _answers(busy)
    await connection.close()
    late = await asyncpg.connect(url)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await drain(late)
    await late.close()
    yield url, before
    await cluster.drop_database(cluster_url, name)


async def _answers(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    try:
        return bool(await connection.fetchval("SELECT true"))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False


async def test_a_promoted_standby_is_another_lineage_unless_it_was_handed_over(
    url: str, handed_over: tuple[str, Head], follower: Standby
) -> None:
    """It may lack the primary's last commits, and nobody can know; after `hand_over` there are none that it lacks."""
    primary = await asyncpg.connect(url)
    await drain(primary)
    before = await read_head(primary)
    await primary.close()
    await caught_up(url, follower)
    follower.promote()
    taken = await asyncpg.connect(follower.url(handed_over[0]))
    assert await take_over(taken) == handed_over[1].epoch
    await taken.close()
    again = await asyncpg.connect(follower.url(handed_over[0]))
    await again.execute("UPDATE sync_head SET pos = pos + 1")  # it takes writes
    await drain(again)
    assert (await read_head(again)).epoch == handed_over[1].epoch
    await again.close()
    connection = await asyncpg.connect(follower.url(url))
    assert await read_head(connection) == before
    await drain(connection)
    after = await read_head(connection)
    await drain(connection)
    assert await read_head(connection) == after
    await connection.close()
    assert (after.epoch != before.epoch, after.pos) == (True, before.pos)
