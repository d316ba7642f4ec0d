"""Topic `wake`: how long after a commit, and after the answer to a push, a terminal hears of it; beside LISTEN/NOTIFY alone."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import asyncpg
import orjson
import websockets
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.bench.field import COUNTY, OURS, PROVINCE, Field, require
from api.bench.report import Figure, Rounds
from api.bench.stock import RECORD
from api.bench.terminals import signed_in
from api.parts import JITTER_SECONDS, WAKES_PER_SECOND
from api.seed import WRITER
from api.settings import engine_url
from schema.actor import Actor, Role
from schema.registry import load
from sync.moment import Moment
from sync.rows import Sent
from sync.write import apply

LISTEN, NOTIFY = "notify", "bench"
LONGEST_SECONDS = 10.0
REST_SECONDS = 0.01  # between two: what the server does after a write is not part of the next
CROWD = 1000
Moments = asyncio.Queue[float]
Wait = Callable[[], Awaitable[float]]
"""Milliseconds from what was done to hearing of it."""


async def wake(field: Field) -> list[Figure]:
    """The server's jitter is in the figures: it is drawn for each wake, and grows with the terminals that listen."""
    found = {
        name: (Rounds(f"wake.{name}.p50", "ms", less_is_better=True), Rounds(f"wake.{name}.p95", "ms", less_is_better=True))
        for name in ("commit", "answer")
    }
    async with _contestants(field) as contestants:
        for number in range(field.rounds):
            field.tell(f"wake: round {number + 1} of {field.rounds}")
            waits = {name: [await wait() for _ in range(field.sizes.wakes)] for name, wait in contestants.items()}
            for name, (middle, most) in found.items():
                for rounds, percent in ((middle, 50), (most, 95)):
                    rounds.add(OURS, _percentile(waits[name], percent))
                    rounds.add(LISTEN, _percentile(waits[LISTEN], percent))
    return [*(figure for pair in found.values() for rounds in pair for figure in rounds.figures()), *_jitter()]


def _jitter() -> list[Figure]:
    """What of the figures is drawn at random for the one terminal of this topic, and what a crowd must expect."""
    alone, crowd = (min(JITTER_SECONDS, count / WAKES_PER_SECOND) * 1000 for count in (1, CROWD))
    return [
        Figure("wake.jitter.mean", round(alone / 2, 2), "ms of the above"),
        Figure(f"wake.jitter.at{CROWD}", round(crowd, 1), "ms at most"),
    ]


@asynccontextmanager
async def _contestants(field: Field) -> AsyncIterator[dict[str, Wait]]:
    async with AsyncExitStack() as stack:
        [(_, token)] = await signed_in(field, Role.INSPECTOR, COUNTY, 1)
        woken = await stack.enter_async_context(_woken(field.ports[OURS], token))
        township = await field.connection.fetchval("SELECT min(code) FROM area WHERE parent_code = $1 AND valid_to IS NULL", COUNTY)
        engine = create_async_engine(engine_url(field.settings.database_url or ""))
        stack.push_async_callback(engine.dispose)
        notified = await stack.enter_async_context(_notified(field))
        yield {
            "commit": lambda: _heard(woken, lambda: _commit(engine, field, township)),
            "answer": lambda: _heard(woken, lambda: _push(field, township)),
            LISTEN: lambda: _heard(notified, lambda: _notify(field)),
        }


async def _heard(moments: Moments, act: Callable[[], Awaitable[Any]]) -> float:
    """Below 0 when the news is quicker than the answer."""
    await asyncio.sleep(REST_SECONDS)
    while not moments.empty():
        moments.get_nowait()
    await act()
    done = perf_counter()
    return (await asyncio.wait_for(moments.get(), LONGEST_SECONDS) - done) * 1000


async def _commit(engine: AsyncEngine, field: Field, township: str) -> None:
    """A new document through the write path, in this process: the moment of the commit is known."""
    [document] = field.stock.take(1, township)
    actor = Actor(WRITER.id, WRITER.username, Role.SUPERVISOR, (PROVINCE,))
    async with engine.begin() as connection:
        [row] = await apply(connection, actor, RECORD, [Sent(None, document)], moment=Moment(datetime.now(UTC)), registry=load())
    require(bool(row.changed) and not row.problems, f"a document that is taken, got {row.problems}")


async def _push(field: Field, township: str) -> None:
    async with field.client(OURS) as client:
        answer = await client.post(field.stock.push(1, township))
    require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))


async def _notify(field: Field) -> None:
    await field.connection.execute(f"SELECT pg_notify('{NOTIFY}', '')")


@asynccontextmanager
async def _notified(field: Field) -> AsyncIterator[Moments]:
    moments = Moments()
    connection = await asyncpg.connect(field.settings.database_url)
    try:
        await connection.add_listener(NOTIFY, lambda *_: moments.put_nowait(perf_counter()))
        yield moments
    finally:
        await connection.close()


@asynccontextmanager
async def _woken(port: int, token: str) -> AsyncIterator[Moments]:
    """When each wake came, over a socket as RxDB opens it."""
    moments = Moments()
    protocols = [websockets.Subprotocol("graphql-transport-ws")]
    async with websockets.connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=protocols, compression=None) as socket:
        await socket.send(orjson.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}).decode())
        require("connection_ack" in str(await socket.recv()), "an acknowledgement")
        await socket.send('{"type":"subscribe","id":"1","payload":{"query":"subscription { wake }"}}')
        reading = asyncio.create_task(_read(socket, moments))
        try:
            await asyncio.sleep(0.1)
            yield moments
        finally:
            reading.cancel()


async def _read(socket: Any, moments: Moments) -> None:
    async for message in socket:
        require('"RESYNC"' in str(message), f"a wake, got {message}")
        moments.put_nowait(perf_counter())


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
