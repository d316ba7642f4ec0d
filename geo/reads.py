"""What bulk reads are done with: PostgreSQL builds the bytes, nothing stands between."""

from __future__ import annotations

from typing import Any, Protocol


class Reads(Protocol):
    """A pool or connection of asyncpg."""

    async def fetchrow(self, sql: str, *values: Any) -> Any: ...

    async def fetch(self, sql: str, *values: Any) -> Any: ...
