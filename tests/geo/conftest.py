"""One database with all areas of China for every test here; tests roll back."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster
from api.settings import engine_url
from geo.divisions import Counts, load_areas


async def _load(url: str) -> Counts:
    made = create_async_engine(engine_url(url), poolclass=NullPool)
    async with made.begin() as opened:
        counts = await load_areas(opened)
    await made.dispose()
    return counts


@pytest.fixture(scope="session")
def china(cluster_url: str, template: str) -> Iterator[tuple[str, Counts]]:
    """The database's address, and what the first load said."""
    name = f"test_{os.getpid()}_china"
    url = asyncio.run(cluster.create_database(cluster_url, name, template))
    yield url, asyncio.run(_load(url))
    asyncio.run(cluster.drop_database(cluster_url, name))


@pytest.fixture
async def areas(china: tuple[str, Counts]) -> AsyncIterator[AsyncConnection]:
    """A connection to the loaded areas, in a transaction that is rolled back."""
    made = create_async_engine(engine_url(china[0]), poolclass=NullPool)
    async with made.connect() as opened:
        await opened.begin()
        yield opened
        await opened.rollback()
    await made.dispose()
