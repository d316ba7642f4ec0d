"""The same promises on a disk that is full and in a bucket that speaks S3."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sync.files import content_key
from sync.vault import PIECE_BYTES, StorageFullError
from tests.files.cutting_proxy import cutting
from tests.files.files_world import World, code, database, item, noise, photo, serving, settings_of, sha256_of
from tests.files.test_bad_links import insist

pytestmark = pytest.mark.asyncio(loop_scope="session")
DISK = 12 * 1024 * 1024
BUCKET = "evidence"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose evidence lies on a disk of its own."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("may not mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(folder)], check=True)


@asynccontextmanager
async def _elsewhere(cluster_url: str, template: str, data: Path, url: str | None = None) -> AsyncIterator[World]:
    async with database(cluster_url, template) as address, serving(settings_of(address, data, evidence_url=url)) as world:
        yield world


async def test_a_full_disk_is_507_and_what_arrived_is_kept(cluster_url: str, template: str, small_disk: Path) -> None:
    async with _elsewhere(cluster_url, template, small_disk) as world:
        content = noise(PIECE_BYTES + 1_500_000)
        path = await world.create(content)
        too_large = noise(DISK + 1)
        with pytest.raises(AssertionError, match="STORAGE_FULL"):
            await world.create(too_large)
        ballast = small_disk / "evidence" / "ballast"
        ballast.write_bytes(bytes(DISK - PIECE_BYTES - 600_000))
        answer = await world.patch(path, 0, content)
        assert (answer.status_code, code(answer)) == (507, "STORAGE_FULL")
        kept = await world.offset(path)
        assert PIECE_BYTES <= kept < len(content)
        assert await world.state(sha256_of(content)) == "PROMISED"
        assert not [key for key in await world.stored() if key.startswith("content/")]
        with pytest.raises(StorageFullError):
            await world.files.vault.put("probe", bytes(PIECE_BYTES))
        ballast.unlink()
        assert (await world.patch(path, kept, content[kept:])).status_code == 204
        assert await world.state(sha256_of(content)) == "VERIFIED"


async def test_a_disk_that_fills_up_while_the_file_is_joined_loses_nothing(cluster_url: str, template: str, small_disk: Path) -> None:
    async with _elsewhere(cluster_url, template, small_disk) as world:
        content = noise(PIECE_BYTES + 100_000)
        path = await world.create(content)
        ballast = small_disk / "evidence" / "ballast"
        ballast.write_bytes(bytes(DISK - PIECE_BYTES - 1024 * 1024))
        answer = await world.patch(path, 0, content)
        assert (answer.status_code, code(answer)) == (507, "STORAGE_FULL")
        assert await world.state(sha256_of(content)) == "RECEIVED"
        assert (await world.head(path)).status_code == 507
        assert not [key for key in await world.stored() if key.startswith("content/")]
        ballast.unlink()
        assert await world.offset(path) == len(content)
        assert await world.state(sha256_of(content)) == "VERIFIED"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "invented"),
        ("AWS_SECRET_ACCESS_KEY", "invented"),
    ):
        monkeypatch.setenv(name, value)
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/{BUCKET}", method="PUT")).close()
    yield f"s3://{BUCKET}/here"
    server.stop()


async def test_a_bucket_keeps_the_same_promises(cluster_url: str, template: str, tmp_path: Path, bucket: str) -> None:
    async with _elsewhere(cluster_url, template, tmp_path, bucket) as world:
        content = noise(2 * PIECE_BYTES + 12_345)
        path = await world.create(content)
        async with cutting(world.url, 3_000_000) as proxy:
            await insist(world, proxy, path, content, chunk=len(content))
        assert proxy.cuts >= 2
        assert await world.files.vault.get(content_key(sha256_of(content))) == content
        image = photo(125.3, 43.8)
        await world.send(image, "image/jpeg")
        await world.inspection(item(sha256_of(image)), item(sha256_of(content)))
        assert (await world.get(f"/evidence/{sha256_of(image)}")).content == image
        assert (await world.get(f"/evidence/{sha256_of(content)}", Range="bytes=5-9")).content == content[5:10]
        assert (await world.get(f"/evidence/{sha256_of(image)}/thumbnail")).status_code == 200
        lie = await world.create(noise(100), sha256=sha256_of(noise(100)))
        assert (await world.patch(lie, 0, noise(100))).status_code == 460
        assert {key.split("/")[0] for key in await world.stored()} == {"content", "thumbnails"}
    assert not (tmp_path / "evidence").exists()


async def test_two_nodes_with_one_bucket_carry_on_for_each_other(cluster_url: str, template: str, tmp_path: Path, bucket: str) -> None:
    async with _elsewhere(cluster_url, template, tmp_path, bucket) as first:
        content = noise(300_000)
        path = await first.create(content)
        await first.patch(path, 0, content[:100_000])
        other = replace(first.settings, data=first.settings.data)
        async with serving(other) as second:
            second.tokens = first.tokens
            assert await second.offset(path) == 100_000
            begun = asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield content[100_000:200_000]
                begun.set()
                await asyncio.sleep(0.4)
                yield content[200_000:]

            writing = asyncio.create_task(second.patch(path, 100_000, slow()))
            await begun.wait()
            await asyncio.sleep(0.1)
            assert (await first.patch(path, 100_000, content[100_000:])).status_code == 423
            assert (await writing).status_code == 204
        assert await first.state(sha256_of(content)) == "VERIFIED"
