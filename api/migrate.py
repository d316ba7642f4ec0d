"""`python -m api migrate`: Alembic, run from here so that nobody needs an alembic.ini."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from geoalchemy2 import alembic_helpers
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import schema
from api import cluster
from api.settings import ROOT, Settings, engine_url

FOLDER = ROOT / "schema" / "migrations"
TIMEOUTS = {"lock_timeout": "10s", "statement_timeout": "15min"}  # a migration gives way to those who work


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api migrate", description="Bring the database to the newest migration.")
    parser.add_argument("--revision", metavar="MESSAGE", help="write the next migration from what the declarations now say")
    message = parser.parse_args(arguments).revision
    try:
        with cluster.running(settings) as url:
            asyncio.run(write_next(url, message) if message else upgrade(url))
    except cluster.ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def upgrade(url: str) -> None:
    """Bring the database to the newest migration, in one transaction; twice is once."""
    await _run(url, lambda config: command.upgrade(config, "head"))


async def write_next(url: str, message: str) -> None:
    """Write a migration into `schema/migrations/versions`; the files of a scratch database of the server say from what."""
    scratch = "migration_scratch"
    await cluster.drop_database(url, scratch)
    try:
        beside = await cluster.create_database(url, scratch)
        await upgrade(beside)
        name = datetime.now(UTC).strftime("%Y%m%d%H%M")
        await _run(beside, lambda config: command.revision(config, message, autogenerate=True, rev_id=name))
    finally:
        await cluster.drop_database(url, scratch)


async def differences(url: str) -> list[Any]:
    """What the declarations say and the database lacks, or the other way round."""
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_compare)
    finally:
        await engine.dispose()


def heads() -> list[str]:
    """The newest migrations of this program."""
    return ScriptDirectory(str(FOLDER)).get_heads()


def revisions() -> list[str]:
    """All migrations that this program knows."""
    return [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()]


def full_metadata() -> MetaData:
    """Every table of the project: the modules of schema/ that declare them, imported."""
    for module in pkgutil.walk_packages(schema.__path__, "schema."):
        if not module.name.startswith("schema.migrations"):
            importlib.import_module(module.name)
    metadata: MetaData = importlib.import_module("schema.metadata").metadata
    return metadata


def belongs(thing: object, name: str | None, kind: str, reflected: bool, compared: object) -> bool:
    """Whether a table or index is ours to migrate; PostGIS keeps some of its own."""
    return bool(alembic_helpers.include_object(thing, name, kind, reflected, compared))  # type: ignore[no-untyped-call]  # geoalchemy2 has none


def _compare(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"include_object": belongs, "compare_type": True})
    return list(compare_metadata(context, full_metadata()))


async def _run(url: str, do: Callable[[Config], object]) -> None:
    engine = create_async_engine(engine_url(url), poolclass=NullPool, connect_args={"server_settings": TIMEOUTS})

    def inside(connection: Connection) -> None:
        config = Config(attributes={"connection": connection, "metadata": full_metadata(), "belongs": belongs})
        config.set_main_option("script_location", str(FOLDER))
        config.set_main_option("path_separator", "os")
        do(config)

    try:
        async with engine.connect() as connection:
            await connection.run_sync(inside)
    finally:
        await engine.dispose()
