from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from api import cluster
from api.settings import Settings
from tests.pressure.pressure_world import Yard, started


@pytest.fixture(scope="module")
def yard(cluster_url: str, template: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    name = f"test_{os.getpid()}_yard"
    url = asyncio.run(cluster.create_database(cluster_url, name, template))
    made = started(settings, url, tmp_path_factory.mktemp("yard"), 1000)
    yield made
    made.server.stop()
    asyncio.run(cluster.drop_database(cluster_url, name))
