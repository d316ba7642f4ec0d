"""Columns that only some may read, conflicts that only some may see, and scope for any grants and any documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.graphql.names import camel, pascal, plural
from schema.actor import Actor, Role
from schema.base import Document
from schema.registry import load
from tests.spine.spine_world import AREAS, INSIDE, World, code, new_id, person, plain, push_query, push_rows, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDS = load()
SECRET = "13800138000"
ID_NUMBER = "P1234567"
MASKED = [(name, column.name) for name, record in RECORDS.items() for column in record.columns if column.readers is not None]


async def hidden(world: World) -> tuple[Document, Document, Actor, Actor]:
    """A coordinator with a phone, a patient with papers, and two who may not see them: CDC staff and a rehabilitation site."""
    boss, cdc = person(Role.SUPERVISOR, INSIDE), person(Role.CDC, INSIDE)
    site = await world.put(boss, "rehab_site")
    coordinator = await world.put(boss, "coordinator", phone=SECRET)
    patient = await world.put(cdc, "patient", id_number=ID_NUMBER, id_kind="PASSPORT", insured=True, site_id=site["id"])
    await world.drain()
    return coordinator, patient, person(Role.CDC, INSIDE), person(Role.REHAB, keys=(f"site:{site['id']}",))


def blind(name: str, cdc: Actor, rehab: Actor) -> Actor:
    return cdc if name == "coordinator" else rehab


async def test_the_columns_that_have_readers_are_the_ones_we_think_of() -> None:
    assert set(MASKED) == {("coordinator", "phone"), ("patient", "id_kind"), ("patient", "id_number"), ("patient", "insured")}


async def test_a_masked_column_is_null_in_every_answer(world: World) -> None:
    coordinator, patient, cdc, rehab = await hidden(world)
    for name, column in MASKED:
        held, actor = (coordinator if name == "coordinator" else patient), blind(name, cdc, rehab)
        assert held[camel(column)] is not None
        query = f"""{{ one: {camel(name)}(id: "{held["id"]}") {{ id x: {camel(column)} }}
          list: {plural(RECORDS[name])}(first: 1000) {{ nodes {{ id x: {camel(column)} }} edges {{ node {{ id x: {camel(column)} }} }} }}
          pull: pull{pascal(name)}(limit: 5000) {{ documents {{ id x: {camel(column)} }} checkpoint {{ token }} }} }}"""
        data = (await world.ask(actor, query))["data"]
        found = [data["one"], *data["list"]["nodes"], *(e["node"] for e in data["list"]["edges"]), *data["pull"]["documents"]]
        assert [each["x"] for each in found if each["id"] == held["id"]] == [None] * 4, (name, column)


async def test_a_masked_column_is_null_in_the_answer_to_a_push(world: World) -> None:
    _, patient, cdc, rehab = await hidden(world)
    await world.push(cdc, "patient", sent(patient, name="乙"))
    masked = {"idNumber": None, "idKind": None, "insured": None}
    (answer,) = await world.push(rehab, "patient", sent(patient | masked, phone="2"))
    assert answer["phone"] == "2"
    assert {key: answer[key] for key in masked} == masked
    assert (await world.master("patient", patient["id"]))["idNumber"] == ID_NUMBER
    saved = await world.save(rehab, "patient", id=patient["id"], phone="3")
    assert {key: saved["data"]["save"][key] for key in masked} == masked


async def test_a_masked_column_is_null_where_the_record_is_related(world: World) -> None:
    boss, inspector = person(Role.SUPERVISOR, INSIDE), person(Role.INSPECTOR, INSIDE)
    coordinator, _, _, _ = await hidden(world)
    enterprise = await world.put(boss, "enterprise")
    patrol = await world.put(inspector, "patrol", enterprise_id=enterprise["id"], coordinator_id=coordinator["id"])
    query = f'{{ patrol(id: "{patrol["id"]}") {{ coordinator {{ name phone }} }} }}'
    admin = await world.ask(person(Role.ADMIN, INSIDE), query)
    assert admin["data"]["patrol"]["coordinator"] == {"name": "甲", "phone": None}
    assert (await world.ask(inspector, query))["data"]["patrol"]["coordinator"]["phone"] == SECRET


@pytest.mark.parametrize(("name", "column"), MASKED)
async def test_a_masked_column_answers_no_question(world: World, name: str, column: str) -> None:
    coordinator, patient, cdc, rehab = await hidden(world)
    held, actor = (coordinator if name == "coordinator" else patient), blind(name, cdc, rehab)
    field, kind, many = camel(column), pascal(name), plural(RECORDS[name])
    query = f"query($filter: {kind}Filter) {{ {many}(filter: $filter) {{ totalCount }} }}"
    condition = {field: {"eq": held[field]}}
    for where in (condition, {"not": condition}, {"or": [{"and": [condition]}]}, {field: {"isNull": True}}):
        assert code(await world.ask(actor, query, {"filter": where})) == "FIELD_NOT_READABLE", where
    ordered = await world.ask(actor, f"{{ {many}(orderBy: [{{field: {field}}}]) {{ totalCount }} }}")
    assert code(ordered) == ("GRAPHQL_VALIDATION_FAILED" if column in ("id_kind", "insured") else "FIELD_NOT_READABLE")


async def seen_conflicts(world: World, actor: Actor, doc_id: str) -> list[Document]:
    await world.drain()
    query = "query($f: SyncConflictFilter) { syncConflicts(filter: $f, first: 1000) { nodes { id docId field mine theirs base } } }"
    listed = (await world.ask(actor, query, {"f": {"docId": {"eq": doc_id}}}))["data"]["syncConflicts"]["nodes"]
    pulled = (await world.pull_all(actor, "sync_conflict")).values()
    assert sorted(each["id"] for each in listed) == sorted(each["id"] for each in pulled if each["docId"] == doc_id)
    found: list[Document] = listed
    return found


async def test_conflicts_of_a_patient_reach_the_cdc_and_never_a_supervisor(world: World) -> None:
    _, patient, cdc, _ = await hidden(world)
    other = person(Role.CDC, INSIDE)
    await world.push(cdc, "patient", sent(patient, name="丙"))
    await world.push(other, "patient", sent(patient, name="丁", dustYears="4"))
    await world.push(other, "patient", (None, {**sample(RECORDS["patient"]), "id": patient["id"], "dustYears": 900}))
    assert len(await world.conflicts(patient["id"])) == 2
    for role in RECORDS["sync_conflict"].access:
        seen = await seen_conflicts(world, person(role, *AREAS), patient["id"])
        assert len(seen) == (2 if role is Role.CDC else 0), role


async def test_a_conflict_shows_a_rival_only_the_field_that_he_wrote(world: World) -> None:
    """A rehabilitation site that changed the phone is no party to a quarrel over the papers, which it may not read."""
    _, patient, cdc, rehab = await hidden(world)
    late = person(Role.CDC, INSIDE)
    masked = {"idNumber": None, "idKind": None, "insured": None}
    await world.push(rehab, "patient", sent(patient | masked, phone="2"))
    await world.push(cdc, "patient", sent(patient, idNumber="P7654321"))
    await world.push(late, "patient", sent(patient, idNumber="P1111111", phone="3"))
    everything = {row["field"] for row in await world.conflicts(patient["id"])}
    assert everything == {"id_number", "phone"}
    assert {row["field"] for row in await seen_conflicts(world, rehab, patient["id"])} == {"phone"}
    assert {row["field"] for row in await seen_conflicts(world, cdc, patient["id"])} == {"id_number", "phone"}


async def test_whoever_was_refused_outside_his_area_learns_of_it_alone(world: World) -> None:
    _, patient, _, _ = await hidden(world)
    stranger = person(Role.CDC, "220103")
    await world.push(stranger, "patient", sent(patient, name="戊"))
    assert len(await seen_conflicts(world, stranger, patient["id"])) == 1
    assert await seen_conflicts(world, person(Role.CDC, *AREAS), patient["id"]) == []


# --- for any grants and any documents ---------------------------------------------------------------------------------

PLACES = st.sampled_from(sorted(AREAS))


@given(
    areas=st.lists(PLACES, min_size=1, max_size=6),
    grants=st.lists(PLACES, max_size=3, unique=True),
    own=st.sets(st.integers(0, 5), max_size=2),
    gone=st.sets(st.integers(0, 5), max_size=2),
    limit=st.integers(1, 7),
)
@settings(max_examples=25)
async def test_a_list_and_a_drained_pull_hold_exactly_what_the_grants_reach(
    world: World, areas: list[str], grants: list[str], own: set[int], gone: set[int], limit: int
) -> None:
    await world.forget("enterprise", "sync_scope_doc", "sync_pending", "sync_change", "sync_conflict", "sync_shadow")
    root = person(Role.SUPERVISOR, "220000", "110000")
    made = [sample(RECORDS["enterprise"], area_code=area) for area in areas]
    await world.push(root, "enterprise", *((None, document) for document in made))
    for number in gone & set(range(len(made))):
        await world.push(root, "enterprise", sent(await world.master("enterprise", made[number]["id"]), deleted=True))
    await world.drain()
    keys = [f"enterprise:{made[number]['id']}" for number in sorted(own) if number < len(made)]
    reader = person(Role.ENTERPRISE, *grants, keys=keys)
    expected = {
        document["id"]
        for number, (document, area) in enumerate(zip(made, areas, strict=True))
        if number not in gone and (set(AREAS[area]) & set(grants) or number in own)
    }
    listed = await world.ask(reader, "{ enterprises(first: 1000) { nodes { id } totalCount } }")
    assert {node["id"] for node in listed["data"]["enterprises"]["nodes"]} == expected
    assert listed["data"]["enterprises"]["totalCount"] == len(expected)
    assert set(await world.pull_all(reader, "enterprise", limit)) == expected


async def test_a_push_answer_never_names_another_document(world: World) -> None:
    """RxDB would take an id outside the batch for a fault of the server."""
    inspector = person(Role.INSPECTOR, INSIDE)
    rows: list[Any] = [(None, sample(RECORDS["enterprise"], employees=number)) for number in (-1, 3, "x")]
    answer = await world.ask(inspector, push_query(RECORDS["enterprise"]), {"rows": push_rows(rows)})
    assert {row["id"] for row in answer["data"]["push"]} <= {row[1]["id"] for row in rows}
    assert plain(RECORDS["enterprise"])
    assert new_id()
