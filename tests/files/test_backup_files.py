"""A backup holds the files of a local folder and the names of those in a bucket; a restore looks at every one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from rich.console import Console

from api import cluster
from api.backup import BackupError, backup, restore
from sync.files import content_key, thumbnail_key
from sync.vault import Vault, open_vault
from tests.files.files_world import World, database, item, noise, photo, serving, settings_of, sha256_of
from tests.files.test_stores import bucket

__all__ = ["bucket"]
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with database(cluster_url, template) as url, serving(settings_of(url, tmp_path_factory.mktemp("origin"))) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def empty(cluster_url: str) -> AsyncIterator[str]:
    name = "test_files_restored"
    yield await cluster.create_database(cluster_url, name, "template0")
    await cluster.drop_database(cluster_url, name)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=10_000)


async def fetch(url: str, statement: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [str(row[0]) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def _written(world: World) -> tuple[bytes, bytes]:
    image, video = photo(125.3, 43.8), noise(3_000_000)
    await world.send(image, "image/jpeg")
    await world.send(video, "video/mp4")
    await world.inspection(item(sha256_of(image)), item(sha256_of(video)))
    return image, video


async def test_the_files_of_a_folder_are_in_the_one_file_and_come_back_on_another_machine(
    origin: World, empty: str, tmp_path: Path
) -> None:
    image, video = await _written(origin)
    path = await origin.create(noise(100))
    await origin.patch(path, 0, b"abc")
    file, url = tmp_path / "one.backup", origin.settings.database_url
    assert url
    await backup(url, file, tmp_path / "keys", quiet(), origin.files.vault)
    with zipfile.ZipFile(file) as packed:
        assert packed.read(f"evidence/{sha256_of(video)}") == video
        assert f"{sha256_of(video)} 3000000\n" in packed.read("files.txt").decode()
    vault = open_vault(None, tmp_path / "elsewhere")
    await vault.put(content_key(sha256_of(video)), bytes(3_000_000))  # rotten, and made good
    await restore(empty, file, tmp_path / "keys", quiet(), vault)
    for content in (image, video):
        assert await vault.get(content_key(sha256_of(content))) == content
    assert await vault.get(thumbnail_key(sha256_of(image)))
    assert await fetch(empty, "SELECT sha256 FROM evidence WHERE state = 'VERIFIED'")
    assert await fetch(empty, "SELECT id FROM upload WHERE state = 'RECEIVING'") == []  # its pieces are in no backup: it begins anew


@pytest.mark.parametrize("harm", ["gone", "rotten"])
async def test_a_file_that_is_lost_stops_a_restore_unless_it_may_be_asked_for_again(
    origin: World, empty: str, tmp_path: Path, harm: str
) -> None:
    _, video = await _written(origin)
    lost = tmp_path / "data" / "evidence" / content_key(sha256_of(video))
    kept = origin.settings.data / "evidence" / content_key(sha256_of(video))
    file, url, words = tmp_path / "one.backup", origin.settings.database_url, quiet()
    assert url
    kept.rename(tmp_path / "aside")
    if harm == "rotten":
        kept.write_bytes(bytes(3_000_000))
    try:
        await backup(url, file, tmp_path / "keys", words, origin.files.vault)
    finally:
        (tmp_path / "aside").replace(kept)
    assert "1 evidence files are missing or damaged" in words.file.getvalue()  # type: ignore[attr-defined]
    vault = open_vault(None, tmp_path / "data" / "evidence")
    with pytest.raises(BackupError, match=f"1 of \\d+ evidence files are neither .*{sha256_of(video)}.*not changed"):
        await restore(empty, file, tmp_path / "keys", quiet(), vault)
    assert await fetch(empty, "SELECT relname FROM pg_class WHERE relname = 'evidence'") == []
    await restore(empty, file, tmp_path / "keys", quiet(), vault, allow_missing=True)
    assert not lost.exists()
    assert await fetch(empty, f"SELECT state FROM evidence WHERE sha256 = '{sha256_of(video)}'") == ["PROMISED"]
    assert await fetch(empty, f"SELECT proven FROM evidence_item WHERE sha256 = '{sha256_of(video)}'") == ["False"]
    assert await fetch(empty, f"SELECT user_id FROM evidence_proof WHERE sha256 = '{sha256_of(video)}'") == []


async def test_files_in_a_bucket_are_named_and_looked_for(cluster_url: str, template: str, empty: str, tmp_path: Path, bucket: str) -> None:
    async with database(cluster_url, template) as url, serving(settings_of(url, tmp_path, evidence_url=bucket)) as world:
        _, video = await _written(world)
        file, words, vault = tmp_path / "one.backup", quiet(), Vault(world.files.vault.store)
        await backup(url, file, tmp_path / "keys", words, vault)
        assert "not in this backup" in words.file.getvalue()  # type: ignore[attr-defined]
        with zipfile.ZipFile(file) as packed:
            assert not [name for name in packed.namelist() if name.startswith("evidence/")]
            assert f"{sha256_of(video)} 3000000\n" in packed.read("files.txt").decode()
        await vault.delete([content_key(sha256_of(video))])
        with pytest.raises(BackupError, match=f"1 of 2 evidence files .*{sha256_of(video)}"):
            await restore(empty, file, tmp_path / "keys", quiet(), vault)
        await vault.put(content_key(sha256_of(video)), video)
        await restore(empty, file, tmp_path / "keys", quiet(), vault)
    assert await fetch(empty, "SELECT count(*) FROM evidence WHERE state = 'VERIFIED'") == ["2"]
