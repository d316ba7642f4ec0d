"""A push of many rows is written in two halves side by side; its sender sees one push."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from api.graphql.resolvers import HALVED_FROM
from tests.lineage.lineage_world import PUSH, World, until

HELD_UP = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_one_id_in_both_halves_is_taken_once(world: World) -> None:
    boss = await world.sign_in("boss")
    made = [boss.new(f"{number} 厂") for number in range(HALVED_FROM)]
    again = {**made[0], "name": "又一厂", "stamp": boss.stamp()}
    [master] = await boss.push(*[(None, document) for document in made], (None, again))
    assert (master["id"], master["name"]) == (made[0]["id"], "0 厂")
    assert await world.scalar("SELECT count(*) FROM enterprise WHERE revision = 1") == HALVED_FROM
    [kept] = await world.fetch("SELECT code, mine ->> 'name' AS name FROM sync_conflict")
    assert kept == {"code": "DUPLICATE_IN_BATCH", "name": "又一厂"}


async def test_what_is_sent_again_after_one_half_failed_counts_once(world: World) -> None:
    boss = await world.sign_in("boss")
    await boss.push(*[(None, boss.new(f"{number} 厂")) for number in range(HALVED_FROM)])
    await world.stamped()
    await boss.pull(HALVED_FROM)
    edits = [boss.edited(document_id, visits=1) for document_id in boss.held]
    rows = [{"assumedMasterState": assumed, "newDocumentState": new} for assumed, new in edits]
    async with world.app.state.database.engine.connect() as other:
        await other.execute(text("SELECT FROM enterprise WHERE id = :id FOR UPDATE"), {"id": edits[-1][1]["id"]})
        pushing = asyncio.create_task(boss.ask(PUSH, rows=rows))
        await until(lambda: half_written(world))
        [held_up] = await world.fetch(HELD_UP)
        await world.scalar("SELECT pg_terminate_backend(:pid)", **held_up)
        assert "errors" in await pushing
        assert await world.scalar("SELECT count(*) FROM enterprise WHERE visits = 1") == HALVED_FROM // 2
    await boss.push(*edits)
    assert await world.scalar("SELECT count(*) FROM enterprise WHERE visits = 1 AND revision = 2") == HALVED_FROM
    assert await world.scalar("SELECT count(*) FROM sync_conflict") == 0


async def half_written(world: World) -> bool:
    written = await world.scalar("SELECT EXISTS (SELECT FROM enterprise WHERE visits = 1)")
    return bool(written and await world.fetch(HELD_UP))
