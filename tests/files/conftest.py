"""One server for all tests of files; tests make their own files in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api import cluster
from tests.files.files_world import World, prepare, serving, settings_of

LIMIT = 64 * 1024 * 1024


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def files_url(cluster_url: str, template: str) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_files"
    url = await cluster.create_database(cluster_url, name, template)
    await prepare(url)
    yield url
    await cluster.drop_database(cluster_url, name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(files_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with serving(settings_of(files_url, tmp_path_factory.mktemp("files"), evidence_bytes=LIMIT)) as made:
        yield made
