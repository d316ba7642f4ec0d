"""Access and siting tried on the desk, and compared."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
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
    for _ in range(6):
        await page.keyboard.press("Tab")  # the panel, both problems, measure, kind
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
