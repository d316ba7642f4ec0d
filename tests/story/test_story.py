"""The field day on a small invented province: real RxDB terminals, a real server that is killed, real areas."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from api import cluster, seed, story
from api.server_process import ServerProcess
from api.settings import Settings
from api.story_day import PASSWORD, Document
from api.terminal import Terminal

ENTERPRISES = 1000


@pytest.fixture(scope="module")
def province(settings: Settings, cluster_url: str, china: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server over all areas and a small demo province."""
    name = f"test_{os.getpid()}_story"  # as tests/conftest.py names what it clears away
    url = asyncio.run(cluster.create_database(cluster_url, name, china))
    asyncio.run(seed.fill(url, ENTERPRISES, 1, Console(file=io.StringIO())))
    here = replace(settings, database_url=url, port=_free_port(), data=tmp_path_factory.mktemp("story"))
    with ServerProcess(here) as server:
        yield server
    asyncio.run(cluster.drop_database(cluster_url, name))


async def test_a_field_day_under_faults_ends_with_everybody_agreeing(province: ServerProcess) -> None:
    said = io.StringIO()
    assert await story.run(province.url, province, Console(file=said, width=200)), said.getvalue()


async def test_an_edit_made_offline_survives_the_terminals_own_kill_nine(province: ServerProcess, tmp_path: Path) -> None:
    first = await _terminal(province, tmp_path)
    document = (await first.call("find", collection="enterprise"))[0]
    await first.call("offline")
    edited = await first.call("edit", collection="enterprise", id=document["id"], set={"remark": "电池耗尽之前"}, increase={"visits": 1})
    first.kill()
    await first.quit()

    second = await _terminal(province, tmp_path)
    try:
        await second.call("refresh")
        answer = await second.call("ask", query=f"""{{ enterprise(id: "{document["id"]}") {{ remark visits stamp }} }}""")
        again = await second.call("edit", collection="enterprise", id=document["id"], set={"remark": "换了电池"})
    finally:
        await second.quit()
    assert answer["enterprise"] == {"remark": "电池耗尽之前", "visits": document["visits"] + 1, "stamp": edited["stamp"]}
    assert _counter(again) == _counter(edited) + 1


async def _terminal(server: ServerProcess, folder: Path) -> Terminal:
    terminal = await Terminal.start("inspector1", f"{server.url}/graphql", deviceId="story-battery", folder=str(folder), retryTime=500)
    await terminal.call("login", username="inspector1", password=PASSWORD)
    await terminal.call("open", collections=["enterprise", "finding"])
    await terminal.call("sync")
    return terminal


def _counter(document: Document) -> int:
    return int(document["stamp"].split(":")[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
