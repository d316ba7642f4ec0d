"""Uploads by tus beside the floor: the same bytes hashed and written to a file on the same disk, and made durable."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from api.bench.client import BUFFER, AnswerError
from api.bench.field import OURS, Field
from api.bench.processes import resident_megabytes
from api.bench.report import Figure, Rounds
from api.settings import Settings

MEGABYTES = 32
STREAMS = (1, 4)
DISK = "disk"
_BLOCK = 1 << 20


async def files(field: Field) -> list[Figure]:
    """Megabytes per second from the creation of the upload to the verified file, one file at a time and four."""
    figures: list[Figure] = []
    for streams in STREAMS:
        rounds = Rounds("files.tus" + (f".at{streams}" if streams > 1 else ""), "MB/s")
        for _ in range(field.rounds):
            contents = [os.urandom(MEGABYTES * _BLOCK) for _ in range(streams)]
            rounds.add(OURS, await _rate(contents, lambda given: _send_all(field, given)))
            rounds.add(DISK, await _rate(contents, _write_all))
        figures += rounds.figures()
    return [*figures, Figure("files.memory.after", round(resident_megabytes(field.processes[OURS]), 1), "MB")]


async def _rate(contents: list[bytes], run: Callable[[list[bytes]], Awaitable[None]]) -> float:
    started = perf_counter()
    await run(contents)
    return len(contents) * MEGABYTES / (perf_counter() - started)


async def _send_all(field: Field, contents: list[bytes]) -> None:
    hashes = await asyncio.gather(*(asyncio.to_thread(lambda given: hashlib.sha256(given).hexdigest(), each) for each in contents))
    await asyncio.gather(*(_send(field, content, sha256) for content, sha256 in zip(contents, hashes, strict=True)))


async def _send(field: Field, content: bytes, sha256: str) -> None:
    """One file as a terminal sends it: its hash is part of the work, as it is for the reference."""
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in (("sha256", sha256), ("media_type", "video/mp4"))
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", field.ports[OURS], limit=BUFFER)
    head = f"Host: 127.0.0.1:{field.ports[OURS]}\r\nAuthorization: Bearer {field.token}\r\nTus-Resumable: 1.0.0\r\n"
    made = f"POST /files HTTP/1.1\r\n{head}Upload-Length: {len(content)}\r\nUpload-Metadata: {metadata}\r\nContent-Length: 0\r\n\r\n"
    answer = await _answer(reader, writer, made.encode(), b"", "201")
    path = answer.partition("location: ")[2].partition("\r\n")[0]
    kind = "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
    sent = f"PATCH {path} HTTP/1.1\r\n{head}{kind}Content-Length: {len(content)}\r\n\r\n"
    await _answer(reader, writer, sent.encode(), content, "204")
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, content: bytes, status: str) -> str:
    writer.write(head)
    for start in range(0, len(content), _BLOCK):
        writer.write(memoryview(content)[start : start + _BLOCK])
        await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    if f" {status} " not in answer.partition("\r\n")[0]:
        raise AnswerError(answer.partition("\r\n")[0])
    return "\r\n".join(f"{name.lower()}: {value}" for name, _, value in (line.partition(": ") for line in answer.split("\r\n")))


async def _write_all(contents: list[bytes]) -> None:
    """One thread per file; on the disk of the data folder, where our server writes."""
    folder = Settings.from_environment().data
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place, ThreadPoolExecutor(len(contents)) as pool:
        loop = asyncio.get_running_loop()
        done = [loop.run_in_executor(pool, _write, Path(place) / str(number), content) for number, content in enumerate(contents)]
        await asyncio.gather(*done)


def _write(path: Path, content: bytes) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as target:
        for start in range(0, len(content), _BLOCK):
            block = memoryview(content)[start : start + _BLOCK]
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
