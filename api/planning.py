"""Planning runs: started with all their inputs, worked on by one node at a time, each in a process of its own.

A run is taken with a lease that its node renews each second; whoever finds a lease run out takes the run up again, once. A node works
on one run at a time, others wait in order. A cancelled run is killed at the next renewal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.applications import Starlette

from api.settings import ROOT
from schema.actor import Actor, Role
from schema.planning import PlanKind
from schema.problems import Problem, Refused
from sync.identity import uuid7

LOOK_SECONDS = 1.0  # between looks for work
BEAT_SECONDS = 1.0  # between renewals of the lease
LEASE_SECONDS = 15.0
ATTEMPTS = 2
SPARE_SECONDS = 180.0  # above the solver's own limit, for the data around it
MOST_OPEN = 5  # runs of one person that wait or run
LINE_BYTES = 64 * 1024 * 1024  # the longest line of a worker
HIDDEN = ("ZHIJIAN_", "AWS_", "PG")  # what a worker need not know of the environment
WORKER = (sys.executable, "-m", "geo.plan_worker")

FULL = Problem("PLAN_LIMIT", f"您已有 {MOST_OPEN} 个规划在排队或计算，请等其完成或取消。", "kind")
UNKNOWN = Problem("PLAN_UNKNOWN", "没有这个规划，或不在您的辖区范围内。", "id")

log = logging.getLogger(__name__)

_MINE = f"""SELECT count(*) FROM planning_run WHERE user_id = :user AND state IN ('QUEUED', 'RUNNING') HAVING count(*) >= {MOST_OPEN}"""
_ADD = text("""
INSERT INTO planning_run (id, kind, area, parameters, inputs, inputs_digest, versions, user_id, created_at)
VALUES (:id, :kind, :area, CAST(:parameters AS jsonb), CAST(:inputs AS jsonb), :digest, CAST(:versions AS jsonb), :user, :now)""")
_SHOWN = """r.id::text, r.kind, r.area, a.name AS area_name, r.parameters::text, r.inputs_digest, r.versions::text, r.state, r.progress,
  r.message, r.user_id::text, r.created_at, r.started_at, r.ended_at"""
_SEEN = "(:everything OR a.chain && CAST(:scopes AS text[]))"
_ONE = text(f"SELECT {_SHOWN}, r.result::text FROM planning_run r LEFT JOIN area a ON a.code = r.area WHERE r.id::text = :id AND {_SEEN}")
_CANCEL = text("""
UPDATE planning_run SET state = 'CANCELLED', ended_at = :now, lease_until = NULL, runner = NULL
 WHERE id::text = :id AND state IN ('QUEUED', 'RUNNING') RETURNING id""")
_GIVE_UP = text(f"""
UPDATE planning_run SET state = 'FAILED', ended_at = clock_timestamp(), message = '计算节点多次中断', lease_until = NULL, runner = NULL
 WHERE state = 'RUNNING' AND lease_until < clock_timestamp() AND attempts >= {ATTEMPTS}""")
_LEASE = f"clock_timestamp() + interval '{LEASE_SECONDS:g} seconds'"
_TAKE = text(f"""
UPDATE planning_run SET state = 'RUNNING', runner = :runner, attempts = attempts + 1, lease_until = {_LEASE}, progress = 0, message = '',
       started_at = coalesce(started_at, clock_timestamp())
 WHERE id = (SELECT id FROM planning_run WHERE state = 'QUEUED' OR (state = 'RUNNING' AND lease_until < clock_timestamp())
              ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id::text, kind, inputs::text""")
_BEAT = text(f"""
UPDATE planning_run SET lease_until = {_LEASE}, progress = :progress, message = :message
 WHERE id::text = :id AND runner = :runner AND state = 'RUNNING' RETURNING id""")
_END = text("""
UPDATE planning_run SET state = :state, result = CAST(:result AS jsonb), message = :message, ended_at = clock_timestamp(),
       progress = CASE WHEN :state = 'DONE' THEN 1 ELSE progress END, lease_until = NULL, runner = NULL
 WHERE id::text = :id AND runner = :runner AND state = 'RUNNING'""")
_BACK = text("""
UPDATE planning_run SET state = 'QUEUED', attempts = attempts - 1, lease_until = NULL, runner = NULL
 WHERE runner = :runner AND state = 'RUNNING'""")


async def add(
    connection: AsyncConnection, actor: Actor, kind: PlanKind, area: str, told: Mapping[str, Any], made: Inputs, now: datetime
) -> str:
    """A new run, waiting; its id. Raises Refused: PLAN_LIMIT."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('plan:' || :user, 0))"), {"user": actor.user_id})
    if (await connection.execute(text(_MINE), {"user": actor.user_id})).first():
        raise Refused(FULL)
    run_id = uuid7(now)
    inputs = orjson.dumps(made.inputs, option=orjson.OPT_SORT_KEYS)
    values = {
        "id": run_id,
        "kind": kind.value,
        "area": area,
        "parameters": orjson.dumps(told).decode(),
        "inputs": inputs.decode(),
        "digest": hashlib.sha256(inputs).hexdigest(),
        "versions": orjson.dumps(made.versions).decode(),
        "user": actor.user_id,
        "now": now,
    }
    await connection.execute(_ADD, values)
    return run_id


@dataclass(frozen=True)
class Inputs:
    """What is computed with, and of which day and version it is."""

    inputs: dict[str, Any]
    versions: dict[str, Any]


def _sees(actor: Actor) -> dict[str, Any]:
    return {"everything": actor.role is Role.ADMIN, "scopes": list(actor.scopes)}


async def find(connection: AsyncConnection, actor: Actor, run_id: str) -> RowMapping:
    """A run of an area of the actor. Raises Refused: PLAN_UNKNOWN."""
    found = (await connection.execute(_ONE, {"id": run_id.lower(), **_sees(actor)})).mappings().first()
    if found is None:
        raise Refused(UNKNOWN)
    return found


async def runs(connection: AsyncConnection, actor: Actor, area: str, first: int, after: str | None) -> list[RowMapping]:
    """Runs of an area and below it, newest first, without their results."""
    inside = "" if area == "000000" else " AND a.chain @> ARRAY[:area]"
    older = "" if after is None else " AND r.id::text < :after"
    query = f"""SELECT {_SHOWN}, NULL AS result FROM planning_run r LEFT JOIN area a ON a.code = r.area
      WHERE {_SEEN}{inside}{older} ORDER BY r.id DESC LIMIT :first"""
    values = {"area": area, "first": first, "after": after, **_sees(actor)}
    return list((await connection.execute(text(query), values)).mappings())


async def cancel(connection: AsyncConnection, run_id: str, now: datetime) -> bool:
    """Whether it was still to be cancelled."""
    return (await connection.execute(_CANCEL, {"id": run_id, "now": now})).first() is not None


# --- the work ---------------------------------------------------------------------------------------------------------------


async def keep(app: Starlette) -> None:
    """Works on planning runs until cancelled."""
    await Runner(app.state.database.engine, app.state.settings.data).run()


class Runner:
    """One node's hands: one run at a time."""

    def __init__(self, engine: AsyncEngine, data: Path, worker: tuple[str, ...] = WORKER) -> None:
        self.engine = engine
        self.data = data
        self.worker = worker
        self.name = secrets.token_hex(8)

    async def run(self) -> None:
        try:
            while True:
                try:
                    worked = await self.step()
                except (SQLAlchemyError, OSError) as error:  # the database is away; the lease runs out by itself
                    log.warning("planning: %s, trying again", type(error).__name__)
                    worked = False
                if not worked:
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            with contextlib.suppress(SQLAlchemyError, OSError):
                await asyncio.shield(self._give_back())

    async def step(self) -> bool:
        """Takes the next run and carries it out; whether there was one."""
        async with self.engine.begin() as connection:
            await connection.execute(_GIVE_UP)
            taken = (await connection.execute(_TAKE, {"runner": self.name})).mappings().first()
        if taken is None:
            return False
        ended = await _Work(self, taken["id"], taken["kind"], json.loads(taken["inputs"])).done()
        if ended is not None:
            async with self.engine.begin() as connection:
                await connection.execute(_END, {"id": taken["id"], "runner": self.name, **ended})
        return True

    async def beat(self, run_id: str, progress: float, message: str) -> bool:
        """Renews the lease; whether the run is still ours to do."""
        values = {"id": run_id, "runner": self.name, "progress": progress, "message": message[:200]}
        async with self.engine.begin() as connection:
            return (await connection.execute(_BEAT, values)).first() is not None

    async def _give_back(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(_BACK, {"runner": self.name})


class _Work:
    """One run in its process."""

    def __init__(self, runner: Runner, run_id: str, kind: str, inputs: dict[str, Any]) -> None:
        self.runner = runner
        self.run_id = run_id
        self.order = {"kind": kind, "inputs": inputs, "data": str(runner.data)}
        self.seconds = float(inputs.get("seconds", 0)) + SPARE_SECONDS
        self.progress, self.message = 0.0, ""
        self.last: dict[str, Any] = {}

    async def done(self) -> dict[str, Any] | None:
        """State, result and message at its end; None if it is no longer ours."""
        process = await asyncio.create_subprocess_exec(
            *self.runner.worker,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES,
        )
        hearing = asyncio.create_task(self._hear(process))
        try:
            ours = await self._beat_until(hearing)
            if not hearing.done() or hearing.exception():
                process.kill()
            code = await process.wait()
        finally:
            hearing.cancel()
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with contextlib.suppress(asyncio.CancelledError, OSError, ValueError):
                await hearing
            await process.wait()
        return self._ended(code) if ours else None

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps(self.order) + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        async for line in process.stdout:
            self.last = json.loads(line)
            self.progress = self.last.get("progress", self.progress)
            self.message = self.last.get("message", self.message)

    async def _beat_until(self, hearing: asyncio.Task[None]) -> bool:
        """Until the process says no more, or has had its time; False once the run is cancelled, or another's."""
        end = monotonic() + self.seconds
        while not (await asyncio.wait({hearing}, timeout=BEAT_SECONDS))[0]:
            if not await self.runner.beat(self.run_id, self.progress, self.message):
                return False
            if monotonic() > end:
                self.last = {"error": "计算超时"}
                return True
        return True

    def _ended(self, code: int) -> dict[str, Any]:
        if "result" in self.last:
            return {"state": "DONE", "result": orjson.dumps(self.last["result"]).decode(), "message": ""}
        said = self.last.get("error") or f"计算进程异常结束（{signal.Signals(-code).name if code < 0 else code}）"
        return {"state": "FAILED", "result": None, "message": said[:1000]}
