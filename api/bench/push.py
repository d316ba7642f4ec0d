"""Topic `push`: new documents through merge, feed, history and audit, beside a plain insert of the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from api.bench.client import Client, body
from api.bench.field import OURS, PLAIN, Field, Race, require
from api.bench.plain import SERVER_OWNED
from api.bench.processes import resident_megabytes
from api.bench.report import Figure, Rounds
from api.bench.stock import PUSH
from api.graphql.names import camel
from schema.base import Document

PLAIN_PUSH = "mutation ($rows: [EnterpriseInput!]!) { insertEnterprises(rows: $rows) }"


async def push(field: Field) -> list[Figure]:
    """New documents with stamps, from one terminal and from four; the plain reference inserts the same, and does nothing else.

    Our turn ends when the feed has given out the last position. Indicators and maps, which wait for the end of a flood, are brought
    up before the plain one's turn: `values` says how long after ours they were, and what that cost.
    """
    before, figures = await _counts(field), []
    pushed = 0
    for batch, batches, terminals in field.sizes.pushes:
        topic = f"push.{batch}" + (f".at{terminals}" if terminals > 1 else "")
        race = _PushRace(field, topic)
        for number, each in enumerate((_PushRace(field, "warm-up"), *[race] * field.rounds)):
            field.tell(f"{topic}: round {number} of {field.rounds}")
            await _push_round(field, each, (batch, batches, terminals))
            pushed += batch * batches
        figures += race.figures()
    await _require_arrived(field, before, pushed)
    return [*figures, Figure("push.memory.after", round(resident_megabytes(field.processes[OURS]), 1), "MB")]


class _PushRace(Race):
    """And what comes after: the values that the new documents change."""

    def __init__(self, field: Field, topic: str) -> None:
        super().__init__(field, topic, "docs/s")
        self.later = Rounds(f"{topic}.values", "s after", less_is_better=True)
        self.effort = Rounds(f"{topic}.values.cpu", "ms per 1,000 docs", less_is_better=True)

    async def follow(self, count: int) -> None:
        spent, began = self.field.spent(OURS), perf_counter()
        await self.field.kept_up()
        self.later.add(OURS, perf_counter() - began)
        self.effort.add(OURS, (self.field.spent(OURS) - spent) * 1000 / count)

    def figures(self) -> list[Figure]:
        return [*super().figures(), *self.later.figures(), *self.effort.figures()]


async def _push_round(field: Field, race: _PushRace, size: tuple[int, int, int]) -> None:
    batch, batches, terminals = size
    sent = [field.stock.rows(field.stock.take(batch)) for _ in range(batches)]
    mine = [body(PUSH, rows=rows) for rows in sent]
    theirs = [body(PLAIN_PUSH, rows=_states(rows)) for rows in sent]
    async with AsyncExitStack() as stack:
        ours, plain = [[await stack.enter_async_context(field.client(name)) for _ in range(terminals)] for name in (OURS, PLAIN)]
        await race.turn(OURS, lambda: _push_until_stamped(ours, mine, batch, field))
        await race.follow(batch * batches)
        await race.turn(PLAIN, lambda: _push(plain, theirs, batch))


async def _push_until_stamped(clients: Sequence[Client], contents: Sequence[bytes], batch: int, field: Field) -> int:
    count = await _push(clients, contents, batch)
    await stamped(field)
    return count


async def stamped(field: Field) -> None:
    """Until every change has its position."""
    while await field.connection.fetchval("SELECT EXISTS (SELECT FROM sync_pending)"):  # noqa: ASYNC110 - another process empties it
        await asyncio.sleep(0.002)


async def _push(clients: Sequence[Client], contents: Sequence[bytes], batch: int) -> int:
    waiting = iter(contents)
    await asyncio.gather(*(_push_from(client, waiting) for client in clients))
    return len(contents) * batch


async def _push_from(client: Client, waiting: Iterator[bytes]) -> None:
    for content in waiting:  # shared by the terminals: each takes the next
        answer = await client.post(content)
        require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))


def _states(rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    owned = {camel(name) for name in SERVER_OWNED}
    return [{name: value for name, value in row["newDocumentState"].items() if name not in owned} for row in rows]


async def _counts(field: Field) -> tuple[int, int]:
    return await field.count("SELECT count(*) FROM enterprise"), await field.count("SELECT count(*) FROM sync_conflict")


async def _require_arrived(field: Field, before: tuple[int, int], pushed: int) -> None:
    found = await _counts(field)
    require(found == (before[0] + pushed, before[1]), f"{pushed} more enterprises and no conflict than {before}, got {found}")
