"""The measurements: contestants take turns within each round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import asyncpg
import orjson

from api.bench.client import Client, body
from api.bench.floor import FIRST, Floor
from api.bench.plain import RECORD, SERVER_OWNED
from api.bench.processes import database_milliseconds, processor_milliseconds, resident_megabytes
from api.bench.report import Figure, Rounds
from api.demo_data import BLOCK, Demo
from api.graphql.names import camel
from schema.base import Document

OURS, PLAIN, FLOOR = "ours", "plain", "floor"
PAGE = 1000
PAGES = 20
PUSHES = ((100, 20, 1), (PAGE, 5, 1), (PAGE, 8, 4))
"""Documents per batch, batches per turn, terminals at once."""
EMPTY_ALONE, EMPTY_TOGETHER, CONNECTIONS = 200, 2000, 32
_TOKEN = re.compile(rb'"token":\s?"([^"]+)"')
_FIELDS = " ".join(camel(column.name) for column in RECORD.all_columns)
PULL = f"""query ($checkpoint: CheckpointInput, $limit: Int!) {{
    pullEnterprise(checkpoint: $checkpoint, limit: $limit) {{ documents {{ {_FIELDS} }} checkpoint {{ token }} }} }}"""
PUSH = f"mutation ($rows: [EnterprisePushRow!]!) {{ pushEnterprise(rows: $rows) {{ {_FIELDS} }} }}"
PLAIN_PULL = f"query ($after: ID!, $limit: Int!) {{ enterprises(after: $after, limit: $limit) {{ {_FIELDS} }} }}"
PLAIN_PUSH = "mutation ($rows: [EnterpriseInput!]!) { insertEnterprises(rows: $rows) }"
Run = Callable[[], Awaitable[int]]
"""One turn of a contestant: how many documents or requests it was."""


@dataclass(frozen=True)
class Field:
    """Where the contestants are: ports and processes of our server and the plain one, and a connection to their database."""

    ports: Mapping[str, int]
    processes: Mapping[str, int]
    postmaster: int | None
    connection: asyncpg.Connection[asyncpg.Record]
    token: str
    device: str
    demo: Demo
    enterprises: int
    rounds: int

    def client(self, name: str) -> Client:
        return Client(self.ports[name], self.token if name == OURS else None)

    def spent(self, name: str) -> float:
        """Processor milliseconds so far of a contestant's process and of the database."""
        own = processor_milliseconds(self.processes[name]) if name in self.processes else 0.0
        return own + (database_milliseconds(self.postmaster) if self.postmaster else 0.0)


class Race:
    """Contestants take turns; rates, and processor time per 1,000 where the database is on this machine."""

    def __init__(self, field: Field, topic: str, unit: str) -> None:
        self.field = field
        self.rates = Rounds(topic, unit)
        self.costs = Rounds(f"{topic}.cpu", f"ms per 1,000 {unit.partition('/')[0]}", less_is_better=True)

    async def turn(self, name: str, run: Run) -> None:
        spent, started = self.field.spent(name), perf_counter()
        count = await run()
        self.rates.add(name, count / (perf_counter() - started))
        if self.field.postmaster:
            self.costs.add(name, (self.field.spent(name) - spent) * 1000 / count)

    async def rounds(self, contestants: Mapping[str, Run]) -> list[Figure]:
        for _ in range(self.field.rounds):
            for name, run in contestants.items():
                await self.turn(name, run)
        return self.figures()

    def figures(self) -> list[Figure]:
        return [*self.rates.figures(), *(self.costs.figures() if self.costs.values else [])]


async def pull(field: Field) -> list[Figure]:
    """Typed pull of full pages, and what is left in our server's memory after all of them."""
    before = resident_megabytes(field.processes[OURS])
    async with field.client(OURS) as ours, field.client(PLAIN) as plain:
        end = await _pull_everything(ours, field)
        floor = Floor(field.connection, RECORD, PAGE)
        runs = {OURS: lambda: _our_pages(ours), FLOOR: lambda: _floor_pages(floor), PLAIN: lambda: _plain_pages(plain)}
        figures = await Race(field, "pull", "docs/s").rounds(runs)
    after = resident_megabytes(field.processes[OURS])
    memory = [Figure("pull.memory.before", round(before, 1), "MB"), Figure("pull.memory.after", round(after, 1), "MB")]
    return [*figures, *memory, *await _empty(field, end)]


async def push(field: Field) -> list[Figure]:
    """New documents with stamps, from one terminal and from four; the plain reference inserts the same, and does nothing else.

    Our turn ends when the feed has given out the last position.
    """
    stock, figures = Stock(field), []
    for batch, batches, terminals in PUSHES:
        await _push_round(field, Race(field, "warm-up", "docs/s"), stock, (batch, batches, terminals))
        race = Race(field, f"push.{batch}" + (f".at{terminals}" if terminals > 1 else ""), "docs/s")
        for _ in range(field.rounds):
            await _push_round(field, race, stock, (batch, batches, terminals))
        figures += race.figures()
    await _require_arrived(field, stock.taken)
    return [*figures, Figure("push.memory.after", round(resident_megabytes(field.processes[OURS]), 1), "MB")]


async def _push_round(field: Field, race: Race, stock: Stock, size: tuple[int, int, int]) -> None:
    batch, batches, terminals = size
    sent = [stock.rows(stock.take(batch)) for _ in range(batches)]
    mine = [body(PUSH, rows=rows) for rows in sent]
    theirs = [body(PLAIN_PUSH, rows=_states(rows)) for rows in sent]
    async with AsyncExitStack() as stack:
        ours, plain = [[await stack.enter_async_context(field.client(name)) for _ in range(terminals)] for name in (OURS, PLAIN)]
        await race.turn(OURS, lambda: _push_until_stamped(ours, mine, batch, field))
        await race.turn(PLAIN, lambda: _push(plain, theirs, batch))


async def _push_until_stamped(clients: Sequence[Client], contents: Sequence[bytes], batch: int, field: Field) -> int:
    count = await _push(clients, contents, batch)
    while await field.connection.fetchval("SELECT EXISTS (SELECT FROM sync_pending)"):  # noqa: ASYNC110 - another process empties it
        await asyncio.sleep(0.002)
    return count


class Stock:
    """New enterprises that nobody has, as terminals send them."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.taken = 0
        self._documents = self._endless()

    def take(self, count: int) -> list[Document]:
        self.taken += count
        return [next(self._documents) for _ in range(count)]

    def rows(self, documents: Sequence[Document]) -> list[dict[str, Any]]:
        milliseconds = int(datetime.now(UTC).timestamp() * 1000)
        start = self.taken - len(documents)
        return [
            {"newDocumentState": _sent(document, f"{self.field.device}:{start + at + 1}:{milliseconds}")}
            for at, document in enumerate(documents)
        ]

    def _endless(self) -> Iterator[Document]:
        number = -(-self.field.enterprises // BLOCK)
        while True:
            yield from self.field.demo.block(number, (number + 1) * BLOCK)[0][1]
            number += 1


def _sent(document: Document, stamp: str) -> Document:
    return {**{camel(name): value for name, value in document.items()}, "stamp": stamp, "deleted": False}


def _states(rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    owned = {camel(name) for name in SERVER_OWNED}
    return [{name: value for name, value in row["newDocumentState"].items() if name not in owned} for row in rows]


async def _our_pages(client: Client) -> int:
    checkpoint: dict[str, str] | None = None
    count = 0
    for _ in range(PAGES):
        content = await client.post(body(PULL, checkpoint=checkpoint, limit=PAGE))
        count += content.count(b'{"id":')
        checkpoint = {"token": _token(content)}
    _require(count == PAGES * PAGE, f"{PAGES} full pages, got {count} documents")
    return count


async def _floor_pages(floor: Floor) -> int:
    after, count = FIRST, 0
    for _ in range(PAGES):
        content, after = await floor.page(after)
        count += content.count(b'{"id":')
    _require(count == PAGES * PAGE, f"{PAGES} full pages of the floor, got {count} documents")
    return count


async def _plain_pages(client: Client) -> int:
    after, count = FIRST, 0
    for _ in range(PAGES):
        content = await client.post(body(PLAIN_PULL, after=after, limit=PAGE))
        count += content.count(b'"areaCode":')
        last = content.rindex(b'"id":')
        after = content[last + 5 : last + 60].split(b'"')[1].decode()
    _require(count == PAGES * PAGE, f"{PAGES} full pages of the plain resolver, got {count} documents")
    return count


async def _pull_everything(client: Client, field: Field) -> str:
    """The token after all documents; each must have come once, and the first page must say what the floor says."""
    token, ids = None, set[str]()
    while True:
        answer = orjson.loads(await client.post(body(PULL, checkpoint=token and {"token": token}, limit=PAGE)))
        _require("errors" not in answer, str(answer)[:1000])
        page = answer["data"]["pullEnterprise"]
        if not ids:
            await _require_same(page["documents"][:20], field)
        ids.update(document["id"] for document in page["documents"])
        token = str(page["checkpoint"]["token"])
        if len(page["documents"]) < PAGE:
            _require(len(ids) == field.enterprises, f"{field.enterprises} documents, got {len(ids)}")
            return token


async def _require_same(documents: Sequence[Document], field: Field) -> None:
    """Ours and the floor agree on what a document is; the floor's page of one begins just before its id."""
    floor = Floor(field.connection, RECORD, 1)
    for document in documents:
        content, _ = await floor.page(_before(document["id"]))
        _require(orjson.loads(content) == [document], f"{content.decode()}, got {document}")


def _before(identifier: str) -> str:
    number = f"{int(identifier.replace('-', ''), 16) - 1:032x}"
    return f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"


def _token(content: bytes) -> str:
    found = _TOKEN.search(content, max(0, len(content) - 4096)) or _TOKEN.search(content)
    _require(found is not None, f"a token, got {content[:500]!r}")
    assert found
    return found[1].decode()


async def _empty(field: Field, token: str) -> list[Figure]:
    """A pull that has nothing new: how long one terminal waits, and how many 32 of them get answered."""
    contents = {
        OURS: body(PULL, checkpoint={"token": token}, limit=PAGE),
        PLAIN: body(PLAIN_PULL, after="ffffffff-ffff-ffff-ffff-ffffffffffff", limit=PAGE),
    }
    alone = Rounds("pull.empty.p50", "ms", less_is_better=True)
    for _ in range(field.rounds):
        for name, content in contents.items():
            alone.add(name, await _wait(field.client(name), content))
    runs = {name: partial(_crowd, field, name, content) for name, content in contents.items()}
    return [*alone.figures(), *await Race(field, f"pull.empty.at{CONNECTIONS}", "requests/s").rounds(runs)]


async def _wait(opening: Client, content: bytes) -> float:
    async with opening as client:
        return statistics.median([await _milliseconds(client, content) for _ in range(EMPTY_ALONE)])


async def _milliseconds(client: Client, content: bytes) -> float:
    started = perf_counter()
    answer = await client.post(content)
    waited = (perf_counter() - started) * 1000
    _require(b"errors" not in answer and len(answer) < 2000, f"an empty page, got {answer[:500]!r}")
    return waited


async def _crowd(field: Field, name: str, content: bytes) -> int:
    async def one() -> None:
        async with field.client(name) as client:
            for _ in range(EMPTY_TOGETHER // CONNECTIONS):
                await client.post(content)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return EMPTY_TOGETHER // CONNECTIONS * CONNECTIONS


async def _push(clients: Sequence[Client], contents: Sequence[bytes], batch: int) -> int:
    waiting = iter(contents)
    await asyncio.gather(*(_push_from(client, waiting) for client in clients))
    return len(contents) * batch


async def _push_from(client: Client, waiting: Iterator[bytes]) -> None:
    for content in waiting:  # shared by the terminals: each takes the next
        answer = await client.post(content)
        _require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))


async def _require_arrived(field: Field, pushed: int) -> None:
    found = await field.connection.fetchval("SELECT count(*) FROM enterprise")
    _require(found == field.enterprises + pushed, f"{field.enterprises + pushed} enterprises after the pushes, got {found}")
    refused = await field.connection.fetchval("SELECT count(*) FROM sync_conflict")
    _require(refused == 0, f"no conflict, got {refused}")


def _require(true: bool, expected: str) -> None:
    if not true:
        raise RuntimeError(f"bench expected {expected}")
