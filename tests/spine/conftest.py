"""One world per module, all in one event loop: tests make their own people and documents in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api import cluster
from tests.spine.spine_world import World, opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(
    cluster_url: str, template: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    name = f"test_{os.getpid()}_{request.module.__name__.rpartition('.')[2]}"
    url = await cluster.create_database(cluster_url, name, template)
    async with opened(url, tmp_path_factory.mktemp("spine")) as made:
        yield made
    await cluster.drop_database(cluster_url, name)
