"""Bytes in the store: pieces on their way and whole files by hash, in a local folder or an S3 bucket, through obstore.

Both are written the same way, so that any node can go on with an upload that another began.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

PIECE_BYTES = 4 * 1024 * 1024  # what a request holds in memory before it goes to the store
_BLOCK = 1024 * 1024
_FULL = tuple(f"(os error {number})" for number in (errno.ENOSPC, errno.EDQUOT))


class StorageFullError(Exception):
    """The store has no room; what was there before still is."""


class ContentLiesError(Exception):
    """The bytes are not those of the hash that was claimed."""


class Vault:
    """One store. Errors of the store are OSError or obstore's, a full one is StorageFullError."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self.store = store
        self.folder = folder
        self.errors = 0  # writes that failed since the start, for the metrics

    async def put(self, key: str, content: bytes) -> None:
        """Writes an object; it is durable when this returns."""
        try:
            await obstore.put_async(self.store, key, content)
            await self._settle(key)
        except (OSError, BaseError) as error:
            self.errors += 1
            raise _named(error) from error

    async def join(self, keys: Sequence[str], sha256: str, beat: Callable[[], Awaitable[None]], *, to: str | None) -> int:
        """Joins pieces into the object `to` and returns its size; None only looks whether they are what `sha256` says.

        Raises ContentLiesError, and then nothing is there. `beat` is called after each piece.
        """
        blocks = self._pieces(keys, beat)
        if to is not None:
            return await self.keep(to, sha256, blocks)
        try:
            return sum([len(block) async for block in checked(blocks, sha256)])
        except (OSError, BaseError) as error:
            self.errors += 1
            raise _named(error) from error

    async def keep(self, key: str, sha256: str, blocks: AsyncIterator[bytes]) -> int:
        """Writes the whole file and returns its size. Raises ContentLiesError, and then nothing is there."""
        try:
            stream = checked(blocks, sha256)
            await obstore.put_async(self.store, key, stream, use_multipart=True, chunk_size=8 * _BLOCK, max_concurrency=3)
            await self._settle(key, read_only=True)
            return int((await obstore.head_async(self.store, key))["size"])
        except (OSError, BaseError) as error:
            raise _named(error) from error

    async def size(self, key: str) -> int | None:
        """Bytes of an object; None if there is none."""
        try:
            return int((await obstore.head_async(self.store, key))["size"])
        except FileNotFoundError:
            return None

    async def discard(self, keys: Sequence[str]) -> None:
        """Removes what there is of the objects."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self.store, key)

    async def listed(self, prefix: str) -> AsyncIterator[list[tuple[str, datetime]]]:
        """Keys below `prefix` and when they were written, some at a time."""
        async for batch in obstore.list(self.store, f"{prefix}/", chunk_size=1000):
            yield [(found["path"], found["last_modified"]) for found in batch]

    async def _pieces(self, keys: Sequence[str], beat: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
        for key in keys:
            yield await self.get(key)
            await beat()

    async def get(self, key: str) -> bytes:
        return bytes(await (await obstore.get_async(self.store, key)).bytes_async())

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        found = await obstore.get_async(self.store, key, options={"range": (start, end)})
        async for block in found.stream(min_chunk_size=_BLOCK):
            yield bytes(block)

    async def delete(self, keys: Sequence[str]) -> None:
        if keys:
            await obstore.delete_async(self.store, list(keys))

    async def drop(self, prefix: str) -> None:
        """Removes everything below `prefix`."""
        async for batch in obstore.list(self.store, f"{prefix}/"):
            await obstore.delete_async(self.store, [found["path"] for found in batch])
        if self.folder is not None:
            await asyncio.to_thread(_remove_folder, self.folder / prefix)

    def room(self) -> int | None:
        """Bytes that a local store can still take; None for a bucket."""
        if self.folder is None:
            return None
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    async def _settle(self, key: str, *, read_only: bool = False) -> None:
        if self.folder is not None:
            await asyncio.to_thread(_settle, self.folder / key, read_only)


def open_vault(url: str | None, folder: Path) -> Vault:
    """The store at `url` (s3://bucket/prefix; endpoint and keys from AWS_… in the environment), else a private local folder."""
    if url:
        return Vault(from_url(url))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Vault(LocalStore(folder, mkdir=True), folder)


async def checked(blocks: AsyncIterator[bytes], sha256: str) -> AsyncIterator[bytes]:
    """The blocks as they come; the error at the end keeps a false whole from being finished."""
    digest = hashlib.sha256()
    async for block in blocks:
        await asyncio.to_thread(digest.update, block)
        yield block
    if digest.hexdigest() != sha256:
        raise ContentLiesError


def _settle(path: Path, read_only: bool) -> None:
    """To the disk, name and all: a rename alone survives a crash of the process, not a power cut."""
    if read_only:
        path.chmod(0o444)
    for place in (path, path.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_folder(path: Path) -> None:
    if path.is_dir():
        path.rmdir()


def _named(error: Exception) -> Exception:
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(mark in str(error) for mark in _FULL)
    return StorageFullError() if full else error
