"""Log-in: what is opened to whom, what is refused, and what an observer could learn."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters
from sqlalchemy.exc import DBAPIError

from api import accounts, passwords
from api.tokens import Keys, Whose, issue, verify
from schema.actor import Role
from schema.problems import Refused
from tests.api.http_world import PASSWORD, REFRESH, World, code, login, prepare, serving, session


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    await prepare(database_url)
    async with serving(database_url, tmp_path) as made:
        yield made


ME = "{ me { username role areas { code name } } }"


async def refresh(world: World, token: str) -> dict[str, Any]:
    return await world.ask(REFRESH, {"token": token})


async def actor(world: World, token: str) -> Any:
    return await accounts.authenticate(token, world.app.state.accounts, datetime.now(UTC))


async def test_login_opens_a_session_that_me_knows(world: World) -> None:
    opened = await session(world, " BOSS ")
    assert opened["user"]["username"] == "boss"
    assert opened["user"]["role"] == "SUPERVISOR"
    assert opened["user"]["areas"] == [{"code": "220000", "name": "吉林省"}]
    left = datetime.fromisoformat(opened["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    me = await world.ask(ME, token=opened["accessToken"])
    assert me == {"data": {"me": {"username": "boss", "role": "SUPERVISOR", "areas": [{"code": "220000", "name": "吉林省"}]}}}


async def test_the_actor_has_grants_person_and_inbox_as_scopes(world: World) -> None:
    boss = await actor(world, (await session(world, "boss"))["accessToken"])
    inspector = await actor(world, (await session(world, "ins", "device-2"))["accessToken"])
    nation = await actor(world, (await session(world, "nation", "device-3"))["accessToken"])
    assert set(boss.scopes) == {"220000", f"user:{boss.user_id}", "inbox:SUPERVISOR:220000"}
    assert set(inspector.scopes) == {"220102", "enterprise:7", f"user:{inspector.user_id}"}
    assert set(nation.scopes) == {"110000", "220000", f"user:{nation.user_id}", "inbox:CDC:110000", "inbox:CDC:220000"}
    assert (inspector.role, inspector.device_id) == (Role.INSPECTOR, "device-2")


async def test_a_grant_counts_from_its_first_to_its_last_moment(world: World) -> None:
    opened = await session(world, "ins")
    await world.execute("UPDATE user_grant SET valid_to = now() WHERE scope = '220102'")
    await world.execute("UPDATE user_grant SET valid_from = now() + interval '1 hour' WHERE scope = 'enterprise:7'")
    found = await actor(world, opened["accessToken"])
    assert found.scopes == (f"user:{found.user_id}",)
    assert (await world.ask(ME, token=opened["accessToken"]))["data"]["me"]["areas"] == []


async def test_wrong_names_and_passwords_are_told_the_same(world: World) -> None:
    answers = [
        await login(world, *given)
        for given in (("boss", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("a\0b", "x"), ("boss", "x" * 5000))
    ]
    assert {str(answer["errors"][0]["message"]) for answer in answers} == {"User name or password is wrong."}
    assert {code(answer) for answer in answers} == {"LOGIN_FAILED"}
    assert await world.scalar("SELECT count(*) FROM auth_family") == 0
    assert await world.scalar("SELECT count(*) FROM device") == 0


class Counted:
    """The hasher, what each of its checks costs (time, memory and lanes), and in which thread."""

    def __init__(self) -> None:
        self.hasher = passwords.HASHER
        self.hash = self.hasher.hash
        self.checks: list[Parameters] = []
        self.threads: list[str] = []

    def verify(self, hashed: str, password: str) -> bool:
        self.checks.append(extract_parameters(hashed))
        self.threads.append(threading.current_thread().name)
        return self.hasher.verify(hashed, password)


async def test_an_unknown_name_costs_the_same_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    monkeypatch.setattr(passwords, "HASHER", counted)
    for name in ("boss", "nobody"):
        assert code(await login(world, name, "wrong")) == "LOGIN_FAILED"
    known, unknown = counted.checks
    assert known == unknown


async def test_after_five_failures_the_right_password_is_refused_too_but_not_elsewhere(world: World) -> None:
    assert [code(await login(world, "boss", "wrong")) for _ in range(6)] == ["LOGIN_FAILED"] * 5 + ["TOO_MANY_ATTEMPTS"]
    assert code(await login(world)) == "TOO_MANY_ATTEMPTS"
    assert "data" in await login(world, "ins", device="device-2")
    now, facts = datetime.now(UTC), accounts.DeviceFacts("device-9")
    assert await world.app.state.accounts.login("boss", PASSWORD, facts, "192.0.2.1", now)
    later = now + timedelta(minutes=16)
    assert await world.app.state.accounts.login("boss", PASSWORD, facts, "127.0.0.1", later)


async def test_a_hundred_guesses_at_once_are_a_hundred_guesses(world: World) -> None:
    answers = await asyncio.gather(*(login(world, "boss", "wrong") for _ in range(20)))
    assert sorted(map(code, answers)) == ["LOGIN_FAILED"] * 5 + ["TOO_MANY_ATTEMPTS"] * 15


async def test_success_forgets_the_failures_before_it(world: World) -> None:
    for _ in range(3):
        for _ in range(4):
            assert code(await login(world, "boss", "wrong")) == "LOGIN_FAILED"
        assert "errors" not in await login(world)


def test_a_whole_ipv6_network_is_one_address() -> None:
    assert accounts.network("2001:db8::1") == accounts.network("2001:db8::ffff:2") == "2001:db8::/64"
    assert accounts.network("192.0.2.1") == "192.0.2.1"


async def test_demo_accounts_are_served_on_loopback_alone(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    for choices, refused in (({}, False), ({"host": "0.0.0.0"}, True), ({"production": True}, True)):
        async with serving(database_url, tmp_path, **choices) as world:
            answer = await login(world, "demo")
            assert ("errors" in answer) is refused
            if refused:
                assert code(answer) == "DEMO_ACCOUNT_REFUSED"
                assert await world.scalar("SELECT count(*) FROM auth_family") == 1


async def test_a_device_belongs_to_one_person_and_can_be_locked(world: World) -> None:
    opened = await session(world, "boss", "tablet")
    assert code(await login(world, "ins", device="tablet")) == "DEVICE_TAKEN"
    assert code(await login(world, "ins", device="a:b")) == "DEVICE_INVALID"
    await world.execute("UPDATE device SET revoked_at = now()")
    assert code(await login(world, "boss", device="tablet")) == "DEVICE_REVOKED"
    assert code(await refresh(world, opened["refreshToken"])) == "DEVICE_REVOKED"
    assert code(await world.ask(ME, token=opened["accessToken"])) == "DEVICE_REVOKED"


async def test_what_a_device_says_of_itself_is_kept(world: World) -> None:
    query = """mutation($clock: DateTime) { login(username: "boss", password: "right horse", device: {
      id: "d", name: "平板", platform: "android", clientVersion: "1.2", clockAt: $clock }) { expiresAt } }"""
    assert "errors" not in await world.ask(query, {"clock": (datetime.now(UTC) - timedelta(seconds=90)).isoformat()})
    assert "errors" not in await world.ask(query)
    assert await world.scalar("SELECT name || platform || client_version FROM device") == "平板android1.2"
    assert 89_000 < await world.scalar("SELECT clock_offset_ms FROM device") < 95_000


async def test_without_a_token_nothing_is_known_and_a_bad_token_says_why(world: World) -> None:
    state = world.app.state.accounts
    opened = await session(world)
    claims = verify(state.keys, opened["accessToken"], datetime.now(UTC))
    old, _ = issue(state.keys, claims, datetime.now(UTC) - timedelta(minutes=16))
    assert code(await world.ask(ME)) == "UNAUTHENTICATED"
    assert code(await world.ask(ME, token="nonsense")) == "TOKEN_INVALID"
    assert code(await world.ask(ME, token=opened["accessToken"][:-6] + "AAAAAA")) == "TOKEN_INVALID"
    assert code(await world.ask(ME, token=old)) == "TOKEN_EXPIRED"
    unsigned = jwt.encode({"sub": claims.user_id, "iss": "zhijian", "typ": "access"}, "", algorithm="none")
    assert code(await world.ask(ME, token=unsigned)) == "TOKEN_INVALID"
    assert "errors" not in await world.ask(REFRESH, {"token": opened["refreshToken"]}, token=old)


async def test_logout_ends_the_session_for_both_tokens_on_every_node(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database_url)
    monkeypatch.setattr(accounts, "CACHE_SECONDS", 0.0)
    async with serving(database_url, tmp_path) as world, serving(database_url, tmp_path) as other:
        opened = await session(world)
        assert "errors" not in await other.ask(ME, token=opened["accessToken"])
        assert await world.ask("mutation { logout }", token=opened["accessToken"]) == {"data": {"logout": True}}
        for node in (world, other):
            assert code(await node.ask(ME, token=opened["accessToken"])) == "SESSION_ENDED"
            assert code(await refresh(node, opened["refreshToken"])) == "REFRESH_INVALID"


async def test_the_hot_path_asks_the_database_once_in_a_few_seconds(world: World) -> None:
    token = (await session(world))["accessToken"]
    state = world.app.state.accounts
    first = await state.authenticate(token, datetime.now(UTC))
    assert await state.authenticate(token, datetime.now(UTC)) is first
    later = datetime.now(UTC) + timedelta(seconds=accounts.CACHE_SECONDS + 1)
    assert await state.authenticate(token, later) is not first


async def test_refresh_hands_on_and_a_used_token_ends_the_family(world: World) -> None:
    first = (await session(world))["refreshToken"]
    second = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    third = (await refresh(world, second))["data"]["refresh"]["refreshToken"]
    assert len({first, second, third}) == 3
    assert code(await refresh(world, first)) == "REFRESH_REUSED"
    assert code(await refresh(world, third)) == "REFRESH_INVALID"
    assert await world.scalar("SELECT revoked_for FROM auth_family") == "REUSE"
    assert await world.scalar("SELECT count(*) FROM audit_entry WHERE kind = 'REFRESH_REUSED'") == 1


async def test_a_refresh_lost_on_the_way_may_be_asked_again(world: World) -> None:
    first = (await session(world))["refreshToken"]
    lost = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    lost_too = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    arrived = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    assert "errors" not in await refresh(world, arrived)
    assert lost != lost_too != arrived


async def test_the_successor_that_was_given_up_is_worth_nothing(world: World) -> None:
    first = (await session(world))["refreshToken"]
    lost = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    arrived = (await refresh(world, first))["data"]["refresh"]["refreshToken"]
    assert code(await refresh(world, lost)) == "REFRESH_REUSED"
    assert code(await refresh(world, arrived)) == "REFRESH_INVALID"


async def test_asking_again_late_is_reuse(world: World) -> None:
    first = (await session(world))["refreshToken"]
    state = world.app.state.accounts
    await state.refresh(first, datetime.now(UTC))
    with pytest.raises(Refused, match="used before"):
        await state.refresh(first, datetime.now(UTC) + accounts.GRACE + timedelta(seconds=1))


async def test_two_refreshes_at_once_leave_one_good_token(world: World) -> None:
    first = (await session(world))["refreshToken"]
    answers = await asyncio.gather(refresh(world, first), refresh(world, first))
    tokens = [answer["data"]["refresh"]["refreshToken"] for answer in answers]
    live = "SELECT count(*) FROM refresh_token WHERE used_at IS NULL"
    assert len(set(tokens)) == 2
    assert await world.scalar(live) == 1


async def test_an_unknown_or_old_refresh_token_is_refused(world: World) -> None:
    first = (await session(world))["refreshToken"]
    assert code(await refresh(world, "nonsense")) == "REFRESH_INVALID"
    with pytest.raises(Refused):
        await world.app.state.accounts.refresh(first, datetime.now(UTC) + timedelta(days=31))
    await world.execute("UPDATE user_account SET active = false")
    assert code(await refresh(world, first)) == "REFRESH_INVALID"


async def test_no_secret_lies_in_the_database(world: World) -> None:
    opened = await session(world)
    hashed = await world.scalar("SELECT password_hash FROM user_account WHERE username = 'boss'")
    assert hashed.startswith("$argon2id$")
    tables = ("user_account", "device", "auth_family", "refresh_token", "login_failure", "audit_entry")
    for table in tables:
        rows = await world.scalar(f"SELECT coalesce(string_agg(t::text, ''), '') FROM {table} t")
        assert PASSWORD not in rows
        assert opened["refreshToken"] not in rows
        assert opened["accessToken"] not in rows


async def test_the_audit_tells_of_log_ins_failures_and_log_outs_and_cannot_be_changed(world: World) -> None:
    token = (await session(world))["accessToken"]
    await login(world, "boss", "wrong")
    await login(world, "nobody", "wrong")
    await world.ask("mutation { logout }", token=token)
    said = "SELECT string_agg(kind || (user_id IS NOT NULL)::text, ' ' ORDER BY id) FROM audit_entry WHERE kind LIKE 'LOG%'"
    kinds = await world.scalar(said)
    assert kinds == "LOGINtrue LOGIN_FAILEDtrue LOGIN_FAILEDfalse LOGOUTtrue"
    for statement in ("UPDATE audit_entry SET kind = ''", "DELETE FROM audit_entry", "TRUNCATE audit_entry"):
        with pytest.raises(DBAPIError, match="insert-only"):
            await world.execute(statement)
    assert await world.scalar(said) == kinds


def test_keys_are_private_and_can_be_rotated(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    keys = Keys(tmp_path / "keys")
    token, _ = issue(keys, Whose("u", "d", "f"), now)
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = Keys(tmp_path / "keys")
    other.load()
    new = other.rotate()
    assert jwt.get_unverified_header(issue(other, Whose("u", "d", "f"), now)[0])["kid"] == new
    assert verify(other, token, now).user_id == "u"
    keys.loaded_at = 0.0
    assert verify(keys, issue(other, Whose("v", "d", "f"), now)[0], now).user_id == "v"
    file.unlink()
    other.load()
    with pytest.raises(Refused, match="not valid"):
        verify(other, token, now)


def test_a_hash_costs_what_owasp_asks_for(costly_hasher: PasswordHasher) -> None:
    assert costly_hasher.hash("").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_hashing_does_not_hold_up_the_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    monkeypatch.setattr(passwords, "HASHER", counted)
    await asyncio.gather(*(login(world, f"nobody{n}", "wrong") for n in range(8)))
    assert len(counted.threads) == 8
    assert all(thread.startswith("password") for thread in counted.threads)  # the loop's own has another name
