"""One database with all areas of China for every test here; tests roll back."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster
from api.settings import engine_url


@pytest.fixture(scope="session")
def china_url(cluster_url: str, china: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_china"
    yield asyncio.run(cluster.create_database(cluster_url, name, china))
    asyncio.run(cluster.drop_database(cluster_url, name))


@pytest.fixture
async def areas(china_url: str) -> AsyncIterator[AsyncConnection]:
    """A connection to the loaded areas, in a transaction that is rolled back."""
    made = create_async_engine(engine_url(china_url), poolclass=NullPool)
    async with made.connect() as opened:
        await opened.begin()
        yield opened
        await opened.rollback()
    await made.dispose()
