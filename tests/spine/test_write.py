"""The write path against a real database: concurrency, order of arrival, poison, repetition, saves, decisions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from schema.actor import Actor, Role
from schema.base import Document
from schema.identifiers import credit_code_fault
from schema.registry import load
from sync.moment import Moment
from sync.rows import Sent
from sync.scoping import adopt
from sync.write import apply
from tests.spine.spine_world import (
    ELSEWHERE,
    INSIDE,
    NOW,
    OUTSIDE,
    World,
    code,
    new_id,
    person,
    push_query,
    push_rows,
    sample,
    sent,
    with_scopes,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDS = load()
ENTERPRISE = RECORDS["enterprise"]


def inspector(*areas: str) -> Actor:
    return person(Role.INSPECTOR, *(areas or (INSIDE,)))


def supervisor(*areas: str) -> Actor:
    return person(Role.SUPERVISOR, *(areas or (INSIDE, OUTSIDE)))


async def kinds(world: World, doc_id: str) -> list[str]:
    rows = await world.rows("SELECT kind FROM sync_change WHERE doc_id = $1::text::uuid ORDER BY revision, id", doc_id)
    return [row[0] for row in rows]


# --- at the same time --------------------------------------------------------------------------------------------------


async def test_the_same_new_id_from_two_at_once_is_made_once_and_merged(world: World) -> None:
    made = sample(ENTERPRISE)
    people = inspector(), inspector()
    await asyncio.gather(*(world.push(each, "enterprise", (None, made | {"name": each.username})) for each in people))
    assert (await kinds(world, made["id"])).count("CREATE") == 1
    (conflict,) = await world.conflicts(made["id"])
    assert {conflict["mine"], conflict["theirs"]} == {each.username for each in people}
    stands = {"overwrote_theirs": "mine", "lost_later_edit": "theirs"}[conflict["code"]]
    assert (await world.master("enterprise", made["id"]))["name"] == conflict[stands]


@pytest.mark.parametrize("stamped", [True, False])
async def test_one_batch_sent_twice_at_once_is_written_once(world: World, stamped: bool) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", visits=1)
    new = [sample(ENTERPRISE, stamp=f"{actor.device_id}:7" if stamped else None) for _ in range(20)]
    edit = sent(held, visits=5, hazards=["A"], stamp=f"{actor.device_id}:7" if stamped else None)
    rows = [*((None, each) for each in new), edit]
    await asyncio.gather(world.push(actor, "enterprise", *rows), world.push(actor, "enterprise", *reversed(rows)))
    for each in new:
        assert await kinds(world, each["id"]) == ["CREATE"]
        assert await world.conflicts(each["id"]) == []
    assert await kinds(world, held["id"]) == ["CREATE", "UPDATE"]
    assert (await world.master("enterprise", held["id"]))["visits"] == 5
    assert await world.conflicts(held["id"]) == []


async def test_batches_in_opposite_order_both_finish(world: World) -> None:
    boss, other = supervisor(), supervisor()
    held = [await world.put(boss, "enterprise") for _ in range(12)]
    children = [await world.put(boss, "workplace", enterprise_id=each["id"]) for each in held]
    for turn in range(3):
        fields = {"remark": f"甲{turn}"}, {"address": f"乙{turn}"}
        pushes = [
            world.push(who, "enterprise", *order(held, change))
            for who, order, change in zip((boss, other), (_up, _down), fields, strict=True)
        ]
        moves = world.push(supervisor(), "workplace", *_down(children, {"process": f"丙{turn}"}))
        await asyncio.gather(*pushes, moves)
    for each in held:
        master = await world.master("enterprise", each["id"])
        assert (master["remark"], master["address"], master["revision"]) == ("甲2", "乙2", 7)


async def test_a_parent_that_moves_while_a_child_is_written_takes_the_child_along(world: World) -> None:
    """The two lock parent and child in opposite orders: one is told to try again, neither is lost."""
    boss = supervisor()
    for _ in range(5):
        parent = await world.put(boss, "enterprise")
        child = await world.put(boss, "workplace", enterprise_id=parent["id"])
        moved = world.push(boss, "enterprise", sent(parent, areaCode=OUTSIDE))
        await asyncio.gather(moved, world.push(supervisor(), "workplace", sent(child, process="改", enterpriseId=parent["id"])))
        found = await world.master("workplace", child["id"])
        assert found["process"] == "改"
        assert OUTSIDE in found["scopes"]
        assert INSIDE not in found["scopes"]


def _up(held: list[Document], change: Document) -> list[Any]:
    return [sent(each, **change) for each in held]


def _down(held: list[Document], change: Document) -> list[Any]:
    return _up(held, change)[::-1]


# --- parents and children ----------------------------------------------------------------------------------------------


async def test_a_child_before_its_parent_is_its_authors_alone_until_the_parent_comes(world: World) -> None:
    author, colleague = inspector(), inspector()
    parent = sample(ENTERPRISE)
    child = sample(RECORDS["workplace"], enterprise_id=parent["id"])
    grandchild = sample(RECORDS["exposure"], workplace_id=child["id"], factor_code="X")
    await world.push(author, "exposure", (None, grandchild))
    await world.push(author, "workplace", (None, child))
    await world.drain()
    assert child["id"] in await world.pull_all(author, "workplace")
    assert grandchild["id"] in await world.pull_all(author, "exposure")
    assert child["id"] not in await world.pull_all(colleague, "workplace")
    await world.push(author, "enterprise", (None, parent))
    for name, document in (("workplace", child), ("exposure", grandchild)):
        inside, left = await world.scopes_of(name, document["id"])
        assert inside == {INSIDE, "220100", "220000", f"enterprise:{parent['id']}"}
        assert left == {f"user:{author.user_id}"}
        for actor in (author, colleague):
            assert document["id"] in await world.pull_all(actor, name)
    assert await world.rows("SELECT FROM sync_orphan WHERE doc_id = $1::text::uuid", child["id"]) == []


async def test_a_child_and_its_parent_in_overlapping_transactions_find_each_other(world: World) -> None:
    author = inspector()
    parent, moment = sample(ENTERPRISE), Moment(NOW)
    child = sample(RECORDS["workplace"], enterprise_id=parent["id"])
    engine = world.database.engine
    async with engine.begin() as one, engine.begin() as two:
        names = {"enterpriseId": "enterprise_id"}
        plain_child = {names.get(key, key): value for key, value in child.items()}
        await apply(one, author, RECORDS["workplace"], [Sent(None, plain_child)], moment=moment, registry=RECORDS)
        await apply(two, author, ENTERPRISE, [Sent(None, parent | {"area_code": INSIDE})], moment=moment, registry=RECORDS)
    for _ in range(2):
        async with engine.begin() as after:
            await adopt(after, RECORDS)
    assert INSIDE in (await world.master("workplace", child["id"]))["scopes"]


async def test_a_move_to_another_county_takes_two_levels_along(world: World) -> None:
    boss = supervisor()
    parent = await world.put(boss, "enterprise", area_code="220102001")
    child = await world.put(boss, "workplace", enterprise_id=parent["id"])
    grandchild = await world.put(boss, "exposure", workplace_id=child["id"], factor_code="X")
    own = f"enterprise:{parent['id']}"
    here, there = inspector(), inspector(OUTSIDE)
    tokens = {}
    await world.drain()
    for name in ("enterprise", "workplace", "exposure"):
        _, tokens[name] = await world.pull(here, name, 5000)
    await world.push(boss, "enterprise", sent(parent, areaCode=OUTSIDE))
    for name, document in (("enterprise", parent), ("workplace", child), ("exposure", grandchild)):
        assert await world.scopes_of(name, document["id"]) == (
            {OUTSIDE, "220100", "220000", own},
            {"220102001", INSIDE},
        ), name
        assert document["id"] in await world.pull_all(there, name)
        page, _ = await world.pull(here, name, 5000, tokens[name])
        assert [(each["id"], each["deleted"]) for each in page] == [(document["id"], True)]
        assert not (await world.master(name, document["id"]))["deleted"]


async def test_a_pushed_delete_of_what_left_the_scope_deletes_nothing(world: World) -> None:
    boss, local = supervisor(), person(Role.SUPERVISOR, INSIDE)
    held = await world.put(boss, "enterprise")
    await world.push(boss, "enterprise", sent(held, areaCode=OUTSIDE))
    assert [row["deleted"] for row in await world.push(local, "enterprise", sent(held, deleted=True))] == [True]
    assert not (await world.master("enterprise", held["id"]))["deleted"]


async def test_a_changed_grant_takes_and_gives_in_the_next_pull(world: World) -> None:
    boss, officer = supervisor(INSIDE, ELSEWHERE), inspector()
    here, there = await world.put(boss, "enterprise"), await world.put(boss, "enterprise", area_code=ELSEWHERE)
    await world.drain()
    _, token = await world.pull(officer, "enterprise", 5000)
    page, _ = await world.pull(with_scopes(officer, ELSEWHERE), "enterprise", 5000, token)
    states = {each["id"]: each["deleted"] for each in page}
    assert states[here["id"]]
    assert states[there["id"]] is False


# --- poison ------------------------------------------------------------------------------------------------------------


def at(lon: Any, lat: Any, datum: Any) -> Document:
    return {"lon": lon, "lat": lat, "datum": datum}


POISON: dict[str, tuple[Document, str]] = {
    "text for a number": ({"employees": "many"}, "VALUE_INVALID"),
    "number for text": ({"name": 5}, "VALUE_INVALID"),
    "object for text": ({"name": {"a": 1}}, "VALUE_INVALID"),
    "unknown member": ({"size": "GIGANTIC"}, "VALUE_INVALID"),
    "list for a member": ({"size": ["LARGE"]}, "VALUE_INVALID"),
    "object for a member": ({"size": {}}, "VALUE_INVALID"),
    "too long": ({"name": "长" * 201}, "VALUE_INVALID"),
    "NUL": ({"name": "a\x00b"}, "VALUE_INVALID"),
    "NUL in an unused place": ({"name": "a", "remark": "\x00", "notes": [{"id": "\x00"}]}, "VALUE_INVALID"),
    "lone surrogate": ({"name": "a\ud800"}, "VALUE_INVALID"),
    "huge integer": ({"employees": 2**31}, "VALUE_INVALID"),
    "huger integer": ({"employees": 2**70}, "VALUE_INVALID"),
    "true for a number": ({"employees": True}, "VALUE_INVALID"),
    "NaN": ({"employees": float("nan")}, "VALUE_INVALID"),
    "infinity in a place": ({"location": at(float("inf"), 1, "WGS84")}, "VALUE_INVALID"),
    "unknown datum": ({"location": at(125.3, 43.9, "MOON")}, "VALUE_INVALID"),
    "datum is a list": ({"location": at(125.3, 43.9, ["WGS84"])}, "VALUE_INVALID"),
    "GCJ-02 outside China": ({"location": at(2.35, 48.85, "GCJ02")}, "DATUM_OUTSIDE_CHINA"),
    "stamp is a number": ({"stamp": 5}, "VALUE_INVALID"),
    "revision is text": ({"revision": "x"}, "VALUE_INVALID"),
    "deleted is text": ({"deleted": "yes"}, "VALUE_INVALID"),
    "wrong date": ({"declaredOn": "2026-02-30"}, "VALUE_INVALID"),
    "year 0": ({"declaredOn": "0000-01-01"}, "VALUE_INVALID"),
    "wrong area": ({"areaCode": "22"}, "VALUE_INVALID"),
    "area of nobody": ({"areaCode": "990000"}, "AREA_UNKNOWN"),
    "required is null": ({"name": None}, "REQUIRED"),
    "items without id": ({"notes": [{"text": "x"}]}, "VALUE_INVALID"),
    "items nested too deeply": ({"notes": [{"id": "1", "x": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}]}, "VALUE_INVALID"),
    "id is no UUID": ({"id": "7"}, "VALUE_INVALID"),
    "id is a number": ({"id": 7}, "VALUE_INVALID"),
    "id is endless": ({"id": "x" * 10000}, "VALUE_INVALID"),
    "id has a NUL": ({"id": "a\x00"}, "VALUE_INVALID"),
    "id is null": ({"id": None}, "ID_MISSING"),
    "wrong credit code": ({"creditCode": "91350100M000100Y44"}, "CREDIT_CODE_INVALID"),
}


@pytest.mark.parametrize("what", list(POISON))
async def test_a_poison_row_is_refused_alone_with_a_code(world: World, what: str) -> None:
    actor = inspector()
    good = [sample(ENTERPRISE) for _ in range(3)]
    values, expected = POISON[what]
    bad = sample(ENTERPRISE) | values
    answer = await world.push(actor, "enterprise", (None, good[0]), (None, good[1]), (None, bad), (None, good[2]))
    assert [row["deleted"] for row in answer] == [True]
    for each in good:
        assert (await world.master("enterprise", each["id"]))["revision"] == 1
    rows = await world.rows("SELECT code, field, message, mine::text FROM sync_conflict WHERE author_id = $1::text::uuid", actor.user_id)
    assert [(row["code"]) for row in rows] == [expected]
    assert rows[0]["message"]
    assert rows[0]["mine"]


@pytest.mark.parametrize("rows", [[None], [5], [{}], [{"newDocumentState": None}], [{"newDocumentState": []}], [{"newDocumentState": {}}]])
async def test_a_row_that_is_no_row_does_not_stop_the_others(world: World, rows: list[Any]) -> None:
    actor, good = inspector(), sample(ENTERPRISE)
    answer = await world.ask(actor, push_query(ENTERPRISE), {"rows": [*rows, *push_rows([(None, good)])]})
    assert "errors" not in answer
    assert (await world.master("enterprise", good["id"]))["revision"] == 1


@pytest.mark.parametrize("what", ["text for a number", "NUL", "required is null", "GCJ-02 outside China", "area of nobody"])
async def test_an_invalid_row_of_a_known_document_answers_the_master(world: World, what: str) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", employees=4)
    before = await world.fingerprint("enterprise")
    (answer,) = await world.push(actor, "enterprise", sent(held, **POISON[what][0]))
    assert answer == {key: value for key, value in held.items() if key != "scopes"}
    assert (await world.fingerprint("enterprise")) == before


async def test_the_second_row_of_one_id_in_a_batch_is_refused_and_kept(world: World) -> None:
    actor, made = inspector(), sample(ENTERPRISE)
    answer = await world.push(actor, "enterprise", (None, made), (None, made | {"name": "乙"}), (None, made | {"name": "乙"}))
    assert [(row["id"], row["name"]) for row in answer] == [(made["id"], "甲")] * 2
    assert [(row["code"], row["mine"]["name"]) for row in await world.conflicts(made["id"])] == [("DUPLICATE_IN_BATCH", "乙")]


async def test_a_batch_beyond_the_limit_is_refused_as_a_whole(world: World) -> None:
    actor = inspector()
    before = await world.fingerprint("enterprise", "sync_conflict")
    rows = push_rows([(None, sample(ENTERPRISE)) for _ in range(2001)])
    assert code(await world.ask(actor, push_query(ENTERPRISE), {"rows": rows})) == "PUSH_TOO_LARGE"
    assert await world.fingerprint("enterprise", "sync_conflict") == before
    assert await world.ask(actor, push_query(ENTERPRISE), {"rows": []}) == {"data": {"push": []}}


# --- twice is once -----------------------------------------------------------------------------------------------------


def a_credit_code() -> str:
    return next(code for last in "0123456789ABCDEFGHJKLMNPQRTUWXY" if not credit_code_fault(code := f"91220102MA0000000{last}"))


REFUSED: dict[str, Document] = {
    "frozen": {"source": "DEMO"},
    "refused as a whole": {"employees": -1},
    "manual": {"creditCode": "91350100M000100Y43"},
    "beside an accepted edit": {"source": "DEMO", "remark": "新"},
    "accepted": {"remark": "新", "visits": 9, "hazards": ["B"], "notes": [{"id": "n"}]},
}


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("what", list(REFUSED))
async def test_a_push_that_is_repeated_changes_nothing_more(world: World, what: str, stamped: bool) -> None:
    actor, other = inspector(), inspector()
    held = await world.put(actor, "enterprise", source="IMPORT", visits=2)
    await world.push(other, "enterprise", sent(held, creditCode=a_credit_code()))
    edit = sent(held, **REFUSED[what], stamp=f"{actor.device_id}:9" if stamped else None)
    first = await world.push(actor, "enterprise", edit)
    before, conflicts = await world.fingerprint("enterprise", "sync_conflict"), await world.conflicts(held["id"])
    assert len(conflicts) == (what != "accepted")
    for _ in range(2):
        assert await world.push(actor, "enterprise", edit) == first
    assert await world.conflicts(held["id"]) == conflicts
    assert await world.fingerprint("enterprise", "sync_conflict") == before


async def test_a_refused_edit_that_is_sent_again_beside_a_new_one_is_kept_once(world: World) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", source="IMPORT")
    await world.push(actor, "enterprise", sent(held, source="DEMO", stamp=f"{actor.device_id}:2"))  # the answer is lost
    await world.push(actor, "enterprise", sent(held, source="DEMO", remark="新", stamp=f"{actor.device_id}:3"))
    assert [row["field"] for row in await world.conflicts(held["id"])] == ["source"]
    assert (await world.master("enterprise", held["id"]))["remark"] == "新"


@pytest.mark.parametrize("stamped", [True, False])
async def test_after_a_lost_answer_nobody_conflicts_with_himself(world: World, stamped: bool) -> None:
    actor, other = inspector(), inspector()

    def stamp(number: int) -> str | None:
        return f"{actor.device_id}:{number}" if stamped else None

    held = await world.put(actor, "enterprise", visits=1, hazards=["A", "B"])
    await world.push(actor, "enterprise", sent(held, name="一", visits=3, hazards=["A", "B", "C"], stamp=stamp(2)))  # lost
    await world.push(other, "enterprise", sent(await world.master("enterprise", held["id"]), hazards=["A", "B"], remark="他"))
    await world.push(actor, "enterprise", sent(held, name="二", visits=4, hazards=["A", "B", "C"], stamp=stamp(3)))
    master = await world.master("enterprise", held["id"])
    assert (master["name"], master["visits"], master["hazards"], master["remark"]) == ("二", 4, ["A", "B"], "他")
    assert await world.conflicts(held["id"]) == []


async def test_an_old_value_of_another_that_comes_back_is_an_echo(world: World) -> None:
    """A crash between RxDB's two writes: the document is newer than what the terminal believes the server has."""
    actor, other = inspector(), inspector()
    held = await world.put(actor, "enterprise")
    await world.push(other, "enterprise", sent(held, name="新名"))
    pulled = await world.master("enterprise", held["id"])
    await world.push(other, "enterprise", sent(pulled, name="更新名"))
    base, _ = sent(held)
    _, mine = sent(pulled, remark="我的")
    await world.push(actor, "enterprise", (base, mine))
    master = await world.master("enterprise", held["id"])
    assert (master["name"], master["remark"]) == ("更新名", "我的")
    assert await world.conflicts(held["id"]) == []


async def test_an_echo_that_is_delivered_again_later_undoes_nothing(world: World) -> None:
    actor, other = inspector(), inspector()
    held = await world.put(actor, "enterprise")
    await world.push(other, "enterprise", sent(held, remark="他", stamp=f"{other.device_id}:1"))
    base, _ = sent(held)
    _, echo = sent(await world.master("enterprise", held["id"]))
    for mine in (echo, {**echo, "name": "我", "stamp": f"{actor.device_id}:2"}, echo):
        await world.push(actor, "enterprise", (base, mine))
    master = await world.master("enterprise", held["id"])
    assert (master["name"], master["remark"]) == ("我", "他")


async def test_what_is_equal_is_neither_changed_nor_answered(world: World) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", location={"lon": 125.3, "lat": 43.9, "datum": "GCJ02"}, hazards=["B", "A"])
    before = await world.fingerprint("enterprise", "sync_conflict")
    assert await world.push(actor, "enterprise", sent(held)) == []
    assert await world.fingerprint("enterprise", "sync_conflict") == before


async def test_an_older_client_does_not_wipe_a_field_that_it_does_not_know(world: World) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", remark="留", visits=2)
    base, mine = sent(held, name="改")
    assert base is not None
    for state in (base, mine):
        del state["remark"], state["visits"]
    await world.push(actor, "enterprise", (base, mine))
    master = await world.master("enterprise", held["id"])
    assert (master["name"], master["remark"], master["visits"]) == ("改", "留", 2)


# --- saves at the desk -------------------------------------------------------------------------------------------------


async def test_a_save_changes_what_it_names_and_nothing_else(world: World) -> None:
    boss = supervisor()
    held = await world.put(boss, "enterprise", remark="留", visits=2, employees=9)
    answer = await world.save(boss, "enterprise", id=held["id"], name="改", employees=None)
    saved = answer["data"]["save"]
    assert saved["name"] == "改"
    assert saved["employees"] is None
    same = {key for key in held if key not in ("name", "employees", "revision", "updatedAt", "scopes", "stamp")}
    assert {key: saved[key] for key in same} == {key: held[key] for key in same}
    shadows = await world.rows("SELECT document::text FROM sync_shadow WHERE doc_id = $1::text::uuid AND revision > 1", held["id"])
    assert shadows == []


async def test_a_save_on_an_old_revision_is_refused_and_changes_nothing(world: World) -> None:
    boss, other = supervisor(), supervisor()
    held = await world.put(boss, "enterprise", name="一", remark="一")
    await world.save(other, "enterprise", id=held["id"], revision=held["revision"], name="二")
    before = await world.fingerprint("enterprise", "sync_conflict", "sync_shadow")
    answer = await world.save(boss, "enterprise", id=held["id"], revision=held["revision"], name="三", remark="三")
    assert code(answer) == "CONFLICT_OVERWROTE_THEIRS"
    assert answer["errors"][0]["extensions"]["field"] == "name"
    assert await world.fingerprint("enterprise", "sync_conflict", "sync_shadow") == before
    assert code(await world.save(boss, "enterprise", id=held["id"], revision=held["revision"], remark="三")) == ""
    assert code(await world.save(boss, "enterprise", id=held["id"], name="三")) == ""


async def test_a_save_may_be_repeated(world: World) -> None:
    boss = supervisor()
    held = await world.put(boss, "enterprise", notes=[{"id": "1"}])
    change: Document = {"id": held["id"], "revision": 1, "name": "改", "visits": 3, "notes": [{"id": "1"}, {"id": "2"}]}
    first = await world.save(boss, "enterprise", **change)
    before = await world.fingerprint("enterprise", "sync_conflict")
    assert await world.save(boss, "enterprise", **change) == first
    assert await world.fingerprint("enterprise", "sync_conflict") == before


# --- decisions ---------------------------------------------------------------------------------------------------------

RESOLVE = "mutation($id: ID!, $take: Take!, $value: JSON) { done: resolveConflict(id: $id, take: $take, value: $value) }"


async def contest(world: World, what: str = "") -> tuple[Actor, Actor, Document, Document]:
    """An officer and his rival, the document, and the conflict over its name: the officer's edit was the earlier one."""
    officer, rival = inspector(), inspector()
    held = await world.put(officer, "enterprise", name="原")
    await world.push(rival, "enterprise", sent(held, name="对方"))
    earlier = int((NOW - timedelta(hours=1)).timestamp() * 1000)
    await world.push(officer, "enterprise", sent(held, name="我方", stamp=f"{officer.device_id}:9:{earlier}"))
    (conflict,) = await world.conflicts(held["id"])
    assert conflict["code"] == "lost_later_edit" or what
    return officer, rival, held, conflict


@pytest.mark.parametrize("by", ["supervisor", "officer"])
@pytest.mark.parametrize(("take", "value", "expected"), [("MINE", None, "我方"), ("THEIRS", None, "对方"), ("VALUE", "第三", "第三")])
async def test_a_conflict_is_settled_with_a_value_a_name_and_a_time(world: World, by: str, take: str, value: Any, expected: str) -> None:
    officer, _, held, conflict = await contest(world)
    actor = officer if by == "officer" else person(Role.SUPERVISOR, INSIDE)
    answer = await world.ask(actor, RESOLVE, {"id": conflict["id"], "take": take, "value": value})
    assert answer == {"data": {"done": True}}
    assert (await world.master("enterprise", held["id"]))["name"] == expected
    (settled,) = await world.conflicts(held["id"])
    assert (settled["resolution"], settled["resolved_by"], settled["revision"]) == (take, actor.username, 2)
    assert settled["resolved_at"] is not None
    await world.drain()
    assert (await world.pull_all(officer, "sync_conflict"))[conflict["id"]]["resolution"] == take


async def test_a_settled_conflict_is_settled_once(world: World) -> None:
    _, _, held, conflict = await contest(world)
    bosses = [person(Role.SUPERVISOR, INSIDE) for _ in range(3)]
    asked = [
        world.ask(boss, RESOLVE, {"id": conflict["id"], "take": take})
        for boss, take in zip(bosses, ("MINE", "THEIRS", "MINE"), strict=True)
    ]
    assert sorted(code(answer) for answer in await asyncio.gather(*asked)) == ["", "ALREADY_RESOLVED", "ALREADY_RESOLVED"]
    before = await world.fingerprint("enterprise", "sync_conflict")
    assert code(await world.ask(bosses[0], RESOLVE, {"id": conflict["id"], "take": "MINE"})) == "ALREADY_RESOLVED"
    assert await world.fingerprint("enterprise", "sync_conflict") == before
    assert held["id"]


async def test_a_conflict_is_not_settled_from_outside(world: World) -> None:
    officer, _, _, conflict = await contest(world)
    before = await world.fingerprint("enterprise", "sync_conflict")
    for actor in (person(Role.SUPERVISOR, OUTSIDE), inspector(), person(Role.ADMIN, "220000"), with_scopes(officer, OUTSIDE)):
        wanted = "NOT_IN_SCOPE"
        assert code(await world.ask(actor, RESOLVE, {"id": conflict["id"], "take": "MINE"})) == wanted
    assert code(await world.ask(None, RESOLVE, {"id": conflict["id"], "take": "MINE"})) == "UNAUTHENTICATED"
    assert code(await world.ask(officer, RESOLVE, {"id": "7", "take": "MINE"})) == "VALUE_INVALID"
    assert code(await world.ask(officer, RESOLVE, {"id": new_id(), "take": "MINE"})) == "NOT_IN_SCOPE"
    assert code(await world.ask(officer, RESOLVE, {"id": conflict["id"], "take": "VALUE", "value": {"a": 1}})) == "VALUE_INVALID"
    assert code(await world.ask(officer, RESOLVE, {"id": conflict["id"], "take": "VALUE", "value": None})) == "REQUIRED"
    assert await world.fingerprint("enterprise", "sync_conflict") == before


async def test_a_row_refused_as_a_whole_is_closed_without_touching_the_document(world: World) -> None:
    officer = inspector()
    held = await world.put(officer, "enterprise", employees=4)
    await world.push(officer, "enterprise", sent(held, employees=-1))
    (conflict,) = await world.conflicts(held["id"])
    assert conflict["field"] == "employees"
    assert code(await world.ask(officer, RESOLVE, {"id": conflict["id"], "take": "MINE"})) == "WHOLE_ROW_REFUSED"
    assert await world.ask(officer, RESOLVE, {"id": conflict["id"], "take": "THEIRS"}) == {"data": {"done": True}}
    assert (await world.master("enterprise", held["id"]))["employees"] == 4


async def test_keeping_the_servers_value_never_wipes_what_the_conflict_could_not_show(world: World) -> None:
    cdc = person(Role.CDC, INSIDE)
    site = await world.put(supervisor(), "rehab_site")
    patient = await world.put(cdc, "patient", id_number="P1", site_id=site["id"])
    await world.push(person(Role.REHAB, keys=(f"site:{site['id']}",)), "patient", sent(patient, idNumber="P2"))
    (conflict,) = await world.conflicts(patient["id"])
    assert (conflict["code"], conflict["theirs"]) == ("not_writable", None)
    assert await world.ask(cdc, RESOLVE, {"id": conflict["id"], "take": "THEIRS"}) == {"data": {"done": True}}
    assert (await world.master("patient", patient["id"]))["idNumber"] == "P1"


async def test_what_was_overwritten_can_be_brought_back(world: World) -> None:
    officer, rival = inspector(), inspector()
    held = await world.put(officer, "enterprise", name="原")
    await world.push(rival, "enterprise", sent(held, name="对方"))
    await world.push(officer, "enterprise", sent(held, name="我方"))
    (conflict,) = await world.conflicts(held["id"])
    assert conflict["code"] == "overwrote_theirs"
    assert await world.ask(rival, RESOLVE, {"id": conflict["id"], "take": "THEIRS"}) == {"data": {"done": True}}
    assert (await world.master("enterprise", held["id"]))["name"] == "对方"


async def test_a_late_duplicate_of_an_older_push_undoes_nothing(world: World) -> None:
    actor = inspector()
    held = await world.put(actor, "enterprise", visits=0)
    first = sent(held, name="一", visits=1, stamp=f"{actor.device_id}:2")
    await world.push(actor, "enterprise", first)
    await world.push(actor, "enterprise", sent(held, name="二", visits=2, remark="新", stamp=f"{actor.device_id}:3"))
    before = await world.fingerprint("enterprise", "sync_conflict")
    (answer,) = await world.push(actor, "enterprise", first)
    assert (answer["name"], answer["visits"], answer["remark"]) == ("二", 2, "新")
    assert await world.fingerprint("enterprise", "sync_conflict") == before


async def test_the_victim_of_a_deadlock_tries_again(world: World) -> None:
    boss = supervisor()
    parent = await world.put(boss, "enterprise")
    child = await world.put(boss, "workplace", enterprise_id=parent["id"])
    change = {"enterpriseId": (await world.put(boss, "enterprise"))["id"], "process": "改"}
    async with world.database.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM enterprise WHERE id = $1::text::uuid FOR UPDATE", change["enterpriseId"])
        push = asyncio.create_task(world.push(boss, "workplace", sent(child, **change)))
        await asyncio.sleep(0.2)  # it holds the child and waits for the parent
        await other.execute("SELECT FROM workplace WHERE id = $1::text::uuid FOR UPDATE", child["id"])
    assert await push == []
    assert (await world.master("workplace", child["id"]))["process"] == "改"


async def test_what_was_deleted_over_an_edit_can_be_brought_back(world: World) -> None:
    boss, officer = person(Role.SUPERVISOR, INSIDE), inspector()
    held = await world.put(officer, "enterprise", name="原")
    await world.push(officer, "enterprise", sent(held, name="我方"))
    await world.push(boss, "enterprise", sent(held, deleted=True))
    (conflict,) = await world.conflicts(held["id"])
    assert conflict["code"] == "deleted_over_edit"
    before = await world.fingerprint("enterprise", "sync_conflict")
    assert code(await world.ask(officer, RESOLVE, {"id": conflict["id"], "take": "THEIRS"})) == "CONFLICT_UNDELETE_REFUSED"
    assert await world.fingerprint("enterprise", "sync_conflict") == before
    assert await world.ask(boss, RESOLVE, {"id": conflict["id"], "take": "THEIRS"}) == {"data": {"done": True}}
    master = await world.master("enterprise", held["id"])
    assert (master["deleted"], master["name"]) == (False, "我方")
