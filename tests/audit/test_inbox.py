"""The conflict inbox: readable by people, and nothing in it that its reader may not see."""

from __future__ import annotations

from typing import Any

import pytest

from schema.actor import Actor, Role
from sync.rows import Sent
from tests.audit.audit_world import COUNTY, OTHER, World, codes, new_id

CONFLICTS = """query($filter: ConflictInboxFilter, $first: Int! = 50, $after: String) {
  conflicts(filter: $filter, first: $first, after: $after) { totalCount hasNextPage endCursor nodes {
    id record recordLabel docId documentLabel field fieldLabel outcome outcomeLabel code message base mine theirs
    authorName deviceName resolution resolutionLabel resolvedBy resolvedAt } } }"""
DERIVED = "{ syncConflicts { nodes { record field base mine theirs } } }"
PULLED = "{ pullSyncConflict(limit: 100) { documents { record field base mine theirs deleted } } }"


async def _ask(world: World, actor: Actor, after: str | None = None, first: int = 50, **wanted: Any) -> dict[str, Any]:
    answer = await world.ask(actor, CONFLICTS, {"filter": wanted, "first": first, "after": after})
    assert "errors" not in answer, answer
    found: dict[str, Any] = answer["data"]["conflicts"]
    return found


async def _manual(world: World, one: Actor, other: Actor) -> str:
    """Both changed the credit code, from the same revision."""
    doc = await world.enterprise(one)
    await world.change(one, "enterprise", doc, credit_code="91220102MA0000001H")
    base = {"id": doc, "revision": 1, "credit_code": None}
    await world.write(other, "enterprise", Sent(base, {**base, "credit_code": "91220102MA0000002L"}))
    return doc


async def test_a_conflict_is_told_in_words_and_settled_with_a_name_and_a_time(world: World) -> None:
    one, other = await world.person(Role.INSPECTOR, COUNTY), await world.person(Role.INSPECTOR, COUNTY)
    supervisor = await world.person(Role.SUPERVISOR, COUNTY)
    doc = await _manual(world, one, other)
    page = await _ask(world, supervisor, open=True, record="enterprise")
    (found,) = page["nodes"]
    assert (page["totalCount"], found["docId"], found["documentLabel"]) == (1, doc, "长春市虚构机械厂")
    assert (found["recordLabel"], found["field"], found["fieldLabel"]) == ("用人单位", "creditCode", "统一社会信用代码")
    assert (found["outcome"], found["outcomeLabel"]) == ("MANUAL", "待人工裁定")
    assert (found["mine"], found["theirs"]) == ("91220102MA0000002L", "91220102MA0000001H")
    assert (found["authorName"], found["deviceName"]) == (f"甲{other.username[-3:]}", "终端")
    settle = "mutation($id: ID!) { resolveConflict(id: $id, take: THEIRS) }"
    assert (await world.ask(supervisor, settle, {"id": found["id"]}))["data"] == {"resolveConflict": True}
    assert (await _ask(world, supervisor, open=True))["nodes"] == []
    (closed,) = (await _ask(world, other, open=False))["nodes"]
    assert (closed["resolution"], closed["resolutionLabel"], closed["resolvedBy"]) == ("THEIRS", "保留服务器值", supervisor.username)
    assert closed["resolvedAt"]
    said = await world.rows("SELECT kind, user_id::text, device_id, detail->>'conflict' AS id FROM audit_entry WHERE kind LIKE 'CONFLICT%'")
    assert [tuple(row) for row in said] == [
        ("CONFLICT", other.user_id, other.device_id, found["id"]),
        ("CONFLICT_SETTLED", supervisor.user_id, supervisor.device_id, found["id"]),
    ]
    assert await world.faults() == []


async def test_the_filter_finds_what_is_asked_and_pages_join(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY, OTHER)
    supervisor = await world.person(Role.SUPERVISOR, COUNTY, OTHER)
    doc = await world.enterprise(inspector)
    elsewhere = await world.enterprise(inspector, OTHER)
    for target, wish in ((doc, "1"), (doc, "2"), (elsewhere, "1")):  # the same wish twice is one conflict
        await world.change(inspector, "enterprise", target, credit_code=wish)
    whole = (await _ask(world, supervisor))["nodes"]
    assert [(each["docId"], each["outcome"], each["code"], each["fieldLabel"]) for each in whole] == [
        (elsewhere, "REFUSED", "CREDIT_CODE_INVALID", "统一社会信用代码"),
        (doc, "REFUSED", "CREDIT_CODE_INVALID", "统一社会信用代码"),
        (doc, "REFUSED", "CREDIT_CODE_INVALID", "统一社会信用代码"),
    ]
    for wanted, count in (
        ({"docId": doc}, 2),
        ({"outcome": "REFUSED"}, 3),
        ({"outcome": "LOST"}, 0),
        ({"record": "patrol"}, 0),
        ({"area": OTHER}, 1),
        ({"area": "220000"}, 3),
        ({"open": False}, 0),
        ({"from": "2030-01-01T00:00:00Z"}, 0),
        ({"to": "2030-01-01T00:00:00Z"}, 3),
    ):
        assert (await _ask(world, supervisor, **wanted))["totalCount"] == count, wanted
    one = await _ask(world, supervisor, first=2)
    two = await _ask(world, supervisor, first=2, after=one["endCursor"])
    assert (one["hasNextPage"], two["hasNextPage"], one["nodes"] + two["nodes"]) == (True, False, whole)
    for variables in ({"filter": {"outcome": "X"}}, {"filter": {"from": "today"}}, {"after": "x"}, {"first": 0}):
        assert codes(await world.ask(supervisor, CONFLICTS, variables)), variables


async def test_a_refusal_of_the_whole_row_is_closed_without_touching_the_document(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    doc = await world.enterprise(inspector)
    await world.change(inspector, "enterprise", doc, credit_code="91220102MA0000001H")
    await world.change(inspector, "enterprise", doc, credit_code="1")
    (refused,) = (await _ask(world, inspector))["nodes"]
    before = await world.rows("SELECT * FROM enterprise")
    mutation = "mutation($id: ID!, $take: Take!) { resolveConflict(id: $id, take: $take) }"
    assert codes(await world.ask(inspector, mutation, {"id": refused["id"], "take": "MINE"})) == ["WHOLE_ROW_REFUSED"]
    assert (await world.ask(inspector, mutation, {"id": refused["id"], "take": "THEIRS"}))["data"] == {"resolveConflict": True}
    assert await world.rows("SELECT * FROM enterprise") == before


@pytest.fixture
async def patients(world: World) -> dict[str, Actor]:
    """A conflict about a patient's identity number, and one about the whole row, of a CDC whose rival is a rehabilitation site."""
    cdc, rehab = await world.person(Role.CDC, COUNTY), await world.person(Role.REHAB, COUNTY)
    people = {"cdc": cdc, "rehab": rehab, "inspector": await world.person(Role.INSPECTOR, COUNTY)}
    doc = await world.put(cdc, "patient", name="甲", area_code=COUNTY, phone="1", id_kind="OTHER", id_number="SECRET-1")
    await world.change(rehab, "patient", doc, phone="2", followed_up_on="2026-11-01")
    await world.change(cdc, "patient", doc, id_number="SECRET-2")
    base = {"id": doc, "revision": 1, "id_number": "SECRET-1", "phone": "1", "id_kind": "OTHER"}
    second = await world.person(Role.CDC, COUNTY)
    await world.write(second, "patient", Sent(base, {**base, "id_number": "SECRET-3", "phone": "3"}))
    await world.write(second, "patient", Sent(base, {**base, "id_number": "SECRET-4", "id_kind": "RESIDENT"}))
    # What no rule of today would give them: the masks must hold whoever an inbox is shared with.
    everybody = [*cdc.scopes, *rehab.scopes, *people["inspector"].scopes]
    await world.execute("UPDATE sync_conflict SET scopes = $1", everybody)
    await world.execute("INSERT INTO sync_pending (record, doc_id, scopes_in) SELECT 'sync_conflict', id, scopes FROM sync_conflict")
    return people


@pytest.mark.parametrize("query", [CONFLICTS, DERIVED, PULLED])
async def test_a_conflict_says_no_more_than_the_record_would(world: World, patients: dict[str, Actor], query: str) -> None:
    await world.drain()
    everything = str(await world.ask(patients["cdc"], query))
    assert "SECRET-3" in everything
    assert "SECRET-4" in everything
    seen = str(await world.ask(patients["rehab"], query))
    assert "patient" in seen
    assert "SECRET" not in seen
    unseen = await world.ask(patients["inspector"], query)
    assert "errors" not in unseen
    assert "patient" not in str(unseen)


async def test_a_refused_push_comes_back_to_its_author_whatever_the_role(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    await world.write(inspector, "patient", Sent(None, {"id": new_id(), "name": "甲", "area_code": COUNTY, "id_number": "MINE"}))
    (refused,) = (await _ask(world, inspector))["nodes"]
    assert (refused["code"], refused["recordLabel"], refused["documentLabel"]) == ("CREATE_FORBIDDEN", "尘肺病患者", None)
    assert refused["mine"]["id_number"] == "MINE"


async def test_the_label_of_a_document_without_a_name_is_its_owners(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    enterprise = await world.enterprise(inspector)
    workplace = await world.put(inspector, "workplace", enterprise_id=enterprise, name="喷砂车间")
    exposure = await world.put(inspector, "exposure", workplace_id=workplace, factor_code="1")
    inspection = await world.put(
        inspector, "inspection", enterprise_id=enterprise, kind="ROUTINE", state="DRAFT", inspected_at="2026-11-20T00:00:00+00:00"
    )
    await world.change(inspector, "exposure", exposure, workers=-1)
    await world.change(inspector, "inspection", inspection, state="SIGNED", officers=["one"])
    found = (await _ask(world, inspector))["nodes"]
    assert {each["record"]: each["documentLabel"] for each in found} == {"exposure": "喷砂车间", "inspection": "长春市虚构机械厂"}
