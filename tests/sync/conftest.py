"""A database with the feed's tables, and a small record `probe` whose documents move between scopes."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from schema import feed
from schema.metadata import metadata

_TABLES = [feed.sync_change, feed.sync_pending, feed.sync_head, feed.sync_scope_doc, feed.sync_tombstone, feed.sync_mark, feed.sync_shadow]
_PROBE = "CREATE TABLE probe (id uuid PRIMARY KEY, scopes text[] NOT NULL, version int NOT NULL)"


@pytest.fixture
async def feed_url(database_url: str) -> str:
    engine = create_async_engine(database_url.replace("postgresql:", "postgresql+asyncpg:", 1))
    async with engine.begin() as opened:
        await opened.run_sync(lambda connection: metadata.create_all(connection, tables=_TABLES))
    await engine.dispose()
    connection = await asyncpg.connect(database_url)
    await connection.execute(_PROBE)
    await connection.close()
    return database_url
