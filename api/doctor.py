"""`python -m api doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import asyncpg
from rich.console import Console

from api import bootstrap, cluster, migrate
from api.settings import ROOT, Settings

SET_UP = "run `make demo` or `make test`"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is "" when it is well. What is only `wished` for does no harm by its absence."""

    what: str
    found: str
    remedy: str = ""
    wished: bool = False


def main(settings: Settings, arguments: list[str]) -> int:
    """0 when nothing that serving needs is missing, else 1."""
    argparse.ArgumentParser("python -m api doctor", description="Say what is missing, and what to do.").parse_args(arguments)
    findings = list(examine(settings))
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        console.print(_line(finding))
    return int(any(finding.remedy and not finding.wished for finding in findings))


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which one would put them right."""
    for look in (_python, _packages, _postgresql, _node, _browser, _web):
        yield look()
    yield from _database(settings)


def _line(finding: Finding) -> str:
    if not finding.remedy:
        return f"[green]ok     [/green] {finding.what}: {finding.found}"
    word = "[yellow]wish   [/yellow]" if finding.wished else "[red]missing[/red]"
    return f"{word} {finding.what}: {finding.found}; {finding.remedy}"


def _python() -> Finding:
    good = sys.version_info >= bootstrap.OLDEST_PYTHON
    return Finding("Python", sys.version.split()[0], "" if good else "install Python 3.11 or later")


def _packages() -> Finding:
    wrong = sorted(name for name, versions in _locked(ROOT / "requirements.lock").items() if _installed(name) not in {*versions, None})
    if wrong:
        return Finding("Python packages", f"other versions than the lock's: {', '.join(wrong)}", SET_UP)
    if not (bootstrap.VENV / ".lock-installed").exists():
        return Finding("Python packages", "not installed from requirements.lock", SET_UP)
    return Finding("Python packages", "as in requirements.lock")


def _locked(lock: Path) -> dict[str, set[str]]:
    """Versions by name; which of several is right depends on the machine."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        name, equal, rest = line.partition("==")
        if equal and not line.startswith((" ", "#")):
            found.setdefault(name.partition("[")[0], set()).add(rest.split()[0])
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _postgresql() -> Finding:
    try:
        folder = cluster.binaries()
    except cluster.ClusterError as error:
        return Finding("PostgreSQL with PostGIS", "not found", str(error))
    return Finding("PostgreSQL with PostGIS", str(folder))


def _node() -> Finding:
    found = bootstrap.node_version()
    remedy = "" if found >= bootstrap.OLDEST_NODE else f"{SET_UP}, which fetches one"
    return Finding("Node with npm", f"version {found}" if found else "not found", remedy)


def _browser() -> Finding:
    found = bootstrap.find_browser()
    return Finding(
        "browser for the tests", found or "not found", "" if found else "run `apt-get install chromium fonts-noto-cjk`", wished=True
    )


def _web() -> Finding:
    built = (ROOT / "web" / "dist" / "index.html").exists()
    return Finding("web client", "built" if built else "not built", "" if built else SET_UP)


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        with cluster.running(settings) as url:
            yield from asyncio.run(_look_into(url))
    except (cluster.ClusterError, OSError, asyncpg.PostgresError) as error:
        yield Finding("database", f"out of reach ({error})", "look at ZHIJIAN_DATABASE_URL, or unset it for a private cluster")


async def _look_into(url: str) -> list[Finding]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return [await look(connection) for look in (_server, _postgis, _migrations, _areas)]
    finally:
        await connection.close()


async def _server(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    return Finding("database", f"PostgreSQL {await connection.fetchval('SHOW server_version')}")


async def _postgis(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    found = await connection.fetchval("SELECT default_version FROM pg_available_extensions WHERE name = 'postgis'")
    return Finding("PostGIS in the database", found or "not available", "" if found else "install PostGIS on the database's machine")


async def _migrations(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    known = await connection.fetchval("SELECT to_regclass('alembic_version')")
    found = {row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")} if known else set()
    missing = set(migrate.heads()) - found
    return Finding(
        "migrations", f"at {', '.join(sorted(found)) or 'nothing'}", "run `python -m api migrate`" if missing or not found else ""
    )


async def _areas(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    known = await connection.fetchval("SELECT to_regclass('area')")
    number = await connection.fetchval("SELECT count(*) FROM area") if known else 0
    return Finding("areas", f"{number}", "" if number else "run `python -m api areas`")
