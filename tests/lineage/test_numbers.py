"""A document number is handed out once, to one device, and whatever becomes of it is known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import plain_url
from schema.actor import Actor, Role
from schema.problems import Refused
from sync.feed import drain
from sync.identity import uuid7
from sync.moment import Moment
from sync.numbers import LOST, MOST, Block, Fate, reserve, settle
from tests.lineage.lineage_world import Client, Document, World, code

RESERVE = """mutation ($area: ID!, $count: Int!, $series: String!) {
  reserveNumbers(series: $series, area: $area, count: $count) { id first last prefix year } }"""
SETTLE = """mutation ($id: ID!, $numbers: [Int!]!, $fate: NumberFate!, $reason: String!) {
  settleNumbers(blockId: $id, numbers: $numbers, fate: $fate, reason: $reason) }"""
PUSH = "mutation ($rows: [InspectionPushRow!]!) { pushInspection(rows: $rows) { id documentNumber deleted } }"
BLOCKS = "{ numberBlocks { id deviceId used settled } }"
NOW = Moment(datetime(2026, 11, 22, tzinfo=UTC))


async def reserved(client: Client, count: int = 10, area: str = "220102", series: str = "JC") -> Document:
    found: Document = (await client.data(RESERVE, series=series, area=area, count=count))["reserveNumbers"]
    return found


def number(block: Document, at: int) -> str:
    return f"{block['prefix']}{at:06d}"


async def inspected(client: Client, enterprise_id: str, *numbers: str) -> list[Document]:
    """Inspections pushed in one batch, one for each number; the masters that differ."""
    fixed = {"enterpriseId": enterprise_id, "kind": "ROUTINE", "state": "DRAFT", "inspectedAt": "2026-11-22T01:00:00+00:00"}
    rows = [
        {"newDocumentState": {"id": uuid7(datetime.now(UTC)), "deleted": False, **fixed, "documentNumber": each, "stamp": client.stamp()}}
        for each in numbers
    ]
    found: list[Document] = (await client.data(PUSH, rows=rows))["pushInspection"]
    return found


async def enterprise(client: Client) -> str:
    made = client.new("甲厂")
    await client.push((None, made))
    return str(made["id"])


async def stored(world: World) -> list[str]:
    return list(await world.scalar("SELECT coalesce(array_agg(document_number ORDER BY document_number), '{}') FROM inspection"))


async def test_blocks_of_devices_that_ask_at_once_never_overlap(world: World) -> None:
    clients = [await world.sign_in("ins", f"ins-{n}") for n in range(3)]
    blocks = await asyncio.gather(*(reserved(client, 7) for client in clients for _ in range(4)))
    handed_out = [at for block in blocks for at in range(block["first"], block["last"] + 1)]
    assert sorted(handed_out) == list(range(1, 7 * 12 + 1))


async def test_a_number_serves_one_document_of_the_device_that_holds_it(world: World) -> None:
    client, other = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
    place = await enterprise(client)
    block, foreign = await reserved(client), await reserved(other)
    wrong = [number(foreign, foreign["first"]), number(block, 999), "随便写的", number(block, 1)]
    good = [number(block, 1), number(block, 2)]
    await inspected(client, place, *good, *wrong)
    assert await stored(world) == good
    codes = "SELECT array_agg(code ORDER BY id) FROM sync_conflict"
    assert sorted(await world.scalar(codes)) == ["NUMBER_INVALID", "NUMBER_NOT_RESERVED", "NUMBER_NOT_RESERVED", "NUMBER_TAKEN"]
    kept = "SELECT array_agg(mine ->> 'document_number') FROM sync_conflict"
    assert sorted(await world.scalar(kept)) == sorted(wrong)
    await inspected(client, place, number(block, 2))
    assert await stored(world) == good


async def test_the_same_push_again_keeps_its_number(world: World) -> None:
    client = await world.sign_in("ins")
    place, block = await enterprise(client), await reserved(client)
    row = {"id": uuid7(datetime.now(UTC)), "deleted": False, "enterpriseId": place, "kind": "ROUTINE", "state": "DRAFT"}
    row |= {"inspectedAt": "2026-11-22T01:00:00+00:00", "documentNumber": number(block, 1)}
    for remark in (None, "second edit"):
        await client.data(PUSH, rows=[{"newDocumentState": {**row, "opinion": remark, "stamp": client.stamp()}}])
    assert await world.scalar("SELECT count(*) FROM sync_conflict") == 0
    assert await stored(world) == [number(block, 1)]


async def test_a_document_that_comes_again_after_a_restore_keeps_its_number_whoever_brings_it(world: World) -> None:
    client, other = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
    place, block = await enterprise(client), await reserved(client)
    await inspected(client, place, number(block, 1))
    row = await world.scalar("SELECT id::text FROM inspection")
    await world.execute("DELETE FROM inspection")  # a restore carries over what became of numbers
    fixed = {"deleted": False, "enterpriseId": place, "kind": "ROUTINE", "state": "DRAFT", "inspectedAt": "2026-11-22T01:00:00+00:00"}
    held = {"id": row, **fixed, "documentNumber": number(block, 1), "revision": 1}
    await other.data(PUSH, rows=[{"assumedMasterState": held, "newDocumentState": {**held, "opinion": "mine", "stamp": other.stamp()}}])
    await inspected(other, place, number(block, 1), number(block, 2))
    assert await world.scalar("SELECT array_agg(id::text) FROM inspection") == [row]
    assert await stored(world) == [number(block, 1)]
    assert await world.scalar("SELECT array_agg(code) FROM sync_conflict") == ["NUMBER_NOT_RESERVED"] * 2


async def test_numbers_from_what_a_database_has_lost_are_their_bearers_and_nobody_gets_them_again(world: World) -> None:
    client, other = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
    place, kept = await enterprise(client), await reserved(client, 5)
    prefix, begun = kept["prefix"], kept["prefix"].replace("JC", "XX")
    await world.execute("UPDATE sync_head SET home = 'the cluster of the backup, in which JC was at 5 and XX had not begun'")
    connection = await asyncpg.connect(plain_url(world.app.state.database.url))
    await drain(connection)
    await connection.close()
    lost = [f"{prefix}000007", f"{begun}000003"]
    await inspected(client, place, *lost)
    assert await stored(world) == lost
    again = [lost[0], f"{prefix}000002", f"{prefix}{LOST + 6:06d}", "JC-220103-2026-000001"]  # used, another's, never given out, elsewhere
    await inspected(other, place, *again)
    assert await stored(world) == lost
    assert await world.scalar("SELECT array_agg(code) FROM sync_conflict") == ["NUMBER_NOT_RESERVED"] * 4
    assert (await reserved(other, 5))["first"] == 5 + LOST + 1
    assert (await reserved(other, 5, series="XX"))["first"] == LOST + 1
    assert (await reserved(other, 5, series="XX"))["first"] == LOST + 6


async def test_unused_numbers_go_back_or_are_voided_with_a_reason_and_serve_nobody_again(world: World) -> None:
    client, other, boss, far = [await world.sign_in(name) for name in ("ins", "other", "boss", "far")]
    place, block = await enterprise(client), await reserved(client, 5)
    await inspected(client, place, number(block, 1))
    common = {"id": block["id"], "fate": "RETURNED", "reason": "外勤结束"}
    for asker, numbers, expected in ((client, [1], "NUMBER_SETTLED"), (client, [5, 6], "NUMBER_SETTLED"), (other, [2], "BLOCK_UNKNOWN")):
        assert code(await asker.ask(SETTLE, **common, numbers=numbers)) == expected
    assert code(await far.ask(SETTLE, **common, numbers=[2])) == "BLOCK_UNKNOWN"
    assert code(await client.ask(SETTLE, **{**common, "reason": " "}, numbers=[2])) == "REASON_MISSING"
    assert await world.scalar("SELECT count(*) FROM number_fate") == 1
    assert await client.data(SETTLE, **common, numbers=[2, 3]) == {"settleNumbers": 2}
    assert await boss.data(SETTLE, **{**common, "fate": "VOID", "reason": "设备丢失"}, numbers=[4]) == {"settleNumbers": 1}
    await inspected(client, place, number(block, 2), number(block, 4))
    assert await stored(world) == [number(block, 1)]
    assert (await reserved(client, 1))["first"] == 6
    (listed,) = [each for each in (await boss.data(BLOCKS))["numberBlocks"] if each["id"] == block["id"]]
    assert (listed["used"], listed["settled"]) == (1, 3)
    assert (await far.data(BLOCKS))["numberBlocks"] == []


REFUSED_BLOCKS = (
    ("JC", "220103", 1, "OUT_OF_SCOPE"),
    ("JC", "999999", 1, "AREA_UNKNOWN"),
    ("jc", "220102", 1, "SERIES_INVALID"),
    ("JC", "220102", 0, "COUNT_INVALID"),
    ("JC", "220102", MOST + 1, "COUNT_INVALID"),
)


async def test_what_can_not_be_meant_reserves_nothing(world: World) -> None:
    client = await world.sign_in("ins")
    for series, area, count, expected in REFUSED_BLOCKS:
        found = code(await client.ask(RESERVE, series=series, area=area, count=count))
        assert found == expected, (series, area, count)
        assert await world.scalar("SELECT count(*) FROM number_series") == 0


STEP = st.tuples(
    st.integers(0, 2), st.sampled_from(["reserve", "RETURNED", "VOID"]), st.integers(1, 9), st.sets(st.integers(1, 40), max_size=4)
)


@examples(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=12))
async def test_every_number_has_one_holder_and_one_fate(connection: AsyncConnection, steps: list[tuple[int, str, int, set[int]]]) -> None:
    """Whatever devices reserve, return and void, in whatever order."""
    example = await connection.begin_nested()
    await connection.execute(_AREA)
    actors = [Actor(str(uuid4()), f"u{n}", Role.INSPECTOR, ("220102",), f"d{n}") for n in range(3)]
    held: list[tuple[int, Block]] = []
    fates: dict[int, str] = {}
    for who, what, count, wanted in steps:
        if what == "reserve":
            held.append((who, await reserve(connection, actors[who], "JC", "220102", count, NOW)))
        elif held:
            owner, block = held[count % len(held)]
            allowed = owner == who and all(block.first <= n <= block.last and n not in fates for n in wanted)
            assert await _settled(connection, actors[who], block, sorted(wanted), Fate(what)) == allowed
            fates |= dict.fromkeys(wanted, what) if allowed else {}
    numbers = [n for _, block in held for n in range(block.first, block.last + 1)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    kept = await connection.execute(_FATES)
    assert {row.number: row.fate for row in kept} == fates
    await example.rollback()


async def _settled(connection: AsyncConnection, actor: Actor, block: Block, numbers: list[int], fate: Fate) -> bool:
    savepoint = await connection.begin_nested()
    try:
        await settle(connection, actor, block.id, numbers, fate, "reason", NOW)
    except Refused:
        await savepoint.rollback()
        return False
    await savepoint.commit()
    return True


_AREA = text(
    """INSERT INTO area (code, name, full_name, level, tree, valid_from, chain, layers, source)
    VALUES ('220102', '南关区', '', 'county', 'division', '1980-01-01', '{220102}', '{}', 'test') ON CONFLICT DO NOTHING"""
)
_FATES = text("SELECT number, fate FROM number_fate")
