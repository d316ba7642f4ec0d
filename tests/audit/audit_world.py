"""Two invented counties, people of several roles, and the real schema asked directly."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import Accounts
from api.app import whole_schema
from api.audit import faults_of
from api.context import RequestContext
from api.database import Database
from api.documents import Documents, Invalid, choose
from api.graphql.names import pascal
from api.limits import Limits
from api.settings import Settings
from api.tokens import Keys
from schema.actor import Actor, Role
from schema.base import Document
from schema.registry import load
from sync.audit import Chainer, Fault
from sync.feed import drain
from sync.identity import uuid7
from sync.moment import Moment
from sync.rows import Row, Sent
from sync.write import apply

COUNTY, OTHER = "220102", "220103"
AREAS = {
    "220000": ["220000"],
    COUNTY: [COUNTY, "220100", "220000"],
    OTHER: [OTHER, "220100", "220000"],
    "220102001": ["220102001", COUNTY, "220100", "220000"],
}
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
_clock = itertools.count()
_AREA = text(
    "INSERT INTO area (code, name, full_name, level, tree, valid_from, chain, layers, source)"
    " VALUES (:code, :code, '', 'county', 'division', '1980-01-01', :chain, '{}', 'test')"
)
_USER = text("INSERT INTO user_account (id, username, password_hash, role, display_name) VALUES (:id, :name, '', :role, :shown)")
_DEVICE = text("INSERT INTO device (id, user_id, name) VALUES (:id, :user, '终端')")


def new_id() -> str:
    return uuid7(NOW)


@dataclass
class World:
    database: Database
    documents: Documents
    accounts: Accounts
    settings: Settings
    url: str

    async def person(self, role: Role, *areas: str) -> Actor:
        """Somebody new with an account and a device."""
        user_id = new_id()
        name = f"{role.value.lower()}-{user_id[-6:]}"
        inbox = [f"inbox:{role.value}:{area}" for area in areas]
        async with self.database.engine.begin() as connection:
            await connection.execute(_USER, {"id": user_id, "name": name, "role": role, "shown": f"甲{name[-3:]}"})
            await connection.execute(_DEVICE, {"id": f"device-{user_id}", "user": user_id})
        return Actor(user_id, name, role, (*areas, f"user:{user_id}", *inbox), f"device-{user_id}")

    async def apply(self, connection: AsyncConnection, actor: Actor, sent: Sequence[Sent], name: str = "enterprise") -> list[Row]:
        return await apply(connection, actor, load()[name], sent, moment=Moment(self.now()), registry=load())

    async def write(self, actor: Actor, name: str, *sent: Sent) -> list[Row]:
        async with self.database.engine.begin() as connection:
            return await self.apply(connection, actor, sent, name)

    async def put(self, actor: Actor, name: str, /, **values: Any) -> str:
        """A new document; its id."""
        row_id = new_id()
        (row,) = await self.write(actor, name, Sent(None, {"id": row_id, **values}))
        assert not row.problems, row.problems
        return row_id

    async def change(self, actor: Actor, name: str, row_id: str, /, **values: Any) -> Row:
        return (await self.write(actor, name, Sent({}, {"id": row_id, **values}, partial=True)))[0]

    async def enterprise(self, actor: Actor, area: str = "220102001", **values: Any) -> str:
        return await self.put(actor, "enterprise", **{"name": "长春市虚构机械厂", "area_code": area, "status": "OPERATING"} | values)

    async def ask(self, actor: Actor | None, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer, as it would leave the server."""
        prepared = self.documents.prepare(query)
        assert not isinstance(prepared, Invalid), prepared
        context = RequestContext(actor, self.database, self.settings, self.accounts, self.now())
        body = await self.documents.run(prepared, choose(prepared, None), dict(variables or {}), context)
        answer: dict[str, Any] = orjson.loads(orjson.dumps(body))
        return answer

    async def save(self, actor: Actor, name: str, values: Document) -> dict[str, Any]:
        kind = pascal(name)
        return await self.ask(actor, f"mutation($input: {kind}Input!) {{ save{kind}(input: $input) {{ id }} }}", {"input": values})

    def now(self) -> datetime:
        return NOW + timedelta(seconds=next(_clock))

    async def drain(self) -> None:
        async with self.database.pool.acquire() as connection:
            await drain(connection)

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return list(await self.database.pool.fetch(sql, *values))

    async def execute(self, sql: str, *values: Any) -> None:
        await self.database.pool.execute(sql, *values)

    async def tamper(self, *statements: str) -> None:
        """As a superuser behind the triggers' backs."""
        async with self.database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)

    async def faults_after(self, *statements: str) -> list[Fault]:
        """What would be found after tampering, which is undone again."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.transaction().start()  # ends with the connection
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
            return await faults_of(connection)
        finally:
            await connection.close()

    async def chain(self, algorithm: str = "sha256", *, whole: bool = True) -> int:
        """Chains all, and looks until nothing can come any more: transactions of other tests on the same server end first."""
        chainer = Chainer(self.url, algorithm)
        done = await chainer.drain() + await chainer.drain()
        async with asyncio.timeout(30):
            while whole and not await self._complete():
                await asyncio.sleep(0.05)
                done += await chainer.drain()
        return done

    async def _complete(self) -> bool:
        last = (
            "SELECT coalesce((SELECT complete_to FROM audit_progress WHERE source = 'change'), 0) >= coalesce(max(id), 0) FROM sync_change"
        )
        return bool(await self.database.pool.fetchval(last))

    async def faults(self, kept: Mapping[str, tuple[int, str]] | None = None) -> list[Fault]:
        connection = await asyncpg.connect(self.url)
        try:
            return await faults_of(connection, kept)
        finally:
            await connection.close()


def codes(answer: Mapping[str, Any]) -> Sequence[str]:
    return [problem["code"] for error in answer.get("errors", ()) for problem in error["extensions"]["problems"]]


@asynccontextmanager
async def opened(url: str, data: Path) -> AsyncIterator[World]:
    settings = Settings(database_url=url, data=data)
    database = Database(url)
    await database.open()
    accounts = Accounts(database, Keys(data / "keys"), settings)
    accounts.keys.load()
    documents = Documents(whole_schema(), Limits())
    async with database.engine.begin() as connection:
        await connection.execute(_AREA, [{"code": code, "chain": chain} for code, chain in AREAS.items()])
    try:
        yield World(database, documents, accounts, settings, url)
    finally:
        await database.close()
