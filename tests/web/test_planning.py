"""Access, siting and routes tried on the desk, and compared."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from sqlalchemy import text

from api.accounts import create_user
from schema.actor import Role
from tests.web.conftest import World
from tests.web.small_world import PASSWORD
from tests.web.test_map import drawn, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")
# Spots and marks as the map has them, and the colours that townships and counties bear.
DRAWN = """() => {
  const data = async (name) => (await window.zhijianMap.getSource(name).getData()).features.map(({properties}) => properties);
  return Promise.all(['plan-spots', 'plan-marks'].map(data)); }"""
COUNTY = "(id) => window.zhijianMap.getFeatureState({source: 'areas', sourceLayer: 'county', id}).plan ?? null"
RUNNING = """
INSERT INTO planning_run
  (id, kind, area, parameters, inputs, inputs_digest, versions, state, progress, message, user_id, runner, lease_until)
SELECT CAST(:id AS uuid), 'COVERING', '220000', CAST(:parameters AS jsonb), '{}', '', '{}',
       'RUNNING', 0.25, 'proof', id, 'another', now() + interval '1 hour' FROM user_account WHERE username = 'boss'"""


async def plan_drawn(page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spots by township, and names of marks by what stands on them."""
    spots, marks = await page.evaluate(DRAWN)
    return {each["code"]: each for each in spots}, {each["text"]: each["name"] for each in marks}


async def facts(page: Page) -> dict[str, list[str]]:
    rows = [await row.locator("th, td").all_inner_texts() for row in await page.locator(".plan-facts tbody tr").all()]
    return {row[0]: row[1:] for row in rows}


async def legend(page: Page) -> dict[str, str]:
    rows = [(await row.inner_text()).split("\n") for row in await page.locator(".plan-legend li").all()]
    return {row[-2]: row[-1] for row in rows}


async def test_a_site_is_sought_shown_and_set_against_what_stands(page: Page) -> None:
    await sign_in(page)
    await page.click("#tab-plan")
    await page.click(".plan-forms button:has-text('选址')")
    await page.fill("#plan-number", "1")
    await page.click(".plan-form [type=submit]")
    await expect(page.locator(".plan-sites")).to_contain_text("昌邑3镇", timeout=20_000)
    found = await facts(page)
    assert found["与最优相差"] == ["0（已证明最优）"]
    assert found["新建后可达"] == [f"{found['患者'][0]}（100%）"]
    assert await legend(page) == {"原已可达": "1", "新增可达": "3", "仍不可达": "9", "建议站址": "1"}
    spots, marks = await plan_drawn(page)
    assert (len(spots), marks) == (9, {"1": "昌邑3镇"})  # four townships have no place of their own
    assert "4 个乡镇尚无位置" in await page.inner_text(".plan-legend")

    await page.click(".plan-forms button:has-text('可达性')")
    await page.fill("#plan-limit", "20")
    await page.click(".plan-form button:has-text('作为乙对比')")
    await expect(page.locator(".plan-facts thead th")).to_have_count(2)
    both = await facts(page)
    assert (both["患者"][0] == both["患者"][1], both["与最优相差"][1]) == (True, "—")
    assert await legend(page) == {"甲、乙均可达": "1", "仅甲可达": "3", "仅乙可达": "0", "均不可达": "9", "建议站址": "1"}
    named = re.search(r"plan=([0-9a-f-]{36})&vs=WITHIN_KM-20-STATION", page.url)
    assert named
    await page.reload()
    await drawn(page)
    await expect(page.locator(".plan-facts thead th")).to_have_count(2)
    assert await facts(page) == both
    assert (await plan_drawn(page))[1] == {"甲1": "昌邑3镇"}
    await page.click("#tab-list")
    await expect(page.locator(".plan-legend")).to_have_count(0)
    assert await plan_drawn(page) == ({}, {})


async def test_access_is_asked_by_keyboard_and_hides_the_few(page: Page) -> None:
    await sign_in(page)
    await page.locator("#tab-list").focus()
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#tab-plan")).to_be_focused()
    for _ in range(7):
        await page.keyboard.press("Tab")  # the panel, three problems, measure, kind
    await expect(page.locator("#plan-limit")).to_be_focused()
    await page.keyboard.press("Control+a")
    await page.keyboard.type("60")
    await page.keyboard.press("Enter")
    await expect(page.locator(".plan-facts")).to_contain_text("60 公里内可达康复站")
    assert (await facts(page))["可达占比"] == ["100%"]
    assert [await page.evaluate(COUNTY, code) for code in ("220202", "220102")] == ["#2f7391", "#dfe3e7"]  # nobody lives in the other
    await expect(page.locator(".plan-note")).to_contain_text("不足 10 人不显示")
    await page.select_option("#plan-measure", "TWO_STEP")
    await page.locator("#plan-limit").press("Enter")
    await expect(page.locator(".plan-facts")).to_contain_text("2SFCA")
    assert "plan=TWO_STEP-60-STATION" in page.url
    await page.go_back()
    await expect(page.locator(".plan-facts")).to_contain_text("60 公里内可达康复站")
    await expect(page.locator("#plan-measure")).to_have_value("WITHIN_KM")


SAVE = """mutation($id: ID!, $name: String!, $hazard: HazardClass, $location: Position) {
  saveEnterprise(input: {id: $id, name: $name, areaCode: "220103001", status: OPERATING, hazardClass: $hazard,
    location: $location}) { id } }"""
DUE = {"西厂": 124.98, "近厂": 125.02, "东厂": 125.05, "远厂": 125.9, "无址厂": None}
WAYS = """async () => (await window.zhijianMap.getSource('plan-ways').getData()).features
  .map(({properties, geometry}) => [properties.side, geometry.coordinates.map(([lon]) => lon)])"""


@pytest_asyncio.fixture(loop_scope="session")
async def due(world: World) -> AsyncIterator[None]:
    """Nobody has been there this year; gone again for the other tests."""
    token, ids = await world.token(), {name: str(uuid.uuid4()) for name in DUE}
    for name, lon in DUE.items():
        location = None if lon is None else {"lon": lon, "lat": 44.5, "datum": "WGS84"}
        answer = await world.ask(SAVE, token, id=ids[name], name=name, hazard="SEVERE" if name == "东厂" else None, location=location)
        assert "errors" not in answer, answer
    yield
    for each in ids.values():
        assert (await world.ask("mutation($id: ID!) { deleteEnterprise(id: $id) }", token, id=each))["data"]["deleteEnterprise"]


async def visited(page: Page) -> list[str]:
    return await page.locator(".plan-stops .site-name").all_inner_texts()


async def test_a_day_of_visits_is_put_in_order_by_keyboard_and_compared(page: Page, due: None) -> None:
    await page.goto("/#/map?area=220103&view=plan")
    await sign_in(page)
    await page.click(".plan-forms button:has-text('路线')")
    await expect(page.locator(".route-stops li")).to_have_count(4)
    await expect(page.locator(".route-said")).to_have_text("已选 4 家，共 4 家；1 家没有位置，不能排入")
    assert [await page.input_value(f"#route-from-{part}") for part in ("lon", "lat")] == ["125.00000", "44.50000"]
    await page.fill("#route-hours", "4")
    await page.locator(".route-stops input[tabindex='0']").focus()
    await page.keyboard.press("End")  # the farthest, which a day of four hours does not reach
    await expect(page.locator("li:has-text('远厂') input")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".plan-stops")).to_be_visible(timeout=20_000)
    assert sorted(await visited(page)) == ["东厂", "西厂", "近厂"]
    assert await page.locator(".plan-left tbody tr").all_inner_texts() == ["远厂\t单独走访也超出工时"]
    found = await facts(page)
    assert (found["排入"], found["次序"]) == (["3 / 4 家"], ["已证明最优"])
    assert found["出发与收队"][0].startswith("08:30 → 1")
    assert await legend(page) == {"未排入的单位": "1", "走访次序": "3"}
    ways = await page.evaluate(WAYS)
    assert (ways[0][0], ways[0][1][0], ways[0][1][-1], len(ways[0][1])) == ("a", 125.0, 125.0, 5)

    await page.select_option("#route-ends", "LAST")
    await page.locator(".route-stops li:has-text('远厂') input").uncheck()
    await page.click(".plan-form [type=submit]")
    await expect(page.locator(".plan-facts")).to_contain_text("到最后一家为止", timeout=20_000)
    await page.locator("li:not(.shown) button:has-text('与甲对比')").first.click()
    await expect(page.locator(".plan-facts thead th")).to_have_count(2)
    assert (await facts(page))["排入"] == ["3 / 3 家", "3 / 4 家"]
    assert (await visited(page))[:3] == ["西厂", "近厂", "东厂"]  # who need not come back leaves the way out to the last
    assert [(side, len(lons)) for side, lons in await page.evaluate(WAYS)] == [("a", 4), ("b", 5)]
    both = await facts(page)
    await page.reload()
    await drawn(page)
    await expect(page.locator(".plan-facts thead th")).to_have_count(2)
    assert await facts(page) == both
    await expect(page.locator(".plan-forms [aria-pressed=true]:has-text('路线')")).to_have_count(1)


async def test_a_run_under_way_is_listed_and_can_be_cancelled(page: Page, world: World) -> None:
    run = str(uuid.uuid4())
    async with world.app.state.database.engine.begin() as connection:
        await connection.execute(text(RUNNING), {"id": run, "parameters": json.dumps({"number": 7, "site_kind": "POINT", "limit_km": 15})})
    await sign_in(page)
    await page.click("#tab-plan")
    await page.click(f"[data-run='{run}']")
    await expect(page.locator(".plan-run")).to_contain_text("计算中 25%：证明最优")
    await page.click(".plan-run button:has-text('取消')")
    await expect(page.locator(f"li:has([data-run='{run}'])")).to_contain_text("已取消")
    assert await world.rows(f"SELECT state FROM planning_run WHERE id = '{run}'") == [("CANCELLED",)]


async def test_who_may_not_plan_has_no_such_view(page: Page, world: World) -> None:
    async with world.app.state.database.engine.begin() as connection:
        await create_user(connection, "inspector", PASSWORD, Role.INSPECTOR, ["220102"])
    await sign_in(page, "inspector")
    await expect(page.locator("[role=tab]")).to_have_count(4)
    await page.goto("/#/map?view=plan&plan=NEAREST-20-STATION")
    await expect(page.locator(".plan-facts")).to_have_count(0)
