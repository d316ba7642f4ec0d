"""What arrived is kept, whatever dies: the link, the server, the client's patience."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.server_process import ServerProcess
from api.settings import ROOT
from sync.files import LEASE_SECONDS
from sync.vault import PIECE_BYTES
from tests.files.cutting_proxy import CuttingProxy, cutting
from tests.files.files_world import CHUNK, TUS, World, checksum_of, database, described, noise, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
VIDEO = 40_000_000


async def insist(world: World, proxy: CuttingProxy, path: str, content: bytes, *, chunk: int, check: bool = False) -> int:
    """HEAD, PATCH over the link, and again until all of it is there; returns how many requests that took."""
    headers = {**CHUNK, **await world.headers(), "Host": "x"}
    for attempt in range(1000):
        await _let_go(world, path)
        offset = await world.offset(path)
        if offset == len(content):
            return attempt
        part = content[offset : offset + chunk]
        own = {"Upload-Offset": str(offset), "Content-Length": str(len(part))} | ({"Upload-Checksum": checksum_of(part)} if check else {})
        await _send(proxy, "".join(f"{name}: {value}\r\n" for name, value in (headers | own).items()), path, part)
    raise AssertionError("never arrived")


async def _let_go(world: World, path: str) -> None:
    """Until the request whose link died has kept its bytes; a client in a hurry would get 423 and try again."""
    for _ in range(200):
        (row,) = await world.rows("SELECT writer FROM upload WHERE id = CAST(:id AS uuid)", id=path.rsplit("/", maxsplit=1)[-1])
        if row["writer"] is None:
            return
        await asyncio.sleep(0.005)


async def _send(proxy: CuttingProxy, head: str, path: str, part: bytes) -> None:
    """Until the answer or the end of the link; the bytes of dead links are on the server when the proxy says so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with suppress(OSError):
        writer.write(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode())
        for start in range(0, len(part), 65536):
            writer.write(part[start : start + 65536])
            await writer.drain()
        await reader.readline()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    await asyncio.sleep(0.01)


async def _arrived(world: World, path: str, least: int) -> int:
    for _ in range(200):
        if (offset := await world.offset(path)) >= least:
            return offset
        await asyncio.sleep(0.05)
    raise AssertionError(f"{least} bytes never counted")


async def test_a_video_arrives_whole_over_a_link_that_dies_every_300_kb(world: World) -> None:
    content = noise(VIDEO)
    path = await world.create(content, media_type="video/mp4")
    async with cutting(world.url, 300_000) as proxy:
        await insist(world, proxy, path, content, chunk=VIDEO)
    # What was kept is not sent again; of each dead link a busy server loses what it had received and not yet taken up, some 100 kB.
    assert VIDEO // 300_000 <= proxy.cuts < VIDEO // 300_000 * 1.6
    assert await world.state(sha256_of(content)) == "VERIFIED"
    kept = world.settings.data / "evidence" / "content" / sha256_of(content)[:2] / sha256_of(content)
    assert kept.read_bytes() == content


async def test_requests_with_checksums_get_on_over_a_dying_link_too(world: World) -> None:
    content = noise(3_000_000)
    path = await world.create(content)
    async with cutting(world.url, 300_000) as proxy:
        await insist(world, proxy, path, content, chunk=1_000_000, check=True)
    assert proxy.cuts >= 9
    assert await world.state(sha256_of(content)) == "VERIFIED"


async def test_a_silent_link_is_given_up_and_its_bytes_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.uploads.IDLE_SECONDS", 0.2)
    content = noise(100)
    path = await world.create(content)
    gone = asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        yield content[:60]
        await gone.wait()

    task = asyncio.create_task(world.patch(path, 0, silent()))
    await _arrived(world, path, 60)
    gone.set()
    await asyncio.gather(task, return_exceptions=True)
    assert (await world.patch(path, 60, content[60:])).status_code == 204


async def test_the_client_that_others_use_gets_through(world: World, tmp_path: Path) -> None:
    content = noise(2_500_000)
    (tmp_path / "video.mp4").write_bytes(content)
    async with cutting(world.url, 300_000) as proxy:
        script = str(ROOT / "tests/files/tus_client.mjs")
        given = (f"{proxy.url}/files", await world.token(), str(tmp_path / "video.mp4"), str(len(content)), sha256_of(content))
        process = await asyncio.create_subprocess_exec("node", script, *given, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    assert json.loads(output)["url"].startswith(f"{proxy.url}/files/")
    assert proxy.cuts >= 7
    assert await world.state(sha256_of(content)) == "VERIFIED"


async def test_what_arrived_survives_kill_9_in_the_middle_of_a_request(
    world: World, cluster_url: str, template: str, tmp_path: Path
) -> None:
    content = noise(3 * PIECE_BYTES)
    headers = {**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": described(sha256_of(content), "video/mp4")}
    forever = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield content[: 2 * PIECE_BYTES + 1000]
        await forever.wait()

    async with database(cluster_url, template) as url:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = ServerProcess(replace(world.settings, database_url=url, data=tmp_path, port=port))
        await asyncio.to_thread(server.__enter__)
        try:
            async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
                there = World(world.app, client, server.url, server.settings)
                headers |= await there.headers()
                path = (await client.post("/files", headers=headers)).headers["Location"]
                writing = asyncio.create_task(there.patch(path, 0, half()))
                there_already = await _arrived(there, path, PIECE_BYTES)
                server.kill()
                forever.set()
                await asyncio.gather(writing, return_exceptions=True)
                await asyncio.to_thread(server.__enter__)
                assert await there.offset(path) == there_already
                answer = await there.patch(path, there_already, content[there_already:])
                if answer.status_code == 423:  # the dead request's lease
                    await asyncio.sleep(LEASE_SECONDS)
                    answer = await there.patch(path, there_already, content[there_already:])
                assert answer.status_code == 204
                assert (await client.head(f"/evidence/{sha256_of(content)}", headers=headers)).status_code == 200
        finally:
            await asyncio.to_thread(server.stop)
    kept = tmp_path / "evidence" / "content" / sha256_of(content)[:2] / sha256_of(content)
    assert kept.read_bytes() == content
    assert not [found for found in (tmp_path / "evidence" / "pieces").rglob("*") if found.is_file()]
