"""The supervisor's desk in a real browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import World
from tests.web.small_world import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Independent of geo.coverage: townships by their code's first digits.
COUNTED = """
SELECT left(t.code, 6) AS county, count(*) AS townships, count(*) FILTER (WHERE t.code IN (
  SELECT area_code FROM coordinator WHERE status = 'ACTIVE' AND coalesce(ended_on > current_date, true))) AS covered
FROM area t WHERE t.level = 'township' AND t.code LIKE '22%' GROUP BY 1"""
COLOURS = """() => Object.fromEntries(window.zhijianMap.queryRenderedFeatures({layers: ['COUNTY-fill']})
  .map((feature) => [feature.id, [feature.state.class ?? null, feature.state.value ?? null]]))"""
PLACE_ON_SCREEN = """([lon, lat]) => { const at = window.zhijianMap.project([lon, lat]);
  const box = window.zhijianMap.getCanvas().getBoundingClientRect(); return [at.x + box.x, at.y + box.y]; }"""


async def sign_in(page: Page, username: str = "boss") -> None:
    await page.fill("#username", username)
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await drawn(page)


async def drawn(page: Page) -> None:
    await expect(page.locator(".desk:not(.loading) #map[data-state=idle]")).to_be_attached(timeout=20_000)


async def table(page: Page) -> list[list[str]]:
    rows = page.locator(".table tbody tr")
    cells = [await row.locator("th, td:not(.go)").all_inner_texts() for row in await rows.all()]
    return [[text.strip() for text in row] for row in cells]


async def codes(page: Page) -> list[str | None]:
    return [await row.get_attribute("data-code") for row in await page.locator(".table tbody tr").all()]


async def point_at(page: Page, lon: float, lat: float) -> tuple[float, float]:
    found: tuple[float, float] = await page.evaluate(PLACE_ON_SCREEN, [lon, lat])
    return found


async def test_a_wrong_password_is_told_in_chinese_and_leaves_nobody_signed_in(page: Page) -> None:
    await page.fill("#username", "boss")
    await page.fill("#password", "wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator(".login-message")).to_have_text("用户名或密码不正确，请核对后重新输入。")
    await expect(page.locator(".desk")).to_have_count(0)
    assert await page.evaluate("sessionStorage.length") == 0


async def test_table_and_colours_show_what_the_database_counts(page: Page, world: World) -> None:
    await sign_in(page)
    counted = {row.county: (row.townships, row.covered) for row in await world.rows(COUNTED)}
    assert counted == {"220102": (4, 4), "220103": (4, 1), "220202": (5, 3)}
    shown = {row[0]: row[1:] for row in await table(page)}
    assert shown == {
        "南关区": ["4", "4", "0", "100.0%"],
        "宽城区": ["4", "1", "3", "25.0%▼"],
        "昌邑区": ["5", "3", "2", "60.0%▼"],
        "龙潭区": ["0", "0", "0", "无数据"],
    }
    assert await page.locator(".facts dd").all_inner_texts() == ["61.5%", "13", "8", "5", "2"]
    colours: dict[str, Any] = await page.evaluate(COLOURS)
    assert {code: state for code, state in colours.items() if code.startswith("22")} == {
        "220102": [4, 1],
        "220103": [1, 0.25],
        "220202": [3, 0.6],
        "220203": [-1, None],  # its own grey, not 0 %
    }
    assert colours["210102"] == [None, None]  # drawn, but not the supervisor's


async def test_the_worst_comes_first_and_headers_sort(page: Page) -> None:
    await sign_in(page)
    assert await codes(page) == ["220103", "220202", "220102", "220203"]
    await page.click("[data-column=denominator] button")
    assert await codes(page) == ["220202", "220102", "220103", "220203"]
    await expect(page.locator("[data-column=denominator]")).to_have_attribute("aria-sort", "descending")


async def test_the_keyboard_walks_drills_and_goes_back(page: Page) -> None:
    await sign_in(page)
    await page.locator(".table tbody tr[tabindex='0']").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("tr[data-code='220202']")).to_be_focused()
    await expect(page.locator("tr[data-code='220202']")).to_have_attribute("aria-selected", "true")
    assert await page.evaluate("window.zhijianMap.getFeatureState({source: 'areas', sourceLayer: 'county', id: '220202'}).selected") is True
    await page.keyboard.press("Enter")
    await expect(page.locator(".crumbs strong")).to_have_text("昌邑区")
    await drawn(page)
    assert "area=220202" in page.url
    assert await codes(page) == ["220202004", "220202005"]
    await expect(page.locator("tr[data-code='220202004']")).to_be_focused()
    await page.go_back()
    await expect(page.locator(".crumbs strong")).to_have_text("吉林省")


async def test_map_and_table_move_together(page: Page) -> None:
    await sign_in(page)
    hovered = page.locator("tr.hovered[data-code='220103']")
    for step in range(50):  # a hand moves on until it sees something: a map that is still drawing hears no single move
        x, y = await point_at(page, 125.5, 44.5)
        await page.mouse.move(x + step % 2, y)
        if await hovered.count():
            break
        await asyncio.sleep(0.1)
    await expect(hovered).to_have_count(1)
    await page.mouse.click(*await point_at(page, 126.5, 43.3))
    await expect(page.locator("tr[data-code='220202']")).to_have_attribute("aria-selected", "true")
    await expect(page.locator(".card")).to_contain_text("3 / 5")
    assert "at=220202" in page.url
    await page.hover("tr[data-code='220102']")
    assert await page.evaluate("window.zhijianMap.getFeatureState({source: 'areas', sourceLayer: 'county', id: '220102'}).hovered") is True


async def test_drilling_goes_from_province_to_city_to_county_to_its_uncovered_townships(page: Page) -> None:
    await sign_in(page)
    await page.click(".levels button:has-text('按市州')")
    await expect(page.locator("tr[data-code='220100']")).to_be_visible()
    assert [row[:4] for row in await table(page)] == [["吉林市", "5", "3", "2"], ["长春市", "8", "5", "3"]]
    await page.dblclick("tr[data-code='220100']")
    await expect(page.locator(".crumbs strong")).to_have_text("长春市")
    await page.dblclick("tr[data-code='220103']")
    await expect(page.locator(".crumbs strong")).to_have_text("宽城区")
    assert await codes(page) == ["220103002", "220103003", "220103004"]
    await page.uncheck("[data-switch=gaps] input")
    assert len(await codes(page)) == 4
    await page.click(".crumbs button:has-text('吉林省')")
    await expect(page.locator(".crumbs strong")).to_have_text("吉林省")


async def test_the_address_holds_the_state_over_a_reload(page: Page) -> None:
    await sign_in(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/graphql") else None)
    await page.goto("/?area=220100&at=220103")
    await expect(page.locator(".crumbs strong")).to_have_text("长春市")
    await expect(page.locator("tr[data-code='220103']")).to_have_attribute("aria-selected", "true")
    await drawn(page)
    assert len(asked) == 2  # the session, and all that the first map shows


async def test_an_area_of_others_is_refused_with_a_sentence(page: Page) -> None:
    await sign_in(page, "city")
    await expect(page.locator(".crumbs strong")).to_have_text("长春市")
    await page.goto("/?area=220200")
    await expect(page.locator(".notice")).to_have_text("该地区不在您的辖区范围内。")
    assert await codes(page) == []
    await page.click("button:has-text('回到我的辖区')")
    await expect(page.locator(".crumbs strong")).to_have_text("长春市")
    await drawn(page)


async def test_signing_out_forgets_the_session(page: Page) -> None:
    await sign_in(page)
    await page.click(".top button")
    await expect(page.locator("#username")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0
    await page.reload()
    await expect(page.locator("#username")).to_be_visible()


async def test_a_phone_shows_the_table_below_the_map_without_scrolling_sideways(page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await sign_in(page)
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    ground, rows = await page.locator("#map").bounding_box(), await page.locator(".table").bounding_box()
    assert ground is not None
    assert rows is not None
    assert rows["y"] > ground["y"] + ground["height"]


COUNT_LINKS = """window.links = 0; const link = WebGL2RenderingContext.prototype.linkProgram;
  WebGL2RenderingContext.prototype.linkProgram = function (...given) { window.links += 1; return link.apply(this, given); };"""


async def test_nothing_new_is_learnt_by_the_graphics_card_in_the_middle_of_a_drill(page: Page) -> None:
    await page.add_init_script(COUNT_LINKS)
    await page.reload()
    await sign_in(page)
    await expect(page.locator("#map[data-rehearsed=all]")).to_be_attached(timeout=20_000)
    known = await page.evaluate("window.links")
    assert known >= 6
    await page.select_option("#pick-indicator", "PATIENTS")  # hidden values: a pattern
    await expect(page.locator("tr[data-code='220102'] .share")).to_have_text("已隐藏")
    await drawn(page)
    await page.dblclick("tr[data-code='220202']")  # townships: broken lines and points
    await expect(page.locator(".crumbs strong")).to_have_text("昌邑区")
    await drawn(page)
    assert await page.evaluate("window.links") == known


async def test_the_boundaries_are_credited_on_the_map(page: Page) -> None:
    await sign_in(page)
    await expect(page.locator(".maplibregl-ctrl-attrib")).to_have_text("行政区划边界：天地图")
