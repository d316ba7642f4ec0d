"""Tombstones leave the feed after the retention, and a terminal that was away for longer still ends without ghosts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from api.terminal import Terminal
from sync.tombstones import Trimmer
from tests.lineage.lineage_world import PASSWORD, World

OUT = "SELECT count(*) FROM sync_scope_doc WHERE state = 'out'"
NEW = {"areaCode": "220102", "status": "OPERATING", "source": "INSPECTION"}
DELETE = "mutation ($id: ID!) { deleteEnterprise(id: $id) }"
MOVE = 'mutation ($id: ID!) { saveEnterprise(input: {id: $id, areaCode: "220103"}) { id } }'


async def _trim(world: World, batch: int = 1) -> int:
    """What the trimmer does when all that was written is a year old; rows taken."""
    await world.stamped()
    trimmer = Trimmer(world.app.state.database.connect, timedelta(days=180), batch)
    await world.execute("DELETE FROM sync_mark")
    await world.execute("INSERT INTO sync_mark (at, pos) SELECT now() - interval '1 year', pos FROM sync_head")
    connection = await world.app.state.database.connect()
    while await trimmer.step(connection):
        pass
    await connection.close()
    return trimmer.trimmed


async def test_a_real_terminal_that_was_away_for_longer_ends_without_ghosts_and_loses_no_edit(world: World) -> None:
    boss = await world.sign_in("boss")
    terminal = await Terminal.start("one", f"{world.url}/graphql", deviceId="one", retryTime=200)
    try:
        await terminal.call("login", username="ins", password=PASSWORD)
        await terminal.call("open", collections=["enterprise", "syncConflict"])
        made = [await terminal.call("insert", collection="enterprise", document={**NEW, "name": name}) for name in "甲乙丙丁戊"]
        edited, deleted, moved, ghost, quiet = [each["id"] for each in made]
        await terminal.call("sync")
        await world.stamped()
        await terminal.call("sync")
        await terminal.call("offline")
        for document_id, remark in ((edited, "unsent"), (deleted, "unsent on a deleted one"), (moved, "unsent on a moved one")):
            await terminal.call("edit", collection="enterprise", id=document_id, set={"remark": remark})
        await boss.data(DELETE, id=deleted)
        await boss.data(MOVE, id=moved)
        await boss.data(DELETE, id=ghost)
        assert await _trim(world) > 0
        assert await world.scalar(OUT) == 0
        await terminal.call("online")
        await terminal.call("login", username="ins", password=PASSWORD)
        for _ in range(2):
            await terminal.call("sync")
            await world.stamped()
        held = {each["id"]: each["remark"] for each in await terminal.call("find", collection="enterprise")}
        kept = await world.scalar("SELECT array_agg(mine #>> '{}' ORDER BY mine #>> '{}') FROM sync_conflict WHERE mine IS NOT NULL")
    finally:
        await terminal.quit()
    assert await world.scalar("SELECT remark FROM enterprise WHERE id = CAST(:id AS uuid)", id=edited) == "unsent"
    assert held == {edited: "unsent", quiet: None}
    assert len(kept) == 2
    assert all("unsent on" in each for each in kept)


async def test_pages_stay_full_while_a_long_absence_is_made_good(world: World) -> None:
    boss, away = await world.sign_in("boss"), await world.sign_in("ins")
    await boss.push(*((None, boss.new(f"{number} 厂")) for number in range(12)))
    await world.stamped()
    await away.pull(5)
    for document_id in sorted(away.held)[:7]:
        await boss.data(DELETE, id=document_id)
    await _trim(world)
    await boss.push((None, boss.new("新厂")))
    await world.stamped()
    gone_first = await away.pull(5)
    assert gone_first == [5, 3]
    assert len(away.held) == 6
    assert await away.pull(5) == [0]


async def test_what_the_law_keeps_stays(world: World) -> None:
    """The document's row, its history and the audit; only the feed's entries go, and one row for each document remains."""
    boss = await world.sign_in("boss")
    document = boss.new("甲厂")
    await boss.push((None, document))
    await world.stamped()
    await boss.data(DELETE, id=document["id"])
    assert await _trim(world) == 4
    assert await world.scalar("SELECT deleted FROM enterprise")
    assert await world.scalar("SELECT array_agg(kind ORDER BY id) FROM sync_change") == ["CREATE", "DELETE"]
    assert await world.scalar("SELECT array_agg(scopes) FROM sync_tombstone") == [
        ["220000", "220100", "220102", f"enterprise:{document['id']}"]
    ]


async def test_what_is_younger_than_the_retention_stays_in_the_feed(world: World) -> None:
    boss = await world.sign_in("boss")
    document = boss.new("甲厂")
    await boss.push((None, document))
    await boss.data(DELETE, id=document["id"])
    await world.stamped()
    trimmer, connection = Trimmer(world.app.state.database.connect), await world.app.state.database.connect()
    await world.execute("DELETE FROM sync_mark")
    await world.execute("INSERT INTO sync_mark (at, pos) SELECT now() - interval '179 days', pos FROM sync_head")
    assert await trimmer.step(connection) == 0
    assert await world.scalar(OUT) == 4
    await connection.close()


async def test_a_page_that_was_read_while_tombstones_went_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the head and the page the trimmer may commit; the page alone would lack them, and the checkpoint pass over them."""
    boss, away = await world.sign_in("boss"), await world.sign_in("ins")
    await boss.push((None, boss.new("甲厂")), (None, boss.new("乙厂")))
    await world.stamped()
    await away.pull()
    (gone, _) = sorted(away.held)
    await boss.data(DELETE, id=gone)
    await boss.push((None, boss.new("丙厂")))
    await world.stamped()
    real, trimmed = asyncpg.Connection.fetchrow, list[int]()

    async def fetchrow(self: Any, sql: str, *values: Any, **options: Any) -> Any:
        found = await real(self, sql, *values, **options)
        if "trimmed_pos FROM sync_head" in sql and not trimmed and "sync_scope_doc" not in sql and "FOR UPDATE" not in sql:
            trimmed.append(0)
            trimmed[0] = await asyncio.create_task(_trim(world, 100))
        return found

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fetchrow)
    await away.pull()
    assert trimmed == [4]
    assert gone not in away.held
    assert len(away.held) == 2
