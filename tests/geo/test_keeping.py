"""The part of the app: what is written is counted soon after the commit, whoever wrote it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import text

from api.database import Database
from api.indicators import keep
from schema.registry import load
from sync.feed import Stamper
from sync.identity import uuid7
from sync.moment import Moment
from sync.rows import Sent
from sync.wake import WakeHub
from sync.write import apply
from tests.geo.counting_world import CHIEF, draw

COUNT = text("SELECT coalesce(sum(n), 0) FROM indicator_count WHERE measure = 'enterprise-operating' AND area = '220102'")


async def test_a_change_is_counted_within_a_second_of_its_commit(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    async with database.engine.begin() as connection:
        await draw(connection)
    hub = WakeHub(database.connect)
    app = cast(Any, SimpleNamespace(state=SimpleNamespace(database=database, hub=hub)))
    parts = [asyncio.create_task(part) for part in (Stamper(database.connect).run(), hub.run(), keep(app))]
    await asyncio.wait_for(hub.listening.wait(), 10)
    times = []
    for expected in (1, 2, 3):
        await _write(database)
        began = time.monotonic()
        while await _count(database) != expected:
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.02)
        times.append(time.monotonic() - began)
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
    await database.close()
    assert sorted(times)[1] < 1, times


async def _write(database: Database) -> None:
    now = datetime.now(UTC)
    values = {"id": uuid7(now), "name": "甲", "area_code": "220102001", "status": "OPERATING"}
    async with database.engine.begin() as connection:
        await apply(connection, CHIEF, load()["enterprise"], [Sent(None, values)], moment=Moment(now), registry=load())


async def _count(database: Database) -> int:
    async with database.engine.connect() as connection:
        return int(await connection.scalar(COUNT))
