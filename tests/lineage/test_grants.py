"""Who is given, lent or denied a county gets exactly the right documents, and nothing that was not sent is lost."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

from tests.lineage.lineage_world import Client, World, code, until
from tests.lineage.test_devices import subscribed

GRANT = """mutation ($user: ID!, $area: ID!, $from: DateTime, $to: DateTime) {
  grantScope(userId: $user, area: $area, from: $from, to: $to) { id area validFrom validTo } }"""
REVOKE = "mutation ($id: ID!) { revokeGrant(id: $id) }"
GRANTS = "query ($user: ID!) { grants(userId: $user) { id area validTo grantedBy } }"


async def fill(world: World, each: int = 25) -> tuple[Client, Client]:
    """The supervisor, and the inspector of 220102 who has pulled; `each` enterprises in each of two counties."""
    boss, client = await world.sign_in("boss"), await world.sign_in("ins")
    await boss.push(*[(None, boss.new(f"{area} {n}", area)) for area in ("220102", "220103") for n in range(each)])
    await world.stamped()
    await client.pull(10)
    assert areas(client) == {"220102": each}
    return boss, client


def areas(client: Client) -> dict[str, int]:
    codes = [document["areaCode"] for document in client.held.values()]
    return {area: codes.count(area) for area in sorted(set(codes))}


async def test_another_county_comes_in_full_pages_and_goes_again_with_its_unsent_edits_kept(world: World) -> None:
    boss, client = await fill(world)
    made = (await boss.data(GRANT, user=client.user["id"], area="220103"))["grantScope"]
    assert await client.pull(10) == [10, 10, 5]
    assert areas(client) == {"220102": 25, "220103": 25}
    one, two = [document for document in client.held.values() if document["areaCode"] == "220103"][:2]
    unsent = client.edited(one["id"], remark="unsent")
    await boss.data(REVOKE, id=made["id"])
    assert await client.push(unsent) == [dict.fromkeys(one) | {"id": one["id"], "deleted": True}]
    await world.stamped()  # the refused document is named once more by the feed: between two pages it would come twice
    assert await client.pull(10) == [10, 10, 5]
    assert areas(client) == {"220102": 25}
    kept = "SELECT mine ->> 'remark' FROM sync_conflict WHERE code = 'NOT_IN_SCOPE' AND doc_id = :id AND author_id::text = :user"
    assert await world.scalar(kept, id=one["id"], user=client.user["id"]) == "unsent"
    assert await world.scalar("SELECT remark FROM enterprise WHERE id::text = :id", id=one["id"]) is None
    # RxDB sends a document that it was told to drop as deleted.
    await client.push((two, {**two, "deleted": True, "stamp": client.stamp()}))
    assert await world.scalar("SELECT count(*) FROM enterprise WHERE deleted") == 0
    assert await client.pull(10) == [0]


async def test_what_a_refused_push_removed_comes_back_with_the_county(world: World) -> None:
    boss, client = await fill(world, 3)
    grant = {"user": client.user["id"], "area": "220103"}
    made = (await boss.data(GRANT, **grant))["grantScope"]
    await client.pull()
    one = next(document for document in client.held.values() if document["areaCode"] == "220103")
    await boss.data(REVOKE, id=made["id"])
    await client.push(client.edited(one["id"], remark="unsent"))  # answered as deleted
    await boss.data(GRANT, **grant)  # before the terminal has pulled without it: its checkpoint sees no difference
    await world.stamped()
    await client.pull()
    assert areas(client) == {"220102": 3, "220103": 3}


async def test_a_loan_takes_effect_and_ends_by_itself(world: World) -> None:
    boss, client = await fill(world, 3)
    woken = await waker(world, client)
    start, end = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (0.7, 1.9))
    await boss.data(GRANT, **{"user": client.user["id"], "area": "220103", "from": start.isoformat(), "to": end.isoformat()})
    assert await client.pull() == [0]
    await until(woken, 3)
    assert datetime.now(UTC) >= start
    await client.pull()
    assert areas(client) == {"220102": 3, "220103": 3}
    await until(woken, 4)
    assert datetime.now(UTC) >= end
    await client.pull()
    assert areas(client) == {"220102": 3}


async def waker(world: World, client: Client):  # type: ignore[no-untyped-def]
    """Whether the terminal has been woken since it was asked last."""
    socket = await subscribed(world, client)

    async def woken() -> bool:
        try:
            message = json.loads(await asyncio.wait_for(socket.recv(), 0.02))
        except TimeoutError:
            return False
        return bool(message["payload"]["data"] == {"wake": "RESYNC"})

    return woken


async def test_a_county_that_was_just_granted_wakes_from_then_on(world: World) -> None:
    boss, client = await fill(world, 1)
    woken = await waker(world, client)
    await boss.data(GRANT, user=client.user["id"], area="220103")
    await until(woken, 3)
    await client.pull()
    await boss.push((None, boss.new("new", "220103")))
    await until(woken, 3)
    await client.pull()
    assert areas(client) == {"220102": 1, "220103": 2}


async def test_an_enterprise_that_moves_county_changes_terminals(world: World) -> None:
    boss, client = await fill(world, 2)
    other = await world.sign_in("other")
    await other.pull()
    await boss.pull()
    moving = next(iter(client.held))
    await boss.push(boss.edited(moving, areaCode="220103"))
    await world.stamped()
    for each in (client, other):
        await each.pull()
    assert (areas(client), areas(other)) == ({"220102": 1}, {"220103": 3})


REFUSED_GRANTS = (
    ("ins", "other", "220102", "ROLE_FORBIDDEN"),
    ("boss", "ins", "110101", "OUT_OF_SCOPE"),
    ("boss", "ins", "220000", "OUT_OF_SCOPE"),
    ("boss", "ins", "000000", "AREA_UNKNOWN"),
    ("boss", "ins", "999999", "AREA_UNKNOWN"),
    ("boss", "far", "220102", "ROLE_FORBIDDEN"),
    ("boss", "root", "220102", "ROLE_FORBIDDEN"),
)


async def test_nobody_grants_more_than_is_theirs(world: World) -> None:
    before = await world.scalar("SELECT count(*) FROM user_grant")
    for chief, username, area, expected in REFUSED_GRANTS:
        user = await world.scalar("SELECT id::text FROM user_account WHERE username = :name", name=username)
        found = code(await (await world.sign_in(chief)).ask(GRANT, user=user, area=area))
        assert found == expected, (chief, username, area)
        assert await world.scalar("SELECT count(*) FROM user_grant") == before


async def test_grants_have_a_name_and_only_those_over_a_person_see_and_end_them(world: World) -> None:
    boss, far, root = [await world.sign_in(name) for name in ("boss", "far", "root")]
    user = await world.scalar("SELECT id::text FROM user_account WHERE username = 'ins'")
    made = (await boss.data(GRANT, user=user, area="220103000000"))["grantScope"]
    listed = (await boss.data(GRANTS, user=user))["grants"]
    assert [(each["area"], each["grantedBy"]) for each in listed] == [("220103", boss.user["id"]), ("220102", None)]
    assert code(await far.ask(GRANTS, user=user)) == "USER_UNKNOWN"
    assert code(await far.ask(REVOKE, id=made["id"])) == "OUT_OF_SCOPE"
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert code(await boss.ask(GRANT, user=user, area="220103", to=past)) == "PERIOD_INVALID"
    assert await root.data(REVOKE, id=made["id"]) == {"revokeGrant": True}
    assert code(await root.ask(REVOKE, id=made["id"])) == "GRANT_UNKNOWN"
    kinds = "SELECT array_agg(kind || ' ' || area ORDER BY id) FROM audit_entry WHERE kind IN ('GRANT', 'GRANT_REVOKED')"
    assert await world.scalar(kinds) == ["GRANT 220103", "GRANT_REVOKED 220103"]
