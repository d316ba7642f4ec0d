"""Nobody reads or changes anything outside scope or without the verb: every record, every role, every way in and out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.graphql.names import camel, pascal, plural
from api.settings import ROOT
from schema.actor import Actor, Role
from schema.base import Document, Kind, Policy, Record
from schema.registry import load
from tests.spine.spine_world import ELSEWHERE, INSIDE, OUTSIDE, World, code, new_id, person, plain, push_query, push_rows, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDS = load()
WRITABLE = [name for name in RECORDS if name != "sync_conflict"]


def permission_table() -> dict[tuple[str, Role], str]:
    """The committed table, as a reviewer reads it; a role that does not stand in it may do nothing."""
    lines = (ROOT / "schema" / "permissions.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    roles = [Role(cell) for cell in rows[0][1:]]
    cells = {
        (row[0].split()[0], role): cell
        for row in rows[2:]
        if row[0].split()[0] in RECORDS
        for role, cell in zip(roles, row[1:], strict=True)
    }
    return {(name, role): cells.get((name, role), "") for name in RECORDS for role in Role}


MAY = permission_table()
MAKERS = {"patient": Role.CDC}


async def stock(world: World, area: str) -> dict[str, Document]:
    """One document of each record in the area, made by those who may."""
    boss, cdc = person(Role.SUPERVISOR, area), person(Role.CDC, area)
    found: dict[str, Document] = {}
    for name in (
        "enterprise",
        "workplace",
        "exposure",
        "inspection",
        "patrol",
        "finding",
        "coordinator",
        "rehab_site",
        "patient",
        "institution",
    ):
        record = RECORDS[name]
        parents = {c.name: found[c.ref]["id"] for c in record.columns if c.ref in found and c.kind is Kind.REF}
        areas = {c.name: area for c in record.columns if c.kind is Kind.AREA}
        found[name] = await world.put(cdc if name == "patient" else boss, name, **parents, **areas)
    refused = sample(RECORDS["enterprise"], employees=-1, area_code=area)
    await world.push(boss, "enterprise", sent(found["enterprise"], supervisionClass="JIA", source="IMPORT"), (None, refused))
    await world.push(boss, "enterprise", sent(found["enterprise"], source="DEMO"))  # frozen by now: a conflict in the inbox
    conflict = (await world.conflicts(found["enterprise"]["id"]))[0]
    found["sync_conflict"] = {camel(key): value for key, value in conflict.items()}
    found["enterprise"] = await world.master("enterprise", found["enterprise"]["id"])
    await world.drain()
    return found


def actor_of(role: Role, place: dict[str, Document]) -> Actor:
    """Somebody of the role with all the grants that lead to the place."""
    keys = (f"enterprise:{place['enterprise']['id']}", f"site:{place['rehab_site']['id']}")
    area = place["enterprise"]["areaCode"]
    return person(role, area, keys=keys)


async def everything_read(world: World, actor: Actor, record: Record, wanted: str) -> dict[str, bool | str]:
    """By way of reading: whether the document `wanted` came, or the code of the refusal."""
    kind, many = pascal(record.name), plural(record)
    asked = {
        "one": f"query($id: ID!) {{ found: {camel(record.name)}(id: $id) {{ {plain(record)} }} }}",
        "list": f"{{ found: {many}(first: 1000) {{ nodes {{ id }} edges {{ node {{ id }} }} totalCount }} }}",
        "filtered": f"query($filter: {kind}Filter!) {{ found: {many}(filter: $filter) {{ nodes {{ id }} totalCount }} }}",
        "pull": f"{{ found: pull{kind}(limit: 5000) {{ documents {{ {plain(record)} }} checkpoint {{ token }} }} }}",
    }
    condition = {"not": {"id": {"ne": wanted}}, "or": [{"id": {"eq": wanted}}, {"id": {"in": [wanted]}}]}
    found: dict[str, bool | str] = {}
    for way, query in asked.items():
        answer = await world.ask(actor, query, {"id": wanted, "filter": condition})
        found[way] = code(answer) or _came(answer["data"]["found"], wanted)
    return found


def _came(value: Any, wanted: str) -> bool:
    if isinstance(value, dict):
        listed = value.get("nodes", value.get("documents"))
        ids = [each["id"] for each in listed] if listed is not None else [value["id"]]
        assert value.get("totalCount", len(ids)) == len(ids)
        assert [edge["node"]["id"] for edge in value.get("edges", [])] in ([], ids)
        return wanted in ids
    return False


def change_of(record: Record, role: Role, document: Document) -> Document:
    """An edit that this role may make, or at least one that is well-formed."""
    for column in record.columns:
        free = column.kind is Kind.TEXT and column.merge in (Policy.LATEST, Policy.FROZEN) and column.name != record.numbered
        if free and all(roles is None or role in roles for roles in (column.writers, column.readers)):
            return {camel(column.name): f"改{new_id()[-12:]}"}
    raise AssertionError(record.name)


@pytest.fixture(scope="module")
def places() -> dict[str, dict[str, Document]]:
    return {}


async def both(world: World, places: dict[str, dict[str, Document]]) -> tuple[dict[str, Document], dict[str, Document]]:
    for area in (INSIDE, OUTSIDE):
        if area not in places:
            places[area] = await stock(world, area)
    return places[INSIDE], places[OUTSIDE]


def cases(name: str) -> Iterator[tuple[Role, str]]:
    for role in Role:
        yield role, MAY[name, role]


@pytest.mark.parametrize("name", list(RECORDS))
async def test_reading_needs_the_verb_and_the_scope(world: World, places: dict[str, dict[str, Document]], name: str) -> None:
    here, there = await both(world, places)
    record = RECORDS[name]
    for role, letters in cases(name):
        actor = actor_of(role, here)
        inside = await everything_read(world, actor, record, here[name]["id"])
        outside = await everything_read(world, actor, record, there[name]["id"])
        if "R" not in letters:
            assert set(inside.values()) == set(outside.values()) == {"READ_FORBIDDEN"}, role
            continue
        expected = name != "sync_conflict" or role is Role.SUPERVISOR  # somebody else's conflicts are for the inbox alone
        assert set(inside.values()) == {expected}, (role, inside)
        assert set(outside.values()) == {False}, (role, outside)


@pytest.mark.parametrize("name", list(RECORDS))
async def test_what_is_related_needs_its_own_verb_and_scope(world: World, places: dict[str, dict[str, Document]], name: str) -> None:
    here, there = await both(world, places)
    record = RECORDS[name]
    references = [column for column in record.columns if column.kind is Kind.REF and column.ref]
    try:
        for column in references:
            for place, near in ((there, False), (here, True)):
                await link(world, name, here[name]["id"], column.name, place[column.ref]["id"])
                for role in (role for role, letters in cases(name) if "R" in letters):
                    field = camel(column.name.removesuffix("_id"))
                    query = f"query($id: ID!) {{ {camel(name)}(id: $id) {{ {field} {{ id deleted }} }} }}"
                    answer = await world.ask(actor_of(role, here), query, {"id": here[name]["id"]})
                    came = answer["data"][camel(name)][field] is not None
                    assert came == (near and "R" in MAY[column.ref, role]), (role, column.name, near)
    finally:
        for column in references:
            await link(world, name, here[name]["id"], column.name, here[column.ref]["id"])


async def link(world: World, name: str, row_id: str, column: str, target: str) -> None:
    await world.execute(f"UPDATE {name} SET {column} = $1::text::uuid WHERE id = $2::text::uuid", target, row_id)


async def test_a_cursor_from_elsewhere_opens_nothing(world: World, places: dict[str, dict[str, Document]]) -> None:
    _here, there = await both(world, places)
    listing = "query($after: String) { enterprises(after: $after) { nodes { id } edges { cursor } } }"
    foreign = await world.ask(person(Role.SUPERVISOR, OUTSIDE), listing)
    boss = person(Role.SUPERVISOR, INSIDE)
    for edge in foreign["data"]["enterprises"]["edges"]:
        answer = await world.ask(boss, listing, {"after": edge["cursor"]})
        assert there["enterprise"]["id"] not in [node["id"] for node in answer["data"]["enterprises"]["nodes"]]


async def test_a_checkpoint_of_another_person_opens_nothing(world: World, places: dict[str, dict[str, Document]]) -> None:
    _, there = await both(world, places)
    _, token = await world.pull(person(Role.SUPERVISOR, OUTSIDE), "enterprise", 1)
    page, _ = await world.pull(person(Role.SUPERVISOR, INSIDE), "enterprise", 5000, token)
    gone = [document for document in page if document["id"] == there["enterprise"]["id"]]
    assert all(document["deleted"] and document["name"] is None for document in gone)


async def attempt(world: World, actor: Actor, record: Record, rows: list[Any]) -> tuple[bool, list[Document]]:
    """Whether a push changed the table, the history or the queue, and its answer."""
    before = await world.fingerprint(record.name)
    answer = await world.ask(actor, push_query(record), {"rows": push_rows(rows)})
    assert "errors" not in answer, answer
    return await world.fingerprint(record.name) != before, answer["data"]["push"]


def without_owned(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "scopes"}


@pytest.mark.parametrize("name", WRITABLE)
async def test_creating_needs_the_verb_and_the_scope(world: World, places: dict[str, dict[str, Document]], name: str) -> None:
    here, there = await both(world, places)
    record = RECORDS[name]
    for role, letters in cases(name):
        for place, inside in ((here, True), (there, False)):
            actor = actor_of(role, here)
            refs = {c.name: place[c.ref]["id"] for c in record.columns if c.kind is Kind.REF and c.ref}
            areas = {c.name: place["enterprise"]["areaCode"] for c in record.columns if c.kind is Kind.AREA}
            allowed = inside and "C" in letters
            made = sample(record, **refs, **areas)
            wrote, answer = await attempt(world, actor, record, [(None, made)])
            assert wrote == allowed, (role, inside)
            if not allowed:
                assert [(row["id"], row["deleted"]) for row in answer] == [(made["id"], True)], role
                assert [row["author_id"] for row in await world.conflicts(made["id"])] == [actor.user_id], role
            before = await world.fingerprint(name)
            saved = await world.save(actor, name, **dict(sample_columns(record, refs | areas).items()))
            assert (code(saved) == "") == allowed, (role, inside, saved)
            assert (await world.fingerprint(name) != before) == allowed, (role, inside)
            assert code(saved) in ("", "CREATE_FORBIDDEN", "OUT_OF_SCOPE"), (role, saved)


def sample_columns(record: Record, values: Document) -> Document:
    names = {camel(column.name): column.name for column in record.all_columns}
    return {names[key]: value for key, value in sample(record, **values).items()}


@pytest.mark.parametrize("name", WRITABLE)
async def test_changing_needs_the_verb_and_the_scope(world: World, places: dict[str, dict[str, Document]], name: str) -> None:
    here, there = await both(world, places)
    record = RECORDS[name]
    for role, letters in cases(name):
        for place, inside in ((here, True), (there, False)):
            actor = actor_of(role, here)
            allowed = inside and "U" in letters
            held = await world.master(name, place[name]["id"])
            change = change_of(record, role, held)
            wrote, answer = await attempt(world, actor, record, [sent(held, **change)])
            assert wrote == allowed, (role, inside)
            if not allowed:
                visible = inside and "R" in letters
                assert [row["deleted"] for row in answer] == [not visible], (role, inside)
                assert visible or {value for key, value in answer[0].items() if key not in ("id", "deleted")} == {None}, role
                assert actor.user_id in [row["author_id"] for row in await world.conflicts(held["id"])], role
            before = await world.fingerprint(name)
            names = {camel(column.name): column.name for column in record.all_columns}
            change = {names[key]: value for key, value in change_of(record, role, held).items()}
            saved = await world.save(actor, name, id=held["id"], **change)
            assert (await world.fingerprint(name) != before) == allowed, (role, inside, saved)
            assert code(saved) in ({""} if allowed else {"UPDATE_FORBIDDEN", "NOT_IN_SCOPE"}), (role, saved)


@pytest.mark.parametrize("name", WRITABLE)
async def test_deleting_needs_the_verb_and_the_scope(world: World, places: dict[str, dict[str, Document]], name: str) -> None:
    here, there = await both(world, places)
    record = RECORDS[name]
    has_mutation = any("D" in letters for _, letters in cases(name))
    maker = person(MAKERS.get(name, Role.SUPERVISOR), INSIDE, OUTSIDE)
    for role, letters in cases(name):
        for place, inside in ((here, True), (there, False)):
            actor = actor_of(role, here)
            allowed = inside and "D" in letters
            refs = {c.name: place[c.ref]["id"] for c in record.columns if c.kind is Kind.REF and c.ref}
            areas = {c.name: place["enterprise"]["areaCode"] for c in record.columns if c.kind is Kind.AREA}
            held = await world.put(maker, name, **refs, **areas)
            wrote, _answer = await attempt(world, actor, record, [sent(held, deleted=True)])
            assert wrote == allowed, (role, inside)
            if not allowed:
                assert [row["author_id"] for row in await world.conflicts(held["id"])] == [actor.user_id], role
                continue
            held = await world.put(maker, name, **refs, **areas)
            assert (await world.ask(actor, f'mutation {{ gone: delete{pascal(name)}(id: "{held["id"]}") }}')) == {"data": {"gone": True}}
            assert (await world.master(name, held["id"]))["deleted"]
        if not has_mutation or "D" in letters:
            continue
        before = await world.fingerprint(name)
        refused = await world.ask(actor_of(role, here), f'mutation {{ gone: delete{pascal(name)}(id: "{here[name]["id"]}") }}')
        assert code(refused) in ("UPDATE_FORBIDDEN", "CONFLICT_DELETE_REFUSED", "NOT_IN_SCOPE"), (role, refused)
        assert await world.fingerprint(name) == before, role


async def test_conflicts_are_written_by_sync_alone() -> None:
    printed = (ROOT / "schema" / "schema.graphql").read_text("utf-8")
    assert not re.search(r"^  (push|save|delete)SyncConflict", printed, re.MULTILINE)


async def test_a_row_can_not_be_pushed_out_of_or_into_foreign_areas(world: World, places: dict[str, dict[str, Document]]) -> None:
    _here, _ = await both(world, places)
    inspector = person(Role.INSPECTOR, INSIDE)
    held = await world.put(inspector, "enterprise")
    for area in (OUTSIDE, ELSEWHERE):
        wrote, answer = await attempt(world, inspector, RECORDS["enterprise"], [sent(held, areaCode=area)])
        assert not wrote
        assert [row["areaCode"] for row in answer] == [INSIDE]
        assert {row["code"] for row in await world.conflicts(held["id"])} == {"OUT_OF_SCOPE"}
