"""However many send at once, what is in memory is bounded; who can't be served now is told when to come back, and loses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.settings import ROOT
from sync.budget import Budget
from sync.vault import PIECE_BYTES
from tests.files.files_world import World, code, noise, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
MEGABYTE = 1024 * 1024


class Scale:
    """A store that is slow, and weighs what it is given at once."""

    def __init__(self, world: World, seconds: float) -> None:
        self.put = world.files.vault.put
        self.seconds = seconds
        self.now = self.most = 0

    async def __call__(self, key: str, content: bytes) -> None:
        self.now += len(content)
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        await self.put(key, content)
        self.now -= len(content)


async def test_many_that_send_at_once_hold_no_more_than_the_budget(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [noise(MEGABYTE) for _ in range(24)]
    paths = [await world.create(content) for content in contents]
    scale, budget = Scale(world, 0.02), Budget(2 * MEGABYTE)
    monkeypatch.setattr(world.files.vault, "put", scale)
    monkeypatch.setattr(world.files, "budget", budget)
    answers = await asyncio.gather(*(world.patch(path, 0, content) for path, content in zip(paths, contents, strict=True)))
    assert {answer.status_code for answer in answers} == {204}
    assert budget.most <= 2 * MEGABYTE
    assert scale.most <= 2 * MEGABYTE
    assert budget.most > MEGABYTE  # or it wasn't tried
    assert (budget.used, budget.writing) == (0, 0)
    assert {await world.state(sha256_of(content)) for content in contents} == {"VERIFIED"}


async def test_a_full_server_says_503_and_keeps_what_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.files.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("sync.files.LEASE_SECONDS", 0.4)
    budget = Budget(MEGABYTE, writers=1)
    monkeypatch.setattr(world.files, "budget", budget)
    content = noise(200_000)
    path = await world.create(content)
    begun, end = asyncio.Event(), asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield content[:100_000]
        begun.set()
        await end.wait()
        yield content[100_000:]

    other = await world.create(noise(100))
    writing = asyncio.create_task(world.patch(path, 0, halting()))
    await begun.wait()
    await asyncio.sleep(0.2)
    answer = await world.patch(other, 0, b"abc")  # no place for a second writer
    assert (answer.status_code, code(answer)) == (503, "UPLOADS_CROWDED")
    assert int(answer.headers["Retry-After"]) > 0
    budget.take(1)
    budget.total = 1  # others have it all, also what this one gives back
    end.set()
    assert ((await writing).status_code, await world.offset(path)) == (503, 100_000)
    budget.give(1)
    budget.total = MEGABYTE
    assert (await world.patch(path, 100_000, content[100_000:])).status_code == 204
    assert budget.used == 0


@pytest.mark.parametrize("body", [noise(50_000, "cut"), noise(200_000, "lie")])
async def test_what_is_refused_gives_its_memory_back(world: World, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    budget = Budget(PIECE_BYTES)
    monkeypatch.setattr(world.files, "budget", budget)
    path = await world.create(noise(100_000))
    assert (await world.patch(path, 0, body, checksum="sha1 AAAA")).status_code in (413, 460)
    assert (budget.used, budget.writing) == (0, 0)
    assert await world.offset(path) == 0


async def test_the_client_that_others_use_comes_back_when_it_is_told_to(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = noise(1_500_000)
    (tmp_path / "video.mp4").write_bytes(content)
    budget = Budget(writers=0)
    monkeypatch.setattr(world.files, "budget", budget)
    given = (f"{world.url}/files", await world.token(), str(tmp_path / "video.mp4"), str(len(content)), sha256_of(content))
    script = str(ROOT / "tests/files/tus_client.mjs")
    process = await asyncio.create_subprocess_exec("node", script, *given, stdout=asyncio.subprocess.PIPE)
    for _ in range(1000):
        if await world.rows("SELECT 1 FROM upload WHERE sha256 = :sha256", sha256=sha256_of(content)):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.15)  # it has been refused at least once
    budget.writers = 9
    output, _ = await process.communicate()
    assert process.returncode == 0, json.loads(output)
    assert await world.state(sha256_of(content)) == "VERIFIED"
