"""A throwaway PostgreSQL cluster for all tests, and databases copied from one migrated template."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from argon2 import PasswordHasher
from hypothesis import settings as hypothesis_settings
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster, migrate, passwords
from api.memory import collect_rarely
from api.settings import ROOT, Settings, engine_url
from geo.divisions import load_areas

hypothesis_settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.register_profile("dev", deadline=None)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")

_numbers = itertools.count()
MEMORY = Path("/dev/shm")
ROOM = 4 << 30

LONGEST = (
    *("test_coverage.py", "test_merge_properties.py", "test_bench.py", "test_backup.py", "test_story.py", "test_crowd.py", "test_map.py"),
    *("test_fuzz.py", "test_desk.py", "test_planning.py", "test_terminal.py", "test_pages.py", "test_indicators.py", "test_migrate.py"),
    *("test_devices.py", "test_login.py", "test_grants.py", "test_numbers.py", "test_restore_rxdb.py", "test_standby.py", "test_seed.py"),
    *("test_bad_links.py", "test_cluster.py", "test_http.py", "test_chain.py", "test_passthrough.py", "test_feed_pull.py", "test_holes.py"),
)
"""Of all files those that take longest, the first for whoever is free."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that all test processes end together."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := item.path.name) in LONGEST else len(LONGEST))


def pytest_configure() -> None:
    collect_rarely()


@pytest.fixture(scope="session", autouse=True)
def costly_hasher() -> Iterator[PasswordHasher]:
    """The hasher of passwords as it is; tests log in by the hundred and use one that costs next to nothing."""
    found = passwords.HASHER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield found


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of a test run: a data folder of its own, in memory where there is room, else beside the demo's."""
    data = Settings.from_environment().data / "test"
    return Settings(data=_in_memory(data) or data)


def _in_memory(data: Path) -> Path | None:
    """Hundreds of databases come and go, each of 300 files: a disk takes as long for them as the tests themselves."""
    folder = MEMORY / f"zhijian-test-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    if not MEMORY.is_mount():
        return None
    free = os.statvfs(MEMORY)
    return folder if folder.exists() or free.f_bavail * free.f_frsize >= ROOM else None


@pytest.fixture(scope="session")
def cluster_url(settings: Settings) -> Iterator[str]:
    """The server's database for administration; tests take `database_url`, `engine` or `connection`."""
    with cluster.running(settings, throwaway=True) as url:
        asyncio.run(_drop_leftovers(url))
        yield url


@pytest.fixture(scope="session")
def template(cluster_url: str, settings: Settings) -> str:
    """A migrated, empty database; kept from run to run until the schema's files change."""
    return _kept(settings, cluster_url, f"template_{_fingerprint('schema', 'api/migrate.py', 'tests/conftest.py')}", _migrate)


@pytest.fixture(scope="session")
def china(settings: Settings, cluster_url: str, template: str) -> str:
    """A migrated database with every area of the country, for tests to copy; loaded once until its sources change."""
    return _kept(
        settings,
        cluster_url,
        f"china_{_fingerprint('schema', 'api/migrate.py', 'tests/conftest.py', 'geo', 'requirements.lock')}",
        _load_areas,
        template,
    )


def _kept(settings: Settings, url: str, name: str, fill: Callable[[str], Awaitable[None]], template: str | None = None) -> str:
    """The database `name`, made and filled unless an earlier run did; older ones of its kind go."""
    with (settings.data / "template.lock").open("w") as lock:  # several test processes share the cluster
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(_make(url, name, fill, template))
    return name


@pytest.fixture
async def database_url(cluster_url: str, template: str) -> AsyncIterator[str]:
    """A fresh database of this test's own (postgresql://…); use it where a test commits."""
    name = _new_name()
    yield await cluster.create_database(cluster_url, name, template)
    await cluster.drop_database(cluster_url, name)


@pytest.fixture(scope="module")
def module_database_url(cluster_url: str, template: str) -> Iterator[str]:
    """One database for all tests of a file, where they don't need it empty."""
    name = _new_name()
    yield asyncio.run(cluster.create_database(cluster_url, name, template))
    asyncio.run(cluster.drop_database(cluster_url, name))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's own database."""
    made = create_async_engine(engine_url(database_url))
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
def shared_database_url(cluster_url: str, template: str) -> str:
    """One database for all tests that roll back."""
    return asyncio.run(cluster.create_database(cluster_url, _new_name(), template))


@pytest.fixture
async def connection(shared_database_url: str) -> AsyncIterator[AsyncConnection]:
    """A connection inside a transaction that is rolled back after the test."""
    made = create_async_engine(engine_url(shared_database_url), poolclass=NullPool)
    async with made.connect() as opened:
        await opened.begin()
        yield opened
        await opened.rollback()
    await made.dispose()


def _new_name() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"


def _fingerprint(*places: str) -> str:
    files = sorted(path for place in places for path in _python_files(ROOT / place))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _python_files(path: Path) -> list[Path]:
    return list(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []


def _alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


async def _drop_leftovers(url: str) -> None:
    for name in await cluster.database_names(url, r"test\_%"):
        if not _alive(name.split("_")[1]):
            await cluster.drop_database(url, name)


async def _make(url: str, name: str, fill: Callable[[str], Awaitable[None]], template: str | None) -> None:
    known = await cluster.database_names(url, rf"{name.partition('_')[0]}\_%")
    if name in known:
        return
    for stale in known:
        await cluster.drop_database(url, stale)
    await cluster.drop_database(url, "unfinished")
    await fill(await cluster.create_database(url, "unfinished", template))
    connection = await asyncpg.connect(url)
    await connection.execute(f'ALTER DATABASE unfinished RENAME TO "{name}"')
    await connection.close()


async def _migrate(url: str) -> None:
    """As small as can be, for it is copied by the hundred: of PostGIS's thousands of reference systems those that we use."""
    await migrate.upgrade(url)
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM spatial_ref_sys WHERE srid NOT IN (3857, 4326, 4490, 4526)")
    await connection.execute("VACUUM FULL spatial_ref_sys")
    await connection.close()


async def _load_areas(url: str) -> None:
    made = create_async_engine(engine_url(url), poolclass=NullPool)
    async with made.begin() as opened:
        await load_areas(opened)
    await made.dispose()
