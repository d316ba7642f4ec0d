"""Real RxDB terminals over a restore to an older point."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api import cluster
from api.backup import backup, restore
from api.terminal import Terminal
from tests.lineage.lineage_world import PASSWORD, prepare, serving

SAVE = "mutation ($input: EnterpriseInput!) { saveEnterprise(input: $input) { id } }"
NEW = {"areaCode": "220102", "status": "OPERATING", "source": "INSPECTION"}


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    await prepare(database_url)
    yield database_url
    name = database_url.partition("@/")[2].partition("?")[0]
    elsewhere = cluster.database_url(database_url, "postgres")
    for left in await cluster.database_names(elsewhere, f"{name}_before%"):
        await cluster.drop_database(elsewhere, left)


async def _terminal(url: str, name: str) -> Terminal:
    terminal = await Terminal.start(name, f"{url}/graphql", deviceId=name, retryTime=200)
    await terminal.call("login", username="ins", password=PASSWORD)
    await terminal.call("open", collections=["enterprise", "syncConflict"])
    await terminal.call("sync")
    return terminal


async def _edit(terminal: Terminal, document_id: str, **change: Any) -> None:
    await terminal.call("edit", collection="enterprise", id=document_id, **change)


async def test_unsent_work_survives_a_restore_and_sent_work_is_not_doubled(url: str, tmp_path: Path) -> None:
    quiet = Console(file=io.StringIO())
    async with serving(url, tmp_path / "data") as world:
        first, second = await asyncio.gather(_terminal(world.url, "one"), _terminal(world.url, "two"))
        try:
            document = await first.call("insert", collection="enterprise", document={**NEW, "name": "甲厂", "visits": 1})
            await first.call("sync")
            await _edit(first, document["id"], increase={"visits": 1}, add={"hazards": ["DUST-COAL"]})
            await first.call("sync")
            await backup(url, tmp_path / "b", tmp_path / "data" / "keys", quiet)
            await world.stamped()
            await second.call("sync")
            await _edit(second, document["id"], set={"remark": "lost in the restore"})
            await second.call("sync")
            await world.stamped()
            await first.call("sync")
            for terminal in (first, second):
                await terminal.call("offline")
            await _edit(first, document["id"], increase={"visits": 3})
            await _edit(second, document["id"], set={"contactPhone": "000-1"}, add={"hazards": ["PHYS-NOISE"]})
            made = await second.call("insert", collection="enterprise", document={**NEW, "name": "乙厂"})

            await restore(url, tmp_path / "b", tmp_path / "data" / "keys", quiet)
            await world.again()
            for terminal in (first, second):
                await terminal.call("online")
                await terminal.call("login", username="ins", password=PASSWORD)
            for terminal in (first, second, first, second):
                await terminal.call("sync")
                await world.stamped()
            lost = await world.fetch("SELECT id::text, code, field, mine, theirs FROM sync_conflict")
            held, also = [await terminal.call("find", collection="enterprise") for terminal in (first, second)]
        finally:
            await asyncio.gather(first.quit(), second.quit())
        by_id = {found["id"]: found for found in held}
        assert by_id == {found["id"]: found for found in also}
        found = by_id[document["id"]]
        assert (found["visits"], found["hazards"], found["contactPhone"]) == (5, ["DUST-COAL", "PHYS-NOISE"], "000-1")
        assert found["remark"] is None  # people decide over what the restore took, below
        assert by_id[made["id"]]["name"] == "乙厂"
        assert [(each["code"], each["field"], each["mine"]) for each in lost] == [("lost_in_restore", "remark", "lost in the restore")]
        boss = await world.sign_in("boss")
        await boss.data("mutation ($id: ID!) { resolveConflict(id: $id, take: MINE) }", id=lost[0]["id"])
        assert await world.scalar("SELECT remark FROM enterprise WHERE id = CAST(:id AS uuid)", id=document["id"]) == "lost in the restore"


async def test_what_a_restore_took_is_reported_also_when_somebody_has_written_there_since(url: str, tmp_path: Path) -> None:
    quiet, keys = Console(file=io.StringIO()), tmp_path / "data" / "keys"
    async with serving(url, tmp_path / "data") as world:
        terminal = await _terminal(world.url, "one")
        try:
            document = await terminal.call("insert", collection="enterprise", document={**NEW, "name": "甲厂"})
            await terminal.call("sync")
            await backup(url, tmp_path / "b", keys, quiet)
            await _edit(terminal, document["id"], set={"remark": "lost in the restore"})
            await terminal.call("sync")
            await world.stamped()
            await terminal.call("sync")
            await terminal.call("offline")
            await restore(url, tmp_path / "b", keys, quiet)
            await world.again()
            boss = await world.sign_in("boss")
            await boss.data(SAVE, input={"id": document["id"], "contactPhone": "000-1"})
            await world.stamped()
            await terminal.call("online")
            await terminal.call("login", username="ins", password=PASSWORD)
            await terminal.call("sync")
            held = await terminal.call("get", collection="enterprise", id=document["id"])
        finally:
            await terminal.quit()
        assert (held["remark"], held["contactPhone"]) == (None, "000-1")
        lost = await world.fetch("SELECT code, field, mine FROM sync_conflict")
        assert lost == [{"code": "lost_in_restore", "field": "remark", "mine": "lost in the restore"}]
