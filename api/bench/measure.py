"""The measurements: contestants take turns within each round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import asyncpg
import orjson

from api.bench.client import Client, body
from api.bench.floor import FIRST, Floor
from api.bench.plain import RECORD, SERVER_OWNED
from api.bench.report import Figure, Rounds, resident_megabytes
from api.demo_data import BLOCK, Demo
from api.graphql.names import camel
from schema.base import Document

PAGE = 1000
PAGES = 20
EMPTY_ALONE, EMPTY_TOGETHER, CONNECTIONS = 200, 2000, 32
_TOKEN = re.compile(rb'"token":\s?"([^"]+)"')
_FIELDS = " ".join(camel(column.name) for column in RECORD.all_columns)
PULL = f"""query ($checkpoint: CheckpointInput, $limit: Int!) {{
    pullEnterprise(checkpoint: $checkpoint, limit: $limit) {{ documents {{ {_FIELDS} }} checkpoint {{ token }} }} }}"""
PUSH = f"mutation ($rows: [EnterprisePushRow!]!) {{ pushEnterprise(rows: $rows) {{ {_FIELDS} }} }}"
PLAIN_PULL = f"query ($after: ID!, $limit: Int!) {{ enterprises(after: $after, limit: $limit) {{ {_FIELDS} }} }}"
PLAIN_PUSH = "mutation ($rows: [EnterpriseInput!]!) { insertEnterprises(rows: $rows) }"
Run = Callable[[], Awaitable[float]]
"""One turn of a contestant; its value."""


@dataclass(frozen=True)
class Field:
    """Where the contestants are: our server's and the plain one's port and process, and a connection to their database."""

    ours: int
    plain: int
    process: int
    connection: asyncpg.Connection[asyncpg.Record]
    token: str
    device: str
    demo: Demo
    enterprises: int
    rounds: int


async def take_turns(rounds: Rounds, count: int, contestants: Mapping[str, Run]) -> list[Figure]:
    for _ in range(count):
        for name, run in contestants.items():
            rounds.add(name, await run())
    return rounds.figures()


async def pull(field: Field) -> list[Figure]:
    """Typed pull of full pages, and what is left in our server's memory after all of them."""
    before = resident_megabytes(field.process)
    async with Client(field.ours, field.token) as ours, Client(field.plain) as plain:
        end = await _pull_everything(ours, field)
        floor = Floor(field.connection, RECORD, PAGE)
        runs: dict[str, Run] = {
            "ours": lambda: _rate(_our_pages(ours, PAGES)),
            "floor": lambda: _rate(_floor_pages(floor)),
            "plain": lambda: _rate(_plain_pages(plain)),
        }
        figures = await take_turns(Rounds("pull", "docs/s"), field.rounds, runs)
        after = resident_megabytes(field.process)
        memory = [Figure("pull.memory.before", round(before, 1), "MB"), Figure("pull.memory.after", round(after, 1), "MB")]
        return [*figures, *memory, *await _empty(field, end)]


async def push(field: Field) -> list[Figure]:
    """New documents with stamps, in batches of 100 and 1,000; the plain reference inserts the same, and does nothing else."""
    stock, figures = Stock(field), []
    async with Client(field.ours, field.token) as ours, Client(field.plain) as plain:
        for batch, batches in ((100, 20), (PAGE, 5)):
            rounds = Rounds(f"push.{batch}", "docs/s")
            for number in range(field.rounds + 1):
                chosen = [stock.take(batch) for _ in range(batches)]
                sent = [stock.rows(documents) for documents in chosen]
                mine = await _rate(_push(ours, [body(PUSH, rows=rows) for rows in sent], batch))
                theirs = await _rate(_push(plain, [body(PLAIN_PUSH, rows=_states(rows)) for rows in sent], batch))
                if number:  # the first round warms up
                    rounds.add("ours", mine)
                    rounds.add("plain", theirs)
            figures += rounds.figures()
    await _require_arrived(field, stock.taken)
    return [*figures, Figure("push.memory.after", round(resident_megabytes(field.process), 1), "MB")]


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


async def _rate(work: Awaitable[int]) -> float:
    started = perf_counter()
    return await work / (perf_counter() - started)


async def _our_pages(client: Client, pages: int) -> int:
    checkpoint: dict[str, str] | None = None
    count = 0
    for _ in range(pages):
        content = await client.post(body(PULL, checkpoint=checkpoint, limit=PAGE))
        count += content.count(b'{"id":')
        checkpoint = {"token": _token(content)}
    _require(count == pages * PAGE, f"{pages} full pages, got {count} documents")
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
    ours = body(PULL, checkpoint={"token": token}, limit=PAGE)
    plain = body(PLAIN_PULL, after="ffffffff-ffff-ffff-ffff-ffffffffffff", limit=PAGE)
    alone: dict[str, Run] = {
        "ours": lambda: _wait(field.ours, field.token, ours),
        "plain": lambda: _wait(field.plain, None, plain),
    }
    together: dict[str, Run] = {
        "ours": lambda: _rate(_crowd(field.ours, field.token, ours)),
        "plain": lambda: _rate(_crowd(field.plain, None, plain)),
    }
    return [
        *await take_turns(Rounds("pull.empty.p50", "ms", less_is_better=True), field.rounds, alone),
        *await take_turns(Rounds(f"pull.empty.rps{CONNECTIONS}", "requests/s"), field.rounds, together),
    ]


async def _wait(port: int, token: str | None, content: bytes) -> float:
    async with Client(port, token) as client:
        return statistics.median([await _milliseconds(client, content) for _ in range(EMPTY_ALONE)])


async def _milliseconds(client: Client, content: bytes) -> float:
    started = perf_counter()
    answer = await client.post(content)
    waited = (perf_counter() - started) * 1000
    _require(b"errors" not in answer and len(answer) < 2000, f"an empty page, got {answer[:500]!r}")
    return waited


async def _crowd(port: int, token: str | None, content: bytes) -> int:
    async def one() -> None:
        async with Client(port, token) as client:
            for _ in range(EMPTY_TOGETHER // CONNECTIONS):
                await client.post(content)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return EMPTY_TOGETHER // CONNECTIONS * CONNECTIONS


async def _push(client: Client, contents: Sequence[bytes], batch: int) -> int:
    for content in contents:
        answer = await client.post(content)
        _require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))
    return len(contents) * batch


async def _require_arrived(field: Field, pushed: int) -> None:
    found = await field.connection.fetchval("SELECT count(*) FROM enterprise")
    _require(found == field.enterprises + pushed, f"{field.enterprises + pushed} enterprises after the pushes, got {found}")
    refused = await field.connection.fetchval("SELECT count(*) FROM sync_conflict")
    _require(refused == 0, f"no conflict, got {refused}")


def _require(true: bool, expected: str) -> None:
    if not true:
        raise RuntimeError(f"bench expected {expected}")
