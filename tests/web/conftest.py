"""The real app on a small world, and a real browser in front of it; one of each for all tests here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette

from api import bootstrap, cluster
from api.app import build
from api.settings import Settings, engine_url
from tests.serving import client, listening
from tests.web.small_world import PASSWORD, fill

FLAGS = (
    *("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
)
LOGIN = """mutation($username: String!, $password: String!, $device: ID!) {
  login(username: $username, password: $password, device: {id: $device}) { accessToken } }"""


@dataclass(frozen=True)
class World:
    app: Starlette
    address: str

    async def rows(self, statement: str) -> list[Any]:
        async with self.app.state.database.engine.connect() as connection:
            return list(await connection.execute(text(statement)))

    async def token(self, username: str = "boss") -> str:
        answer = await self.ask(LOGIN, username=username, password=PASSWORD, device=f"tests-{username}")
        found: str = answer["data"]["login"]["accessToken"]
        return found

    async def ask(self, query: str, token: str = "", **variables: Any) -> dict[str, Any]:
        async with client(self.address) as http:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def small_world_url(cluster_url: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_small_world"
    url = asyncio.run(cluster.create_database(cluster_url, name, template))
    asyncio.run(_fill(url))
    yield url
    asyncio.run(cluster.drop_database(cluster_url, name))


async def _fill(url: str) -> None:
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    async with engine.begin() as connection:
        await fill(connection)
    await engine.dispose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(small_world_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    bootstrap.install_web()
    settings = Settings(database_url=small_world_url, data=Path(tmp_path_factory.mktemp("data")))
    app = build(settings)
    async with listening(app) as (address, _):
        yield World(app, address)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=bootstrap.find_browser(), args=FLAGS)
        yield opened
        await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, world: World) -> AsyncIterator[Page]:
    """An empty browser on the log-in form, small because software draws it; script errors and requests to other places fail the test."""
    context = await browser.new_context(
        viewport={"width": 1000, "height": 640}, locale="zh-CN", base_url=world.address, reduced_motion="reduce"
    )
    opened = await context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith((world.address, "data:", "blob:")) else wrong.append(request.url))
    await opened.goto("/")
    yield opened
    await context.close()
    assert wrong == []
