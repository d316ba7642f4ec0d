"""The moment of a write, passed in so that nothing below reads a clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from schema.values import timestamp


@dataclass(frozen=True)
class Moment:
    """`now` on the server; `offset_ms` is server clock minus device clock, as measured."""

    now: datetime
    offset_ms: int = 0

    @cached_property
    def ms(self) -> int:
        return int(self.now.timestamp() * 1000)

    @cached_property
    def text(self) -> str:
        return timestamp(self.now)
