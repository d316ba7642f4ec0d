"""graphql-transport-ws: what closes a socket and with which code, and that wake survives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.limits import Limits
from api.settings import ROOT
from api.tokens import LIFETIME, issue, verify
from tests.api.http_world import World, prepare, serving, session

LIMITS = Limits(init_seconds=0.5, subscriptions=2, frame_characters=10_000)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    await prepare(module_database_url)
    async with serving(module_database_url, tmp_path_factory.mktemp("world"), limits=LIMITS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own_world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """For tests that count, or that break the world."""
    await prepare(database_url)
    async with serving(database_url, tmp_path, limits=LIMITS) as made:
        yield made


@asynccontextmanager
async def opened(world: World, protocol: str = "graphql-transport-ws") -> AsyncIterator[ClientConnection]:
    url = world.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[Subprotocol(protocol)], max_size=None) as socket:
        yield socket


@asynccontextmanager
async def acknowledged(world: World, token: str) -> AsyncIterator[ClientConnection]:
    async with opened(world) as socket:
        await say(socket, {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def say(socket: ClientConnection, message: Any) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def ends(socket: ClientConnection) -> int:
    """The code with which the socket closes; anything said before that is an error."""
    with pytest.raises(ConnectionClosed):
        raise AssertionError(await asyncio.wait_for(socket.recv(), 10))
    assert socket.close_code is not None
    return socket.close_code


def subscribe(query: str = "subscription { wake }", name: str = "1", **more: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": name, "payload": {"query": query, **more}}


async def short_token(world: World, seconds: float) -> str:
    """An access token that ends in `seconds`."""
    keys = world.app.state.accounts.keys
    now = datetime.now(UTC)
    claims = verify(keys, (await session(world))["accessToken"], now)
    return issue(keys, claims, now - LIFETIME + timedelta(seconds=seconds))[0]


FRAMES: tuple[str | bytes, ...] = (
    "5",
    "[]",
    "null",
    '"x"',
    "{",
    "",
    b"\x00\x01",
    b"{}",
    "{}",
    '{"type":5}',
    '{"type":"unknown"}',
    '{"type":"connection_init","payload":5}',
    '{"type":"ping","payload":"x"}',
    '{"type":"subscribe"}' + " " * 10_001,
    "[" * 5000,
    '{"type":"\\ud800"}',
)


async def test_wrong_frames_close_with_4400(world: World) -> None:
    for frame in FRAMES:
        async with opened(world) as socket:
            await socket.send(frame)
            assert await ends(socket) == 4400, frame


async def test_wrong_subscriptions_close_with_4400(world: World) -> None:
    token = (await session(world))["accessToken"]
    for frame in (
        {"type": "subscribe"},
        subscribe(name=""),
        {"type": "subscribe", "id": "1"},
        {"type": "subscribe", "id": "1", "payload": {"query": 5}},
    ):
        async with acknowledged(world, token) as socket:
            await say(socket, frame)
            assert await ends(socket) == 4400, frame


async def test_another_protocol_closes_with_4406(world: World) -> None:
    url = world.url.replace("http", "ws") + "/graphql"
    async with connect(url) as socket:
        assert await ends(socket) == 4406


async def test_silence_closes_with_4408_and_a_second_init_with_4429(world: World) -> None:
    async with opened(world) as socket:
        assert await ends(socket) == 4408
    async with acknowledged(world, (await session(world))["accessToken"]) as socket:
        await asyncio.sleep(0.7)
        await say(socket, {"type": "connection_init"})
        assert await ends(socket) == 4429


async def test_subscribing_before_the_acknowledgement_closes_with_4401(world: World) -> None:
    async with opened(world) as socket:
        await say(socket, subscribe())
        assert await ends(socket) == 4401


async def test_without_a_good_token_the_socket_closes_with_4403(world: World) -> None:
    for payload in (
        None,
        {},
        {"authorization": "Bearer x"},
        {"authorization": 5},
        {"authorization": f"Bearer {await short_token(world, -1)}"},
    ):
        async with opened(world) as socket:
            await say(socket, {"type": "connection_init", "payload": payload})
            assert await ends(socket) == 4403


async def test_pings_are_answered(world: World) -> None:
    async with acknowledged(world, (await session(world))["accessToken"]) as socket:
        await say(socket, {"type": "ping"})
        assert await hear(socket) == {"type": "pong"}
        await say(socket, {"type": "ping", "payload": {"n": 1}})
        assert await hear(socket) == {"type": "pong", "payload": {"n": 1}}
        await say(socket, {"type": "pong"})
        await say(socket, subscribe("{ hello }"))
        assert (await hear(socket))["type"] == "next"


async def test_operations_of_all_kinds_run(world: World) -> None:
    async with acknowledged(world, (await session(world))["accessToken"]) as socket:
        await say(socket, subscribe("query($v: String!) { echo(value: $v) me { username } }", variables={"v": "中"}))
        assert await hear(socket) == {"type": "next", "id": "1", "payload": {"data": {"echo": "中", "me": {"username": "boss"}}}}
        assert await hear(socket) == {"type": "complete", "id": "1"}
        await say(socket, subscribe(name="1"))
        assert await hear(socket) == {"type": "next", "id": "1", "payload": {"data": {"wake": "RESYNC"}}}
        await say(socket, {"type": "complete", "id": "1"})
        await say(socket, subscribe("{ nothing }", "1"))
        refused = await hear(socket)
        assert (refused["type"], refused["id"], refused["payload"][0]["extensions"]["code"]) == ("error", "1", "GRAPHQL_VALIDATION_FAILED")
        await say(socket, subscribe("query A { hello }", "1", operationName="B"))
        assert (await hear(socket))["payload"][0]["extensions"]["code"] == "UNKNOWN_OPERATION"


async def test_an_id_in_use_closes_with_4409_and_too_many_with_4429(world: World) -> None:
    token = (await session(world))["accessToken"]
    async with acknowledged(world, token) as socket:
        await say(socket, subscribe())
        await hear(socket)
        await say(socket, subscribe())
        assert await ends(socket) == 4409
    async with acknowledged(world, token) as socket:
        for name in "12":
            await say(socket, subscribe(name=name))
            assert (await hear(socket))["type"] == "next"
        await say(socket, subscribe(name="3"))
        assert await ends(socket) == 4429


async def test_an_expired_token_closes_with_4403_and_says_nothing(world: World) -> None:
    async with acknowledged(world, await short_token(world, 2)) as socket:
        await say(socket, subscribe())
        assert (await hear(socket))["type"] == "next"
        assert await ends(socket) == 4403


async def test_a_log_out_reaches_the_open_socket(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.websocket.RECHECK_SECONDS", 0.1)
    token = (await session(world))["accessToken"]
    async with acknowledged(world, token) as socket:
        await say(socket, subscribe())
        await hear(socket)
        await world.ask("mutation { logout }", token=token)
        assert await ends(socket) == 4403


async def test_a_stream_that_breaks_closes_the_socket_and_says_nothing(world: World) -> None:
    async with acknowledged(world, (await session(world))["accessToken"]) as socket:
        await say(socket, subscribe("subscription { broken }"))
        assert (await hear(socket))["payload"] == {"data": {"broken": "RESYNC"}}
        assert await ends(socket) == 1013


async def test_a_stream_that_ends_closes_the_socket_and_says_nothing(world: World) -> None:
    async with acknowledged(world, (await session(world))["accessToken"]) as socket:
        await say(socket, subscribe("subscription { ending }"))
        assert (await hear(socket))["payload"] == {"data": {"ending": "RESYNC"}}
        assert await ends(socket) == 1012


async def test_a_restart_closes_with_1012_and_says_nothing(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path) as world, acknowledged(world, (await session(world))["accessToken"]) as socket:
        await say(socket, subscribe())
        await hear(socket)
        world.server.should_exit = True
        assert await ends(socket) == 1012


async def test_what_ran_on_a_closed_socket_is_gone(own_world: World) -> None:
    async with acknowledged(own_world, (await session(own_world))["accessToken"]) as socket:
        await say(socket, subscribe())
        await hear(socket)
        assert "zhijian_subscriptions 1.0" in (await own_world.client.get("/metrics")).text
    for _ in range(100):
        await asyncio.sleep(0.02)
        metrics = (await own_world.client.get("/metrics")).text
        if "zhijian_websockets 0.0" in metrics:
            break
    assert "zhijian_subscriptions 0.0" in metrics
    assert "zhijian_websockets 0.0" in metrics
    assert own_world.app.state.sockets.open == set()


async def test_the_client_of_rxdb_comes_back_after_expiry_and_restart(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.websocket.RECHECK_SECONDS", 0.1)
    await prepare(database_url)
    async with serving(database_url, tmp_path) as world:
        tokens = [(await session(world, device=name))["accessToken"] for name in ("first", "second")]
        port = int(world.url.rpartition(":")[2])
        async with _client(world, tokens) as process:
            assert await _heard(process, 2) == ["connected", "next"]
            await world.ask("mutation { logout }", token=tokens[0])
            assert await _heard(process, 3) == [4403, "connected", "next"]
            world.server.should_exit = True
            assert await _heard(process, 1) == [1012]
            async with serving(database_url, tmp_path, listen=port):
                heard = await _heard(process, 1)
                while heard[-1] != "connected":
                    heard += await _heard(process, 1)
                assert set(heard) <= {"connected", 1006, 1012}
                assert await _heard(process, 1) == ["next"]


@asynccontextmanager
async def _client(world: World, tokens: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    script = str(ROOT / "tests/api/socket.mjs")
    url = world.url.replace("http", "ws") + "/graphql"
    process = await asyncio.create_subprocess_exec("node", script, url, *tokens, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _heard(process: asyncio.subprocess.Process, count: int) -> list[str | int]:
    assert process.stdout
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), 15)) for _ in range(count)]
    return [line.get("code", line["what"]) for line in lines]
