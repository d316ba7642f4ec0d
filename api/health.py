"""Is the process alive (/healthz), and can it serve (/readyz)?"""

from __future__ import annotations

import asyncio
from functools import cache

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.database import Database
from api.errors import log_bug
from api.settings import ROOT

STALLED_SECONDS = 10.0
PATIENCE = 5  # seconds; a load balancer asks again


async def healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """503 with a reason while the database is out of reach or not migrated; a warning while nobody stamps, which no other node heals."""
    if reason := await unready(request.app.state.database):
        return JSONResponse({"status": "unready", "reason": reason}, 503)
    waiting: float = getattr(request.app.state, "feed_lag_seconds", 0.0)
    if waiting < STALLED_SECONDS:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "ok", "warning": f"feed stalled: a change has waited {waiting:.0f} s for its position"})


async def unready(database: Database) -> str:
    """Why this node can't serve; "" if it can."""
    try:
        async with asyncio.timeout(PATIENCE), database.engine.connect() as connection:
            return await _behind(connection)
    except Exception as error:  # whatever it is, the answer is "not now"
        log_bug(error)
        return "database unreachable"


async def _behind(connection: AsyncConnection) -> str:
    if await connection.scalar(text("SELECT to_regclass('alembic_version') IS NULL")):
        return "database not migrated"
    found = set(await connection.scalars(text("SELECT version_num FROM alembic_version")))
    return "" if found and found >= heads() else "database not migrated to the version of this program"


@cache
def heads() -> frozenset[str]:
    """The newest migrations of this program; empty where the folder has none."""
    folder = ROOT / "schema" / "migrations"
    return frozenset(ScriptDirectory(str(folder)).get_heads()) if (folder / "env.py").exists() else frozenset()
