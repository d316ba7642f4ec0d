"""`python -m api indicators`, and the part of the app that keeps the values of the indicators up."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic

from rich.console import Console
from rich.progress import Progress
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette

from api import cluster
from api.database import SESSION
from api.settings import Settings, engine_url
from geo import indicators
from geo.indicators import today
from schema.indicators import catalogue

LOOK_SECONDS = 0.2  # between looks at the head that the hub has heard of
FEW = 100  # positions of the feed: counted at once. More, and records are being written by the thousand, which shall not wait for us
CALM_SECONDS = 0.5  # in which few came: the flood is over
REST, LEAST_REST = 9.0, 5.0  # times as long as the last step took, and seconds: no longer are values held back by a flood
SWEEP_SECONDS = 5.0  # the net under a notification that never came; also finds the new day

Step = Callable[[AsyncConnection], Awaitable[bool]]
"""One transaction's worth of work: whether there is more to do at once."""

log = logging.getLogger(__name__)


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api indicators", description="List the indicators, or count all their values anew.")
    parser.add_argument("--recompute", action="store_true", help="count everything anew; Ctrl-C leaves the old values")
    console = Console(soft_wrap=True)
    if not parser.parse_args(arguments).recompute:
        _list(console)
        return 0
    try:
        with cluster.running(settings) as url:
            total = asyncio.run(recompute(url, console))
    except cluster.ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    console.print(f"  {total:,} facts counted.", highlight=False)
    return 0


async def recompute(url: str, console: Console) -> int:
    """Count everything anew in one transaction, with a progress bar."""
    engine = create_async_engine(engine_url(url), poolclass=NullPool, connect_args={"server_settings": SESSION})
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("indicators")
            async with engine.begin() as connection:
                return await indicators.recompute(
                    connection,
                    today(datetime.now(UTC)),
                    lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
                )
    finally:
        await engine.dispose()


async def keep(app: Starlette) -> None:
    """Keeps the values up until cancelled; in each moment one node of the cluster does."""
    await follow(app, "indicators", lambda connection: indicators.step(connection, today(datetime.now(UTC))))


async def follow(app: Starlette, name: str, step: Step) -> None:
    """Takes steps whenever the feed has moved, and now and then without; in a flood it waits for the end, or a while."""
    heard, rested, more, took = -1, SWEEP_SECONDS, False, 0.0
    while True:
        moved = app.state.hub.pos - heard
        if not (moved or more) and rested < SWEEP_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            rested += LOOK_SECONDS
            continue
        if moved > FEW:
            await _calm(app, max(REST * took, LEAST_REST))
        heard, rested, began = app.state.hub.pos, 0.0, monotonic()
        more = await _taken(app.state.database.engine, name, step)
        took = monotonic() - began


async def _calm(app: Starlette, longest: float) -> None:
    """Until few positions come, or so many seconds."""
    began, before = monotonic(), -FEW
    while app.state.hub.pos - before > FEW and monotonic() - began < longest:
        before = app.state.hub.pos
        await asyncio.sleep(CALM_SECONDS)


async def _taken(engine: AsyncEngine, name: str, step: Step) -> bool:
    try:
        async with engine.begin() as connection:
            return await step(connection)
    except (SQLAlchemyError, OSError) as error:  # the database is away; the next round tries again
        log.warning("%s: %s, trying again", name, type(error).__name__)
        return False


def _list(console: Console) -> None:
    for indicator in catalogue().indicators.values():
        waits = f"  waits for {', '.join(indicator.waits)}" if indicator.waits else ""
        console.print(f"  {indicator.id:<22}{indicator.label}{waits}", highlight=False)
