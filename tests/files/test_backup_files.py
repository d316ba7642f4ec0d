"""A backup holds the files of a local folder and the names of those in a bucket; a restore looks at every one."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from obstore.store import MemoryStore
from rich.console import Console
from rich.progress import Progress

from api import cluster
from api.backup import BackupError, backup, restore
from api.backup_files import Kept, pack, put_back
from sync.files import content_key, thumbnail_key
from sync.vault import Vault, open_vault
from tests.files.files_world import World, database, item, noise, photo, serving, settings_of, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def origin(cluster_url: str, template: str, tmp_path: Path) -> AsyncIterator[World]:
    async with database(cluster_url, template) as url, serving(settings_of(url, tmp_path / "origin")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def empty(cluster_url: str) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_files_restored"
    yield await cluster.create_database(cluster_url, name, "template0")
    await cluster.drop_database(cluster_url, name)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=10_000)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def fetch(url: str, statement: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [str(row[0]) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def test_files_come_back_whole_or_are_asked_for_again(origin: World, empty: str, tmp_path: Path) -> None:
    """On another machine, whose store holds a rotten copy; and the origin had lost one itself."""
    image, video, lost = photo(125.3, 43.8), noise(3_000_000), noise(1000)
    for content, media_type in ((image, "image/jpeg"), (video, "video/mp4"), (lost, "video/mp4")):
        await origin.send(content, media_type)
    await origin.inspection(*(item(sha256_of(content)) for content in (image, video, lost)))
    await origin.patch(await origin.create(noise(100)), 0, b"abc")
    file, url, words = tmp_path / "one.backup", origin.settings.database_url, quiet()
    assert url
    in_store = origin.settings.data / "evidence" / content_key(sha256_of(lost))
    in_store.chmod(0o644)
    in_store.write_bytes(bytes(1000))
    await backup(url, file, tmp_path / "keys", words, origin.files.vault)
    assert f"1 evidence files are missing or damaged in the store and not in this backup: {sha256_of(lost)}" in said(words)
    with zipfile.ZipFile(file) as packed:
        assert packed.read(f"evidence/{sha256_of(video)}") == video
        assert packed.getinfo(f"evidence/{sha256_of(video)}").compress_type == zipfile.ZIP_STORED
        assert f"{sha256_of(video)} 3000000\n" in packed.read("files.txt").decode()
    vault = open_vault(None, tmp_path / "elsewhere")
    await vault.put(content_key(sha256_of(video)), bytes(3_000_000))
    with pytest.raises(BackupError, match=f"1 of 3 evidence files are neither .*{sha256_of(lost)}.*not changed"):
        await restore(empty, file, tmp_path / "keys", quiet(), vault)
    assert await fetch(empty, "SELECT relname FROM pg_class WHERE relname = 'evidence'") == []
    await restore(empty, file, tmp_path / "keys", quiet(), vault, allow_missing=True)
    for content in (image, video):
        assert await vault.get(content_key(sha256_of(content))) == content
    assert await vault.get(thumbnail_key(sha256_of(image)))
    assert await vault.size(content_key(sha256_of(lost))) is None
    states = await fetch(empty, "SELECT state || ' ' || proven FROM evidence e JOIN evidence_item USING (sha256) ORDER BY 1")
    assert states == ["PROMISED false", "VERIFIED true", "VERIFIED true"]
    assert await fetch(empty, f"SELECT user_id FROM evidence_proof WHERE sha256 = '{sha256_of(lost)}'") == []
    assert await fetch(empty, "SELECT id FROM upload WHERE state = 'RECEIVING'") == []  # its pieces are in no backup: it begins anew


async def test_files_in_a_bucket_are_named_and_looked_for(tmp_path: Path) -> None:
    bucket, contents = Vault(MemoryStore()), [noise(100), noise(100)]
    files = [Kept(sha256_of(content), len(content), thumbnail=False) for content in contents]
    await bucket.put(content_key(files[0].sha256), contents[0])
    with zipfile.ZipFile(tmp_path / "file", "w") as packed:
        assert await pack(packed, bucket, files, Progress(disable=True)) == []
    with zipfile.ZipFile(tmp_path / "file") as packed:
        assert packed.namelist() == ["files.txt"]
        assert packed.read("files.txt").decode() == "".join(f"{file.sha256} 100\n" for file in files)
        assert await put_back(packed, bucket, files, Progress(disable=True)) == [files[1].sha256]
        await bucket.put(content_key(files[1].sha256), contents[1])
        assert await put_back(packed, bucket, files, Progress(disable=True)) == []
