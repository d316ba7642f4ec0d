"""The private cluster comes up anywhere, survives a crash, and goes down again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api import cluster
from api.settings import Settings


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(data=tmp_path / "data")  # pytest's folders are 0700: root's postgres user can't look into them
    yield settings
    cluster.discard(settings)


def value(url: str, query: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def postmaster(settings: Settings) -> int:
    folder = Path((settings.data / "cluster").read_text().strip())
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def runs(pid: int) -> bool:
    """Whether a process is there; one that nobody has reaped yet has no working folder any more."""
    return Path(f"/proc/{pid}/cwd").is_dir()


def ended(pid: int) -> bool:
    """Whether it is gone within a moment: pg_ctl returns when the lock file is, just before the process."""
    end = time.monotonic() + 5
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not runs(pid)


def test_cluster_starts_again_where_it_stopped_and_after_kill(private: Settings) -> None:
    url = cluster.ensure(private, throwaway=True)
    assert str(value(url, "SELECT postgis_lib_version()")) >= "3.3"
    value(url, "CREATE TABLE kept AS SELECT 7 AS seven")
    first = postmaster(private)
    assert cluster.ensure(private) == url
    assert postmaster(private) == first

    cluster.stop(private)
    assert ended(first)
    cluster.stop(private)
    assert cluster.ensure(private) == url
    assert value(url, "SELECT seven FROM kept") == 7

    os.kill(postmaster(private), signal.SIGKILL)
    assert cluster.ensure(private) == url
    assert value(url, "SELECT seven FROM kept") == 7


def test_a_lock_file_of_a_dead_server_whose_number_lives_on_is_no_hindrance(private: Settings) -> None:
    url = cluster.ensure(private, throwaway=True)
    folder = Path((private.data / "cluster").read_text().strip())
    lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    cluster.stop(private)
    (folder / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert cluster.ensure(private) == url


def test_a_deleted_data_folder_starts_afresh(private: Settings) -> None:
    url = cluster.ensure(private, throwaway=True)
    value(url, "CREATE TABLE kept AS SELECT 7 AS seven")
    (private.data / "cluster").unlink()
    assert value(cluster.ensure(private, throwaway=True), "SELECT to_regclass('kept')") is None


def test_last_user_stops_the_cluster(private: Settings) -> None:
    with cluster.running(private, throwaway=True):
        with cluster.running(private, throwaway=True):
            pid = postmaster(private)
        assert runs(pid)
    assert ended(pid)


def test_a_given_database_is_used_and_nothing_is_started(tmp_path: Path) -> None:
    given = Settings(database_url="postgresql://somewhere/else", data=tmp_path / "data")
    with cluster.running(given) as url:
        assert url == given.database_url
    assert not (given.data / "cluster").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@/one?host=/run", "postgresql://u:p@/two?host=/run"),
        ("postgresql://u:p@host:5432/one", "postgresql://u:p@host:5432/two"),
        ("postgresql://host", "postgresql://host/two"),
    ],
)
def test_another_database_of_the_same_server(url: str, expected: str) -> None:
    assert cluster.database_url(url, "two") == expected


async def test_connection_reaches_postgis_in_utc(connection: AsyncConnection) -> None:
    row = (await connection.execute(text("SELECT current_setting('timezone'), postgis_lib_version()"))).one()
    assert row[0] == "UTC"


async def test_each_test_has_its_own_database(database_url: str, shared_database_url: str) -> None:
    assert database_url != shared_database_url
