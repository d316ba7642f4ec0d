"""Topic `sync`: what a terminal asks when it wakes, all its records in one request, while there is nothing for it.

Twice: nobody has written anything since (`sync.empty`), and others have, elsewhere (`sync.elsewhere`). The second is the usual one:
RxDB does not keep the checkpoint of an empty page, so terminals ask from further and further behind.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import asyncpg
import orjson

from api.bench.client import Client, body
from api.bench.field import COUNTY, NEIGHBOUR, OURS, Field, Race, require
from api.bench.push import stamped
from api.bench.report import Figure, Rounds
from api.bench.stock import fields
from api.bench.terminals import signed_in
from api.graphql.names import camel, pascal
from schema.actor import Role
from schema.base import Record, Verb
from schema.registry import load

LIMIT = 500
Ask = Callable[[], Awaitable[Any]]
Asking = Callable[[str], AbstractAsyncContextManager[Ask]]
Tokens = dict[str, str]


def records(role: Role) -> list[Record]:
    """What a terminal of that role keeps."""
    return [record for record in load().values() if record.travels and record.may(role, Verb.READ)]


def round_query(kept: Iterable[Record]) -> str:
    """All records in one document, each with a checkpoint of its own."""
    names = [(camel(record.name), pascal(record.name), fields(record)) for record in kept]
    variables = " ".join(f"${name}: CheckpointInput" for name, _, _ in names)
    pulls = "\n".join(
        f"{name}: pull{kind}(checkpoint: ${name}, limit: $limit) {{ documents {{ {chosen} }} checkpoint {{ token }} }}"
        for name, kind, chosen in names
    )
    return f"query ($limit: Int!, {variables}) {{\n{pulls}\n}}"


KEPT = records(Role.INSPECTOR)
QUERY = round_query(KEPT)


def round_body(tokens: Tokens, limit: int = LIMIT) -> bytes:
    return body(QUERY, limit=limit, **{name: {"token": token} for name, token in tokens.items()})


async def sync_round(client: Client, tokens: Tokens, limit: int = LIMIT) -> int:
    """One round; `tokens` move on. The number of documents that came."""
    answer = orjson.loads(await client.post(round_body(tokens, limit)))
    require("errors" not in answer, str(answer)[:1000])
    tokens.update({name: page["checkpoint"]["token"] for name, page in answer["data"].items()})
    return sum(len(page["documents"]) for page in answer["data"].values())


async def catch_up(client: Client) -> tuple[Tokens, int]:
    """The checkpoints of a terminal that has everything, and how many documents that is."""
    tokens: Tokens = {}
    count = 0
    while came := await sync_round(client, tokens, 5000):
        count += came
    return tokens, count


async def sync(field: Field) -> list[Figure]:
    terminals = [token for _, token in await signed_in(field, Role.INSPECTOR, COUNTY, field.sizes.connections)]
    field.tell("sync: everything once")
    async with Client(field.ports[OURS], terminals[0]) as client:
        tokens, count = await catch_up(client)
    figures = [Figure("sync.documents", count, "documents held"), *await _empty(field, "sync.empty", terminals, tokens)]
    await _write(field, NEIGHBOUR)
    figures += await _empty(field, "sync.elsewhere", terminals, tokens)
    await _write(field, COUNTY)
    async with Client(field.ports[OURS], terminals[0]) as client:
        came = await sync_round(client, dict(tokens))
    require(came == 1, f"the one new document of the county in the last round, got {came}")
    return figures


async def _write(field: Field, county: str) -> None:
    """One new document of a township of that county."""
    township = await field.connection.fetchval("SELECT min(code) FROM area WHERE parent_code = $1 AND valid_to IS NULL", county)
    async with field.client(OURS) as client:
        answer = await client.post(field.stock.push(1, township))
    require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))
    await stamped(field)


async def _empty(field: Field, topic: str, terminals: Sequence[str], tokens: Tokens) -> list[Figure]:
    """One terminal's wait, and how many terminals per second when all come at once; beside a trivial request and a trivial query."""
    alone = Rounds(f"{topic}.p50", "ms", less_is_better=True)
    race = Race(field, f"{topic}.at{len(terminals)}", "terminals/s")
    for number in range(field.rounds):
        for name, asking in _contestants(field, round_body(tokens)).items():
            field.tell(f"{topic}: {name}, round {number + 1} of {field.rounds}")
            async with AsyncExitStack() as stack:
                asks = [await stack.enter_async_context(asking(token)) for token in terminals]
                alone.add(name, statistics.median(await _waits(asks[0], field.sizes.alone)))
                await race.turn(name, partial(_together, asks, field.sizes.together))
    return [*alone.figures(), *race.figures()]


def _contestants(field: Field, content: bytes) -> dict[str, Asking]:
    """What the terminal with a token does again and again, over a connection of its own."""
    trivial = body("{ __typename }")

    @asynccontextmanager
    async def empty(token: str) -> AsyncIterator[Ask]:
        async with Client(field.ports[OURS], token) as client:
            yield lambda: _nothing(client, content)

    @asynccontextmanager
    async def typename(token: str) -> AsyncIterator[Ask]:
        async with Client(field.ports[OURS], token) as client:
            yield lambda: client.post(trivial)

    @asynccontextmanager
    async def select(token: str) -> AsyncIterator[Ask]:
        connection = await asyncpg.connect(field.settings.database_url)
        yield lambda: connection.fetchval("SELECT 1")
        await connection.close()

    return {OURS: empty, "__typename": typename, "SELECT 1": select}


async def _nothing(client: Client, content: bytes) -> None:
    answer = await client.post(content)
    require(b'"errors"' not in answer and answer.count(b'"documents":[]') == len(KEPT), f"nothing, got {answer[:500]!r}")


async def _waits(ask: Ask, count: int) -> list[float]:
    waits = []
    for _ in range(count):
        started = perf_counter()
        await ask()
        waits.append((perf_counter() - started) * 1000)
    return waits


async def _together(asks: Sequence[Ask], total: int) -> int:
    waits = await asyncio.gather(*(_waits(ask, total // len(asks)) for ask in asks))
    return sum(map(len, waits))
