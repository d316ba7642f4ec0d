"""A small county with people, the whole app on a port of its own, and plain GraphQL clients that pull and push as RxDB does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette

from api.accounts import create_user
from api.app import build
from api.settings import Settings, engine_url
from schema.actor import Role
from schema.areas import area
from sync.identity import uuid7
from tests.serving import client, listening

PASSWORD = "right horse"
AREAS = (
    ("220000", "吉林省", "province", None),
    ("220100", "长春市", "city", "220000"),
    ("220102", "南关区", "county", "220100"),
    ("220103", "宽城区", "county", "220100"),
    ("110000", "北京市", "province", None),
    ("110101", "东城区", "county", "110000"),
)
PEOPLE = (
    ("root", Role.ADMIN, ["000000"]),
    ("boss", Role.SUPERVISOR, ["220100"]),
    ("far", Role.SUPERVISOR, ["110000"]),
    ("ins", Role.INSPECTOR, ["220102"]),
    ("other", Role.INSPECTOR, ["220103"]),
)
_AREA = area.insert().values(full_name="", tree="division", valid_from=date(1980, 1, 1), layers=[], source="test")
_COPY = text("""WITH made AS (
    INSERT INTO user_account (id, username, password_hash, role) SELECT gen_random_uuid(), :name, password_hash, :role
    FROM user_account WHERE username = 'root' RETURNING id)
  INSERT INTO user_grant (user_id, scope) SELECT id, unnest(CAST(:grants AS text[])) FROM made""")
FIELDS = "id name areaCode contactPhone remark visits hazards revision stamp deleted"
LOGIN = """mutation ($username: String!, $password: String!, $device: DeviceInput!) {
  login(username: $username, password: $password, device: $device) { accessToken refreshToken user { id areas { code } } } }"""
PULL = f"""query ($checkpoint: CheckpointInput, $limit: Int!) {{
  pullEnterprise(checkpoint: $checkpoint, limit: $limit) {{ documents {{ {FIELDS} }} checkpoint {{ token }} }} }}"""
PUSH = f"mutation ($rows: [EnterprisePushRow!]!) {{ pushEnterprise(rows: $rows) {{ {FIELDS} }} }}"

Document = dict[str, Any]


async def prepare(url: str) -> None:
    """Areas and people; the small hours of a database."""
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    parents = {code: parent for code, _, _, parent in AREAS}
    async with engine.begin() as connection:
        rows = [{"code": c, "name": n, "level": level, "parent_code": p, "chain": _chain(c, parents)} for c, n, level, p in AREAS]
        await connection.execute(_AREA, rows)
        first, *others = PEOPLE
        await create_user(connection, first[0], PASSWORD, first[1], first[2])
        await connection.execute(_COPY, [{"name": name, "role": role, "grants": grants} for name, role, grants in others])
    await engine.dispose()


def _chain(code: str | None, parents: dict[str, str | None]) -> list[str]:
    return [code, *_chain(parents[code], parents)] if code else []


@dataclass
class World:
    app: Starlette
    http: httpx.AsyncClient
    url: str

    async def ask(self, query: str, variables: Document | None = None, token: str | None = None, **headers: str) -> Document:
        """The whole answer."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.http.post("/graphql", json={"query": query, "variables": variables or {}}, headers=headers)
        found: Document = answer.json()
        return found

    async def sign_in(self, username: str, device: str | None = None) -> Client:
        client = Client(self, username, device or f"{username}-1")
        await client.sign_in()
        return client

    async def scalar(self, statement: str, **values: Any) -> Any:
        async with self.app.state.database.engine.connect() as connection:
            return await connection.scalar(text(statement), values)

    async def fetch(self, statement: str, **values: Any) -> list[Document]:
        async with self.app.state.database.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.app.state.database.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def stamped(self) -> None:
        """Returns when every change has its position."""
        await until(self._nothing_pending)

    async def _nothing_pending(self) -> bool:
        return not await self.scalar("SELECT EXISTS (SELECT FROM sync_pending)")

    async def again(self) -> None:
        """Returns when the servers' connections, which were ended, are replaced."""
        await until(self._ready)

    async def _ready(self) -> bool:
        return (await self.http.get("/readyz")).status_code == 200 and self.app.state.stamper.leading


@dataclass
class Client:
    """A terminal in miniature: what it holds of `enterprise`, and its checkpoint."""

    world: World
    username: str
    device: str
    token: str = ""
    refresh_token: str = ""
    user: Document = field(default_factory=dict)
    checkpoint: str | None = None
    held: dict[str, Document] = field(default_factory=dict)
    counter: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    async def sign_in(self) -> None:
        variables = {"username": self.username, "password": PASSWORD, "device": {"id": self.device}}
        answer = await self.world.ask(LOGIN, variables, None, **self.headers)
        session = answer["data"]["login"]
        self.token, self.refresh_token, self.user = session["accessToken"], session["refreshToken"], session["user"]

    async def ask(self, query: str, **variables: Any) -> Document:
        return await self.world.ask(query, variables, self.token, **self.headers)

    async def data(self, query: str, **variables: Any) -> Document:
        answer = await self.ask(query, **variables)
        assert "errors" not in answer, answer
        found: Document = answer["data"]
        return found

    async def pull(self, limit: int = 100) -> list[int]:
        """Pages until one is short, and how long each was; like RxDB it forgets the checkpoint of an empty one."""
        sizes: list[int] = []
        while not sizes or sizes[-1] == limit:
            sent = {"token": self.checkpoint} if self.checkpoint else None
            page = (await self.data(PULL, checkpoint=sent, limit=limit))["pullEnterprise"]
            sizes.append(len(page["documents"]))
            if page["documents"]:
                self.checkpoint = page["checkpoint"]["token"]
            for document in page["documents"]:
                self.take(document)
        return sizes

    def take(self, document: Document) -> None:
        if document["deleted"]:
            self.held.pop(document["id"], None)
        else:
            self.held[document["id"]] = document

    async def push(self, *rows: tuple[Document | None, Document]) -> list[Document]:
        """(assumed master, new state) pairs; the masters that differ, taken over."""
        sent = [{"assumedMasterState": assumed, "newDocumentState": new} for assumed, new in rows]
        found: list[Document] = (await self.data(PUSH, rows=sent))["pushEnterprise"]
        for _, new in rows:
            self.take(new)
        for document in found:
            self.take(document)
        return found

    def stamp(self) -> str:
        self.counter += 1
        return f"{self.device}:{self.counter}"

    def new(self, name: str, area_code: str = "220102", **values: Any) -> Document:
        at = {"id": uuid7(datetime.now(UTC)), "name": name, "areaCode": area_code, "status": "OPERATING", "source": "INSPECTION"}
        return {**at, "deleted": False, "stamp": self.stamp(), **values}

    def edited(self, document_id: str, **values: Any) -> tuple[Document, Document]:
        """A row to push: what is held, and the same with other values."""
        return self.held[document_id], {**self.held[document_id], "stamp": self.stamp(), **values}


@asynccontextmanager
async def serving(url: str, data: Path, **choices: Any) -> AsyncIterator[World]:
    """The whole app with its stamper and hub."""
    settings = Settings(database_url=url, data=data, **choices)
    app = build(settings)
    async with listening(app) as (address, _), client(address) as http:
        yield World(app, http, address)


def code(answer: Document) -> str:
    found: str = answer["errors"][0]["extensions"]["code"]
    return found


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Waits for the condition; TimeoutError when it takes longer."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition is somebody else's to make true
            await asyncio.sleep(0.01)
