"""The field day on a small invented province: real RxDB terminals, a real server that is killed, real areas."""

from __future__ import annotations

import asyncio
import io
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster, seed, story
from api.server_process import ServerProcess
from api.settings import ROOT, Settings, engine_url
from geo.divisions import load_areas
from geo.sources import boundaries

ENTERPRISES = 1000

needs_node = pytest.mark.skipif(
    not shutil.which("node") or not (ROOT / "web" / "node_modules" / "rxdb").exists(), reason="web/node_modules is not installed"
)


@pytest.fixture(scope="module")
def province(settings: Settings, cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server over all areas and a small demo province."""
    url = asyncio.run(cluster.create_database(cluster_url, _name(tmp_path_factory.getbasetemp()), template))
    asyncio.run(_load_areas(url))
    asyncio.run(seed.fill(url, ENTERPRISES, 1, Console(file=io.StringIO())))
    here = replace(settings, database_url=url, port=_free_port(), data=tmp_path_factory.mktemp("story"))
    with ServerProcess(here) as server:
        yield server
    asyncio.run(cluster.drop_database(cluster_url, url.split("/")[3].split("?")[0]))


@needs_node
async def test_a_field_day_under_faults_ends_with_everybody_agreeing(province: ServerProcess) -> None:
    said = io.StringIO()
    assert await story.run(province.url, province, Console(file=said, width=200)), said.getvalue()


async def _load_areas(url: str) -> None:
    """Every area, but boundaries of the province alone, which is quicker."""
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    async with engine.begin() as connection:
        await load_areas(connection, boundary_source=lambda: (found for found in boundaries() if found.code.startswith("22")))
    await engine.dispose()


def _name(folder: Path) -> str:
    return f"story_{folder.name.replace('-', '_')}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
