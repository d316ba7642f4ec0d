"""Real RxDB terminals against a real server, for a short while, with every kind of fault; `make fuzz` does it for long."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from api import cluster, fuzz
from api.settings import Settings

SEED, STEPS, TERMINALS = 3701, 150, 5
"""Server, stamper and a battery end, a device is locked, grants change and run out, records move and go, people decide conflicts."""


@pytest.fixture
async def world(settings: Settings, cluster_url: str, china: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """An empty database with every area, a port and a folder."""
    name = f"test_{os.getpid()}_fuzz"  # as tests/conftest.py names what it clears away
    url = await cluster.create_database(cluster_url, name, china)
    yield replace(settings, database_url=url, port=fuzz.free_port(), data=tmp_path)
    await cluster.drop_database(cluster_url, name)


async def test_nothing_is_lost_doubled_or_misplaced_under_random_faults(world: Settings) -> None:
    verdict = await fuzz.run(world, SEED, STEPS, TERMINALS)
    assert not verdict.faults, verdict.report
