"""`python -m api seed`: the invented province through the one write path, then the accounts that show it.

A block of enterprises with all that hangs on it is one transaction. Its last id tells whether it was written, so a second run
has nothing to do and an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from random import Random
from uuid import NAMESPACE_URL, uuid5

import asyncpg
import shapely
import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from shapely.geometry.base import BaseGeometry
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api import cluster
from api.demo_data import BLOCK, Batch, CountyRow, Demo, Township, TownshipRow, arrange, enterprise_id
from api.memory import collect_rarely
from api.passwords import hash_password
from api.settings import Settings, engine_url
from geo.coordinates import Position
from schema import registry
from schema.accounts import user_account, user_grant
from schema.actor import Actor, Role
from schema.base import Document
from sync import feed
from sync.moment import Moment
from sync.rows import Sent
from sync.write import apply

PASSWORD = "zhijian-demo"  # noqa: S105 - known on purpose: demo accounts are served on loopback alone
PROVINCE = "220000"
ENTERPRISES = 20_000
SEED = 1
WRITERS = 2  # while PostgreSQL works for one, Python prepares the other
STAMP_SECONDS = 0.2
# What a power cut takes of the last moment is written again by the next run. The stamper's commits are not put off.
SESSION = {"TimeZone": "UTC", "jit": "off", "synchronous_commit": "off"}
SPOTS = 300  # per county
INSIDE = 0.005  # degrees from the county's border, 400 m or more: no demo enterprise lies beyond it

COUNTIES = """
SELECT a.code, a.name, ST_AsBinary(b.geom) AS boundary FROM area a
LEFT JOIN area_boundary b ON b.code = a.code AND b.valid_to IS NULL
WHERE a.level = 'county' AND a.valid_to IS NULL AND a.chain @> ARRAY[$1] ORDER BY a.code"""
TOWNSHIPS = """
SELECT t.code, t.name, t.parent_code, ST_X(t.point) AS lon, ST_Y(t.point) AS lat FROM area t
WHERE t.level = 'township' AND t.valid_to IS NULL AND t.chain @> ARRAY[$1] ORDER BY t.code"""


class SeedError(Exception):
    """The demo data could not be written; the message says why."""


@dataclass(frozen=True)
class Account:
    """A demo account and what it is granted."""

    username: str
    role: Role
    name: str
    scope: str
    active: bool = True

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"zhijian-demo/{self.username}"))


WRITER = Account("seed", Role.SUPERVISOR, "演示数据装载（系统）", PROVINCE, active=False)
"""Who writes the demo data; nobody can sign in as it."""


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api seed", description="Fill the database with an invented Jilin province.")
    parser.add_argument("--enterprises", type=int, default=ENTERPRISES, metavar="N", help=f"how many (default: {ENTERPRISES})")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"the same number gives the same data (default: {SEED})")
    given = parser.parse_args(arguments)
    try:
        with cluster.running(settings) as url:
            collect_rarely()
            asyncio.run(fill(url, given.enterprises, given.seed, Console()))
    except (cluster.ClusterError, SeedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def fill(url: str, enterprises: int, seed: int, console: Console) -> None:
    """Bring the demo data to at least that many enterprises of this seed; what is there stays as it is.

    Raises SeedError when the areas are missing or a document is refused.
    """
    engine = create_async_engine(engine_url(url), connect_args={"server_settings": SESSION})
    try:
        missing = await _missing(engine, enterprises, seed)
        if missing or await _accounts_missing(engine):
            await _fill(engine, url, Demo(seed, await _places(url)), missing, enterprises, console)
        else:
            console.print(f"{enterprises:,} demo enterprises are there already.", style="dim")
    finally:
        await engine.dispose()


async def townships(connection: asyncpg.Connection[asyncpg.Record]) -> tuple[Township, ...]:
    """The province's townships with spots for their enterprises, from the areas; empty if none are loaded."""
    counties = [
        CountyRow(row["code"], row["name"], _spots(row["code"], row["boundary"])) for row in await connection.fetch(COUNTIES, PROVINCE)
    ]
    rows = await connection.fetch(TOWNSHIPS, PROVINCE)
    return arrange(counties, [TownshipRow(row["code"], row["name"], row["parent_code"], _point(row)) for row in rows])


async def _places(url: str) -> tuple[Township, ...]:
    connection = await asyncpg.connect(url)
    try:
        places = await townships(connection)
    finally:
        await connection.close()
    if not places:
        raise SeedError("There are no townships to put demo data in: run `python -m api areas` first.")
    return places


def _point(row: asyncpg.Record) -> Position | None:
    return None if row["lon"] is None else (row["lon"], row["lat"])


def _spots(code: str, boundary: bytes | None) -> list[Position]:
    """Spots well inside a boundary, the same for the same boundary; none without one."""
    if boundary is None:
        return []
    whole = shapely.from_wkb(boundary)
    inner = whole.buffer(-INSIDE)
    return _scatter(whole if inner.is_empty else inner, Random(code))  # noqa: S311 - reproducible on purpose


def _scatter(area: BaseGeometry, random: Random) -> list[Position]:
    west, south, east, north = area.bounds
    shapely.prepare(area)
    found: list[Position] = []
    while len(found) < SPOTS:
        lons = [random.uniform(west, east) for _ in range(SPOTS)]
        lats = [random.uniform(south, north) for _ in range(SPOTS)]
        inside = shapely.contains_xy(area, lons, lats)
        found += [(lon, lat) for lon, lat, kept in zip(lons, lats, inside, strict=True) if kept]
    return found[:SPOTS]


# --- what is missing ----------------------------------------------------------------------------------------------------


async def _missing(engine: AsyncEngine, enterprises: int, seed: int) -> list[int]:
    """Numbers of the blocks that are not there to their last enterprise."""
    last = {min(start + BLOCK, enterprises) - 1: start // BLOCK for start in range(0, enterprises, BLOCK)}
    ids = {enterprise_id(seed, index): number for index, number in last.items()}
    async with engine.connect() as connection:
        known = await _known(connection, "enterprise", ids)
    return [number for identifier, number in ids.items() if identifier not in known]


async def _known(connection: AsyncConnection, record: str, ids: Iterable[str]) -> set[str]:
    query = sa.text(f"SELECT id::text FROM {record} WHERE id = ANY(CAST(:ids AS uuid[]))")
    return set(await connection.scalars(query, {"ids": list(ids)}))


async def _accounts_missing(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return await connection.scalar(sa.select(user_account.c.id).where(user_account.c.id == WRITER.id)) is None


# --- writing ------------------------------------------------------------------------------------------------------------


async def _fill(engine: AsyncEngine, url: str, demo: Demo, missing: Sequence[int], enterprises: int, console: Console) -> None:
    with _progress(console) as progress:
        task = progress.add_task("demo enterprises", total=enterprises, completed=enterprises - _count(missing, enterprises))
        people: tuple[Iterable[Batch], int] = (demo.people(), 0)
        jobs = chain([people], ((demo.block(number, enterprises), _count([number], enterprises)) for number in missing))
        written = asyncio.Event()
        stamping = asyncio.create_task(_stamp(url, written))
        try:
            async with asyncio.TaskGroup() as writers:
                for _ in range(WRITERS):
                    writers.create_task(_write_jobs(engine, jobs, progress, task))
        except ExceptionGroup as failed:  # the others were cancelled for the first
            raise failed.exceptions[0] from None
        finally:
            written.set()
            last = progress.add_task("positions in the feed", total=None)
            await asyncio.gather(
                stamping, *(_analyse(url, tables) for tables in (["enterprise"], [*set(registry.load()) - {"enterprise"}], ["sync_change"]))
            )
        await asyncio.gather(_write_accounts(engine, demo), _analyse(url, ["sync_scope_doc"]))
        progress.update(last, total=1, completed=1)


async def _stamp(url: str, written: asyncio.Event) -> None:
    """Gives positions while the others write, and to the last of it, so that the first terminal finds everything."""
    connection = await asyncpg.connect(url)
    try:
        ending = False
        while not ending:
            ending = written.is_set()
            await feed.drain(connection)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(written.wait(), STAMP_SECONDS)
    finally:
        await connection.close()


async def _analyse(url: str, tables: Sequence[str]) -> None:
    """Statistics for the planner, from 9,000 rows a table: invented data are even."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET default_statistics_target = 30; ANALYZE {', '.join(tables)}")
    finally:
        await connection.close()


async def _write_jobs(engine: AsyncEngine, jobs: Iterable[tuple[Iterable[Batch], int]], progress: Progress, task: TaskID) -> None:
    for batches, enterprises in jobs:  # shared by the writers: each takes the next
        await _write(engine, batches)
        progress.advance(task, enterprises)


def _count(blocks: Iterable[int], enterprises: int) -> int:
    return sum(min(BLOCK, enterprises - number * BLOCK) for number in blocks)


async def _write(engine: AsyncEngine, batches: Iterable[Batch]) -> None:
    async with engine.begin() as connection:
        for record, documents in batches:
            known = await _known(connection, record, (document["id"] for document in documents))
            await _apply(connection, record, [document for document in documents if document["id"] not in known])


async def _apply(connection: AsyncConnection, record: str, documents: Sequence[Document]) -> None:
    records = registry.load()
    sent = [Sent(None, document) for document in documents]
    rows = await apply(connection, _actor(record), records[record], sent, moment=Moment(datetime.now(UTC)), registry=records, careful=False)
    refused = next((row for row in rows if row.problems or row.outcomes), None)
    if refused:
        raise SeedError(f"A demo {record} was refused: {refused.problems or refused.outcomes} {refused.sent}")


def _actor(record: str) -> Actor:
    """The declared system account; patients are entered by the CDC."""
    return Actor(WRITER.id, WRITER.username, Role.CDC if record == "patient" else WRITER.role, (WRITER.scope,))


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console)


# --- accounts -----------------------------------------------------------------------------------------------------------


def accounts(demo: Demo) -> list[Account]:
    """The accounts of README; `WRITER` comes last, so that its presence says that all are there."""
    first, second = (demo.coordinator_of(username) for username in ("coordinator1", "coordinator2"))
    return [
        Account("admin", Role.ADMIN, "演示管理员", "000000"),
        Account("province", Role.SUPERVISOR, "演示省级主管", PROVINCE),
        Account("changchun", Role.SUPERVISOR, "演示长春市主管", "220100"),
        Account("inspector1", Role.INSPECTOR, "演示执法员一", "220102"),
        Account("inspector2", Role.INSPECTOR, "演示执法员二", "220102"),
        Account("inspector3", Role.INSPECTOR, "演示执法员三", "220103"),
        Account("coordinator1", Role.COORDINATOR, "演示协管员一", first.code),
        Account("coordinator2", Role.COORDINATOR, "演示协管员二", second.code),
        Account("cdc1", Role.CDC, "演示疾控员一", PROVINCE),
        Account("rehab1", Role.REHAB, "演示康复员一", f"site:{demo.site_id(demo.stations()[0])}"),
        WRITER,
    ]


async def _write_accounts(engine: AsyncEngine, demo: Demo) -> None:
    """Accounts that are there keep their password and grants."""
    everybody, password = accounts(demo), await hash_password(PASSWORD)
    async with engine.begin() as connection:
        added = set(
            await connection.scalars(
                insert(user_account).on_conflict_do_nothing().returning(user_account.c.id),
                [_account_row(account, password) for account in everybody],
            )
        )
        grants = [{"user_id": account.id, "scope": account.scope} for account in everybody if account.id in added]
        if grants:
            await connection.execute(sa.insert(user_grant), grants)


def _account_row(account: Account, password: str) -> Document:
    return {
        "id": account.id,
        "username": account.username,
        "password_hash": password if account.active else "none",
        "role": account.role.value,
        "display_name": account.name,
        "active": account.active,
        "demo": True,
    }
