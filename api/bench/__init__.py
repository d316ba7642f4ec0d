"""`python -m api bench`: each topic beside its references, in one run on one database.

The database is made once by the seed, kept on the cluster, and copied for each run: nobody measures what an earlier run left.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, redirect_stdout
from dataclasses import dataclass, replace

import asyncpg
import uvloop
from rich.console import Console

from api import cluster
from api.__main__ import VERBS
from api.bench import conflicts, files, first, geo, planning, pull, push, report, soak, sync, tiles, wake
from api.bench.client import sign_in
from api.bench.field import FULL, OURS, PLAIN, Field, Sizes
from api.bench.processes import postmaster_of
from api.bench.stock import Stock
from api.demo_data import Demo
from api.migrate import heads
from api.seed import PASSWORD, townships
from api.server_process import ServerError, ServerProcess
from api.settings import Settings
from sync.audit import Chainer

Hear = Callable[[report.Figure], object]
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Topic:
    """What can be measured."""

    run: Callable[[Field], Awaitable[list[report.Figure]]]
    summary: str
    plain: bool = False  # beside a server of plain Strawberry and SQLAlchemy


TOPICS = {
    "pull": Topic(pull.pull, "full pages, and a pull that has nothing new", plain=True),
    "push": Topic(push.push, "new documents, from one terminal and from four", plain=True),
    "sync": Topic(sync.sync, "a round of all records that has nothing new"),
    "wake": Topic(wake.wake, "from the commit to the terminal's wake"),
    "first": Topic(first.first, "the first sync of a county"),
    "conflicts": Topic(conflicts.conflicts, "pushes in which every row is contested"),
    "files": Topic(files.files, "uploads, one file at a time and four"),
    "planning": Topic(planning.planning, "floating catchments and siting"),
    "soak": Topic(soak.soak, "memory of the server under everything at once"),
    "tiles": Topic(tiles.tiles, "vector tiles of counties and enterprises, made anew and kept"),
    "geo": Topic(geo.geo, "a million points to their counties; indicators of a national register"),
}
SEED = 1
PLAIN_SERVER = (sys.executable, "-m", "api.bench.plain")
DEVICE = "01a0f4c2-c400-7000-8000-000000000bec"


@dataclass(frozen=True)
class Order:
    """What is to be measured."""

    topics: tuple[str, ...]
    enterprises: int
    rounds: int
    sizes: Sizes = FULL


def main(settings: Settings, arguments: list[str]) -> int:
    about = "\n".join(f"  {name:<11}{topic.summary}" for name, topic in TOPICS.items())
    parser = argparse.ArgumentParser(
        "python -m api bench",
        description="Measure beside references in one run. Topics:\n" + about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="all of them if none is named")
    parser.add_argument("--json", action="store_true", help="one object per line, as they are found")
    parser.add_argument("--enterprises", type=int, default=100_000, help="size of the database (default: 100000)")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many counts, at least 3 (default: 5)")
    parser.add_argument("--seconds", type=float, default=Sizes.soak_seconds, help="length of the soak (default: 30)")
    parser.add_argument("--points", type=int, default=Sizes.points, help="enterprises of the topic tiles (default: 200000)")
    parser.add_argument("--register", type=int, default=Sizes.register, help="enterprises of the topic geo (default: 300000)")
    given = parser.parse_args(arguments)
    if unknown := set(given.topics) - set(TOPICS):
        parser.error(f"there is no topic {', '.join(sorted(unknown))}")
    sizes = Sizes(soak_seconds=given.seconds, points=given.points, register=given.register)
    least = sizes.page * sizes.pages
    order = Order(tuple(dict.fromkeys(given.topics)) or tuple(TOPICS), max(given.enterprises, least), max(given.rounds, 3), sizes)
    return _carry_out(settings, order, as_json=given.json)


def _carry_out(settings: Settings, order: Order, *, as_json: bool) -> int:
    """What was found before an interruption is still said."""
    found: list[report.Figure] = []
    hear: Hear = (lambda figure: print(report.line(figure), flush=True)) if as_json else found.append
    try:
        with cluster.running(settings) as url, Console(stderr=True).status("preparing") as status:
            run(replace(settings, database_url=url), order, hear, status.update)
    except (cluster.ClusterError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if found:
            report.table(found, Console())
    return 0


def run(settings: Settings, order: Order, hear: Hear, tell: Tell = lambda text: None) -> None:
    """Measure on a copy of the prepared database; `hear` gets each figure once its topic is through."""
    with _copy(settings, prepared(settings, order.enterprises)) as here:
        measure(replace(here, data=settings.data / "bench"), order, hear, tell)


def measure(settings: Settings, order: Order, hear: Hear, tell: Tell = lambda text: None) -> None:
    """Measure on that very database, with a server of ours, and a plain one beside it where a topic wants it."""
    servers = {OURS: ServerProcess(replace(settings, port=_free_port()))}
    if any(TOPICS[name].plain for name in order.topics):
        servers[PLAIN] = ServerProcess(replace(settings, port=_free_port(), data=settings.data / "plain"), PLAIN_SERVER)
    with ExitStack() as stack:
        for server in servers.values():
            stack.enter_context(server)
        uvloop.run(_measure(order, servers, hear, tell))


async def _measure(order: Order, servers: dict[str, ServerProcess], hear: Hear, tell: Tell) -> None:
    async with _field(order, servers, tell) as found:
        for name in order.topics:
            token = await sign_in(found.ports[OURS], "province", PASSWORD, DEVICE)  # it is good for a quarter of an hour
            for figure in await TOPICS[name].run(replace(found, token=token)):
                hear(figure)


@asynccontextmanager
async def _field(order: Order, servers: dict[str, ServerProcess], tell: Tell) -> AsyncIterator[Field]:
    settings = servers[OURS].settings
    connection = await asyncpg.connect(settings.database_url, server_settings={"TimeZone": "UTC", "jit": "off"})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        field = Field(
            settings=settings,
            ports={name: server.settings.port for name, server in servers.items()},
            processes={name: server.process.pid for name, server in servers.items() if server.process},
            postmaster=await postmaster_of(connection),
            connection=connection,
            token="",
            stock=Stock(Demo(SEED, await townships(connection)), DEVICE, order.enterprises),
            rounds=order.rounds,
            sizes=order.sizes,
            tell=tell,
        )
        tell("counting the indicators of the copy")  # a copy is another epoch, and the server would count them while others are measured
        await field.kept_up()
        yield field


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
        with redirect_stdout(sys.stderr):  # figures alone go out
            failed = VERBS[verb].load()(here, arguments)
        if failed:
            raise ServerError(f"`python -m api {verb}` failed for the bench database.")
    asyncio.run(_finish(settings.database_url, name))


async def _finish(url: str, name: str) -> None:
    url_inside = cluster.database_url(url, "bench_unfinished")
    inside = await asyncpg.connect(url_inside)
    await Chainer(url_inside).drain()  # the seed's backlog would be chained while others are measured
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
