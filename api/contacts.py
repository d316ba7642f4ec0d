"""What each contact with a device tells: that it was there, how its clock goes, how far it holds the feed. Written in batches.

A node keeps a few seconds of it in memory; a crash loses no more than that, and nobody decides by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.database import Database

FLUSH_SECONDS = 2.0
TRAVEL_MS = 5000  # what a request may spend on its way: less than this says nothing about a clock that is set by the network
LARGEST_OFFSET_MS = 10 * 365 * 86_400_000  # a clock further off than ten years says nothing

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Contact:
    seen_at: datetime
    offset_ms: int | None = None
    held_pos: int | None = None
    held_at: datetime | None = None


class Contacts:
    """Contacts that are not in the database yet, by device."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.waiting: dict[str, Contact] = {}

    def seen(self, device_id: str, now: datetime, offset_ms: int | None = None) -> None:
        contact = self.waiting.setdefault(device_id, Contact(now))
        contact.seen_at = now
        contact.offset_ms = contact.offset_ms if offset_ms is None else offset_ms

    def holds(self, device_id: str, pos: int, now: datetime) -> None:
        """A pull of this device reached the head of the feed at `pos`."""
        contact = self.waiting.setdefault(device_id, Contact(now))
        contact.held_pos, contact.held_at = max(pos, contact.held_pos or 0), now

    async def flush(self) -> None:
        if not self.waiting:
            return
        taken, self.waiting = self.waiting, {}
        rows = [(name, c.seen_at, c.offset_ms, c.held_pos, c.held_at) for name, c in sorted(taken.items())]
        names, seen, offsets, held, held_at = (list(column) for column in zip(*rows, strict=True))
        values: dict[str, Any] = {"names": names, "seen": seen, "offsets": offsets, "held": held, "held_at": held_at}
        async with self.database.engine.begin() as connection:
            await connection.execute(_FLUSH, values)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._flush_for_ever())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._try()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.flush()
        except (SQLAlchemyError, OSError) as error:  # the next contact tells it again
            log.warning("contacts not kept: %s", type(error).__name__)


def measured(header: str | None, arrived_ms: int) -> int | None:
    """Server's clock minus the device's in ms, from `X-Device-Clock` (ms since 1970); None where it says nothing."""
    if not header or not header.isascii() or not header.isdigit() or len(header) > 15:
        return None
    offset = arrived_ms - int(header)
    if abs(offset) < TRAVEL_MS:
        return 0
    return offset if abs(offset) <= LARGEST_OFFSET_MS else None


_FLUSH = text(
    """UPDATE device d SET last_seen_at = greatest(d.last_seen_at, c.seen),
      clock_offset_ms = coalesce(c.moved, d.clock_offset_ms),
      clock_measured_at = CASE WHEN c.moved IS NULL THEN d.clock_measured_at ELSE c.seen END,
      held_pos = coalesce(c.held, d.held_pos), held_at = coalesce(c.held_at, d.held_at)
    FROM unnest(CAST(:names AS text[]), CAST(:seen AS timestamptz[]), CAST(:offsets AS bigint[]), CAST(:held AS bigint[]),
      CAST(:held_at AS timestamptz[])) AS c(id, seen, moved, held, held_at)
    WHERE d.id = c.id AND d.revoked_at IS NULL"""
)
