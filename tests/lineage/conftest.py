"""A small county of its own for each test; files that need it otherwise have a `world` of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lineage.lineage_world import World, prepare, serving


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    await prepare(database_url)
    async with serving(database_url, tmp_path) as made:
        yield made
