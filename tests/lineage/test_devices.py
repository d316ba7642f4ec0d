"""One device, one key; a lost one is refused at its next request and told to wipe itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.tokens import Whose, issue, verify
from tests.lineage.device_key import DeviceKey
from tests.lineage.lineage_world import LOGIN, PASSWORD, Client, Document, World, code, prepare, serving

CODE = "mutation ($user: ID!) { issueDeviceCode(userId: $user) { code expiresAt } }"
ENROL = "mutation ($code: String!, $device: DeviceInput!) { enrolDevice(code: $code, device: $device) }"
REVOKE = 'mutation ($id: ID!) { revokeDevice(id: $id, reason: "丢失") }'
ME = "{ me { username } }"
DEVICES = """{ devices { id username clientVersion outdated enrolledAt lastSeenAt clockOffsetMs offlineBytes unsent lag heldAt
  revokedAt revokedFor wipedAt unsentUnknownSince } }"""


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    await prepare(database_url)
    async with serving(database_url, tmp_path, oldest_client="1.10.0") as made:
        yield made


async def enrolled(world: World, key: DeviceKey, chief: str = "boss", username: str = "ins", device: str = "ins-1") -> Document:
    """A session of an enrolled device."""
    user = await world.scalar("SELECT id::text FROM user_account WHERE username = :name", name=username)
    issued = (await (await world.sign_in(chief)).data(CODE, user=user))["issueDeviceCode"]["code"]
    answer = await world.ask(ENROL, {"code": issued, "device": {"id": device}}, DPoP=key.proof())
    assert answer["data"]["enrolDevice"] is True, answer
    answer = await login(world, key, username, device)
    found: Document = answer["data"]["login"]
    return found


async def login(world: World, key: DeviceKey | None, username: str = "ins", device: str = "ins-1") -> Document:
    variables = {"username": username, "password": PASSWORD, "device": {"id": device}}
    return await world.ask(LOGIN, variables, None, **({"DPoP": key.proof()} if key else {}))


async def test_people_are_found_by_those_who_are_over_them_and_by_nobody_else(world: World) -> None:
    query = """query ($search: String! = "", $first: Int! = 2, $after: String! = "") {
      users(search: $search, first: $first, after: $after) { nodes { username role devices } hasNextPage endCursor } }"""
    found = {}
    for name in ("root", "boss", "far"):
        client, seen, page = await world.sign_in(name), [], {"hasNextPage": True, "endCursor": ""}
        while page["hasNextPage"]:
            page = (await client.data(query, after=page["endCursor"]))["users"]
            seen += [person["username"] for person in page["nodes"]]
        found[name] = seen
    assert found == {"root": ["boss", "far", "ins", "other", "root"], "boss": ["boss", "ins", "other"], "far": ["far"]}
    boss = await world.sign_in("boss")
    assert (await boss.data(query, search="INS"))["users"]["nodes"] == [{"username": "ins", "role": "INSPECTOR", "devices": 0}]
    assert code(await (await world.sign_in("ins")).ask(query)) == "ROLE_FORBIDDEN"
    assert code(await boss.ask(query, first=0)) == "LIMIT_INVALID"
    assert (await boss.data(query, search="%\x00'"))["users"]["nodes"] == []


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_a_token_works_only_with_the_key_of_its_device(world: World, algorithm: str) -> None:
    key, thief = DeviceKey(algorithm), DeviceKey(algorithm)
    session = await enrolled(world, key)
    token = session["accessToken"]
    good = await world.ask(ME, token=token, DPoP=key.proof(token))
    assert good["data"]["me"]["username"] == "ins"
    used = key.proof(token)
    await world.ask(ME, token=token, DPoP=used)
    refused = {
        "nothing": await world.ask(ME, token=token),
        "another key": await world.ask(ME, token=token, DPoP=thief.proof(token)),
        "another token": await world.ask(ME, token=token, DPoP=key.proof("other")),
        "no token": await world.ask(ME, token=token, DPoP=key.proof()),
        "another path": await world.ask(ME, token=token, DPoP=key.proof(token, path="/files")),
        "another method": await world.ask(ME, token=token, DPoP=key.proof(token, method="GET")),
        "used before": await world.ask(ME, token=token, DPoP=used),
        "old": await world.ask(ME, token=token, DPoP=key.proof(token, iat=int(time.time()) - 300)),
        "nonsense": await world.ask(ME, token=token, DPoP="x.y.z"),
    }
    codes = {name: code(answer) for name, answer in refused.items()}
    assert codes.pop("nothing") == "DEVICE_PROOF_REQUIRED"
    assert codes.pop("old") == "DEVICE_PROOF_STALE"
    assert set(codes.values()) == {"DEVICE_PROOF_INVALID"}
    assert code(await login(world, None)) == "DEVICE_PROOF_REQUIRED"
    assert code(await login(world, thief)) == "DEVICE_PROOF_INVALID"


async def test_a_stolen_refresh_token_is_worth_nothing_without_the_key(world: World) -> None:
    key, thief = DeviceKey(), DeviceKey()
    session = await enrolled(world, key)
    query, variables = "mutation ($t: String!) { refresh(refreshToken: $t) { accessToken } }", {"t": session["refreshToken"]}
    assert code(await world.ask(query, variables)) == "DEVICE_PROOF_REQUIRED"
    assert code(await world.ask(query, variables, DPoP=thief.proof())) == "DEVICE_PROOF_INVALID"
    assert (await world.ask(query, variables, DPoP=key.proof()))["data"]["refresh"]["accessToken"]


async def test_a_code_enrols_one_device_of_that_person_once(world: World) -> None:
    user = await world.scalar("SELECT id::text FROM user_account WHERE username = 'ins'")
    issued = (await (await world.sign_in("boss")).data(CODE, user=user))["issueDeviceCode"]["code"]
    key = DeviceKey()
    assert code(await world.ask(ENROL, {"code": issued, "device": {"id": "d"}})) == "DEVICE_PROOF_REQUIRED"
    assert code(await world.ask(ENROL, {"code": "2222-2222-2222", "device": {"id": "d"}}, DPoP=key.proof())) == "ENROLMENT_CODE_INVALID"
    assert (await world.ask(ENROL, {"code": issued.lower(), "device": {"id": "d"}}, DPoP=key.proof()))["data"]["enrolDevice"]
    again = await world.ask(ENROL, {"code": issued, "device": {"id": "e"}}, DPoP=DeviceKey().proof())
    assert code(again) == "ENROLMENT_CODE_INVALID"
    assert await world.scalar("SELECT array_agg(id) FROM device WHERE thumbprint IS NOT NULL") == ["d"]


async def test_codes_can_not_be_guessed_at_will(world: World) -> None:
    answers = [await world.ask(ENROL, {"code": f"{n:012d}", "device": {"id": "d"}}, DPoP=DeviceKey().proof()) for n in range(6)]
    assert [code(answer) for answer in answers] == ["ENROLMENT_CODE_INVALID"] * 5 + ["TOO_MANY_ATTEMPTS"]


@pytest.mark.parametrize("chief", ["ins", "far"])
async def test_only_who_is_over_a_person_issues_codes_and_locks_devices(world: World, chief: str) -> None:
    user = await world.scalar("SELECT id::text FROM user_account WHERE username = 'other'")
    await world.sign_in("other")
    client = await world.sign_in(chief)
    expected = "ROLE_FORBIDDEN" if chief == "ins" else "USER_UNKNOWN"
    assert code(await client.ask(CODE, user=user)) == expected
    assert code(await client.ask(REVOKE, id="other-1")) == expected
    assert await world.scalar("SELECT count(*) FROM device WHERE revoked_at IS NOT NULL") == 0
    assert await world.scalar("SELECT count(*) FROM device_code") == 0


async def test_where_keys_are_required_other_devices_stay_out(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path / "open") as before:
        client = await before.sign_in("ins")
        user = await before.scalar("SELECT id::text FROM user_account WHERE username = 'root'")
        issued = (await (await before.sign_in("root")).data(CODE, user=user))["issueDeviceCode"]["code"]
    async with serving(database_url, tmp_path / "open", device_keys=True) as world:
        assert code(await login(world, None)) == "DEVICE_NOT_ENROLLED"
        assert code(await world.ask(ME, token=client.token)) == "DEVICE_NOT_ENROLLED"
        key = DeviceKey()
        await world.ask(ENROL, {"code": issued, "device": {"id": "root-2"}}, DPoP=key.proof())
        assert "data" in await login(world, key, "root", "root-2")


async def test_a_lost_device_is_refused_at_once_and_told_to_wipe(world: World) -> None:
    boss, client = await world.sign_in("boss"), await world.sign_in("ins")
    socket = await subscribed(world, client)
    await client.pull()
    assert await boss.data(REVOKE, id="ins-1") == {"revokeDevice": True}
    refused = await client.ask(ME)
    assert (code(refused), refused["errors"][0]["extensions"]["wipe"]) == ("DEVICE_REVOKED", True)
    assert await closed(socket) == (4403, "DEVICE_REVOKED")
    again = await world.ask("mutation ($t: String!) { refresh(refreshToken: $t) { accessToken } }", {"t": client.refresh_token})
    assert code(again) == "DEVICE_REVOKED"
    assert code(await login(world, None)) == "DEVICE_REVOKED"
    assert await client.data("{ deviceState { wipe } }") == {"deviceState": {"wipe": True}}
    assert await world.scalar("SELECT count(*) FROM auth_family WHERE device_id = 'ins-1' AND revoked_at IS NULL") == 0
    listed = await device(boss, "ins-1")
    assert listed["unsentUnknownSince"] == listed["lastSeenAt"]
    assert (listed["revokedFor"], listed["wipedAt"]) == ("丢失", None)
    assert await client.data("mutation { confirmWipe }") == {"confirmWipe": True}
    assert (await device(boss, "ins-1"))["wipedAt"] is not None
    second = await world.sign_in("ins", "ins-2")
    assert (await second.data(ME))["me"]["username"] == "ins"


async def test_a_lost_device_that_was_off_for_long_may_still_confirm_with_its_key(world: World) -> None:
    key, thief = DeviceKey(), DeviceKey()
    session = await enrolled(world, key)
    long_ago = datetime.now(UTC) - timedelta(days=3)
    keys = world.app.state.accounts.keys
    whose = verify(keys, session["accessToken"], datetime.now(UTC))
    token, _ = issue(keys, Whose(whose.user_id, whose.device_id, whose.family_id), long_ago)
    await (await world.sign_in("boss")).data(REVOKE, id="ins-1")
    confirm, wiped = "mutation { confirmWipe }", "SELECT wiped_at IS NOT NULL FROM device WHERE id = 'ins-1'"
    assert code(await world.ask(ME, token=token, DPoP=key.proof(token))) == "TOKEN_EXPIRED"
    assert code(await world.ask(confirm, token=token)) == "DEVICE_PROOF_REQUIRED"
    assert code(await world.ask(confirm, token=token, DPoP=thief.proof(token))) == "DEVICE_PROOF_INVALID"
    assert await world.scalar(wiped) is False
    assert (await world.ask(confirm, token=token, DPoP=key.proof(token)))["data"] == {"confirmWipe": True}
    assert await world.scalar(wiped) is True


async def test_a_device_with_a_key_may_repeat_a_refresh_whose_answer_it_lost_long_ago(world: World) -> None:
    key = DeviceKey()
    session = await enrolled(world, key)
    query, variables = "mutation ($t: String!) { refresh(refreshToken: $t) { refreshToken } }", {"t": session["refreshToken"]}
    lost = (await world.ask(query, variables, DPoP=key.proof()))["data"]["refresh"]["refreshToken"]
    await world.execute("UPDATE refresh_token SET used_at = used_at - interval '3 days'")
    assert code(await world.ask(query, variables)) == "DEVICE_PROOF_REQUIRED"
    assert (await world.ask(query, variables, DPoP=key.proof()))["data"]["refresh"]["refreshToken"] != lost
    assert await world.scalar("SELECT count(*) FROM auth_family WHERE revoked_for = 'REUSE'") == 0


async def test_another_node_hears_of_a_lost_device(world: World, database_url: str, tmp_path: Path) -> None:
    boss, client = await world.sign_in("boss"), await world.sign_in("ins")
    async with serving(database_url, tmp_path) as node:
        there = Client(node, "ins", "ins-1", token=client.token)
        await there.data(ME)
        socket = await subscribed(node, there)
        await boss.data(REVOKE, id="ins-1")
        assert await closed(socket) == (4403, "DEVICE_REVOKED")
        assert code(await there.ask(ME)) == "DEVICE_REVOKED"


async def test_the_list_says_how_each_device_does(world: World) -> None:
    boss, client = await world.sign_in("boss"), await world.sign_in("ins")
    client.headers = {"X-Device-Clock": str(int((time.time() - 7200) * 1000))}
    await client.push((None, client.new("甲厂")))
    await world.stamped()
    await client.pull()
    report = 'mutation { reportDevice(clientVersion: "1.9.3", offlineBytes: 5e9, unsent: 2) { outdated oldestClientVersion wipe } }'
    assert await client.data(report) == {"reportDevice": {"outdated": True, "oldestClientVersion": "1.10.0", "wipe": False}}
    await world.app.state.contacts.flush()
    await boss.push((None, boss.new("乙厂")))
    await world.stamped()
    found = await device(boss, "ins-1")
    assert (found["clientVersion"], found["outdated"], found["offlineBytes"], found["unsent"]) == ("1.9.3", True, 5e9, 2)
    assert found["lag"] == 1
    assert abs(found["clockOffsetMs"] - 7_200_000) < 5_000
    far = await (await world.sign_in("far")).data(DEVICES)
    assert [each["id"] for each in far["devices"]] == ["far-1"]


async def test_an_edit_counts_when_it_was_made_whatever_the_device_s_clock_says(world: World) -> None:
    """Two hours slow: its later edit wins, by the offset that was measured on the way."""
    slow, right = await world.sign_in("ins", "slow"), await world.sign_in("ins", "right")
    await right.push((None, right.new("甲厂", remark="first")))
    await world.stamped()
    for client in (slow, right):
        await client.pull()
    (document_id,) = right.held
    now = int(time.time() * 1000)
    base = dict(slow.held[document_id])
    await right.push((base, {**base, "remark": "earlier", "stamp": f"right:9:{now - 60_000}"}))
    slow.headers = {"X-Device-Clock": str(now - 7_200_000)}
    await slow.push((base, {**base, "remark": "later", "stamp": f"slow:9:{now - 7_200_000 - 30_000}"}))
    assert await world.scalar("SELECT remark FROM enterprise") == "later"


async def device(client: Client, device_id: str) -> dict[str, Any]:
    await client.world.app.state.contacts.flush()
    found: list[Document] = (await client.data(DEVICES))["devices"]
    return next(each for each in found if each["id"] == device_id)


async def subscribed(world: World, client: Client) -> ClientConnection:
    socket = await connect(world.url.replace("http", "ws") + "/graphql", subprotocols=[Subprotocol("graphql-transport-ws")])
    await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}}))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "subscription { wake }"}}))
    await asyncio.sleep(0.1)
    return socket


async def closed(socket: ClientConnection) -> tuple[int, str]:
    async with asyncio.timeout(3):
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass
    return socket.close_code or 0, socket.close_reason or ""
