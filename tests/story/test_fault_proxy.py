"""The network of the field day fails when it is told to, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from api.fault_proxy import FaultProxy

BODY = b"mutation pushEnterprise"
REQUEST = b"POST /graphql HTTP/1.1\r\nHost: here\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
UPGRADE = b"GET /graphql HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@dataclass
class Upstream:
    """A server that remembers the requests it got and answers each with its number."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade" in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + await reader.readexactly(5))
        else:
            self.bodies.append(await reader.readexactly(len(BODY)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % len(self.bodies))
        await writer.drain()
        writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    async with await asyncio.start_server(made.answer, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql"
        yield made


@pytest.fixture
async def proxy(upstream: Upstream) -> AsyncIterator[FaultProxy]:
    made = FaultProxy(upstream.url)
    await made.start()
    yield made
    await made.close()


async def ask(proxy: FaultProxy, *parts: bytes) -> bytes:
    """What came back until the link ended; empty when it broke."""
    port = int(proxy.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
        return await asyncio.wait_for(reader.read(-1), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_passes_requests_and_answers(proxy: FaultProxy, upstream: Upstream) -> None:
    assert [(await ask(proxy, REQUEST))[-1:] for _ in range(2)] == [b"1", b"2"]
    assert upstream.bodies == [BODY, BODY]


async def test_a_swallowed_answer_had_its_request_served_once(proxy: FaultProxy, upstream: Upstream) -> None:
    fault = proxy.swallow("pushEnterprise")
    assert await ask(proxy, REQUEST) == b""
    assert fault.finished.is_set()
    assert upstream.bodies == [BODY]
    assert (await ask(proxy, REQUEST)).endswith(b"2")


async def test_a_fault_waits_for_its_request(proxy: FaultProxy) -> None:
    fault = proxy.swallow("pushPatrol")
    assert (await ask(proxy, REQUEST)).endswith(b"1")
    assert not fault.finished.is_set()


async def test_a_request_delivered_twice_is_answered_once(proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.repeat("pushEnterprise", 0.02)
    assert (await ask(proxy, REQUEST)).endswith(b"1")
    await asyncio.wait_for(proxy.still(), 5)
    assert upstream.bodies == [BODY, BODY]


async def test_a_calmed_network_forgets_the_faults_to_come(proxy: FaultProxy) -> None:
    proxy.swallow("pushEnterprise")
    proxy.calm()
    assert (await ask(proxy, REQUEST)).endswith(b"1")


async def test_a_cut_network_reaches_nobody_until_restored(proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.cut()
    assert await ask(proxy, REQUEST) == b""
    assert upstream.bodies == []
    proxy.restore()
    assert (await ask(proxy, REQUEST)).endswith(b"1")


async def test_cutting_breaks_an_open_link(proxy: FaultProxy, upstream: Upstream) -> None:
    fault = proxy.delay("pushEnterprise", 30)
    asking = asyncio.create_task(ask(proxy, REQUEST))
    await asyncio.wait_for(fault.arrived.wait(), 5)
    proxy.cut()
    assert await asking == b""
    assert upstream.bodies == []


async def test_a_websocket_flows_both_ways(proxy: FaultProxy) -> None:
    assert (await ask(proxy, UPGRADE, b"hello")).endswith(b"hello")


async def test_a_dead_server_is_a_broken_link(proxy: FaultProxy) -> None:
    nobody = FaultProxy("http://127.0.0.1:9/graphql")
    await nobody.start()
    assert await ask(nobody, REQUEST) == b""
    await nobody.close()
