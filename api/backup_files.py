"""Evidence files in a backup: those of a local folder go into it, of a bucket only their names; a restore looks at every one.

Each is streamed, stored as it is (photos and videos don't get smaller), and hashed on its way in and out.
"""

from __future__ import annotations

import asyncio
import hashlib
import zipfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from rich.progress import Progress

from sync.collector import keep_out
from sync.files import content_key, thumbnail_key
from sync.vault import ContentLiesError, Vault, checked

LIST, FILES, THUMBNAILS = "files.txt", "evidence/", "thumbnails/"
_BLOCK = 1 << 20
_AT_ONCE = 32
_VERIFIED = "SELECT sha256, size, thumbnail FROM evidence WHERE state = 'VERIFIED' ORDER BY sha256"
_UNSENT = """WITH gone AS (DELETE FROM upload WHERE state = 'RECEIVING')
  UPDATE evidence SET state = 'PROMISED', received_at = NULL WHERE state = 'RECEIVED'"""
_LOST = (
    "UPDATE evidence SET state = 'PROMISED', received_at = NULL, verified_at = NULL, thumbnail = false WHERE sha256 = ANY($1::text[])",
    "DELETE FROM evidence_proof WHERE sha256 = ANY($1::text[])",
    "UPDATE evidence_item SET proven = false, position_check = NULL, distance = NULL WHERE sha256 = ANY($1::text[])",
)


@dataclass(frozen=True)
class Kept:
    """A verified file, as the database has it."""

    sha256: str
    size: int
    thumbnail: bool


class Quiet:
    """Keeps collectors of the database away while its files are copied."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> None:
        self.connection = await asyncpg.connect(self.url)
        await keep_out(self.connection)

    async def __aexit__(self, *_: object) -> None:
        self.connection.terminate()  # a restore may have ended it already


async def verified(connection: Any) -> list[Kept]:
    """The verified files of a database, in order; none before there was evidence."""
    if not await connection.fetchval("SELECT to_regclass('evidence') IS NOT NULL"):
        return []
    return [Kept(*row) for row in await connection.fetch(_VERIFIED)]


async def pack(packed: zipfile.ZipFile, vault: Vault, files: Sequence[Kept], progress: Progress) -> list[str]:
    """Writes the list of the files and, of a local store, the files; returns the hashes of those that the store has lost."""
    packed.writestr(LIST, "".join(f"{file.sha256} {file.size}\n" for file in files))
    if vault.folder is None:
        return []
    bar = progress.add_task("files", total=sum(file.size for file in files))
    lost = []
    for file in files:
        if not await _pack(packed, vault, file):
            lost.append(file.sha256)
        progress.advance(bar, file.size)
    return lost


async def _pack(packed: zipfile.ZipFile, vault: Vault, file: Kept) -> bool:
    try:
        with packed.open(f"{FILES}{file.sha256}", "w", force_zip64=True) as target:
            async for block in checked(_whole(vault, file), file.sha256):
                target.write(block)
        if file.thumbnail:
            packed.writestr(f"{THUMBNAILS}{file.sha256}", await vault.get(thumbnail_key(file.sha256)))
    except (FileNotFoundError, ContentLiesError):
        return False  # what is in the archive under this hash is not whole; a restore sees that
    return True


async def _whole(vault: Vault, file: Kept) -> AsyncIterator[bytes]:
    key = content_key(file.sha256)
    if await vault.size(key) != file.size:
        raise ContentLiesError
    if file.size:
        async for block in vault.stream(key, 0, file.size):
            yield block


async def put_back(packed: zipfile.ZipFile, vault: Vault, files: Sequence[Kept], progress: Progress) -> list[str]:
    """Brings the files into the store, and looks at those that are there; returns the hashes of those that can't be had."""
    bar = progress.add_task("files", total=sum(file.size for file in files))
    inside, lost = frozenset(packed.namelist()), []
    for some in _some_at_a_time(files, 1 if vault.folder else _AT_ONCE):
        found = await asyncio.gather(*(_put_back(packed, inside, vault, file) for file in some))
        lost += [file.sha256 for file, there in zip(some, found, strict=True) if not there]
        progress.advance(bar, sum(file.size for file in some))
    return lost


def _some_at_a_time(files: Sequence[Kept], size: int) -> Iterable[Sequence[Kept]]:
    return (files[start : start + size] for start in range(0, len(files), size))


async def _put_back(packed: zipfile.ZipFile, inside: frozenset[str], vault: Vault, file: Kept) -> bool:
    thumbnail = f"{THUMBNAILS}{file.sha256}"
    if thumbnail in inside and await vault.size(thumbnail_key(file.sha256)) is None:
        await vault.put(thumbnail_key(file.sha256), packed.read(thumbnail))
    if await _is_there(vault, file):
        return True
    if f"{FILES}{file.sha256}" not in inside:
        return False
    try:
        await vault.keep(content_key(file.sha256), file.sha256, _unpacked(packed, file))
    except ContentLiesError:
        return False
    return True


async def _is_there(vault: Vault, file: Kept) -> bool:
    """Of a folder every byte is looked at; a bucket vouches for what it holds."""
    if vault.folder is None:
        return await vault.size(content_key(file.sha256)) == file.size
    digest = hashlib.sha256()
    try:
        async for block in _whole(vault, file):
            digest.update(block)
    except (FileNotFoundError, ContentLiesError):
        return False
    return digest.hexdigest() == file.sha256


async def _unpacked(packed: zipfile.ZipFile, file: Kept) -> AsyncIterator[bytes]:
    try:
        with packed.open(f"{FILES}{file.sha256}") as source:
            while block := source.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, EOFError):
        raise ContentLiesError from None


async def forget(connection: Any, lost: Sequence[str]) -> None:
    """Uploads on their way begin anew, since their pieces are in no backup; lost files are asked for again."""
    await connection.execute(_UNSENT)
    for statement in _LOST if lost else ():
        await connection.execute(statement, lost)
