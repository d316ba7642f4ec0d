"""What runs as long as the app does: the stamper, the wake hub, the adoption of orphans."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette

from api import access
from schema.registry import load
from sync.feed import Lag, Stamper, read_lag
from sync.scoping import adopt
from sync.wake import WakeHub

ADOPT_SECONDS = 2.0  # the net under the adoption after each push: a process may die between the two
JITTER_SECONDS = 0.2
LAG_SECONDS = 5.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def feed(app: Starlette) -> AsyncIterator[None]:
    """One stamper in the cluster, elected among all nodes; one wake hub in each."""
    stamper = app.state.stamper = Stamper(app.state.database.connect)
    hub = app.state.hub = WakeHub(app.state.database.connect, jitter=_jitter)
    lag = Lag(0, 0.0)

    async def watch() -> None:
        nonlocal lag
        while True:
            await asyncio.sleep(LAG_SECONDS)
            lag = await _lag(app) or lag

    metrics = app.state.metrics
    metrics.observe("zhijian_feed_lag_seconds", "Age of the oldest change without a position", lambda: lag.oldest_seconds)
    metrics.observe("zhijian_feed_pending", "Changes without a position", lambda: lag.count)
    metrics.observe("zhijian_feed_leading", "1 on the node that stamps", lambda: float(stamper.leading))
    async with _running(stamper.run()), _running(hub.run()), _running(_adopt_for_ever(app)), _running(watch()), _running(access.watch(app)):
        yield


async def _lag(app: Starlette) -> Lag | None:
    try:
        async with app.state.database.pool.acquire() as connection:
            return await read_lag(connection)
    except (asyncpg.PostgresError, OSError) as error:  # the database is away; the last figure stands
        log.warning("lag of the feed unknown: %s", type(error).__name__)
        return None


def _jitter() -> float:
    return random.random() * JITTER_SECONDS  # noqa: S311 - spreads load, guards nothing


async def _adopt_for_ever(app: Starlette) -> None:
    while True:
        await asyncio.sleep(ADOPT_SECONDS)
        try:
            async with app.state.database.engine.begin() as connection:
                await adopt(connection, load())
        except (SQLAlchemyError, OSError) as error:  # the database is away; the next round tries again
            log.warning("adoption of orphans failed: %s", type(error).__name__)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
