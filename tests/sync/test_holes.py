"""An idle writer delays nobody; readers that poll are in tests/lineage/test_standby.py, on the primary and on a standby at once."""

from __future__ import annotations

from uuid import uuid4

import asyncpg

from tests.sync.feed_world import Terminal, until
from tests.sync.hole_world import AREAS, held_open, stamping, write_one


async def test_an_idle_writer_delays_nobody_and_its_own_change_arrives(feed_url: str) -> None:
    terminal, prompt = Terminal(frozenset(AREAS[:1])), uuid4()
    async with stamping(feed_url) as stamper, held_open(feed_url) as (idle, late):
        busy = await asyncpg.connect(feed_url)
        await write_one(busy, prompt)
        await until(lambda: stamper.documents == 1, 1)
        await terminal.catch_up(busy, 50)
        assert set(terminal.documents) == {prompt}
        await idle.execute("COMMIT")
        await until(lambda: stamper.documents == 2, 1)
        await terminal.catch_up(busy, 50)
        await busy.close()
    assert set(terminal.documents) == {prompt, late}
