"""What arrives twice at the same moment is written once."""

from __future__ import annotations

import asyncio

import pytest

from schema.actor import Actor, Role
from schema.base import Document
from tests.spine.spine_world import INSIDE, OUTSIDE, World, person, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAITING = """SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN (
  SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database())"""


async def push_twice_at_once(world: World, actor: Actor, made: Document, meeting: str) -> list[list[Document]]:
    """Both requests have read before either writes to the table `meeting`."""
    async with world.database.pool.acquire() as holder, holder.transaction():
        await holder.execute(f"LOCK TABLE {meeting} IN SHARE MODE")
        pushes = [asyncio.create_task(world.push(actor, "enterprise", (None, made))) for _ in range(2)]
        async with asyncio.timeout(10):
            while await holder.fetchval(WAITING) < len(pushes):  # noqa: ASYNC110 - the locks are in the database
                await asyncio.sleep(0.01)
    return await asyncio.gather(*pushes)


async def test_an_insert_delivered_twice_at_once_is_made_once(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    made = sample(world.registry["enterprise"], remark="一次") | {"stamp": f"{actor.device_id}:1:1795334501621"}
    assert await push_twice_at_once(world, actor, made, "enterprise") == [[], []]
    master = await world.master("enterprise", made["id"])
    changes = await world.rows("SELECT revision, kind FROM sync_change WHERE doc_id = $1::text::uuid", made["id"])
    assert (master["revision"], [tuple(row) for row in changes]) == (1, [(1, "CREATE")])
    assert await world.conflicts(made["id"]) == []


async def test_a_refusal_delivered_twice_at_once_is_told_once(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    made = sample(world.registry["enterprise"], area_code=OUTSIDE) | {"stamp": f"{actor.device_id}:1:1795334501621"}
    gone = {"id": made["id"], "deleted": True}
    answers = await push_twice_at_once(world, actor, made, "sync_conflict")
    assert [[{name: row[name] for name in gone} for row in rows] for rows in answers] == [[gone], [gone]]
    assert [row["code"] for row in await world.conflicts(made["id"])] == ["OUT_OF_SCOPE"]


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


async def test_a_page_that_a_push_has_overtaken_takes_nothing_back(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    made = await world.put(actor, "enterprise")
    stamps = [f"{actor.device_id}:{number}" for number in range(1, 4)]
    first, second = (sent(made, hazards=tags, stamp=stamp)[1] for tags, stamp in ((["A"], stamps[0]), (["A", "B"], stamps[1])))
    assert await world.push(actor, "enterprise", (made_of(made), first)) == []
    late = made_of(await world.master("enterprise", made["id"]))  # a page with this is still on its way
    assert await world.push(actor, "enterprise", (first, second)) == []
    await world.push(actor, "enterprise", (late, late | {"hazards": ["A", "C"], "stamp": stamps[2]}))
    assert (await world.master("enterprise", made["id"]))["hazards"] == ["A", "B", "C"]


def made_of(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "scopes"}
