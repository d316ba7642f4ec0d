"""A real server process over one small county, and sessions for as many terminals as one likes."""

from __future__ import annotations

import asyncio
import itertools
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from api.server_process import ServerProcess
from api.settings import Settings
from api.tokens import Keys, Whose, issue

COUNTY = "220102"
DOCUMENTS = 300
_PEOPLE = """WITH person AS (
    INSERT INTO user_account (id, username, password_hash, role) SELECT gen_random_uuid(), 'officer' || n, '', 'INSPECTOR'
    FROM generate_series(1, $1) AS n RETURNING id, username),
  granted AS (INSERT INTO user_grant (user_id, scope) SELECT id, '220102' FROM person),
  tool AS (INSERT INTO device (id, user_id) SELECT 'device-' || username, id FROM person)
  SELECT id::text, 'device-' || username AS device FROM person"""
_FAMILIES = """INSERT INTO auth_family (id, user_id, device_id, started_at, expires_at)
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])"""
_AREA = """INSERT INTO area (code, name, full_name, level, tree, valid_from, chain, layers, source)
  VALUES ('220102', '南关区', '', 'county', 'division', '1980-01-01', '{220102,220000}', '{}', 'test')"""
_DOCUMENTS = """WITH made AS (
    INSERT INTO enterprise (id, name, area_code, status, revision, deleted, created_at, updated_at, scopes)
    SELECT gen_random_uuid(), '厂' || n, '220102', 'OPERATING', 1, false, now(), now(), '{220102,220000}' FROM generate_series(1, $1) AS n
    RETURNING id)
  INSERT INTO sync_pending (record, doc_id, scopes_in) SELECT 'enterprise', id, '{220102,220000}' FROM made"""
_numbers = itertools.count()


@dataclass
class Yard:
    server: ServerProcess
    database_url: str
    tokens: list[str]

    @property
    def port(self) -> int:
        return self.server.settings.port

    async def touch(self) -> None:
        """A change that wakes the whole county."""
        connection = await asyncpg.connect(self.database_url)
        await connection.execute(_DOCUMENTS, 1)
        await connection.execute("SELECT pg_notify('zhijian_pending', '')")
        await connection.close()


async def add_county(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.execute(_AREA)
    await connection.execute(_DOCUMENTS, DOCUMENTS)


async def people(url: str, data: Path, count: int) -> list[str]:
    """Access tokens of `count` officers, each on a device of his own; made as a log-in would, without the work of the password."""
    keys = Keys(data / "keys")
    keys.load()
    connection = await asyncpg.connect(url)
    await add_county(connection)
    rows = await connection.fetch(_PEOPLE, count)
    now = datetime.now(UTC)
    families = [str(uuid.uuid4()) for _ in rows]
    moments = [now] * count, [now + timedelta(days=1)] * count
    await connection.execute(_FAMILIES, families, [row["id"] for row in rows], [row["device"] for row in rows], *moments)
    await connection.close()
    return [issue(keys, Whose(row["id"], row["device"], family), now)[0] for row, family in zip(rows, families, strict=True)]


def started(settings: Settings, url: str, data: Path, terminals: int) -> Yard:
    here = Settings(database_url=url, port=_free_port(), data=data)
    tokens = asyncio.run(people(url, data, terminals))
    server = ServerProcess(here)
    server.start()
    server.wait_ready()
    return Yard(server, url, tokens)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
