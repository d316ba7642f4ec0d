"""The desk without a mouse, and for those who hear it: every control is reached and seen, and axe finds nothing serious."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from api import bootstrap
from tests.web.test_map import sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")
# Everything that can be used now, told by number; what the arrows reach inside a group has tabindex -1.
NUMBER = """() => { let number = 0;
  for (const each of document.querySelectorAll('a[href], button, input, select, summary, canvas, [tabindex]')) {
    if (each.tabIndex >= 0 && !each.disabled && each.checkVisibility({visibilityProperty: true})) each.dataset.stop = String(number++); }
  return number; }"""
HERE = """() => { const at = document.activeElement; const box = at.getBoundingClientRect(); const style = getComputedStyle(at);
  return {stop: at.dataset.stop ?? null, name: at.outerHTML.slice(0, 100), size: box.width * box.height,
    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
    seen: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth, body: at === document.body}; }"""
AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .map(({id, impact, nodes}) => [impact, id, nodes[0].target])"""


async def stops(page: Page) -> list[dict[str, Any]]:
    """Where the Tab key leads, from the top of the page until it leaves it."""
    await page.evaluate("() => { const top = document.createElement('i'); top.tabIndex = -1; document.body.prepend(top); top.focus(); }")
    found: list[dict[str, Any]] = []
    for _ in range(80):
        await page.keyboard.press("Tab")
        here = await page.evaluate(HERE)
        if here["body"] or (found and here["stop"] == found[0]["stop"]):
            break
        found.append(here)
    return found


async def violations(page: Page) -> list[Any]:
    """What axe says of the page as it is now."""
    await page.evaluate(await asyncio.to_thread((bootstrap.WEB / "node_modules/axe-core/axe.min.js").read_text) + ";undefined")
    found: list[Any] = await page.evaluate(AXE)
    return found


async def test_tab_reaches_every_control_and_shows_where_it_is(page: Page) -> None:
    await page.goto("/#/map?view=plan")
    await sign_in(page)
    await expect(page.locator(".layers summary")).to_be_visible()
    await page.click(".plan-forms button:has-text('选址')")
    many = await page.evaluate(NUMBER)
    reached = await stops(page)
    assert [here["name"] for here in reached if here["size"] < 100 or not here["seen"] or not here["ring"]] == []
    assert {here["stop"] for here in reached} == {str(number) for number in range(many)}


async def test_the_map_takes_the_arrow_keys_and_names_itself(page: Page) -> None:
    await sign_in(page)
    await page.locator("#map canvas").focus()
    assert await page.locator("#map canvas").get_attribute("aria-label") == "覆盖地图"
    before = await page.evaluate("window.zhijianMap.getZoom()")
    await page.keyboard.press("+")
    await page.wait_for_function("(zoom) => window.zhijianMap.getZoom() > zoom", arg=before)
    west = await page.evaluate("window.zhijianMap.getCenter().lng")
    await page.keyboard.press("ArrowRight")
    await page.wait_for_function("(west) => window.zhijianMap.getCenter().lng > west", arg=west)


async def test_a_question_keeps_the_keyboard_and_gives_it_back(page: Page) -> None:
    await page.goto("/#/devices")
    await page.fill("#username", "boss")
    await page.fill("#password", "right horse")
    await page.keyboard.press("Enter")
    opener = page.get_by_role("button", name="新终端")
    await opener.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("dialog")).to_be_visible()
    for _ in range(6):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    assert [found for found in await violations(page) if found[0] in ("serious", "critical")] == []
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_have_count(0)
    await expect(opener).to_be_focused()


async def test_axe_finds_nothing_on_the_desk(page: Page) -> None:
    assert await violations(page) == []
    await page.goto("/#/map?compare=2025")
    await sign_in(page)
    assert await violations(page) == []
    await page.click("#tab-plan")
    await page.click(".plan-forms button:has-text('路线')")
    await expect(page.locator(".route-said")).not_to_contain_text("正在")
    await page.click(".layers summary")
    assert await violations(page) == []
    await page.goto("/#/inbox")
    await expect(page.locator(".sheet")).to_be_visible()
    assert await violations(page) == []
