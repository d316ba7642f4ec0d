"""A real RxDB client that is told 429 loses nothing and goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from graphql import OperationDefinitionNode, OperationType

from api import pressure
from api.accounts import create_user
from api.app import build
from api.context import RequestContext
from api.pressure import Pressure
from api.settings import Settings
from api.terminal import Terminal
from schema.actor import Role
from tests.pressure.pressure_world import add_county
from tests.serving import listening


async def test_rxdb_sends_again_what_was_answered_with_429(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: set[OperationType] = set()
    admitted = Pressure.admitted

    @asynccontextmanager
    async def busy(self: Pressure, context: RequestContext, operation: OperationDefinitionNode) -> AsyncIterator[None]:
        if pressure.is_bulk(operation) and operation.operation not in refused:
            refused.add(operation.operation)
            raise pressure._busy()
        async with admitted(self, context, operation):
            yield

    monkeypatch.setattr(Pressure, "admitted", busy)
    connection = await asyncpg.connect(database_url)
    await add_county(connection)
    async with serving(database_url, tmp_path) as url:
        terminal = await Terminal.start("甲", f"{url}/graphql", deviceId="device-1", retryTime=100)
        try:
            await terminal.call("login", username="officer", password="a long password")
            await terminal.call("open", collections=["enterprise"])
            made = await terminal.call(
                "insert", collection="enterprise", document={"name": "新厂", "areaCode": "220102", "status": "OPERATING"}
            )
            await terminal.call("sync")
            assert refused == {OperationType.QUERY, OperationType.MUTATION}
            assert await connection.fetchval("SELECT name FROM enterprise WHERE id = $1::text::uuid", made["id"]) == "新厂"
            held = await terminal.call("count", collection="enterprise")
            assert held == {"enterprise": await connection.fetchval("SELECT count(*) FROM enterprise")}
            assert await connection.fetchval("SELECT count(*) FROM sync_conflict") == 0
        finally:
            await terminal.quit()
            await connection.close()


@asynccontextmanager
async def serving(url: str, data: Path) -> AsyncIterator[str]:
    settings = Settings(database_url=url, data=data)
    app = build(settings, routes=())
    async with listening(app) as (address, _):
        async with app.state.database.engine.begin() as connection:
            await create_user(connection, "officer", "a long password", Role.INSPECTOR, ["220102"])
        yield address
