"""What arrived is kept, whatever dies: the link, the server, the client's patience."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.server_process import ServerProcess
from api.settings import ROOT
from sync.vault import PIECE_BYTES
from tests.files.cutting_proxy import CuttingProxy, cutting
from tests.files.files_world import CHUNK, TUS, World, checksum_of, database, described, noise, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
VIDEO = 40_000_000
needs_tus = pytest.mark.skipif(
    not shutil.which("node") or not (ROOT / "web/node_modules/tus-js-client").is_dir(), reason="needs Node and `npm ci` in web/"
)


async def _insist(proxy: CuttingProxy, path: str, content: bytes, headers: dict[str, str], *, chunk: int, check: bool) -> int:
    """HEAD, PATCH, and again until all of it is there; returns how many bytes were sent."""
    sent = 0
    for _ in range(1000):
        async with httpx.AsyncClient(base_url=proxy.url, timeout=30) as client:
            try:
                offset = int((await client.head(path, headers={**TUS, **headers})).headers["Upload-Offset"])
                if offset == len(content):
                    return sent
                part = content[offset : offset + chunk]
                sent += min(len(part), proxy.every)
                extra = {"Upload-Checksum": checksum_of(part)} if check else {}
                answer = await client.patch(path, headers={**CHUNK, **headers, "Upload-Offset": str(offset), **extra}, content=part)
                assert answer.status_code in (204, 409, 423), answer.text
            except httpx.TransportError:
                continue
    raise AssertionError("never arrived")


async def test_a_video_arrives_whole_over_a_link_that_dies_every_300_kb(world: World) -> None:
    content = noise(VIDEO)
    path = await world.create(content, media_type="video/mp4")
    async with cutting(world.url, 300_000) as proxy:
        sent = await _insist(proxy, path, content, await world.headers(), chunk=VIDEO, check=False)
    assert proxy.cuts > VIDEO // 300_000 - 2
    assert sent < VIDEO * 1.15  # what arrived was not sent again
    assert await world.state(sha256_of(content)) == "VERIFIED"
    kept = world.settings.data / "evidence" / "content" / sha256_of(content)[:2] / sha256_of(content)
    assert kept.read_bytes() == content


async def test_requests_with_checksums_get_on_over_a_dying_link_too(world: World) -> None:
    content = noise(3_000_000)
    path = await world.create(content)
    async with cutting(world.url, 300_000) as proxy:
        await _insist(proxy, path, content, await world.headers(), chunk=1_000_000, check=True)
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
    while await world.offset(path) != 60:
        await asyncio.sleep(0.05)
    gone.set()
    await asyncio.gather(task, return_exceptions=True)
    assert (await world.patch(path, 60, content[60:])).status_code == 204


@needs_tus
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
        from dataclasses import replace

        server = ServerProcess(replace(world.settings, database_url=url, data=tmp_path, port=port))
        await asyncio.to_thread(server.__enter__)
        try:
            async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
                there = World(world.app, client, server.url, server.settings)
                headers |= await there.headers()
                path = (await client.post("/files", headers=headers)).headers["Location"]
                writing = asyncio.create_task(there.patch(path, 0, half()))
                while await there.offset(path) < 2 * PIECE_BYTES:
                    await asyncio.sleep(0.05)
                server.kill()
                await asyncio.gather(writing, return_exceptions=True)
                await asyncio.to_thread(server.__enter__)
                assert await there.offset(path) == 2 * PIECE_BYTES
                while (answer := await there.patch(path, 2 * PIECE_BYTES, content[2 * PIECE_BYTES :])).status_code == 423:
                    await asyncio.sleep(0.2)
                assert answer.status_code == 204
                assert (await client.head(f"/evidence/{sha256_of(content)}", headers=headers)).status_code == 200
        finally:
            await asyncio.to_thread(server.stop)
    kept = tmp_path / "evidence" / "content" / sha256_of(content)[:2] / sha256_of(content)
    assert kept.read_bytes() == content
    assert not [found for found in (tmp_path / "evidence" / "pieces").rglob("*") if found.is_file()]
