"""What runs as long as the app does: the stamper, the wake hub, the adoption of orphans, the chain of the audit, the
indicators, the planning runs, the files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import shutil
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from obstore.exceptions import BaseError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette

from api import access, indicators, planning
from api.metrics import Metrics
from api.read_pool import ReadPool
from geo import points
from geo.membership import keep_memberships
from schema.registry import load
from sync import rescoping
from sync.audit import Chainer
from sync.audit import behind as audit_behind
from sync.collector import Collector
from sync.feed import Lag, Stamper, read_lag
from sync.files import Files
from sync.scoping import adopt
from sync.tombstones import Trimmer
from sync.vault import open_vault
from sync.wake import WakeHub

ADOPT_SECONDS = 2.0  # the net under the adoption after each push: a process may die between the two
FOLLOW_SECONDS = 3.0  # how long a change of areas may wait for its records to follow
WAKES_PER_SECOND = 300  # empty sync rounds that one process answers on a small machine; see `python -m api bench`
JITTER_SECONDS = 10.0
LAG_SECONDS = 5.0
NAN = math.nan
SWEEP_SECONDS = 60.0
COLLECT_SECONDS = 3600.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def feed(app: Starlette) -> AsyncIterator[None]:
    """One stamper in the cluster, elected among all nodes; one wake hub in each."""
    stamper = app.state.stamper = Stamper(app.state.database.connect)
    hub = app.state.hub = WakeHub(app.state.database.connect, jitter=lambda: _jitter(hub.subscribers))
    metrics = app.state.metrics
    metrics.observe("zhijian_feed_leading", "1 on the node that stamps", lambda: float(stamper.leading))
    chainer = Chainer(app.state.database.connect, app.state.settings.audit_digest)
    metrics.observe("zhijian_audit_chained", "Entries of the audit that this node has chained", lambda: float(chainer.chained))
    trimmer = Trimmer(app.state.database.connect, timedelta(days=app.state.settings.tombstone_days))
    metrics.observe("zhijian_tombstones_trimmed", "Tombstones that this node has taken out of the feed", lambda: float(trimmer.trimmed))
    async with (
        _running(stamper.run()),
        _running(hub.run()),
        _running(_adopt_for_ever(app)),
        _running(_watch(app)),
        _running(_follow_areas(app)),
        _running(chainer.run()),
        _running(trimmer.run()),
        _running(access.watch(app)),
        _running(indicators.keep(app)),
        _running(planning.keep(app)),
        _running(indicators.follow(app, "places", points.step)),
    ):
        yield


@dataclass
class Behind:
    """How far those are behind who follow the writers, as last measured."""

    feed: Lag = field(default_factory=lambda: Lag(0, 0.0))
    audit_seconds: float = 0.0
    standby_bytes: float = NAN


async def _watch(app: Starlette) -> None:
    behind, pool = Behind(), app.state.database.pool
    _observe(app.state.metrics, behind, pool)
    while True:
        try:
            await _measure(pool, behind)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:  # the last figures stand
            log.warning("how far the feed is behind is unknown: %s", type(error).__name__)
        app.state.feed_lag_seconds = behind.feed.oldest_seconds
        await asyncio.sleep(LAG_SECONDS)


async def _measure(pool: ReadPool, behind: Behind) -> None:
    async with pool.acquire() as connection:
        behind.feed = await read_lag(connection)
        behind.audit_seconds = await audit_behind(connection)
    if pool.standby is not None:
        found = await pool.lag_bytes()
        behind.standby_bytes = NAN if found is None else found


def _observe(metrics: Metrics, behind: Behind, pool: ReadPool) -> None:
    """NaN: there is no standby; no comparison in a rule is true of it."""
    metrics.observe("zhijian_feed_lag_seconds", "Age of the oldest change without a position", lambda: behind.feed.oldest_seconds)
    metrics.observe("zhijian_feed_pending", "Changes without a position", lambda: behind.feed.count)
    metrics.observe("zhijian_audit_lag_seconds", "Age of the oldest entry outside the audit's chain", lambda: behind.audit_seconds)
    metrics.observe("zhijian_standby_up", "1: the standby answers and follows", lambda: _up(pool, behind))
    metrics.observe("zhijian_standby_lag_bytes", "Log that the standby has not replayed", lambda: behind.standby_bytes)
    metrics.observe("zhijian_reads_on_standby", "Bulk reads that the standby has answered", lambda: pool.on_standby)
    metrics.observe("zhijian_reads_fallen_back", "Bulk reads that were the standby's and the primary's to do", lambda: pool.fallen_back)


def _up(pool: ReadPool, behind: Behind) -> float:
    return NAN if pool.standby is None else float(not math.isnan(behind.standby_bytes))


def _jitter(subscribers: int) -> float:
    """Few are woken at once, a crowd no faster than it can be served."""
    return random.random() * min(JITTER_SECONDS, subscribers / WAKES_PER_SECOND)  # noqa: S311 - spreads load, guards nothing


async def _adopt_for_ever(app: Starlette) -> None:
    while True:
        await asyncio.sleep(ADOPT_SECONDS)
        try:
            async with app.state.database.engine.begin() as connection:
                await adopt(connection, load())
        except (SQLAlchemyError, OSError) as error:  # the database is away; the next round tries again
            log.warning("adoption of orphans failed: %s", type(error).__name__)


async def _follow_areas(app: Starlette) -> None:
    """Lets records follow areas that have changed, and memberships that begin or end today."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            async with app.state.database.engine.begin() as connection:
                await keep_memberships(connection)
            if await rescoping.waiting(app.state.database.engine):
                await rescoping.run(app.state.database.engine, load())
        except (SQLAlchemyError, OSError) as error:  # the database is away; the next round tries again
            log.warning("records do not follow their areas: %s", type(error).__name__)


@asynccontextmanager
async def files(app: Starlette) -> AsyncIterator[None]:
    """Uploads and evidence; each node sweeps up after itself and others."""
    settings = app.state.settings
    vault = open_vault(settings.evidence_url, settings.data / "evidence")
    app.state.files = Files(app.state.database.engine, vault, load(), most_bytes=settings.evidence_bytes)
    metrics = app.state.metrics
    metrics.observe("zhijian_store_errors", "Writes to the store of evidence that failed", lambda: float(vault.errors))
    metrics.observe("zhijian_store_room_bytes", "Room in the store of evidence; NaN: a bucket", lambda: _number(vault.room()))
    metrics.observe("zhijian_data_room_bytes", "Room in the data folder", lambda: float(shutil.disk_usage(settings.data).free))
    app.state.collector = Collector(app.state.database.engine, vault, load())
    _observe_files(app)
    async with _running(_sweep_for_ever(app.state.files)), _running(_collect_for_ever(app.state.collector)):
        yield


def _observe_files(app: Starlette) -> None:
    kept, collected, observe = app.state.files, app.state.collector.collected, app.state.metrics.observe
    observe("zhijian_files_memory_bytes", "Bytes of uploads in memory", lambda: float(kept.budget.used))
    observe("zhijian_files_writing", "Requests that write to uploads", lambda: float(kept.budget.writing))
    observe("zhijian_files_expired", "Abandoned uploads that this node has given up", lambda: float(kept.expired))
    observe("zhijian_files_unnamed", "Files that no document names, kept until their retention is over", lambda: float(collected.unnamed))
    observe("zhijian_files_collected", "Files that this node has thrown away", lambda: float(collected.files))
    observe("zhijian_files_collected_bytes", "Bytes of the files that this node has thrown away", lambda: float(collected.bytes))
    observe("zhijian_files_strays", "Objects without a row that this node found in the store", lambda: float(collected.strays))


def _number(bytes_or_none: int | None) -> float:
    return NAN if bytes_or_none is None else float(bytes_or_none)


async def _sweep_for_ever(kept: Files) -> None:
    while True:
        try:
            await kept.sweep(datetime.now(UTC))
        except (SQLAlchemyError, OSError, BaseError) as error:  # database or store are away; the next round tries again
            log.warning("sweep of files failed: %s", type(error).__name__)
        await asyncio.sleep(SWEEP_SECONDS * (0.5 + random.random()))  # noqa: S311 - spreads load, guards nothing


async def _collect_for_ever(collector: Collector) -> None:
    while True:
        await asyncio.sleep(COLLECT_SECONDS * (0.5 + random.random()))  # noqa: S311 - spreads load, guards nothing
        try:
            await collector.collect(datetime.now(UTC))
        except (SQLAlchemyError, OSError, BaseError) as error:
            log.warning("collection of files failed: %s", type(error).__name__)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
