"""`python -m api bench`: pull and push beside their references, in one run on one database.

The database is made once by the seed, kept on the cluster, and copied for each run: nobody measures what an earlier run left.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

import asyncpg
import uvloop
from rich.console import Console

from api import cluster
from api.__main__ import VERBS
from api.bench import measure, report
from api.bench.client import sign_in
from api.bench.processes import postmaster_of
from api.demo_data import Demo
from api.migrate import heads
from api.seed import PASSWORD, townships
from api.server_process import ServerError, ServerProcess
from api.settings import Settings

TOPICS = {"pull": measure.pull, "push": measure.push}
SEED = 1
PLAIN = (sys.executable, "-m", "api.bench.plain")
DEVICE = "01a0f4c2-c400-7000-8000-000000000bec"


@dataclass(frozen=True)
class Order:
    """What is to be measured."""

    topics: tuple[str, ...]
    enterprises: int
    rounds: int


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api bench", description="Measure pull and push beside their references in one run.")
    parser.add_argument("topics", nargs="*", metavar="|".join(TOPICS), help="all of them if none is named")
    parser.add_argument("--json", action="store_true", help="one object per line")
    parser.add_argument("--enterprises", type=int, default=100_000, help="size of the database (default: 100000)")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many counts, at least 3 (default: 5)")
    given = parser.parse_args(arguments)
    if unknown := set(given.topics) - set(TOPICS):
        parser.error(f"there is no topic {', '.join(sorted(unknown))}")
    order = Order(tuple(given.topics) or tuple(TOPICS), max(given.enterprises, measure.PAGE * measure.PAGES), max(given.rounds, 3))
    return _carry_out(settings, order, as_json=given.json)


def _carry_out(settings: Settings, order: Order, *, as_json: bool) -> int:
    try:
        with cluster.running(settings) as url:
            figures = run(replace(settings, database_url=url), order)
    except (cluster.ClusterError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    if as_json:
        print(report.lines(figures))
    else:
        report.table(figures, Console())
    return 0


def run(settings: Settings, order: Order) -> list[report.Figure]:
    """Measure on a copy of the prepared database, with a server of ours and a plain one beside each other."""
    with _copy(settings, prepared(settings, order.enterprises)) as here:
        ours = ServerProcess(replace(here, port=_free_port(), data=settings.data / "bench"))
        plain = ServerProcess(replace(here, port=_free_port(), data=settings.data / "bench" / "plain"), PLAIN)
        with ours, plain:
            return uvloop.run(_measure(here, order, ours, plain))


async def _measure(settings: Settings, order: Order, ours: ServerProcess, plain: ServerProcess) -> list[report.Figure]:
    figures = []
    async with _field(settings, order, ours, plain) as field:
        for topic in order.topics:
            figures += await TOPICS[topic](field)
    return figures


@asynccontextmanager
async def _field(settings: Settings, order: Order, ours: ServerProcess, plain: ServerProcess) -> AsyncIterator[measure.Field]:
    token = await sign_in(ours.settings.port, "province", PASSWORD, DEVICE)
    connection = await asyncpg.connect(settings.database_url, server_settings={"TimeZone": "UTC", "jit": "off"})
    try:
        assert ours.process
        assert plain.process
        yield measure.Field(
            ports={measure.OURS: ours.settings.port, measure.PLAIN: plain.settings.port},
            processes={measure.OURS: ours.process.pid, measure.PLAIN: plain.process.pid},
            postmaster=await postmaster_of(connection),
            connection=connection,
            token=token,
            device=DEVICE,
            demo=Demo(SEED, await townships(connection)),
            enterprises=order.enterprises,
            rounds=order.rounds,
        )
    finally:
        await connection.close()


def prepared(settings: Settings, enterprises: int) -> str:
    """Name of the seeded database of that size, made if there is none for the newest migration."""
    assert settings.database_url
    name = f"bench_{enterprises}_{'_'.join(heads())}"
    known = asyncio.run(cluster.database_names(settings.database_url, r"bench\_%"))
    if name not in known:
        for stale in known:
            asyncio.run(cluster.drop_database(settings.database_url, stale))
        _prepare(settings, name, enterprises)
    return name


def _prepare(settings: Settings, name: str, enterprises: int) -> None:
    """Make the database under another name, so that an interrupted one is never taken for whole."""
    assert settings.database_url
    here = replace(settings, database_url=asyncio.run(cluster.create_database(settings.database_url, "bench_unfinished")))
    for verb, arguments in (("migrate", []), ("areas", []), ("seed", ["--enterprises", str(enterprises), "--seed", str(SEED)])):
        if VERBS[verb].load()(here, arguments):
            raise ServerError(f"`python -m api {verb}` failed for the bench database.")
    asyncio.run(_finish(settings.database_url, name))


async def _finish(url: str, name: str) -> None:
    inside = await asyncpg.connect(cluster.database_url(url, "bench_unfinished"))
    await inside.execute("VACUUM ANALYZE")
    await inside.close()
    outside = await asyncpg.connect(url)
    await outside.execute(f'ALTER DATABASE bench_unfinished RENAME TO "{name}"')
    await outside.close()


@contextmanager
def _copy(settings: Settings, name: str) -> Iterator[Settings]:
    """Settings of a database that is a copy of `name`; it is gone afterwards."""
    assert settings.database_url
    asyncio.run(cluster.drop_database(settings.database_url, "benching"))
    try:
        yield replace(settings, database_url=asyncio.run(cluster.create_database(settings.database_url, "benching", name)))
    finally:
        asyncio.run(cluster.drop_database(settings.database_url, "benching"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
