"""The stamper: dense positions, one at a time in the cluster, another at once when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sync.feed import Stamper, drain, read_head, read_lag
from tests.sync.feed_world import document, queue, until, write

_ROOT = Path(__file__).parents[2]
_NODE = "import asyncio, sys; from sync.feed import Stamper; asyncio.run(Stamper(sys.argv[1]).run())"
_HOLDER = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
async def connection(feed_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(feed_url)
    yield opened
    await opened.close()


async def _rows(connection: Any) -> list[tuple[Any, ...]]:
    rows = await connection.fetch("SELECT scope, doc_id, pos, state FROM sync_scope_doc ORDER BY pos, scope")
    return [tuple(row) for row in rows]


async def test_positions_are_dense_in_the_order_of_the_queue(connection: Any) -> None:
    for number in (5, 1, 3):
        await write(connection, document(number), "a")
    assert await drain(connection) == 3
    await write(connection, document(1), "b")
    assert await drain(connection) == 1
    assert await _rows(connection) == [
        ("a", document(5), 1, "in"),
        ("a", document(3), 3, "in"),
        ("a", document(1), 4, "out"),
        ("b", document(1), 4, "in"),
    ]
    assert (await read_head(connection)).pos == 4


async def test_of_several_changes_in_one_batch_the_last_counts(connection: Any) -> None:
    for scopes in ("a", "b", "ab"):
        await write(connection, document(0), scopes)
    await write(connection, document(1), "a")
    await write(connection, document(0), "c")
    await drain(connection)
    assert await _rows(connection) == [
        ("a", document(1), 1, "in"),
        ("a", document(0), 2, "out"),
        ("b", document(0), 2, "out"),
        ("c", document(0), 2, "in"),
    ]


async def test_draining_keeps_the_epoch_and_the_queue_empty(connection: Any) -> None:
    await drain(connection)
    epoch = (await read_head(connection)).epoch
    await write(connection, document(0), "a")
    assert (await read_lag(connection)).count == 1
    await drain(connection)
    assert epoch
    assert (await read_head(connection)).epoch == epoch
    lag = await read_lag(connection)
    assert (lag.count, lag.oldest_seconds) == (0, 0.0)


async def test_the_lag_is_the_age_of_the_oldest_waiting_change(connection: Any) -> None:
    await write(connection, document(0), "a")
    await connection.execute("UPDATE sync_pending SET at = at - interval '3 s'")
    await write(connection, document(1), "a")
    lag = await read_lag(connection)
    assert lag.count == 2
    assert 3 <= lag.oldest_seconds < 5


async def test_two_sessions_that_stamp_at_once_give_no_position_twice(feed_url: str, connection: Any) -> None:
    """Even if two believed to lead, the lock of the head would keep the feed whole."""
    for number in range(300):
        await queue(connection, document(number), ["a"], [])
    stampers = await asyncio.gather(*(asyncpg.connect(feed_url) for _ in range(3)))
    assert sum(await asyncio.gather(*(drain(stamper) for stamper in stampers))) == 300
    assert [row[2] for row in await _rows(connection)] == list(range(1, 301))
    await asyncio.gather(*(stamper.close() for stamper in stampers))


async def test_another_node_takes_over_when_the_leader_stops(feed_url: str, connection: Any) -> None:
    stampers = [Stamper(feed_url), Stamper(feed_url)]
    tasks = [asyncio.create_task(stamper.run()) for stamper in stampers]
    await until(lambda: any(stamper.leading for stamper in stampers), 5)
    leader = next(number for number, stamper in enumerate(stampers) if stamper.leading)
    assert not stampers[1 - leader].leading
    tasks[leader].cancel()
    await queue(connection, document(0), ["a"], [])
    await until(lambda: stampers[1 - leader].documents == 1, 2)
    tasks[1 - leader].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await connection.fetch(_HOLDER) == []


async def test_a_leader_whose_connection_is_cut_stands_again(feed_url: str, connection: Any) -> None:
    stamper = Stamper(feed_url)
    task = asyncio.create_task(stamper.run())
    await until(lambda: stamper.leading, 5)
    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({_HOLDER}) AS holder")
    await queue(connection, document(0), ["a"], [])
    await until(lambda: stamper.documents == 1, 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_nothing_is_lost_when_the_leading_process_is_killed_or_frozen(feed_url: str, connection: Any, how: signal.Signals) -> None:
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", _NODE, feed_url, cwd=_ROOT)
    while not await connection.fetch(_HOLDER):  # noqa: ASYNC110 - the lock is in the database
        await asyncio.sleep(0.02)
    stamper = Stamper(feed_url)
    task = asyncio.create_task(stamper.run())
    for number in range(500):
        await queue(connection, document(number), ["a"], [])
        if number == 250:
            os.kill(node.pid, how)
    await until(lambda: stamper.leading, 2)
    await until(lambda: stamper.documents > 0, 2)
    while (await read_lag(connection)).count:  # noqa: ASYNC110 - the queue is in the database
        await asyncio.sleep(0.01)
    assert [row[2] for row in await _rows(connection)] == list(range(1, 501))
    task.cancel()
    if how is signal.SIGSTOP:
        node.kill()
    await asyncio.gather(task, node.wait(), return_exceptions=True)
