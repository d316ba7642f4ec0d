"""Writers and terminals in miniature: enough to drive the feed, nothing of the real write path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sync.feed import read_head
from sync.pull import PagePlan, plan_page
from sync.token import decode, encode

KEY = b"a key of the tests"


def document(number: int) -> UUID:
    return UUID(int=number + 1)


async def write(connection: Any, doc_id: UUID, scopes: Iterable[str]) -> None:
    """Put a document into exactly these scopes, as the write path does: row lock first, then the queue."""
    wanted = sorted(scopes)
    async with connection.transaction():
        held = await connection.fetchval("SELECT scopes FROM probe WHERE id = $1 FOR UPDATE", doc_id)
        await connection.execute(
            "INSERT INTO probe VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE SET scopes = $2, version = probe.version + 1", doc_id, wanted
        )
        await queue(connection, doc_id, wanted, sorted(set(held or ()) - set(wanted)))


async def queue(connection: Any, doc_id: UUID, scopes_in: list[str], scopes_out: list[str]) -> None:
    await connection.execute(
        "INSERT INTO sync_pending (record, doc_id, scopes_in, scopes_out) VALUES ('probe', $1, $2, $3)", doc_id, scopes_in, scopes_out
    )
    await connection.execute("NOTIFY zhijian_pending")


async def readable(connection: Any, scopes: Iterable[str]) -> dict[UUID, int]:
    rows = await connection.fetch("SELECT id, version FROM probe WHERE scopes && $1", list(scopes))
    return {row["id"]: row["version"] for row in rows}


@dataclass
class Terminal:
    """Holds documents by version, and the text of its checkpoint."""

    scopes: frozenset[str]
    token: str | None = None
    documents: dict[UUID, int] = field(default_factory=dict)

    async def plan(self, connection: Any, limit: int) -> PagePlan:
        head = await read_head(connection)
        state = decode(self.token, KEY, "probe") if self.token else None
        return plan_page(state, self.scopes, limit, head.epoch, head.pos, head.trimmed_pos)

    async def look(self, connection: Any, limit: int) -> tuple[list[Any], str]:
        """A page and the checkpoint after it; nothing is kept."""
        source = (await self.plan(connection, limit)).source("probe", first=2)
        sql = (
            f"SELECT d.doc_id, d.pos, d.ord, p.version, coalesce(p.scopes && $1, false) AS readable "
            f"FROM ({source.sql}) AS d LEFT JOIN probe AS p ON p.id = d.doc_id ORDER BY d.ord"
        )
        rows = await connection.fetch(sql, list(self.scopes), *source.args)
        state = source.next_state(rows[-1]["ord"] if rows else None, len(rows))
        return rows, encode(state, KEY, "probe")

    async def pull(self, connection: Any, limit: int) -> int:
        """Take one page; like RxDB, forget the checkpoint of an empty one."""
        rows, token = await self.look(connection, limit)
        for row in rows:
            if row["readable"]:
                self.documents[row["doc_id"]] = row["version"]
            else:
                self.documents.pop(row["doc_id"], None)
        self.token = token if rows else self.token
        return len(rows)

    async def catch_up(self, connection: Any, limit: int) -> None:
        """Pull until a page is short, as RxDB does."""
        for _ in range(1000):
            if await self.pull(connection, limit) < limit:
                return
        raise AssertionError("the pull never ends")


async def until(condition: Callable[[], Any], seconds: float) -> float:
    """Wait for the condition; the seconds that it took. Raises AssertionError when it takes longer than `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - started
