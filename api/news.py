"""What the pulls of one request share: one question tells which of their records have anything new."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from api.database import Database
from sync.pull import ROUND_SQL
from sync.token import TokenState


@dataclass(frozen=True)
class Answer:
    """The head of the feed, and the records that changed after the positions asked about, as one snapshot has them."""

    epoch: str
    pos: int
    changed: frozenset[str]


class News:
    """Gathers what the pulls of a request hold, and asks once for all that came in the same turn of the loop."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._asked: list[tuple[str, TokenState]] = []
        self._answer: asyncio.Task[Answer] | None = None

    async def head_if_nothing_new(self, record: str, state: TokenState) -> int | None:
        """The head's position where a terminal that holds `state`, and has nothing to sweep, would get an empty page."""
        self._asked.append((record, state))
        if self._answer is None:
            self._answer = asyncio.create_task(self._ask())
        answer = await self._answer
        known = answer.epoch == state.epoch and state.pos <= answer.pos
        return answer.pos if known and record not in answer.changed else None

    async def _ask(self) -> Answer:
        """Starts after all pulls that are ready have said what they hold; whoever comes later asks anew."""
        asked, self._asked, self._answer = self._asked, [], None
        records, positions = [record for record, _ in asked], [state.pos for _, state in asked]
        scopes = sorted({scope for _, state in asked for scope in state.scopes})  # more than each has: at worst a page for nothing
        row = await self.database.pool.fetchrow(ROUND_SQL, records, positions, scopes)
        assert row is not None  # the head is written by the first stamper
        return Answer(row["epoch"], row["pos"], frozenset(row["changed"]))
