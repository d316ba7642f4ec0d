"""Topic `pull`: full pages beside the floor and the plain resolver, and one record's pull that has nothing new."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Sequence
from functools import partial
from time import perf_counter

import orjson

from api.bench.client import Client, body
from api.bench.field import FLOOR, OURS, PLAIN, Field, Race, Sizes, require
from api.bench.floor import FIRST, Floor
from api.bench.processes import resident_megabytes
from api.bench.report import Figure, Rounds
from api.bench.stock import PULL, RECORD, fields
from schema.base import Document

PLAIN_PULL = f"query ($after: ID!, $limit: Int!) {{ enterprises(after: $after, limit: $limit) {{ {fields(RECORD)} }} }}"
_TOKEN = re.compile(rb'"token":\s?"([^"]+)"')


async def pull(field: Field) -> list[Figure]:
    """Typed pull of full pages, and what is left in our server's memory after all of them."""
    before = resident_megabytes(field.processes[OURS])
    async with field.client(OURS) as ours, field.client(PLAIN) as plain:
        field.tell("pull: everything once")
        end = await _pull_everything(ours, field)
        size = field.sizes
        floor = Floor(field.connection, RECORD, size.page)
        runs = {
            OURS: lambda: _our_pages(ours, size),
            FLOOR: lambda: _floor_pages(floor, size),
            PLAIN: lambda: _plain_pages(plain, size),
        }
        figures = await Race(field, "pull", "docs/s").rounds(runs)
    after = resident_megabytes(field.processes[OURS])
    memory = [Figure("pull.memory.before", round(before, 1), "MB"), Figure("pull.memory.after", round(after, 1), "MB")]
    return [*figures, *memory, *await _empty(field, end)]


async def _our_pages(client: Client, size: Sizes) -> int:
    checkpoint: dict[str, str] | None = None
    count = 0
    for _ in range(size.pages):
        content = await client.post(body(PULL, checkpoint=checkpoint, limit=size.page))
        count += content.count(b'{"id":')
        checkpoint = {"token": token_of(content)}
    require(count == size.pages * size.page, f"{size.pages} full pages, got {count} documents")
    return count


async def _floor_pages(floor: Floor, size: Sizes) -> int:
    after, count = FIRST, 0
    for _ in range(size.pages):
        content, after = await floor.page(after)
        count += content.count(b'{"id":')
    require(count == size.pages * size.page, f"{size.pages} full pages of the floor, got {count} documents")
    return count


async def _plain_pages(client: Client, size: Sizes) -> int:
    after, count = FIRST, 0
    for _ in range(size.pages):
        content = await client.post(body(PLAIN_PULL, after=after, limit=size.page))
        count += content.count(b'"areaCode":')
        last = content.rindex(b'"id":')
        after = content[last + 5 : last + 60].split(b'"')[1].decode()
    require(count == size.pages * size.page, f"{size.pages} full pages of the plain resolver, got {count} documents")
    return count


async def _pull_everything(client: Client, field: Field) -> str:
    """The token after all documents; each must have come once, and the first page must say what the floor says."""
    token, ids, limit = None, set[str](), field.sizes.page
    expected = await field.count("SELECT count(*) FROM enterprise")
    while True:
        answer = orjson.loads(await client.post(body(PULL, checkpoint=token and {"token": token}, limit=limit)))
        require("errors" not in answer, str(answer)[:1000])
        page = answer["data"]["pullEnterprise"]
        if not ids:
            await _require_same(page["documents"][:20], field)
        ids.update(document["id"] for document in page["documents"])
        token = str(page["checkpoint"]["token"])
        if len(page["documents"]) < limit:
            require(len(ids) == expected, f"{expected} documents, got {len(ids)}")
            return token


async def _require_same(documents: Sequence[Document], field: Field) -> None:
    """Ours and the floor agree on what a document is; the floor's page of one begins just before its id."""
    floor = Floor(field.connection, RECORD, 1)
    for document in documents:
        content, _ = await floor.page(_before(document["id"]))
        require(orjson.loads(content) == [document], f"{content.decode()}, got {document}")


def _before(identifier: str) -> str:
    number = f"{int(identifier.replace('-', ''), 16) - 1:032x}"
    return f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"


def token_of(content: bytes) -> str:
    found = _TOKEN.search(content, max(0, len(content) - 4096)) or _TOKEN.search(content)
    require(found is not None, f"a token, got {content[:500]!r}")
    assert found
    return found[1].decode()


async def _empty(field: Field, token: str) -> list[Figure]:
    """A pull that has nothing new: how long one terminal waits, and how many 32 of them get answered."""
    contents = {
        OURS: body(PULL, checkpoint={"token": token}, limit=field.sizes.page),
        PLAIN: body(PLAIN_PULL, after="ffffffff-ffff-ffff-ffff-ffffffffffff", limit=field.sizes.page),
    }
    alone = Rounds("pull.empty.p50", "ms", less_is_better=True)
    for _ in range(field.rounds):
        for name, content in contents.items():
            alone.add(name, await _wait(field.client(name), content, field.sizes.alone))
    runs = {name: partial(_crowd, field, name, content) for name, content in contents.items()}
    return [*alone.figures(), *await Race(field, f"pull.empty.at{field.sizes.connections}", "requests/s").rounds(runs)]


async def _wait(opening: Client, content: bytes, count: int) -> float:
    async with opening as client:
        return statistics.median([await _milliseconds(client, content) for _ in range(count)])


async def _milliseconds(client: Client, content: bytes) -> float:
    started = perf_counter()
    answer = await client.post(content)
    waited = (perf_counter() - started) * 1000
    require(b"errors" not in answer and len(answer) < 2000, f"an empty page, got {answer[:500]!r}")
    return waited


async def _crowd(field: Field, name: str, content: bytes) -> int:
    each = field.sizes.together // field.sizes.connections

    async def one() -> None:
        async with field.client(name) as client:
            for _ in range(each):
                await client.post(content)

    await asyncio.gather(*(one() for _ in range(field.sizes.connections)))
    return each * field.sizes.connections
