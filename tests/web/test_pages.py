"""Beside the map, in a real browser: the supervisor's pages for terminals and conflicts, and the terminal's device library."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from api import bootstrap
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
CODE = "mutation ($user: ID!) { issueDeviceCode(userId: $user) { code } }"
WORK = """async ([code, password]) => {
  const { BrowserVault, Numbers, Session } = window.library;
  const device = { id: 'browser-1' };
  const first = new Session(location.origin + '/graphql', device, await BrowserVault.open('city'));
  await first.enrol(code);
  await first.login('city', password);
  first.vault.database.close();
  const vault = await BrowserVault.open('city');
  const again = new Session(location.origin + '/graphql', device, vault);
  const exported = await crypto.subtle.exportKey('jwk', vault.get('key').privateKey).then(() => 'exported', () => 'kept');
  await again.refresh();
  const numbers = new Numbers(vault, again);
  await numbers.reserve('JC', '220102', 2);
  const taken = [await numbers.take('JC', '220102', 'a'), await numbers.take('JC', '220102', 'b')].map((number) => number.slice(-6));
  const { me } = await again.ask('{ me { username } }');
  const token = vault.get('grant').accessToken;
  await vault.destroy();
  const left = (await indexedDB.databases()).map((database) => database.name);
  return { exported, resumed: again.resume(), taken, me, token, left };
}"""


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
    assert await world.rows("SELECT contact_phone FROM enterprise WHERE name = '演示一厂'") == [("000-FIELD",)]
    assert await world.rows("SELECT resolution, resolved_by FROM sync_conflict") == [("MINE", "boss")]


async def test_a_supervisor_gives_codes_and_locks_a_lost_terminal_with_a_reason(page: Page, world: World, officer: str) -> None:
    await go(page, "devices")
    row = page.locator(f".devices tr[data-id={DEVICE}]")
    await expect(row).to_contain_text("执法终端 7 号")
    assert [text.strip() for text in await row.locator("td.number").all_inner_texts()][1:] == ["2", "5.2 MB"]
    await row.get_by_role("button", name="注册码").click()
    code = page.locator(".question .code")
    await expect(code).to_have_text(re.compile(r"(\w{4}-){2}\w{4}"))
    assert await world.rows("SELECT count(*) FROM device_code WHERE used_at IS NULL") == [(1,)]
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="新终端").click()
    await page.get_by_label("查找人员").fill("city")  # who has none yet
    await expect(page.locator(".people label")).to_have_count(1)
    await page.get_by_role("button", name="发注册码").click()
    await expect(page.locator(".question")).to_be_visible()  # nobody chosen, no code
    await page.locator(".people label").click()
    await page.get_by_role("button", name="发注册码").click()
    await expect(code).to_have_text(re.compile(r"(\w{4}-){2}\w{4}"))
    whose = "SELECT u.username FROM device_code c JOIN user_account u ON u.id = c.user_id ORDER BY u.username"
    assert await world.rows(whose) == [("city",), ("officer",)]
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


async def test_a_browser_keeps_a_key_that_nobody_can_take_away(browser: Browser, world: World, tmp_path: Path) -> None:
    (user,) = await world.rows("SELECT id::text FROM user_account WHERE username = 'city'")
    issued = (await world.ask(CODE, await world.token("boss"), user=user[0]))["data"]["issueDeviceCode"]["code"]
    context = await browser.new_context(base_url=world.address, bypass_csp=True)
    page = await context.new_page()
    await page.goto("/healthz")
    await page.add_script_tag(path=_bundled(tmp_path), type="module")
    await page.wait_for_function("window.library")
    found = await page.evaluate(WORK, [issued, PASSWORD])
    await context.close()
    token = found.pop("token")
    assert found == {"exported": "kept", "resumed": None, "taken": ["000001", "000002"], "me": {"username": "city"}, "left": []}
    stolen = await world.ask("{ me { username } }", token)
    assert stolen["errors"][0]["extensions"]["code"] == "DEVICE_PROOF_REQUIRED"


def _bundled(folder: Path) -> Path:
    entry, made = bootstrap.WEB / "terminal", folder / "library.js"
    program = (
        f"import {{ BrowserVault }} from '{entry}/vault.mjs'; import {{ Session }} from '{entry}/session.mjs';"
        f"import {{ Numbers }} from '{entry}/numbers.mjs'; window.library = {{ BrowserVault, Numbers, Session }};"
    )
    command = ["npx", "--no-install", "esbuild", "--bundle", "--format=esm", f"--outfile={made}"]
    subprocess.run(command, cwd=bootstrap.WEB, input=program, text=True, capture_output=True, check=True)
    return made
