"""What stands in the audit, and who may ask what of it."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from schema.actor import Role
from sync.audit import CONFLICT_DIGEST
from sync.rows import Sent
from tests.audit.audit_world import COUNTY, OTHER, World, codes, new_id

HISTORY = """query($record: String!, $id: ID!, $field: String, $first: Int! = 50, $after: String) {
  history(record: $record, id: $id, field: $field, first: $first, after: $after) {
    field label old new kind revision username deviceId deviceName area chained cursor } }"""


async def test_who_changed_a_field_when_and_from_which_device_is_one_query(world: World) -> None:
    inspector, supervisor = await world.person(Role.INSPECTOR, COUNTY), await world.person(Role.SUPERVISOR, COUNTY)
    doc = await world.enterprise(inspector, contact_phone="0431-1")
    await world.change(supervisor, "enterprise", doc, contact_phone="0431-2", employees=5)
    await world.chain()
    await world.change(inspector, "enterprise", doc, contact_phone="0431-3")
    answer = await world.ask(supervisor, HISTORY, {"record": "Enterprise", "id": doc, "field": "contactPhone"})
    assert [
        (each["old"], each["new"], each["kind"], each["username"], each["deviceId"], each["chained"]) for each in answer["data"]["history"]
    ] == [
        ("0431-2", "0431-3", "UPDATE", inspector.username, inspector.device_id, False),
        ("0431-1", "0431-2", "UPDATE", supervisor.username, supervisor.device_id, True),
        (None, "0431-1", "CREATE", inspector.username, inspector.device_id, True),
    ]
    assert {(each["field"], each["label"], each["area"], each["deviceName"]) for each in answer["data"]["history"]} == {
        ("contactPhone", "联系电话", COUNTY, "终端")
    }
    unchanged = await world.ask(supervisor, HISTORY, {"record": "enterprise", "id": doc, "field": "name"})
    assert [(each["kind"], each["new"]) for each in unchanged["data"]["history"]] == [("CREATE", "长春市虚构机械厂")]


async def test_pages_of_a_history_join_without_a_gap(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    doc = await world.enterprise(inspector)
    for number in range(1, 5):
        await world.change(inspector, "enterprise", doc, employees=number, contract_workers=number, remark=str(number))
    whole = (await world.ask(inspector, HISTORY, {"record": "enterprise", "id": doc}))["data"]["history"]
    assert [(each["revision"], each["field"]) for each in whole[:4]] == [
        (5, "contractWorkers"),
        (5, "employees"),
        (5, "remark"),
        (4, "contractWorkers"),
    ]
    assert (len(whole), whole[-1]["kind"], whole[-1]["field"], whole[-1]["label"]) == (13, "CREATE", "", "用人单位")
    pages, after = [], None
    while page := (await world.ask(inspector, HISTORY, {"record": "enterprise", "id": doc, "first": 2, "after": after}))["data"]["history"]:
        pages += page
        after = page[-1]["cursor"]
    assert pages == whole


async def test_a_history_shows_nothing_that_its_reader_may_not_see(world: World) -> None:
    cdc, rehab = await world.person(Role.CDC, COUNTY), await world.person(Role.REHAB, COUNTY)
    inspector, stranger = await world.person(Role.INSPECTOR, COUNTY), await world.person(Role.CDC, OTHER)
    doc = await world.put(cdc, "patient", name="甲", area_code=COUNTY, phone="1", id_kind="OTHER", id_number="A1")
    await world.change(cdc, "patient", doc, id_number="A2", phone="2")
    seen = await world.ask(rehab, HISTORY, {"record": "patient", "id": doc})
    assert [each["field"] for each in seen["data"]["history"]] == ["phone", ""]
    for actor, record, field, code in (
        (rehab, "patient", "idNumber", "FIELD_NOT_READABLE"),
        (inspector, "patient", None, "READ_FORBIDDEN"),
        (stranger, "patient", None, "NOT_IN_SCOPE"),
        (cdc, "patient", "nonsense", "FIELD_UNKNOWN"),
        (cdc, "nonsense", None, "RECORD_UNKNOWN"),
        (None, "patient", None, "UNAUTHENTICATED"),
    ):
        answer = await world.ask(actor, HISTORY, {"record": record, "id": doc, "field": field})
        assert (codes(answer), answer["data"]) == ([code], None), (record, field)


async def test_every_refusal_is_in_the_audit(world: World) -> None:
    inspector, rehab = await world.person(Role.INSPECTOR, COUNTY), await world.person(Role.REHAB, COUNTY)
    doc = await world.enterprise(inspector)
    (pushed,) = await world.write(inspector, "enterprise", Sent(None, {"id": new_id(), "name": "无区划", "status": "OPERATING"}))
    assert pushed.problems[0].code == "REQUIRED"
    assert codes(await world.save(inspector, "enterprise", {"id": doc, "supervisionClass": "BING", "creditCode": "1"})) == [
        "CREDIT_CODE_INVALID"
    ]
    assert codes(await world.ask(rehab, "{ enterprises { totalCount } }")) == ["READ_FORBIDDEN"]
    rows = await world.rows("SELECT user_id::text, device_id, area, detail::text FROM audit_entry WHERE kind = 'REFUSED' ORDER BY id")
    assert [row["user_id"] for row in rows] == [inspector.user_id, inspector.user_id, rehab.user_id]
    assert [row["device_id"] for row in rows] == [inspector.device_id, inspector.device_id, rehab.device_id]
    for row, said in zip(rows, ('"REQUIRED"', '"CREDIT_CODE_INVALID"', '"READ_FORBIDDEN"'), strict=True):
        assert said in row["detail"]
    await world.chain()
    assert await world.faults() == []


async def test_a_refused_value_that_is_altered_later_is_found(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    doc = await world.enterprise(inspector)
    await world.write(inspector, "enterprise", Sent({"id": doc, "revision": 1}, {"id": doc, "revision": 1, "declared_on": "2026-13-01"}))
    (kept,) = await world.rows(
        f"SELECT area, detail->>'digest' = {CONFLICT_DIGEST.format('t')} AS same FROM audit_entry e, sync_conflict t"
        " WHERE e.kind = 'REFUSED'"
    )
    assert (kept["area"], kept["same"]) == (COUNTY, True)
    assert await world.faults() == []
    (fault,) = await world.faults_after("UPDATE sync_conflict SET message = 'nothing happened'")
    assert fault.kind == "CONFLICT_ALTERED"
    (fault,) = await world.faults_after("DELETE FROM sync_conflict")
    assert fault.kind == "CONFLICT_ALTERED"


async def test_grants_and_accounts_are_in_the_audit_whoever_changes_them(world: World) -> None:
    person = await world.person(Role.INSPECTOR, COUNTY)
    await world.execute("INSERT INTO user_grant (user_id, scope) VALUES ($1::text::uuid, '220102001')", person.user_id)
    await world.execute("UPDATE user_grant SET valid_to = now() WHERE user_id = $1::text::uuid", person.user_id)
    await world.execute("DELETE FROM user_grant WHERE user_id = $1::text::uuid", person.user_id)
    await world.execute("UPDATE user_account SET active = false, password_hash = 'x' WHERE id = $1::text::uuid", person.user_id)
    rows = await world.rows("SELECT kind, area, detail::text FROM audit_entry ORDER BY id")
    assert [(row["kind"], row["area"]) for row in rows] == [
        ("ACCOUNT_INSERT", None),
        ("GRANT_INSERT", COUNTY),
        ("GRANT_UPDATE", COUNTY),
        ("GRANT_DELETE", COUNTY),
        ("ACCOUNT_UPDATE", None),
    ]
    assert all("password" not in row["detail"] for row in rows)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM sync_conflict", "UPDATE sync_conflict SET resolution = 'MINE'", "UPDATE sync_conflict SET resolved_at = now()"],
)
async def test_nothing_leaves_the_inbox_without_a_name_and_a_time(world: World, statement: str) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    await world.write(inspector, "enterprise", Sent(None, {"id": new_id(), "name": "无区划", "status": "OPERATING"}))
    with pytest.raises((asyncpg.PostgresError, DBAPIError)):
        await world.execute(statement)
    assert (await world.rows("SELECT count(*) AS n FROM sync_conflict WHERE resolution IS NULL AND resolved_at IS NULL"))[0]["n"] == 1
