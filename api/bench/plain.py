"""The reference that everyone writes: Strawberry types, SQLAlchemy ORM, one resolver, no scope, no merge, no feed.

It reads the same rows and columns as ours. Its insert goes into a table of its own that has a primary key and no other index.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from types import GenericAlias
from typing import Any

import sqlalchemy as sa
import strawberry
import uvicorn
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.scalars import JSON

from api.settings import Settings, engine_url
from schema import registry
from schema.base import PLACED, Column, Kind
from schema.tables import TABLES

INSERTED = "plain_enterprise"
DDL = f"CREATE TABLE IF NOT EXISTS {INSERTED} (LIKE enterprise, PRIMARY KEY (id))"

RECORD = registry.load()["enterprise"]
SERVER_OWNED = frozenset({"location_wgs84", "revision", "stamp", "deleted", "created_at", "updated_at"}) | PLACED
_TYPES: dict[Kind, Any] = {
    Kind.ID: strawberry.ID,
    Kind.INTEGER: int,
    Kind.BOOLEAN: bool,
    Kind.DATE: date,
    Kind.TIMESTAMP: datetime,
    Kind.TAGS: GenericAlias(list, (str,)),
    Kind.POSITION: JSON,
    Kind.POINT: JSON,
    Kind.ITEMS: JSON,
}


def _hint(column: Column) -> Any:
    hint = _TYPES.get(column.kind, str)
    return hint if column.kind is Kind.ID else hint | None


def _hints(columns: tuple[Column, ...]) -> dict[str, Any]:
    return {column.name: _hint(column) for column in columns}


Enterprise: Any = strawberry.type(type("Enterprise", (), {"__annotations__": _hints(RECORD.all_columns), "__module__": __name__}))
_SENT = tuple(column for column in RECORD.all_columns if column.name not in SERVER_OWNED)
EnterpriseInput: Any = strawberry.input(
    type("EnterpriseInput", (), {"__annotations__": _hints(_SENT), "__module__": __name__, **{c.name: None for c in _SENT[1:]}})
)


class EnterpriseRow:
    """Read: the table that ours reads."""


class InsertedRow:
    """Written: a table without secondary indexes."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def map_rows() -> None:
    read = TABLES["enterprise"]
    as_json = orm.column_property(sa.cast(sa.func.ST_AsGeoJSON(read.c.location_wgs84), sa.JSON))
    mapper = orm.registry()
    properties = {"location_wgs84": as_json, "raw_point": orm.deferred(read.c.location_wgs84)}
    mapper.map_imperatively(EnterpriseRow, read, properties=properties, exclude_properties=["scopes"])
    columns = [sa.Column(column.name, column.type, primary_key=column.primary_key) for column in read.columns]
    mapper.map_imperatively(InsertedRow, sa.Table(INSERTED, sa.MetaData(), *columns))


async def enterprises(info: strawberry.Info, after: strawberry.ID, limit: int) -> list[Enterprise]:
    row: Any = EnterpriseRow
    async with info.context["session"]() as session:
        found = await session.scalars(sa.select(row).where(row.id > after).order_by(row.id).limit(limit))
        return list(found)


async def insert_enterprises(info: strawberry.Info, rows: list[EnterpriseInput]) -> int:
    now = datetime.now().astimezone()
    owned = {"revision": 1, "deleted": False, "created_at": now, "updated_at": now, "scopes": []}
    async with info.context["session"]() as session:
        session.add_all([InsertedRow(**vars(row), **owned) for row in rows])
        await session.commit()
    return len(rows)


@strawberry.type
class Query:
    enterprises: list[Enterprise] = strawberry.field(resolver=enterprises)


@strawberry.type
class Mutation:
    insert_enterprises: int = strawberry.mutation(resolver=insert_enterprises)


class PlainGraphQL(GraphQL[Any, Any]):
    """Strawberry's own ASGI view with a session maker in its context."""

    sessions: async_sessionmaker[AsyncSession]

    async def get_context(self, request: Any, response: Any) -> Any:
        return {"request": request, "response": response, "session": self.sessions}


def build(settings: Settings) -> Starlette:
    map_rows()
    engine = create_async_engine(engine_url(settings.database_url or ""), pool_size=10)
    view = PlainGraphQL(strawberry.Schema(Query, Mutation))
    view.sessions = async_sessionmaker(engine, expire_on_commit=False)
    return Starlette(routes=[Route("/readyz", _ready), Route("/graphql", view)], lifespan=lambda app: _lifespan(engine))


@asynccontextmanager
async def _lifespan(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.execute(sa.text(DDL))
    yield
    await engine.dispose()


async def _ready(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ready")


if __name__ == "__main__":
    chosen = Settings.from_environment()
    uvicorn.run(
        build(chosen),
        host=chosen.host,
        port=chosen.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )
