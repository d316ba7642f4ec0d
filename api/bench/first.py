"""Topic `first`: everything that an inspector of a county keeps, onto a terminal that has nothing.

By a plain HTTP client that takes gzip, by a real RxDB client, and beside them the floor: the same documents by asyncpg, through gzip.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import perf_counter

import orjson

from api.bench.client import Client, body
from api.bench.field import COUNTY, FLOOR, OURS, Field, require
from api.bench.floor import FIRST, Floor
from api.bench.push import stamped
from api.bench.report import Figure, Rounds
from api.bench.stock import pull_of
from api.bench.sync import KEPT
from api.bench.terminals import signed_in
from api.endpoint import compress
from api.graphql.names import camel, pascal
from api.seed import PASSWORD
from api.terminal import Terminal, TerminalError
from schema.actor import Role
from schema.base import Record

TERMINAL = "RxDB"
WITHIN_SECONDS = 300.0
INSPECTOR = "inspector1"  # of the county
Sync = Callable[[], Awaitable[tuple[int, int]]]
"""One first sync: documents that arrived, bytes that crossed the wire towards the terminal."""


async def first(field: Field) -> list[Figure]:
    documents = await _fill(field)
    [(_, token)] = await signed_in(field, Role.INSPECTOR, COUNTY, 1)
    contestants: dict[str, Sync] = {OURS: lambda: _by_http(field, token), FLOOR: lambda: _floor(field), TERMINAL: lambda: _by_rxdb(field)}
    seconds, size = Rounds("first.seconds", "s", less_is_better=True), Rounds("first.bytes", "bytes, gzip", less_is_better=True)
    for number in range(field.rounds):
        for name, run in list(contestants.items()):
            field.tell(f"first: {name}, round {number + 1} of {field.rounds}")
            try:
                await _measure(name, run, documents, seconds, size)
            except TerminalError as error:
                if number:
                    raise
                field.tell(f"first: RxDB is not measured: {error}")
                del contestants[name]
    return [Figure("first.documents", documents, "documents"), *seconds.figures(), *size.figures()]


async def _measure(name: str, run: Sync, documents: int, seconds: Rounds, size: Rounds) -> None:
    started = perf_counter()
    count, received = await run()
    seconds.add(name, perf_counter() - started)
    size.add(name, received)
    require(count == documents, f"{documents} documents of the county by {name}, got {count}")


async def _fill(field: Field) -> int:
    """Enterprises enough for the size that is wanted; the number of all documents."""
    township = await field.connection.fetchval("SELECT min(code) FROM area WHERE parent_code = $1 AND valid_to IS NULL", COUNTY)
    missing = field.sizes.county - await _held(field)
    async with field.client(OURS) as client:
        while missing > 0:
            field.tell(f"first: {missing} documents are missing")
            answer = await client.post(field.stock.push(min(missing, field.sizes.page), township))
            require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))
            missing -= field.sizes.page
    await stamped(field)
    return await _held(field)


async def _held(field: Field) -> int:
    sql = "SELECT count(*) FROM sync_scope_doc WHERE scope = $1 AND state = 'in' AND record = ANY($2)"
    return await field.count(sql, COUNTY, [record.name for record in KEPT])


# --- by HTTP ------------------------------------------------------------------------------------------------------------


async def _by_http(field: Field, token: str) -> tuple[int, int]:
    async with Client(field.ports[OURS], token, encoding="gzip") as client:
        counts = [await _pages(client, record, field.sizes.page) for record in KEPT]
        return sum(counts), client.received


async def _pages(client: Client, record: Record, limit: int) -> int:
    query, name, checkpoint, count = pull_of(record), f"pull{pascal(record.name)}", None, 0
    while True:
        page = orjson.loads(await client.post(body(query, checkpoint=checkpoint, limit=limit)))["data"][name]
        count, checkpoint = count + len(page["documents"]), page["checkpoint"]
        if len(page["documents"]) < limit:
            return count


async def _floor(field: Field) -> tuple[int, int]:
    count = received = 0
    for record in KEPT:
        floor, after = Floor(field.connection, record, field.sizes.page, f"AND NOT deleted AND scopes && '{{{COUNTY}}}'"), FIRST
        while True:
            content, after = await floor.page(after)
            packed = compress(content)
            documents = len(orjson.loads(zlib.decompress(packed, 31)))
            count, received = count + documents, received + len(packed)
            if documents < field.sizes.page:
                break
    return count, received


# --- by RxDB ------------------------------------------------------------------------------------------------------------


async def _by_rxdb(field: Field) -> tuple[int, int]:
    """From the log-in to a sync that has nothing left; starting Node is part of it."""
    async with _metered(field.ports[OURS]) as meter:
        terminal = await Terminal.start("bench", meter.url, deviceId="bench-rxdb", folder="")
        try:
            await terminal.call("login", username=INSPECTOR, password=PASSWORD)
            await terminal.call("open", collections=[camel(record.name) for record in KEPT])
            counts = await terminal.call("sync", within=WITHIN_SECONDS)
        finally:
            await terminal.quit()
    return sum(counts.values()), meter.received


class Meter:
    """A relay that counts what the server sends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received = 0
        self.url = ""
        self.links: set[asyncio.Task[None]] = set()

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.links.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
            await asyncio.gather(self._copy(reader, back, counted=False), self._copy(there, writer, counted=True))
        finally:
            self.links.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 18):
                self.received += len(chunk) if counted else 0
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def _metered(port: int) -> AsyncIterator[Meter]:
    meter = Meter(port)
    server = await asyncio.start_server(meter.link, "127.0.0.1", 0)
    meter.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql"
    try:
        yield meter
    finally:
        server.close()
        for task in tuple(meter.links):
            task.cancel()
        await asyncio.gather(*meter.links, return_exceptions=True)
