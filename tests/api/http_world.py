"""A small schema, a database with accounts, and a real server around them, for the tests of the edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import orjson
import strawberry
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from strawberry import Info

from api.accounts import create_user
from api.accounts_graphql import AccountMutation, AccountQuery
from api.app import build
from api.context import RequestContext
from api.graphql.types import CONFIG, JSON
from api.limits import Limits
from api.settings import Settings, engine_url
from schema.actor import Role
from schema.areas import area
from schema.problems import Problem, Refused
from tests.serving import client, listening

PASSWORD = "right horse"
PHONE = "13800138000"
AREAS = (("220000", "吉林省", "province"), ("220102", "南关区", "county"), ("110000", "北京市", "province"))

PEOPLE: tuple[tuple[str, Role, list[str], bool, bool], ...] = (
    ("ins", Role.INSPECTOR, ["220102", "enterprise:7"], True, False),
    ("nation", Role.CDC, ["000000"], True, False),
    ("demo", Role.ADMIN, [], True, True),
    ("gone", Role.INSPECTOR, ["220102"], False, False),
)
_COPY = """WITH made AS (
    INSERT INTO user_account (id, username, password_hash, role, active, demo)
    SELECT gen_random_uuid(), :name, password_hash, :role, :active, :demo FROM user_account WHERE username = 'boss' RETURNING id)
  INSERT INTO user_grant (user_id, scope) SELECT id, unnest(CAST(:grants AS text[])) FROM made"""

_AREA = area.insert().values(full_name="", tree="division", valid_from=date(1980, 1, 1), chain=[], layers=[], source="test")


@strawberry.type
class Node:
    name: str = "node"

    @strawberry.field
    def node(self) -> Node:
        return Node()

    @strawberry.field
    def secret(self) -> str:
        raise RuntimeError(f"quotes {PHONE}")


@strawberry.type
class Query(AccountQuery):
    @strawberry.field
    def hello(self) -> str:
        return "hello"

    @strawberry.field
    def node(self) -> Node:
        return Node()

    @strawberry.field
    def echo(self, value: str) -> str:
        return value

    @strawberry.field
    def json(self, value: JSON) -> JSON:
        return value

    @strawberry.field
    def boom(self) -> str | None:
        raise RuntimeError(f"quotes {PHONE}")

    @strawberry.field
    def refused(self) -> str | None:
        raise Refused(Problem("FIRST", "First reason.", "phone"), Problem("SECOND", "Second reason."))

    @strawberry.field
    def fragment(self) -> JSON:
        return orjson.Fragment(b'{"as":"is"}')  # type: ignore[return-value]

    @strawberry.field
    def large(self) -> str:
        return "0123456789" * 1000


@strawberry.type
class Mutation(AccountMutation):
    @strawberry.mutation
    def touch(self) -> bool:
        return True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def wake(self, info: Info[RequestContext, None]) -> AsyncGenerator[str, None]:
        info.context.signed_in()
        yield "RESYNC"
        await asyncio.Event().wait()

    @strawberry.subscription
    async def broken(self) -> AsyncGenerator[str, None]:
        yield "RESYNC"
        raise RuntimeError("lost the feed")

    @strawberry.subscription
    async def ending(self) -> AsyncGenerator[str, None]:
        yield "RESYNC"


SCHEMA = strawberry.Schema(Query, Mutation, Subscription, config=CONFIG)


@dataclass
class World:
    app: Starlette
    client: httpx.AsyncClient
    url: str
    server: uvicorn.Server

    async def ask(self, query: str, variables: dict[str, Any] | None = None, token: str | None = None, **headers: str) -> dict[str, Any]:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        found: dict[str, Any] = answer.json()
        return found

    async def scalar(self, statement: str, **values: Any) -> Any:
        async with self.app.state.database.engine.connect() as connection:
            return await connection.scalar(text(statement), values)

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.app.state.database.engine.begin() as connection:
            await connection.execute(text(statement), values)


async def prepare(url: str) -> None:
    """A few areas and people: boss (supervisor of Jilin), ins (inspector of 220102), nation, demo, gone."""
    engine = create_async_engine(engine_url(url))
    async with engine.begin() as connection:
        await connection.execute(_AREA, [{"code": code, "name": name, "level": level} for code, name, level in AREAS])
        await create_user(connection, "boss", PASSWORD, Role.SUPERVISOR, ["220000"])
        await connection.execute(text(_COPY), [dict(zip(("name", "role", "grants", "active", "demo"), row, strict=True)) for row in PEOPLE])
    await engine.dispose()


@asynccontextmanager
async def serving(
    url: str, data: Path, *, schema: strawberry.Schema | None = SCHEMA, limits: Limits | None = None, listen: int = 0, **choices: Any
) -> AsyncIterator[World]:
    settings = Settings(database_url=url, data=data, **choices)
    app = build(settings, schema, parts=(), routes=(), limits=limits)
    async with listening(app, listen) as (address, server), client(address) as http:
        yield World(app, http, address, server)


LOGIN = """mutation($username: String!, $password: String!, $device: DeviceInput!) {
  login(username: $username, password: $password, device: $device) {
    accessToken refreshToken expiresAt user { id username role areas { code name } } } }"""
REFRESH = "mutation($token: String!) { refresh(refreshToken: $token) { accessToken refreshToken } }"


async def login(world: World, username: str = "boss", password: str = PASSWORD, device: str = "device-1") -> dict[str, Any]:
    """The whole answer."""
    return await world.ask(LOGIN, {"username": username, "password": password, "device": {"id": device}})


async def session(world: World, username: str = "boss", device: str = "device-1") -> dict[str, Any]:
    answer = await login(world, username, device=device)
    found: dict[str, Any] = answer["data"]["login"]
    return found


def code(answer: dict[str, Any]) -> str:
    found: str = answer["errors"][0]["extensions"]["code"]
    return found
