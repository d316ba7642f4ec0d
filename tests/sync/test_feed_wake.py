"""Terminals are woken for their scopes, once for many changes, and after a lost connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from sync.feed import drain
from sync.wake import RESYNC, Subscription, WakeHub
from tests.sync.feed_world import document, queue, until, write

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%zhijian_feed%' AND datname = current_database()"


@pytest.fixture
async def connection(feed_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(feed_url)
    yield opened
    await opened.close()


@pytest.fixture
async def hub(feed_url: str) -> AsyncIterator[WakeHub]:
    made = WakeHub(feed_url)
    task = asyncio.create_task(made.run())
    await asyncio.wait_for(made.listening.wait(), 5)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _next(subscription: Subscription) -> str:
    return await asyncio.wait_for(anext(subscription), 1)


async def _assert_silent(subscription: Subscription) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(subscription), 0.2)


async def test_only_subscribers_of_the_scope_are_woken(connection: Any, hub: WakeHub) -> None:
    concerned, other = hub.subscribe(["a", "b"]), hub.subscribe(["c"])
    await write(connection, document(0), "ab")
    await drain(connection)
    assert await _next(concerned) == RESYNC
    await _assert_silent(other)


async def test_leaving_a_scope_wakes_those_who_stay(connection: Any, hub: WakeHub) -> None:
    await write(connection, document(0), "a")
    await drain(connection)
    await until(lambda: hub.pos == 1, 1)
    left = hub.subscribe(["a"])
    await write(connection, document(0), "b")
    await drain(connection)
    assert await _next(left) == RESYNC


async def test_many_changes_while_busy_are_one_wake(connection: Any, hub: WakeHub) -> None:
    subscription = hub.subscribe(["a"])
    for number in range(20):
        await write(connection, document(number), "a")
        await drain(connection)
    await until(lambda: hub.pos == 20, 1)
    assert await _next(subscription) == RESYNC
    await _assert_silent(subscription)


async def test_a_batch_of_too_many_scopes_wakes_everybody(connection: Any, hub: WakeHub) -> None:
    subscription = hub.subscribe(["elsewhere"])
    await queue(connection, document(0), [f"user:{number:030d}" for number in range(300)], [])
    await drain(connection)
    assert await _next(subscription) == RESYNC


async def test_a_lost_connection_is_replaced_and_everybody_woken_once(connection: Any, hub: WakeHub) -> None:
    subscription = hub.subscribe(["a"])
    await connection.execute(_CUT)
    assert await asyncio.wait_for(anext(subscription), 3) == RESYNC
    await _assert_silent(subscription)
    await write(connection, document(0), "a")
    await drain(connection)
    assert await _next(subscription) == RESYNC


async def test_jitter_holds_a_wake_back(feed_url: str) -> None:
    hub = WakeHub(feed_url, jitter=lambda: 0.15)
    subscription = hub.subscribe(["a"])
    subscription.wake()
    started = asyncio.get_running_loop().time()
    assert await _next(subscription) == RESYNC
    assert asyncio.get_running_loop().time() - started >= 0.14


async def test_closed_and_forgotten_subscriptions_are_gone(hub: WakeHub) -> None:
    closed, forgotten = hub.subscribe(["a"]), hub.subscribe(["a"])
    assert hub.subscribers == 2
    closed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(closed)
    del forgotten
    assert hub.subscribers == 0
