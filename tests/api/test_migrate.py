"""Migrations build exactly what the declarations say."""

from __future__ import annotations

import asyncio
import os
import sys

import asyncpg

from api import cluster, migrate
from api.settings import ROOT


async def test_a_database_upgraded_from_empty_has_no_difference_left(cluster_url: str) -> None:
    await cluster.drop_database(cluster_url, "test_upgraded")
    url = await cluster.create_database(cluster_url, "test_upgraded")
    try:
        await migrate.upgrade(url)
        assert await migrate.differences(url) == []
    finally:
        await cluster.drop_database(cluster_url, "test_upgraded")


async def test_a_column_that_only_the_database_has_is_a_difference(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE enterprise ADD COLUMN stray text")
    await connection.close()
    found = await migrate.differences(database_url)
    assert [(kind, column.name) for kind, _, _, column in found] == [("remove_column", "stray")]


async def test_two_nodes_may_migrate_at_once(cluster_url: str) -> None:
    url = await cluster.create_database(cluster_url, "test_at_once")
    try:
        assert await asyncio.gather(*(_migrate_in_a_process(url) for _ in range(2))) == [0, 0]
    finally:
        await cluster.drop_database(cluster_url, "test_at_once")


async def test_the_template_of_the_tests_is_at_the_newest_migration(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    found = [row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")]
    await connection.close()
    assert found == migrate.heads()
    assert found


async def _migrate_in_a_process(url: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", "migrate", cwd=ROOT, env={**os.environ, "ZHIJIAN_DATABASE_URL": url}
    )
    return await process.wait()
