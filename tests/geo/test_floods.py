"""What keeps values up follows single changes at once, and does not take the processor from those who write by the thousand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from api import indicators
from api.indicators import FEW, follow
from api.settings import engine_url
from tests.lineage.lineage_world import until


class Kept:
    """Steps that were taken: up to which position each."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.steps: list[int] = []

    async def step(self, connection: AsyncConnection) -> bool:
        self.steps.append(self.app.state.hub.pos)
        return False

    async def at(self, pos: int) -> bool:
        return bool(self.steps) and self.steps[-1] == pos


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    engine = create_async_engine(engine_url(database_url))
    app = SimpleNamespace(state=SimpleNamespace(hub=SimpleNamespace(pos=0), database=SimpleNamespace(engine=engine)))
    made = Kept(app)
    following = asyncio.create_task(follow(app, "test", made.step))  # type: ignore[arg-type]
    yield made
    following.cancel()
    await asyncio.wait([following])
    await engine.dispose()


async def test_a_few_changes_are_followed_at_once(kept: Kept) -> None:
    await until(lambda: kept.at(0))
    for pos in (1, 2, FEW):
        kept.app.state.hub.pos = pos
        await until(lambda pos=pos: kept.at(pos), 1)  # type: ignore[misc]


async def test_a_flood_is_followed_when_it_ends_or_has_lasted(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicators, "LEAST_REST", 2.0)
    await until(lambda: kept.at(0))
    taken, hub = len(kept.steps), kept.app.state.hub
    async with asyncio.timeout(30):
        for _ in range(12):
            hub.pos += 10 * FEW
            await asyncio.sleep(0.1)
        assert len(kept.steps) == taken
        await until(lambda: kept.at(hub.pos), 2)
        taken = len(kept.steps)
        while len(kept.steps) == taken:  # it goes on and on: held back for a while, not for ever
            hub.pos += 10 * FEW
            await asyncio.sleep(0.1)
