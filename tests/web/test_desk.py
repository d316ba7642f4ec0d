"""What is asked on the desk, and what leaves it: indicators, periods, comparison, records, files."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.async_api import Page, expect

from api.app import page_policy
from api.settings import Settings
from tests.web.conftest import World
from tests.web.test_map import COLOURS, codes, drawn, point_at, sign_in, table

pytestmark = pytest.mark.asyncio(loop_scope="session")
EXPORTED = "SELECT detail->>'format' AS format, area, detail->>'rows' AS rows FROM audit_entry WHERE kind = 'EXPORT' ORDER BY id"
REFUSED = """
SELECT detail->'refused'->0->'codes'->>0 FROM audit_entry WHERE kind = 'REFUSED' AND detail::text LIKE '%export%' ORDER BY id"""
CENTRES = "() => [window.zhijianMap, window.zhijianMapBefore].map((map) => [map.getCenter().lng, map.getCenter().lat, map.getZoom()])"


async def colours(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(COLOURS)
    return {code: state for code, state in found.items() if code.startswith("22")}


async def patch(page: Page, lon: float, lat: float) -> set[Any]:
    """The colours of a small piece of the map."""
    x, y = await point_at(page, lon, lat)
    shot = await page.screenshot(clip={"x": x - 12, "y": y - 12, "width": 24, "height": 24})
    return set(Image.open(io.BytesIO(shot)).convert("RGB").get_flattened_data())


async def test_another_indicator_changes_list_colours_and_address(page: Page) -> None:
    await sign_in(page)
    await expect(page.locator("#pick-indicator option[value='IND-02']")).to_be_disabled()
    await page.select_option("#pick-indicator", "IND-14")
    await expect(page.locator(".legend figcaption")).to_have_text("有职业健康检查机构的县（区）占比（%）")
    await drawn(page)
    assert {row[0]: row[1:] for row in await table(page)}["南关区"] == ["1", "0", "1", "0.0%"]
    assert await colours(page) == {code: [0, 0] for code in ("220102", "220103", "220202", "220203")}
    assert "indicator=IND-14" in page.url
    await page.go_back()
    await expect(page.locator("#pick-indicator")).to_have_value("COORDINATOR-TOWNSHIPS")
    await expect(page.locator("tr[data-code='220103'] .share")).to_contain_text("25.0%")


async def test_no_data_and_hidden_values_have_patterns_of_their_own(page: Page) -> None:
    await sign_in(page)
    plain, hatched = await patch(page, 124.4, 44.2), await patch(page, 126.3, 44.8)
    assert (len(plain), len(hatched) > 1) == (1, True)
    await page.select_option("#pick-indicator", "PATIENTS")
    await expect(page.locator("tr[data-code='220102'] .share")).to_have_text("已隐藏")
    await drawn(page)
    hidden = await colours(page)
    assert {code for code, state in hidden.items() if state == [-3, None]} == {"220102", "220103", "220203"}
    assert len(await patch(page, 124.4, 44.2)) > 1


async def test_the_address_restores_everything(page: Page) -> None:
    await sign_in(page)
    await page.goto("/#/map?indicator=IND-21b&area=220100&period=2026Q1&compare=2025&asOf=2026-10-01&tree=division&at=220103&view=ranking")
    await page.reload()
    await drawn(page)
    fields = {"indicator": "IND-21b", "period": "2026Q1", "compare": "2025", "day": "2026-10-01", "tree": "DIVISION"}
    assert {name: await page.input_value(f"#pick-{name}") for name in fields} == fields
    await expect(page.locator(".crumbs strong")).to_have_text("长春市")
    await expect(page.locator("[role=tab][aria-selected=true]")).to_have_text("排名")
    await expect(page.locator(".ranks button")).to_have_count(2)
    await page.locator("[role=tab][aria-selected=true]").press("ArrowLeft")
    await expect(page.locator(".panel .chart")).to_be_visible()
    await expect(page.locator(".panel h2")).to_have_text("宽城区 · 趋势")
    await page.locator("[role=tab][aria-selected=true]").press("ArrowLeft")
    await expect(page.locator("tr[data-code='220103']")).to_have_attribute("aria-selected", "true")


async def test_two_periods_stand_side_by_side_and_move_together(page: Page) -> None:
    await sign_in(page)
    await page.goto("/#/map?compare=2019")
    await page.reload()
    await drawn(page)
    await expect(page.locator("#map-before[data-state=idle]")).to_be_visible(timeout=20_000)
    rows = {row[0]: row[1:] for row in await table(page)}
    assert rows["宽城区"] == ["25.0%▼", "50.0%", "▼ 25.0 点"]  # one left office on 2020-01-01
    assert rows["龙潭区"] == ["无数据", "无数据", "—"]
    before = "window.zhijianMapBefore.getFeatureState({source: 'areas', sourceLayer: 'county', id: '220103'})"
    assert await page.evaluate(before) == {"class": 2, "colour": "#f2d9a0", "value": 0.5}
    await page.evaluate("window.zhijianMap.jumpTo({center: [125, 44], zoom: 7})")
    one, other = await page.evaluate(CENTRES)
    assert one == pytest.approx(other)
    await page.select_option("#pick-compare", "")
    await expect(page.locator("#map-before")).to_be_hidden()


async def test_the_list_follows_the_map_and_leads_to_the_records(page: Page) -> None:
    await sign_in(page)
    await page.check("[data-switch=follow] input")
    await page.evaluate("window.zhijianMap.jumpTo({center: [125, 44.6], zoom: 9})")
    await expect(page.locator(".table tbody tr")).to_have_count(1)
    assert await codes(page) == ["220103"]
    await page.click("tr[data-code='220103']")
    await page.click(".card button:has-text('明细')")
    await expect(page.locator(".records tbody tr")).to_have_count(3)
    assert (await page.locator(".records tbody tr").first.inner_text()).split("\t")[:2] == ["宽城2镇", "乡镇"]
    assert "view=records" in page.url


async def test_what_is_exported_is_in_the_audit_first(page: Page, world: World) -> None:
    await sign_in(page)
    saved = {name: await _download(page, name) for name in ("xlsx", "geojson", "png")}
    with zipfile.ZipFile(io.BytesIO(saved["xlsx"])) as book:
        assert "宽城区" in book.read("xl/sharedStrings.xml").decode()
    features = {each["id"]: each for each in json.loads(saved["geojson"])["features"]}
    assert features["220103"]["geometry"]["type"] == "MultiPolygon"
    assert (features["220103"]["properties"]["value"], features["220203"]["properties"]["value"]) == (0.25, None)
    assert Image.open(io.BytesIO(saved["png"])).width > 300
    await page.evaluate("() => { window.print = () => { document.body.dataset.printed = document.querySelector('.paper').innerText; }; }")
    await page.click(".files summary")
    await page.click("[data-file=print]")
    await expect(page.locator("body")).to_have_attribute("data-printed", re.compile("宽城区"))
    assert [tuple(row) for row in await world.rows(EXPORTED)] == [(form, "220000", "4") for form in ("xlsx", "geojson", "png", "print")]


async def _download(page: Page, name: str) -> bytes:
    await page.click(".files summary")
    async with page.expect_download() as waiting:
        await page.click(f"[data-file={name}]")
    path = await (await waiting.value).path()
    return await asyncio.to_thread(path.read_bytes)


@pytest.mark.parametrize(
    ("username", "asked", "status", "code"),
    [
        ("city", "xlsx?indicator=COORDINATOR-TOWNSHIPS&area=220200&level=county", 403, "AREA_OUT_OF_SCOPE"),
        ("boss", "geojson?indicator=COORDINATOR-TOWNSHIPS&area=210000&level=county", 403, "AREA_OUT_OF_SCOPE"),
        ("boss", "xlsx?indicator=IND-02&area=220000&level=county", 400, "INDICATOR_AWAITED"),
        ("boss", "xlsx?indicator=NONE&area=220000&level=county", 404, "INDICATOR_UNKNOWN"),
        ("boss", "xlsx?indicator=IND-14&area=220000&level=street", 400, "VALUE_INVALID"),
        ("boss", "json?indicator=IND-14&area=220000&level=county", 400, "FORMAT_UNKNOWN"),
    ],
)
async def test_a_refused_export_gives_nothing_and_says_so_in_the_audit(
    world: World, username: str, asked: str, status: int, code: str
) -> None:
    token, before = await world.token(username), await world.rows(EXPORTED)
    async with httpx.AsyncClient(base_url=world.address) as client:
        answer = await client.get(f"/export/coverage.{asked}", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)
    assert await world.rows(EXPORTED) == before
    assert (await world.rows(REFUSED))[-1][0] == code


async def test_the_map_comes_packed_to_who_can_unpack_it(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.address) as client:
        map_chunk = re.findall(r'"(/assets/chunk-[^"]+\.js)"', (await client.get("/")).text)[0]
        packed, plain = [await client.get(map_chunk, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity")]
    assert (packed.headers["content-encoding"], packed.headers["content-type"]) == ("gzip", plain.headers["content-type"])
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert (packed.content, plain.headers.get("content-encoding")) == (plain.content, None)


async def test_exports_are_for_signed_in_people(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.address) as client:
        for path in ("/export/coverage.xlsx?indicator=IND-14&area=220000&level=county", "/desk.json"):
            assert (await client.get(path)).status_code == 401


async def test_the_page_may_load_from_outside_only_with_a_key(world: World) -> None:
    outside = "https://*.tianditu.gov.cn"
    assert outside not in page_policy(world.app.state.settings)
    assert page_policy(Settings.from_environment({"ZHIJIAN_TIANDITU_KEY": "a1b2"})).count(outside) == 2
    with pytest.raises(ValueError, match="ZHIJIAN_TIANDITU_KEY"):
        Settings.from_environment({"ZHIJIAN_TIANDITU_KEY": "a b; script-src *"})
