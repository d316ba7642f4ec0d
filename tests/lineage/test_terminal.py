"""The terminal's side of devices: key, tokens, numbers and wipe outlive a kill -9 at the worst moment, with a real RxDB client."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api import cluster
from api.fault_proxy import FaultProxy
from api.terminal import PROGRAM, Event, Terminal, TerminalError, node
from tests.lineage.lineage_world import PASSWORD, Client, Document, World, code, prepare, serving, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = "mutation ($user: ID!) { issueDeviceCode(userId: $user) { code } }"
REVOKE = 'mutation ($id: ID!) { revokeDevice(id: $id, reason: "丢失") }'
DEVICES = "{ devices { id clientVersion enrolledAt unsent offlineBytes unsentUnknownSince lastSeenAt wipedAt } }"
BLOCKS = "{ numberBlocks { deviceId first last used settled } }"
REFRESH = "mutation ($t: String!) { refresh(refreshToken: $t) { accessToken } }"
COLLECTIONS = ["enterprise", "inspection", "syncConflict"]
HOUR_MS = 3_600_000
JC: dict[str, Any] = {"series": "JC", "area": "220102"}
_numbers = itertools.count(1)


@dataclass
class Field:
    """The world, a network of the terminal's own, and the terminal's folder."""

    world: World
    proxy: FaultProxy
    boss: Client
    folder: Path
    device_id: str = field(default_factory=lambda: f"field-{next(_numbers)}")
    events: list[Event] = field(default_factory=list)
    terminals: list[Terminal] = field(default_factory=list)

    async def start(self, **options: Any) -> Terminal:
        chosen = {"deviceId": self.device_id, "folder": str(self.folder), "retryTime": 200, **options}
        terminal = await Terminal.start("field", self.proxy.url, listener=self.events.append, **chosen)
        self.terminals.append(terminal)
        return terminal

    async def enrolled(self, **options: Any) -> Terminal:
        """A terminal with a key, signed in as `ins`."""
        user = await self.world.scalar("SELECT id::text FROM user_account WHERE username = 'ins'")
        issued = (await self.boss.data(CODE, user=user))["issueDeviceCode"]["code"]
        terminal = await self.start(**options)
        await terminal.call("enrol", code=issued)
        await terminal.call("login", username="ins", password=PASSWORD)
        return terminal

    async def after_kill(self, terminal: Terminal, **options: Any) -> Terminal:
        """The same terminal, switched on again."""
        terminal.kill()
        await terminal.quit()
        return await self.start(**options)

    @property
    def vault(self) -> Document:
        found: Document = json.loads((self.folder / "device.json").read_text())
        return found

    async def device(self) -> Document:
        await self.world.app.state.contacts.flush()
        found: list[Document] = (await self.boss.data(DEVICES))["devices"]
        return next(device for device in found if device["id"] == self.device_id)

    async def heard(self, name: str) -> bool:
        return any(event["event"] == name for event in self.events)


@pytest.fixture(scope="module")
def url(cluster_url: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_terminal"  # as tests/conftest.py names what it clears away
    yield asyncio.run(cluster.create_database(cluster_url, name, template))
    asyncio.run(cluster.drop_database(cluster_url, name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    await prepare(url)
    async with serving(url, tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def out(world: World, tmp_path: Path) -> AsyncIterator[Field]:
    proxy = FaultProxy(f"{world.url}/graphql")
    await proxy.start()
    made = Field(world, proxy, await world.sign_in("boss"), tmp_path / "terminal")
    yield made
    await asyncio.gather(*(terminal.quit() for terminal in made.terminals))
    await proxy.close()


async def test_an_enrolled_terminal_works_and_what_is_stolen_from_it_does_not(out: Field) -> None:
    terminal = await out.enrolled(clockSkew=-3 * HOUR_MS)
    await terminal.call("open", collections=COLLECTIONS)
    await terminal.call("sync")
    made = out.boss.new("甲厂")
    await out.boss.push((None, made))

    async def woken() -> bool:
        return bool(await terminal.call("get", collection="enterprise", id=made["id"]))

    await until(woken)  # over a socket that has shown the key
    report = await terminal.call("report")
    assert (report["enrolled"], report["unsent"], report["wipe"]) == (True, 0, False)
    listed = await out.device()
    assert (listed["clientVersion"], listed["unsent"], listed["offlineBytes"]) == (report["version"], 0, report["bytes"])
    grant = out.vault["grant"]
    assert code(await out.world.ask("{ me { username } }", token=grant["accessToken"])) == "DEVICE_PROOF_REQUIRED"
    assert code(await out.world.ask(REFRESH, {"t": grant["refreshToken"]})) == "DEVICE_PROOF_REQUIRED"
    assert stat.S_IMODE((out.folder / "device.json").stat().st_mode) == 0o600
    assert await terminal.call("ask", query="{ me { username } }") == {"me": {"username": "ins"}}


async def test_an_enrolment_whose_answer_was_lost_may_be_repeated(out: Field) -> None:
    user = await out.world.scalar("SELECT id::text FROM user_account WHERE username = 'ins'")
    issued = (await out.boss.data(CODE, user=user))["issueDeviceCode"]["code"]
    out.proxy.swallow("enrolDevice")
    terminal = await out.start()
    with pytest.raises(TerminalError):
        await terminal.call("enrol", code=issued)
    await terminal.call("enrol", code=issued)
    with pytest.raises(TerminalError, match="ENROLMENT_CODE_INVALID"):
        await terminal.call("enrol", code="2222-2222-2222")
    await terminal.call("login", username="ins", password=PASSWORD)
    assert (await terminal.call("report"))["enrolled"] is True


async def test_a_terminal_killed_between_answer_and_store_goes_on_the_next_day(out: Field) -> None:
    terminal = await out.enrolled()
    lost = out.proxy.swallow("mutation ($refreshToken")
    with pytest.raises(TerminalError):
        await terminal.call("refresh")
    assert lost.finished.is_set()
    terminal = await out.after_kill(terminal)
    await out.world.execute("UPDATE refresh_token SET used_at = used_at - interval '1 day'")
    assert (await terminal.call("resume"))["username"] == "ins"
    before = out.vault["grant"]["refreshToken"]
    await terminal.call("refresh")
    assert out.vault["grant"]["refreshToken"] != before
    assert await terminal.call("ask", query="{ me { username } }") == {"me": {"username": "ins"}}
    assert await out.world.scalar("SELECT count(*) FROM auth_family WHERE revoked_for = 'REUSE'") == 0


async def test_no_number_is_handed_out_twice_when_the_terminal_is_killed(out: Field) -> None:
    terminal = await out.enrolled()
    await terminal.call("reserve", **JC, count=40)
    out.proxy.cut()
    asked = [asyncio.create_task(terminal.call("number", **JC, purpose="inspection/x")) for _ in range(30)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    terminal.kill()
    taken = [answer for answer in await asyncio.gather(*asked, return_exceptions=True) if isinstance(answer, str)]
    terminal = await out.after_kill(terminal)
    with suppress(TerminalError):
        while True:
            taken.append(await terminal.call("number", **JC))
    assert len(taken) == len(set(taken)) > 10
    (block,) = out.vault["blocks"]
    assert max(taken) == f"JC-220102-{block['year']}-{block['last']:06d}"


async def test_a_number_is_stored_before_it_is_seen(tmp_path: Path) -> None:
    found = await _in_node("""
        import { MemoryVault } from './vault.mjs';
        import { Numbers } from './numbers.mjs';
        class Disk extends MemoryVault {
            async put(values) { if (this.full) throw new Error('full'); this.kept = structuredClone(values); }
        }
        const disk = new Disk(), year = new Date().getUTCFullYear();
        disk.values.blocks = [{ id: 'b', series: 'JC', area: '1', year, prefix: 'p-', first: 1, last: 3, next: 1, taken: {} }];
        const numbers = new Numbers(disk, { serverNow: Date.now(), device: { id: 'd' } });
        const said = [await numbers.take('JC', '1', 'a'), disk.kept.blocks[0].next];
        disk.full = true;
        said.push(await numbers.take('JC', '1', 'b').catch((error) => error.message));
        disk.full = false;
        said.push(await numbers.take('JC', '1', 'c'), await numbers.take('JC', '1', 'd').catch((error) => error.message.split(' ')[0]));
        console.log(JSON.stringify(said));""")
    assert found == ["p-000001", 2, "full", "p-000003", "NUMBERS_EXHAUSTED"]


async def test_numbers_serve_documents_offline_and_the_rest_goes_back(out: Field) -> None:
    terminal = await out.enrolled()
    await terminal.call("open", collections=COLLECTIONS)
    lost = out.proxy.swallow("reserveNumbers(")
    with pytest.raises(TerminalError):
        await terminal.call("reserve", **JC, count=5)
    assert lost.finished.is_set()
    assert await terminal.call("reserve", **JC, count=5) == {"numbers": 5, "blocks": 1}  # the block whose answer was lost
    out.proxy.cut()
    place = await terminal.call("insert", collection="enterprise", document=_enterprise())
    visit = {"enterpriseId": place["id"], "kind": "ROUTINE", "state": "DRAFT", "inspectedAt": "2026-11-22T01:00:00.000+00:00"}
    number = {"field": "documentNumber", **JC}
    numbered = [await terminal.call("insert", collection="inspection", document=visit, number=number) for _ in range(2)]
    await terminal.call("number", **JC, purpose="inspection/never-written")
    out.proxy.restore()
    await terminal.call("sync")
    settled = {"returned": 2, "voided": 1}
    out.proxy.swallow("settleNumbers(")
    with pytest.raises(TerminalError):
        await terminal.call("settle", reason="外勤结束")
    with pytest.raises(TerminalError, match="NUMBERS_EXHAUSTED"):
        await terminal.call("number", **JC)
    assert await terminal.call("settle", reason="外勤结束") == settled
    assert await terminal.call("settle", reason="外勤结束") == {"returned": 0, "voided": 0}
    listed: list[Document] = (await out.boss.data(BLOCKS))["numberBlocks"]
    (block,) = [block for block in listed if block["deviceId"] == out.device_id]
    assert (block["last"] - block["first"], block["used"], block["settled"]) == (4, 2, 3)
    stored = await out.world.scalar("SELECT array_agg(document_number ORDER BY document_number) FROM inspection")
    assert stored == sorted(document["documentNumber"] for document in numbered)
    assert (await terminal.call("report"))["unsent"] == 0


async def test_a_lost_terminal_wipes_itself_and_what_it_held_back_is_known_as_unknown(out: Field) -> None:
    terminal = await out.enrolled()
    await terminal.call("open", collections=COLLECTIONS)
    await terminal.call("sync")
    out.proxy.delay("pushEnterprise", 60)
    await terminal.call("insert", collection="enterprise", document=_enterprise())
    assert (await terminal.call("report"))["unsent"] == 1
    await out.boss.data(REVOKE, id=out.device_id)
    with suppress(TerminalError):
        await terminal.call("ask", query="{ me { username } }")
    await until(lambda: out.heard("wipeConfirmed"))
    assert not out.folder.exists()
    with pytest.raises(TerminalError, match="DEVICE_WIPED"):
        await terminal.call("find", collection="enterprise")
    listed = await out.device()
    assert listed["wipedAt"] is not None
    assert (listed["unsent"], listed["unsentUnknownSince"]) == (1, listed["lastSeenAt"])


async def test_a_wipe_that_was_cut_short_goes_on_at_the_next_start(out: Field) -> None:
    terminal = await out.enrolled()
    await terminal.call("open", collections=["enterprise"])
    await terminal.call("insert", collection="enterprise", document=_enterprise())
    await out.boss.data(REVOKE, id=out.device_id)
    terminal.kill()  # in the moment after it has heard
    await terminal.quit()
    assert (out.folder / "terminal.jsonl").stat().st_size > 0
    (out.folder / "wiping").touch()
    await out.start()
    await until(lambda: out.heard("wipeConfirmed"))
    assert not out.folder.exists()


async def test_a_server_that_is_busy_is_left_alone_as_long_as_it_asks() -> None:
    arrived: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.append(time.monotonic())
        head, body = (b"429 Too Many Requests\r\nRetry-After: 1", b'{"errors":[{"message":"busy"}]}')
        if len(arrived) > 1:
            head, body = b"200 OK", b'{"data":{"me":1}}'
        writer.write(b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql"
        found = await _in_node(f"""
            import {{ MemoryVault }} from './vault.mjs';
            import {{ Session }} from './session.mjs';
            const session = new Session('{url}', {{ id: 'd' }}, new MemoryVault());
            await session.vault.put({{ grant: {{ accessToken: 't', expiresAt: '2999-01-01T00:00:00Z' }} }});
            const push = session.fetch(new Request('{url}', {{ method: 'POST', body: '{{}}' }})).then((answer) => answer.json());
            await new Promise((resolve) => setTimeout(resolve, 200));
            console.log(JSON.stringify([(await session.ask('{{ me }}')).me, (await push).data.me]));""")
    assert found == [1, 1]
    assert all(at - arrived[0] >= 1 for at in arrived[1:])
    assert len(arrived) == 3


def _enterprise() -> Document:
    return {"name": "甲厂", "areaCode": "220102", "status": "OPERATING", "source": "INSPECTION"}


async def _in_node(program: str) -> Any:
    """What a module beside the terminal's prints, as JSON."""
    command = [node(), "--input-type=module", "-e", program]
    done = await asyncio.to_thread(subprocess.run, command, cwd=PROGRAM.parent, capture_output=True, timeout=20, check=True)
    return json.loads(done.stdout)
