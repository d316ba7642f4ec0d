"""A real server under a crowd: served, fair, and no larger afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import orjson
import websockets
from websockets.asyncio.client import ClientConnection, connect

from api.bench.client import AnswerError, Client
from api.limits import Limits
from api.parts import _jitter
from tests.api.http_world import code, prepare, serving
from tests.pressure.pressure_world import DOCUMENTS, Yard

PULL = "query($c: CheckpointInput) { pullEnterprise(checkpoint: $c, limit: 100) { documents { id name } checkpoint { token } } }"
EMPTY = "{ pullPatrol(limit: 100) { documents { id } checkpoint { token } } }"


class Crowd(Client):
    """The bench's light client, on behalf of one terminal after another."""

    async def status(self, token: str, query: str) -> int:
        self.token = token
        try:
            await self.ask(query)
        except AnswerError as refused:
            return int(str(refused).split()[1])
        return 200


async def _woken(yard: Yard, token: str) -> ClientConnection:
    """A socket as RxDB opens it."""
    socket = await connect(
        f"ws://127.0.0.1:{yard.port}/graphql",
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        open_timeout=60,
        compression=None,
    )
    await socket.send(orjson.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}).decode())
    assert orjson.loads(await socket.recv())["type"] == "connection_ack"
    await socket.send('{"type":"subscribe","id":"1","payload":{"query":"subscription { wake }"}}')
    return socket


async def _woken_at_last(yard: Yard, token: str) -> ClientConnection:
    """As graphql-ws does it: a refused or closed socket is tried again."""
    for _ in range(10):
        try:
            return await _woken(yard, token)
        except (websockets.ConnectionClosed, OSError, TimeoutError):
            await asyncio.sleep(1)
    raise AssertionError("never let in")


async def test_a_thousand_terminals_that_come_back_at_once_are_all_served_and_all_woken(yard: Yard) -> None:
    async def come_back(token: str) -> tuple[ClientConnection, int]:
        socket = await _woken_at_last(yard, token)
        async with Crowd(yard.port) as client:
            statuses = [await client.status(token, EMPTY)]
            while statuses[-1] == 429:
                await asyncio.sleep(1)
                statuses.append(await client.status(token, EMPTY))
        return socket, statuses[-1]

    found = await asyncio.gather(*(come_back(token) for token in yard.tokens))
    assert [status for _, status in found] == [200] * 1000
    sockets = [socket for socket, _ in found]
    began = time.monotonic()
    await yard.touch()
    said = await asyncio.gather(*(asyncio.wait_for(socket.recv(), 30) for socket in sockets))
    assert all('"RESYNC"' in str(message) for message in said)
    assert time.monotonic() - began < 20
    await asyncio.gather(*(socket.close() for socket in sockets))


def test_a_wake_is_spread_over_as_long_as_the_crowd_needs() -> None:
    assert max(_jitter(1) for _ in range(100)) < 0.01
    thousand = [_jitter(1000) for _ in range(1000)]
    assert 2.5 < max(thousand) < 3.4
    assert min(thousand) < 0.5
    assert max(_jitter(1_000_000) for _ in range(100)) <= 10


async def test_one_huge_client_is_told_to_wait_while_another_is_served(yard: Yard) -> None:
    huge, small = yard.tokens[:2]
    statuses: Counter[int] = Counter()
    enough = asyncio.Event()

    async def flood() -> None:
        async with Crowd(yard.port) as client:
            while not enough.is_set():
                status = await client.status(huge, PULL)
                statuses[status] += 1
                await asyncio.sleep(0.2 if status == 429 else 0)

    floods = [asyncio.create_task(flood()) for _ in range(60)]
    await asyncio.sleep(0.5)
    async with Crowd(yard.port) as other:
        began = time.monotonic()
        assert [await other.status(small, PULL) for _ in range(5)] == [200] * 5
        waited = time.monotonic() - began
    enough.set()
    await asyncio.gather(*floods)
    assert set(statuses) == {200, 429}
    assert waited < 5


async def test_who_is_told_to_wait_is_told_how_long(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path, limits=Limits(light_total=0, queue_total=0)) as world:
        answer = await world.client.post("/graphql", json={"query": "{ hello }"})
    assert (answer.status_code, answer.headers["retry-after"], code(answer.json())) == (429, "5", "TOO_BUSY")


async def test_a_body_over_the_senders_share_of_memory_is_told_to_wait(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path, limits=Limits(bodies_each=1000)) as world:
        answer = await world.client.post("/graphql", json={"query": "{ hello } #" + "x" * 2000})
        assert (answer.status_code, answer.headers["retry-after"], code(answer.json())) == (429, "5", "TOO_BUSY")
        assert (await world.ask("{ hello }")) == {"data": {"hello": "hello"}}


async def test_a_page_is_whole_while_the_server_is_full(yard: Yard) -> None:
    async def all_documents(token: str) -> int:
        held: set[str] = set()
        checkpoint = None
        async with Crowd(yard.port, token) as client:
            while True:
                page = (await client.ask(PULL, c=checkpoint))["pullEnterprise"]
                held.update(document["id"] for document in page["documents"])
                checkpoint = page["checkpoint"]
                if len(page["documents"]) < 100:
                    return len(held)

    counts = await asyncio.gather(*(all_documents(token) for token in yard.tokens[10:60]))
    assert set(counts) <= {DOCUMENTS, DOCUMENTS + 1}


async def test_memory_stays_flat(yard: Yard) -> None:
    """Rounds of 200 pulls, half of them of pages; `python -m api bench soak` is the long one."""
    process = yard.server.process
    assert process is not None
    rounds = 6
    sizes = []

    async def work(tokens: list[str]) -> None:
        async with Crowd(yard.port) as client:
            for number in range(50):
                assert await client.status(tokens[number % len(tokens)], PULL if number % 2 else EMPTY) == 200

    for _ in range(rounds):
        await asyncio.gather(*(work(yard.tokens[start : start + 10]) for start in (100, 110, 120, 130)))
        sizes.append(_resident_megabytes(process.pid))
    assert sizes[-1] - sizes[rounds // 2] < 4, sizes


def _resident_megabytes(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
