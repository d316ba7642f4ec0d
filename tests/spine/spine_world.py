"""Three invented counties, people of every role, and the real schema asked directly: documents, resolvers, write path, feed, database."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import text

from api import cluster
from api.accounts import Accounts
from api.app import whole_schema
from api.context import RequestContext
from api.database import Database
from api.documents import Documents, Invalid, choose
from api.graphql.names import camel, pascal
from api.graphql.schema import build_schema
from api.limits import Limits
from api.settings import Settings
from api.surface import MUTATIONS, QUERIES
from api.tokens import Keys
from schema.actor import Actor, Role
from schema.base import Document, Kind, Record
from schema.registry import Registry, load
from sync.feed import drain
from sync.identity import uuid7

INSIDE, OUTSIDE, ELSEWHERE = "220102", "220103", "110101"
AREAS = {
    "220000": ("220000",),
    "220100": ("220100", "220000"),
    INSIDE: (INSIDE, "220100", "220000"),
    OUTSIDE: (OUTSIDE, "220100", "220000"),
    "220102001": ("220102001", INSIDE, "220100", "220000"),
    "220102002": ("220102002", INSIDE, "220100", "220000"),
    "220103001": ("220103001", OUTSIDE, "220100", "220000"),
    "110000": ("110000",),
    ELSEWHERE: (ELSEWHERE, "110000"),
}
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
_clock = itertools.count()
_AREA = text(
    "INSERT INTO area (code, name, full_name, level, tree, valid_from, chain, layers, source)"
    " VALUES (:code, '虚构' || :code, '', 'county', 'division', '1980-01-01', :chain, '{}', 'test')"
)
Row = tuple[Document | None, Document]
"""assumedMasterState, newDocumentState: by GraphQL name."""


def new_id() -> str:
    return uuid7(NOW)


def person(role: Role, *areas: str, keys: Sequence[str] = (), device: str | None = "") -> Actor:
    """Somebody new; `device` "" is a device of their own."""
    user_id = new_id()
    inbox = [f"inbox:{role.value}:{area}" for area in areas]
    own_device = f"device-{user_id}" if device == "" else device
    return Actor(user_id, f"{role.value.lower()}-{user_id[-6:]}", role, (*areas, *keys, f"user:{user_id}", *inbox), own_device)


def sample(record: Record, /, **values: Any) -> Document:
    """The least document of `record` that its rules accept, by GraphQL name, with `values` by column name."""
    found: Document = {"id": new_id()}
    for column in record.columns:
        if column.name in values or not column.required:
            continue
        if column.choice:
            found[column.name] = column.default or column.choice.members[0][0]
        else:
            found[column.name] = {Kind.TEXT: "甲", Kind.AREA: INSIDE, Kind.TIMESTAMP: "2026-11-20T01:02:03.5+00:00"}.get(column.kind)
    return {camel(name): value for name, value in (found | values).items()}


@dataclass
class World:
    database: Database
    documents: Documents
    accounts: Accounts
    settings: Settings
    registry: Registry
    checkpoints: dict[tuple[str, str], Any] = field(default_factory=dict)

    async def ask(self, actor: Actor | None, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer, as it would leave the server. Each question is a second later than the one before."""
        prepared = self.documents.prepare(query)
        if isinstance(prepared, Invalid):
            return {"errors": prepared.errors}
        now = NOW + timedelta(seconds=next(_clock))
        context = RequestContext(actor, self.database, self.settings, self.accounts, now)
        body = await self.documents.run(prepared, choose(prepared, None), dict(variables or {}), context)
        answer: dict[str, Any] = orjson.loads(orjson.dumps(body))
        return answer

    async def push(self, actor: Actor, name: str, *rows: Row) -> list[Document]:
        """The masters that differ, with every plain column."""
        answer = await self.ask(actor, push_query(self.registry[name]), {"rows": push_rows(rows)})
        assert "errors" not in answer, answer
        found: list[Document] = answer["data"]["push"]
        return found

    async def put(self, actor: Actor, name: str, /, **values: Any) -> Document:
        """Creates a document that must be taken, and answers it as the server has it."""
        made = sample(self.registry[name], **values)
        assert await self.push(actor, name, (None, made)) == []
        return await self.master(name, made["id"])

    async def save(self, actor: Actor, name: str, /, **values: Any) -> dict[str, Any]:
        kind = pascal(name)
        query = f"mutation($input: {kind}Input!) {{ save: save{kind}(input: $input) {{ {plain(self.registry[name])} }} }}"
        return await self.ask(actor, query, {"input": {camel(key): value for key, value in values.items()}})

    async def pull(self, actor: Actor, name: str, limit: int = 1000, token: str | None = None) -> tuple[list[Document], str]:
        kind = pascal(name)
        query = (
            f"query($c: CheckpointInput, $limit: Int!) {{ pull: pull{kind}(checkpoint: $c, limit: $limit)"
            f" {{ documents {{ {plain(self.registry[name])} }} checkpoint {{ token }} }} }}"
        )
        answer = await self.ask(actor, query, {"c": {"token": token} if token else None, "limit": limit})
        assert "errors" not in answer, answer
        page = answer["data"]["pull"]
        return page["documents"], page["checkpoint"]["token"]

    async def pull_all(self, actor: Actor, name: str, limit: int = 1000) -> dict[str, Document]:
        """What a terminal holds that pulls from nothing until a page is short."""
        held: dict[str, Document] = {}
        token = None
        while True:
            page, token = await self.pull(actor, name, limit, token)
            for document in page:
                held.pop(document["id"], None)
                if not document["deleted"]:
                    held[document["id"]] = document
            if len(page) < limit:
                return held

    async def master(self, name: str, row_id: str) -> Document:
        """The row as it is, by GraphQL name, `scopes` with it."""
        rows = await self.rows(f"SELECT row_to_json(t)::text FROM {name} t WHERE id = $1::text::uuid", row_id)
        found: Document = orjson.loads(rows[0][0])
        return {key if key == "scopes" else camel(key): value for key, value in found.items()}

    async def conflicts(self, doc_id: str) -> list[Document]:
        """Oldest first."""
        rows = await self.rows("SELECT row_to_json(c)::text FROM sync_conflict c WHERE doc_id = $1 ORDER BY occurred_at, field", doc_id)
        return [orjson.loads(row[0]) for row in rows]

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return list(await self.database.pool.fetch(sql, *values))

    async def forget(self, *tables: str) -> None:
        """Empties tables behind the back of the triggers that keep them insert-only."""
        async with self.database.engine.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            await connection.execute(text(f"TRUNCATE {', '.join(tables)}"))

    async def execute(self, sql: str, *values: Any) -> None:
        await self.database.pool.execute(sql, *values)

    async def drain(self) -> None:
        async with self.database.pool.acquire() as connection:
            await drain(connection)

    async def scopes_of(self, name: str, row_id: str) -> tuple[set[str], set[str]]:
        """Where the feed has the document, and what it has left."""
        await self.drain()
        sql = "SELECT scope, state FROM sync_scope_doc WHERE record = $1 AND doc_id = $2::text::uuid"
        rows = await self.rows(sql, name, row_id)
        return {scope for scope, state in rows if state == "in"}, {scope for scope, state in rows if state == "out"}

    async def fingerprint(self, *tables: str) -> str:
        """Changes whenever a row of these tables, of the history or of the queue does.

        A refusal may travel unless it is asked about, and the feed may name again what its sender was told to remove.
        """
        others = "" if "sync_conflict" in tables else "record <> 'sync_conflict' AND "
        again = "scopes_out = '{}' AND NOT EXISTS (SELECT FROM sync_change c WHERE c.doc_id = p.doc_id AND c.at >= p.at - interval '1 s')"
        queue = f"(SELECT * FROM sync_pending p WHERE {others} NOT ({again}))"
        sums = ", ".join(
            f"(SELECT count(*) || ':' || coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t)"
            for table in (*tables, "sync_change", "sync_orphan", queue)
        )
        return str((await self.rows(f"SELECT concat_ws('/', {sums})"))[0][0])


def plain(record: Record) -> str:
    """A selection of every column."""
    return " ".join(camel(column.name) for column in record.all_columns)


def push_query(record: Record) -> str:
    kind = pascal(record.name)
    return f"mutation($rows: [{kind}PushRow!]!) {{ push: push{kind}(rows: $rows) {{ {plain(record)} }} }}"


def push_rows(rows: Sequence[Row]) -> list[Document]:
    return [{"assumedMasterState": assumed, "newDocumentState": new} for assumed, new in rows]


def sent(document: Document, /, **values: Any) -> Row:
    """An edit of a document that was pulled."""
    held = {key: value for key, value in document.items() if key != "scopes"}
    return held, held | values


def code(answer: Mapping[str, Any]) -> str:
    """The code of the answer's first error; "" without one."""
    return str(answer["errors"][0]["extensions"]["code"]) if answer.get("errors") else ""


def with_scopes(actor: Actor, *areas: str) -> Actor:
    """The same person after a change of grants."""
    others = [scope for scope in actor.scopes if ":" in scope and not scope.startswith("inbox:")]
    return replace(actor, scopes=(*areas, *others, *(f"inbox:{actor.role.value}:{area}" for area in areas)))


@asynccontextmanager
async def opened(url: str, data: Path, registry: Registry | None = None) -> AsyncIterator[World]:
    settings = Settings(database_url=url, data=data)
    database = Database(url)
    await database.open()
    accounts = Accounts(database, Keys(data / "keys"), settings)
    accounts.keys.load()
    schema = build_schema(registry, queries=QUERIES, mutations=MUTATIONS) if registry else whole_schema()
    registry = registry or load()
    documents = Documents(schema, Limits())
    world = World(database, documents, accounts, settings, registry)
    async with database.engine.begin() as connection:
        await connection.execute(_AREA, [{"code": code, "chain": list(chain)} for code, chain in AREAS.items()])
    await world.drain()
    try:
        yield world
    finally:
        await database.close()


@asynccontextmanager
async def levelled(cluster_url: str, template: str, folder: Path, name: str) -> AsyncIterator[World]:
    """A world of its own database whose areas stand on the levels that their codes say, so that indicators count them."""
    database = f"test_{os.getpid()}_{name}"
    url = await cluster.create_database(cluster_url, database, template)
    async with opened(url, folder) as made:
        await made.execute(
            "UPDATE area SET level = l, layers = ARRAY[l] FROM (SELECT code AS c, CASE WHEN length(code) = 9 THEN 'township'"
            " WHEN code LIKE '%0000' THEN 'province' WHEN code LIKE '%00' THEN 'city' ELSE 'county' END AS l FROM area) k WHERE c = code"
        )
        yield made
    await cluster.drop_database(cluster_url, database)
