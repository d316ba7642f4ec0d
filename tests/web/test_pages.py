"""The supervisor's pages beside the map: terminals and the conflict inbox, in a real browser."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from api.accounts import create_user
from schema.actor import Role
from sync.identity import uuid7
from tests.web.conftest import World
from tests.web.small_world import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGIN = """mutation ($name: String!, $password: String!, $device: DeviceInput!) {
  login(username: $name, password: $password, device: $device) { accessToken } }"""
REPORT = 'mutation { reportDevice(clientVersion: "zhijian-terminal 0.2.0", offlineBytes: 5.2e6, unsent: 2) { wipe } }'
PUSH = "mutation ($rows: [EnterprisePushRow!]!) { pushEnterprise(rows: $rows) { id } }"
SAVE = "mutation ($input: EnterpriseInput!) { saveEnterprise(input: $input) { id } }"
DEVICE = "officer-1"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def officer(world: World) -> str:
    """The token of an officer in the field, whose terminal has reported and has lost a phone number to the desk."""
    async with world.app.state.database.engine.begin() as connection:
        await create_user(connection, "officer", PASSWORD, Role.INSPECTOR, ["220102"], display_name="执法员甲")
    device = {"id": DEVICE, "name": "执法终端 7 号", "platform": "android", "clientVersion": "zhijian-terminal 0.2.0"}
    answer = await world.ask(LOGIN, name="officer", password=PASSWORD, device=device)
    token: str = answer["data"]["login"]["accessToken"]
    await world.ask(REPORT, token)
    fixed = {"id": uuid7(datetime.now(UTC)), "areaCode": "220102", "status": "OPERATING", "source": "INSPECTION", "deleted": False}
    made: dict[str, Any] = {**fixed, "name": "演示一厂", "contactPhone": "000-0", "stamp": f"{DEVICE}:1"}
    await world.ask(PUSH, token, rows=[{"newDocumentState": made}])
    before = int(time.time() * 1000)
    await world.ask(SAVE, await world.token("boss"), input={"id": made["id"], "contactPhone": "000-DESK"})
    late = {**made, "contactPhone": "000-FIELD", "stamp": f"{DEVICE}:2:{before - 60_000}"}
    answer = await world.ask(PUSH, token, rows=[{"assumedMasterState": {**made, "revision": 1}, "newDocumentState": late}])
    assert "errors" not in answer, answer
    return token


async def go(page: Page, place: str) -> None:
    await page.goto(f"/#/{place}")
    await page.fill("#username", "boss")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator(".places [aria-current=page]")).to_have_attribute("href", f"#/{place}")


async def test_a_supervisor_settles_a_conflict_in_favour_of_the_field(page: Page, world: World, officer: str) -> None:
    await go(page, "inbox")
    conflict = page.locator(".conflicts li[data-id]")
    await expect(conflict).to_have_count(1)
    assert await conflict.locator("dd").all_inner_texts() == ["000-0", "000-FIELD", "000-DESK"]
    await expect(conflict.locator("header")).to_contain_text("演示一厂")
    await conflict.get_by_role("button", name="采用终端的值").click()
    await expect(page.locator(".conflicts")).to_have_text("没有需要处理的冲突")
    assert await world.rows("SELECT contact_phone FROM enterprise") == [("000-FIELD",)]
    assert await world.rows("SELECT resolution, resolved_by FROM sync_conflict") == [("MINE", "boss")]


async def test_a_supervisor_gives_codes_and_locks_a_lost_terminal_with_a_reason(page: Page, world: World, officer: str) -> None:
    await go(page, "devices")
    row = page.locator(f".devices tr[data-id={DEVICE}]")
    await expect(row).to_contain_text("执法终端 7 号")
    assert [text.strip() for text in await row.locator("td.number").all_inner_texts()][1:] == ["2", "5.2 MB"]
    await row.get_by_role("button", name="注册码").click()
    code = page.locator(".question .code")
    await expect(code).to_have_text(re.compile(r"(\w{4}-){2}\w{4}"))
    assert await world.rows("SELECT count(*) FROM device_code") == [(1,)]
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="停用").click()
    await expect(page.locator(".question")).to_contain_text("2 份未发送")
    await page.get_by_role("button", name="停用并要求清除").click()
    await expect(page.locator(".question")).to_be_visible()  # no reason, no lock
    assert await world.rows("SELECT id FROM device WHERE revoked_at IS NOT NULL") == []
    await page.get_by_label("停用原因").fill("外勤途中丢失")
    await page.get_by_role("button", name="停用并要求清除").click()
    await expect(row.locator(".state")).to_have_text("待清除")
    await expect(row).to_contain_text("2 + 未知")
    assert await world.rows("SELECT id, revoked_for FROM device WHERE revoked_at IS NOT NULL") == [(DEVICE, "外勤途中丢失")]
    answer = await world.ask("{ me { username } }", officer)
    assert answer["errors"][0]["extensions"]["code"] == "DEVICE_REVOKED"
