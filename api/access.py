"""Changed grants and revoked devices reach every node at once: each listens, forgets what it believed of that person, and looks again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.applications import Starlette

from sync.feed import LOST, release

CHANNEL = "zhijian_access"
RETRY_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0

_TELL = text(f"SELECT pg_notify('{CHANNEL}', :user)")
log = logging.getLogger(__name__)


async def tell(connection: AsyncConnection, user_id: str) -> None:
    """With the commit: whatever was known of this person's access is to be asked again."""
    await connection.execute(_TELL, {"user": user_id})


async def watch(app: Starlette) -> None:
    """Listens until cancelled; after a lost connection everybody is looked at again."""
    while True:
        try:
            await _session(app)
        except (TimeoutError, *LOST) as lost:
            log.warning("access: connection lost (%s), trying again", type(lost).__name__)
            await asyncio.sleep(RETRY_SECONDS)


async def _session(app: Starlette) -> None:
    connection = await app.state.database.connect()
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, user: _doubt(app, str(user)))
        _doubt(app, None)
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), HEARTBEAT_SECONDS)
            await connection.execute("SELECT", timeout=HEARTBEAT_SECONDS)
    finally:
        await release(connection)


def _doubt(app: Starlette, user_id: str | None) -> None:
    app.state.accounts.forget(user_id)
    sockets: Any = app.state.sockets
    sockets.doubt(user_id)
