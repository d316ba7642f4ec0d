"""One more record, declared here and nowhere else: everything is derived from the declaration."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from graphql import GraphQLInputObjectType, GraphQLObjectType
from sqlalchemy import Connection

import schema.records
from api import cluster, migrate
from api.printed import permission_table
from api.settings import ROOT
from schema import registry
from schema.actor import Role
from schema.base import Record
from schema.metadata import metadata
from schema.tables import table
from sync.moment import Moment
from sync.resolve import Take, resolve
from tests.spine.spine_world import INSIDE, NOW, OUTSIDE, World, code, opened, person, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULE = '''
"""Training certificate (培训合格证), invented for this test."""

from schema.actor import Role
from schema.base import Choice, Column, Kind, Moves, Policy, Record, Scope
from schema.roles import ALL, READ, SUPERVISORS, WRITE

STATE = Choice("TrainingState", (("ISSUED", "已发证"), ("REVOKED", "已吊销")))
MOVES = Moves(initial=frozenset({"ISSUED"}), allowed={("ISSUED", "REVOKED"): SUPERVISORS})

RECORD = Record(
    name="training",
    label="培训合格证",
    doc="Who was trained, and when.",
    columns=(
        Column("enterprise_id", Kind.REF, "用人单位", required=True, ref="enterprise"),
        Column("holder", Kind.TEXT, "持证人", required=True, indexed=True),
        Column("state", Kind.ENUM, "状态", required=True, choice=STATE, merge=Policy.MOVES, moves=MOVES, default="ISSUED"),
        Column("hours", Kind.DECIMAL, "学时"),
        Column("grade", Kind.TEXT, "成绩", merge=Policy.MANUAL),
        Column("note", Kind.TEXT, "内部备注", readers=SUPERVISORS),
        Column("held_at", Kind.POSITION, "培训地点"),
    ),
    scope=Scope(parent="enterprise_id"),
    access={Role.SUPERVISOR: ALL, Role.INSPECTOR: WRITE, Role.ADMIN: READ},
)
'''


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    """The registry of a release that has one module more; afterwards the tables are as they were."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "training.py").write_text(MODULE, "utf-8")
    schema.records.__path__.append(str(folder))
    try:
        found = registry.load.__wrapped__()
        table(found["training"])
        yield found
    finally:
        schema.records.__path__.remove(str(folder))
        metadata.remove(metadata.tables["training"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(
    cluster_url: str, template: str, extended: registry.Registry, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    name = f"test_{os.getpid()}_new_record"
    url = await cluster.create_database(cluster_url, name, template)
    # The declarations of the release, with the new one beside them.
    known = registry.load().extended(extended["training"])
    async with opened(url, tmp_path_factory.mktemp("spine"), known) as made:
        async with made.database.engine.begin() as connection:
            made.found = await connection.run_sync(_missing)  # type: ignore[attr-defined]
            await connection.run_sync(metadata.create_all)
        yield made
    await cluster.drop_database(cluster_url, name)


def _missing(connection: Connection) -> set[tuple[str, str]]:
    """What a generated migration would do."""
    operations = compare_metadata(MigrationContext.configure(connection), migrate.full_metadata())
    own = [operation for operation in operations if isinstance(operation, tuple) and operation[0] in ("add_table", "add_index")]
    return {(str(kind), str(thing.name)) for kind, thing, *_ in own}


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.fixture
def record(world: World) -> Record:
    return world.registry["training"]


async def test_a_module_in_the_records_folder_is_all_that_it_takes(extended: registry.Registry) -> None:
    assert set(extended) == {*registry.load(), "training"}
    assert {child.name for child in extended.children["enterprise"]} > {"training"}


async def test_its_generated_migration_touches_its_own_table_alone(world: World) -> None:
    assert world.found == {  # type: ignore[attr-defined]
        ("add_table", "training"),
        *(("add_index", f"ix_training_{name}") for name in ("scopes", "enterprise_id", "holder")),
    }


def derivation() -> list[Path]:
    folders = (ROOT / "api" / "graphql", ROOT / "sync", ROOT / "schema")
    return [*(path for folder in folders for path in folder.glob("*.py")), ROOT / "geo" / "scope.py", ROOT / "api" / "printed.py"]


async def test_no_derivation_names_a_record() -> None:
    """Whoever adds a record must not find a second list to extend."""
    derived = derivation()
    names = "|".join(name for name in registry.load() if name != "sync_conflict")
    quoted = re.compile(rf"""["'`](?:{names})["'`]""")
    lines = [(path.name, line) for path in derived for line in _lines(path) if quoted.search(line)]
    assert [line for line in lines if "->" not in line[1] and "roles" not in line[0]] == []


async def test_it_has_types_queries_and_mutations(world: World) -> None:
    types = world.documents.schema.type_map
    output, filters = types["Training"], types["TrainingFilter"]
    assert isinstance(output, GraphQLObjectType)
    assert isinstance(filters, GraphQLInputObjectType)
    assert {"id", "holder", "enterprise", "enterpriseId", "heldAt", "heldAtWgs84", "revision"} <= set(output.fields)
    assert {"holder", "state", "within", "and", "or", "not"} <= set(filters.fields)
    query, mutation = types["Query"], types["Mutation"]
    assert isinstance(query, GraphQLObjectType)
    assert isinstance(mutation, GraphQLObjectType)
    assert {"training", "trainings", "pullTraining"} <= set(query.fields)
    assert {"pushTraining", "saveTraining", "deleteTraining"} <= set(mutation.fields)


async def test_it_stands_in_the_permission_table(world: World) -> None:
    printed = permission_table(world.registry)
    assert "| training 培训合格证 | R | RCUD | RCU |" in printed
    assert "| Training.note | SUPERVISOR | whoever may use the record |" in printed


async def test_it_is_pushed_fed_pulled_listed_and_kept_in_the_history(world: World, record: Record) -> None:
    boss, officer, stranger = person(Role.SUPERVISOR, INSIDE), person(Role.INSPECTOR, INSIDE), person(Role.INSPECTOR, OUTSIDE)
    enterprise = await world.put(boss, "enterprise")
    place = {"lon": 125.3, "lat": 43.9, "datum": "WGS84"}
    held = await world.put(officer, "training", enterprise_id=enterprise["id"], hours="8.50", held_at=place)
    await world.save(officer, "training", id=held["id"], hours="9")
    inside, _ = await world.scopes_of("training", held["id"])
    assert inside == {INSIDE, "220100", "220000", f"enterprise:{enterprise['id']}"}
    pulled = (await world.pull_all(officer, "training"))[held["id"]]
    assert (pulled["hours"], pulled["state"], pulled["heldAtWgs84"]["coordinates"]) == ("9", "ISSUED", [125.3, 43.9])
    assert await world.pull_all(stranger, "training") == {}
    listed = await world.ask(officer, '{ trainings(filter: {hours: {gt: "8.5"}}) { nodes { id enterprise { name } } } }')
    assert listed["data"]["trainings"]["nodes"] == [{"id": held["id"], "enterprise": {"name": "甲"}}]
    history = await world.rows("SELECT kind, user_id, changes::text FROM sync_change WHERE record = 'training' ORDER BY revision")
    assert [tuple(row) for row in history] == [("CREATE", officer.user_id, None), ("UPDATE", officer.user_id, '{"hours": ["8.5", "9"]}')]
    await world.push(person(Role.SUPERVISOR, INSIDE, OUTSIDE), "enterprise", sent(enterprise, areaCode=OUTSIDE))
    await world.drain()
    assert held["id"] in await world.pull_all(stranger, "training")


async def test_its_permissions_and_masks_hold(world: World, record: Record) -> None:
    boss, officer = person(Role.SUPERVISOR, INSIDE), person(Role.INSPECTOR, INSIDE)
    enterprise = await world.put(boss, "enterprise")
    held = await world.put(boss, "training", enterprise_id=enterprise["id"], note="秘")
    await world.drain()
    assert (await world.pull_all(officer, "training"))[held["id"]]["note"] is None
    assert code(await world.ask(officer, '{ trainings(filter: {note: {eq: "秘"}}) { totalCount } }')) == "FIELD_NOT_READABLE"
    before = await world.fingerprint("training")
    assert code(await world.ask(person(Role.CDC, INSIDE), "{ trainings { totalCount } }")) == "READ_FORBIDDEN"
    await world.push(person(Role.COORDINATOR, INSIDE), "training", (None, sample(record, enterprise_id=enterprise["id"])))
    await world.push(officer, "training", sent(held, state="REVOKED", note=None))
    await world.push(officer, "training", sent(held, deleted=True, note=None))
    assert await world.fingerprint("training") == before
    assert [row["code"] for row in await world.conflicts(held["id"])] == ["move_refused", "delete_refused"]


async def test_its_conflicts_reach_the_inbox_and_are_settled(world: World, record: Record) -> None:
    boss, one, two = person(Role.SUPERVISOR, INSIDE), person(Role.INSPECTOR, INSIDE), person(Role.INSPECTOR, INSIDE)
    enterprise = await world.put(boss, "enterprise")
    held = await world.put(one, "training", enterprise_id=enterprise["id"], grade="良")
    await world.push(one, "training", sent(held, grade="优"))
    await world.push(two, "training", sent(held, grade="中"))
    await world.drain()
    (conflict,) = [row for row in (await world.pull_all(boss, "sync_conflict")).values() if row["docId"] == held["id"]]
    assert (conflict["record"], conflict["outcome"], conflict["mine"], conflict["theirs"]) == ("training", "MANUAL", "中", "优")
    async with world.database.engine.begin() as connection:
        await resolve(connection, boss, conflict["id"], Take.MINE, None, moment=Moment(NOW), registry=world.registry)
    assert (await world.master("training", held["id"]))["grade"] == "中"
