"""What runs as long as the app does: the stamper, the wake hub, the adoption of orphans."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette

from schema.registry import load
from sync.feed import Stamper
from sync.scoping import adopt
from sync.wake import WakeHub

ADOPT_SECONDS = 2.0  # the net under the adoption after each push: a process may die between the two
JITTER_SECONDS = 0.2

log = logging.getLogger(__name__)


@asynccontextmanager
async def feed(app: Starlette) -> AsyncIterator[None]:
    """One stamper in the cluster, elected among all nodes; one wake hub in each."""
    stamper = app.state.stamper = Stamper(app.state.database.connect)
    hub = app.state.hub = WakeHub(app.state.database.connect, jitter=_jitter)
    async with _running(stamper.run()), _running(hub.run()), _running(_adopt_for_ever(app)):
        yield


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
