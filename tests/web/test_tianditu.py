"""天地图 below the areas: asked for only with a key, only when switched on, and done without when it refuses."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, Route, expect

from api.app import build
from api.settings import Settings
from tests.lineage.lineage_world import until
from tests.serving import listening
from tests.web.conftest import World
from tests.web.test_map import drawn, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEY = "a1b2c3d4"
OUTSIDE = "https://*.tianditu.gov.cn/**"


class Ground:
    """Answers as 天地图 does: a picture to who has the key, else 403 with a code; notes what it was asked."""

    def __init__(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (256, 256), "#d9ead3").save(buffer, "PNG")
        self.picture, self.key = buffer.getvalue(), KEY
        self.asked: list[tuple[str, str, dict[str, str], str | None]] = []

    async def asked_for_all(self) -> bool:
        """The ground and its names, and nothing else."""
        return {path for _, path, _, _ in self.asked} == {"/vec_w/wmts", "/cva_w/wmts"}

    async def answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append((url.hostname or "", url.path, query, (await route.request.all_headers()).get("referer")))
        headers = {"Access-Control-Allow-Origin": "*"}
        if query.get("tk") == self.key:
            await route.fulfill(status=200, content_type="image/png", body=self.picture, headers=headers)
        else:
            await route.fulfill(status=403, json={"msg": "非法Key", "code": 301004}, headers=headers)


@pytest_asyncio.fixture(loop_scope="session")
async def keyed(small_world_url: str, browser: Browser, tmp_path: Path) -> AsyncIterator[tuple[Page, Ground, str]]:
    """The page of a server with a key."""
    ground = Ground()
    async with listening(build(Settings(database_url=small_world_url, data=tmp_path, tianditu_key=KEY))) as (address, _):
        context = await browser.new_context(viewport={"width": 700, "height": 520}, base_url=address, reduced_motion="reduce")
        await context.route(OUTSIDE, ground.answer)
        page = await context.new_page()
        await page.goto("/")
        yield page, ground, address
        await context.close()


async def switch(page: Page, *, on: bool) -> None:
    if not await page.locator(".layers[open]").count():
        await page.click(".layers summary")
    await page.set_checked("[data-layer=tianditu]", on)


async def test_the_ground_comes_when_it_is_switched_on_and_is_done_without_when_it_refuses(keyed: tuple[Page, Ground, str]) -> None:
    page, ground, address = keyed
    await sign_in(page)
    await expect(page.locator(".layers summary")).to_be_visible()
    assert ground.asked == []  # off until somebody wants it
    await switch(page, on=True)
    await drawn(page)
    await expect(page.locator(".maplibregl-ctrl-attrib")).to_contain_text("底图：天地图")
    await until(ground.asked_for_all)
    for host, path, query, referer in ground.asked:
        assert re.fullmatch(r"t[0-7]\.tianditu\.gov\.cn", host)
        assert referer == f"{address}/"  # a key may be bound to it; no more is told
        assert_wmts(path, query)
    await expect(page.locator(".notice")).to_be_hidden()

    await switch(page, on=False)
    await expect(page.locator(".maplibregl-ctrl-attrib")).to_have_text("行政区划边界：天地图")
    ground.key = "another"
    await switch(page, on=True)
    await expect(page.locator(".notice")).to_contain_text("天地图底图读取不到")
    await expect(page.locator("[data-layer=tianditu]")).not_to_be_checked()
    await page.dblclick("tr[data-code='220202']")
    await expect(page.locator(".crumbs strong")).to_have_text("昌邑区")
    await drawn(page)


def assert_wmts(path: str, query: dict[str, Any]) -> None:
    """A tile of the Mercator set, as the service describes it."""
    zoom, row, column = (int(query.pop(name)) for name in ("TILEMATRIX", "TILEROW", "TILECOL"))
    assert 1 <= zoom <= 18
    assert all(0 <= number < 2**zoom for number in (row, column))
    assert query == {
        "SERVICE": "WMTS", "REQUEST": "GetTile", "VERSION": "1.0.0", "LAYER": path[1:4], "STYLE": "default", "TILEMATRIXSET": "w",
        "FORMAT": "tiles", "tk": KEY,
    }  # fmt: skip


async def test_without_a_key_nothing_leaves_the_page(browser: Browser, world: World) -> None:
    ground = Ground()
    context = await browser.new_context(base_url=world.address)
    await context.route(OUTSIDE, ground.answer)
    page = await context.new_page()
    await page.goto("/")
    tried = "fetch('https://t0.tianditu.gov.cn/vec_w/wmts?tk=1').then(() => 'came', () => 'held back')"
    assert await page.evaluate(tried) == "held back"
    await sign_in(page)
    await expect(page.locator(".layers summary")).to_be_visible()
    await expect(page.locator("[data-layer=tianditu]")).to_have_count(0)
    assert ground.asked == []
    await context.close()
