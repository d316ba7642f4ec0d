"""What arrives twice at the same moment is written once."""

from __future__ import annotations

import asyncio

import pytest

from schema.actor import Role
from tests.spine.spine_world import INSIDE, World, person, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'enterprise'::regclass"


async def test_an_insert_delivered_twice_at_once_is_made_once(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    made = sample(world.registry["enterprise"], remark="一次") | {"stamp": f"{actor.device_id}:1:1795334501621"}
    async with world.database.pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE enterprise IN SHARE MODE")  # both find nothing, then wait to insert
        pushes = [asyncio.create_task(world.push(actor, "enterprise", (None, made))) for _ in range(2)]
        async with asyncio.timeout(10):
            while await holder.fetchval(WAITING) < len(pushes):  # noqa: ASYNC110 - the locks are in the database
                await asyncio.sleep(0.01)
    assert await asyncio.gather(*pushes) == [[], []]
    master = await world.master("enterprise", made["id"])
    changes = await world.rows("SELECT revision, kind FROM sync_change WHERE doc_id = $1::text::uuid", made["id"])
    assert (master["revision"], [tuple(row) for row in changes]) == (1, [(1, "CREATE")])
    assert await world.conflicts(made["id"]) == []


async def test_a_refused_value_that_comes_again_under_the_next_edit_is_told_once(world: World) -> None:
    maker, coordinator = person(Role.INSPECTOR, INSIDE), person(Role.COORDINATOR, INSIDE)
    made = await world.put(maker, "enterprise", supervision_class="JIA")
    held, refused = sent(made, supervisionClass="YI", stamp=f"{coordinator.device_id}:1")
    await world.push(coordinator, "enterprise", (held, refused))  # the answer is lost, and the next edit stands on what was refused
    await world.push(coordinator, "enterprise", (held, refused | {"remark": "下一条", "stamp": f"{coordinator.device_id}:2"}))
    told = [(row["field"], row["code"], row["mine"]) for row in await world.conflicts(made["id"])]
    assert told == [("supervision_class", "not_writable", "YI")]
    master = await world.master("enterprise", made["id"])
    assert (master["supervisionClass"], master["remark"]) == ("JIA", "下一条")
