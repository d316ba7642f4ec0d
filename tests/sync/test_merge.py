"""One example per rule of the merge; what holds for all inputs is in test_merge_properties.py."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from schema.actor import Role
from schema.base import Column, Document, Kind, Policy, Record, Scope
from sync.merge import Change, Code, Edit, FieldWrite, Merged, contested, field_writes, merge, plan_for, rebase, shadow_of
from tests.sync.merge_world import PLAN, RECORD, Server, Terminal, document

SUPERVISOR = plan_for(RECORD, Role.SUPERVISOR)
COORDINATOR = plan_for(RECORD, Role.COORDINATOR)


def meet(base: Document, ours: Document, theirs: Document, *, ms: int = 5, their_ms: int = 3, plan: Any = PLAN, **more: Any) -> Merged:
    """`ours` by device b at `ms` meets `theirs` by device c at `their_ms`, both on `base`."""
    history = {name: [FieldWrite(2, base[name], value, "c", their_ms)] for name, value in theirs.items() if value != base[name]}
    master = base | theirs | ({"revision": 2} if theirs else {})
    return merge(plan, master, Edit(base, base | ours, "b", ms), history, **more)


def codes(merged: Merged) -> dict[str, str]:
    return {outcome.column: outcome.code for outcome in merged.outcomes}


def test_edits_of_different_fields_both_stand_without_a_word() -> None:
    merged = meet(document(), {"name": "A"}, {"phone": "1"})
    assert (merged.document["name"], merged.document["phone"]) == ("A", "1")
    assert merged.changed == ("name",)
    assert merged.outcomes == ()


def test_the_later_edit_wins_and_the_replaced_value_is_kept() -> None:
    merged = meet(document(name="0"), {"name": "A"}, {"name": "B"})
    (outcome,) = merged.outcomes
    assert merged.document["name"] == "A"
    assert (outcome.code, outcome.kept, outcome.base, outcome.mine, outcome.theirs) == (Code.OVERWROTE_THEIRS, "mine", "0", "A", "B")


def test_the_earlier_edit_loses_and_is_kept() -> None:
    merged = meet(document(), {"name": "A"}, {"name": "B"}, ms=2)
    assert merged.document["name"] == "B"
    assert merged.changed == ()
    assert (codes(merged), merged.outcomes[0].mine) == ({"name": Code.LOST_LATER_EDIT}, "A")


def test_a_tie_goes_to_the_greater_device_id() -> None:
    assert codes(meet(document(), {"name": "A"}, {"name": "B"}, ms=3)) == {"name": Code.LOST_LATER_EDIT}


def test_the_same_value_from_both_is_no_conflict() -> None:
    assert meet(document(), {"name": "A", "verdict": "V"}, {"name": "A", "verdict": "V"}).outcomes == ()


def test_null_is_a_value_and_an_omitted_field_is_not() -> None:
    base = document(name="A", phone="1")
    mine = {"id": "1", "name": None, "revision": 1}
    merged = merge(PLAN, base, Edit(base, mine, "b", 5))
    assert (merged.document["name"], merged.document["phone"], merged.changed) == (None, "1", ("name",))


def test_a_server_field_is_refused_and_system_fields_are_ignored() -> None:
    base = document()
    merged = meet(base, {"risk": 9, "revision": 1, "created_at": "x", "updated_at": "x", "stamp": "b:1", "place_wgs84": {}}, {})
    assert merged.document == base
    assert codes(merged) == {"risk": Code.SERVER_OWNED}


def test_a_stale_server_field_is_no_edit() -> None:
    assert meet(document(), {"name": "A"}, {"risk": 4}).outcomes == ()


def test_a_field_that_the_role_may_not_write_is_refused() -> None:
    assert codes(meet(document(), {"order": "stop"}, {})) == {"order": Code.NOT_WRITABLE}
    assert meet(document(), {"order": "stop"}, {}, plan=SUPERVISOR).document["order"] == "stop"


def test_a_masked_field_stays_and_its_value_does_not_leak() -> None:
    master = document(secret="Wang")
    assert merge(PLAN, master, Edit(document(), document(name="A"), "b", 5)).document["secret"] == "Wang"
    merged = merge(PLAN, master, Edit(document(), document(secret="Li"), "b", 5))
    assert merged.document == master
    assert (merged.outcomes[0].mine, merged.outcomes[0].theirs, merged.outcomes[0].base) == ("Li", None, None)


def test_a_set_keeps_both_sides_adds_and_removes() -> None:
    merged = meet(document(tags=["a", "b"]), {"tags": ["a", "c"]}, {"tags": ["b", "d"]})
    assert (merged.document["tags"], merged.outcomes) == (["c", "d"], ())


def test_counts_add_up_even_when_both_sides_are_equal() -> None:
    merged = meet(document(total=3), {"total": 4}, {"total": 4})
    assert (merged.document["total"], merged.changed, merged.outcomes) == (5, ("total",), ())


def test_a_list_only_grows() -> None:
    one, two, three = {"id": "1", "note": "x"}, {"id": "2"}, {"id": "3"}
    merged = meet(document(items=[one]), {"items": [one, three]}, {"items": [one, two]})
    assert (merged.document["items"], merged.outcomes) == ([one, two, three], ())


@pytest.mark.parametrize("mine", [[], [{"id": "1", "note": "y"}]])
def test_an_item_is_neither_removed_nor_rewritten(mine: list[Any]) -> None:
    merged = meet(document(items=[{"id": "1", "note": "x"}]), {"items": mine}, {})
    assert merged.changed == ()
    assert codes(merged) == {"items": Code.APPEND_ONLY}


@pytest.mark.parametrize(
    ("start", "wish", "plan", "end"),
    [
        ("DRAFT", "SUBMITTED", PLAN, "SUBMITTED"),
        ("DRAFT", "SIGNED", PLAN, "SIGNED"),  # two moves of one day offline
        ("DRAFT", "CLOSED", PLAN, "DRAFT"),
        ("SIGNED", "CLOSED", PLAN, "SIGNED"),  # the supervisor's
        ("SIGNED", "CLOSED", SUPERVISOR, "CLOSED"),
        ("SIGNED", "DRAFT", SUPERVISOR, "SIGNED"),
        ("SIGNED", None, SUPERVISOR, "SIGNED"),
    ],
)
def test_a_state_moves_only_as_the_role_may(start: str, wish: str | None, plan: Any, end: str) -> None:
    merged = meet(document(state=start), {"state": wish}, {}, plan=plan)
    assert merged.document["state"] == end
    assert codes(merged) == ({} if end == wish else {"state": Code.MOVE_REFUSED})


def test_a_move_that_follows_from_theirs_is_taken_and_a_detour_is_not() -> None:
    base = document(state="SUBMITTED")
    assert meet(document(), {"state": "SIGNED"}, {"state": "SUBMITTED"}).document["state"] == "SIGNED"
    assert codes(meet(base, {"state": "SIGNED"}, {"state": "RETURNED"})) == {"state": Code.MOVE_REFUSED}


def test_frozen_text_changes_until_the_master_is_signed() -> None:
    signing = meet(document(state="SUBMITTED"), {"state": "SIGNED", "text": "T"}, {})
    assert (signing.document["text"], signing.outcomes) == ("T", ())
    late = meet(document(state="SUBMITTED"), {"text": "T"}, {"state": "SIGNED"})
    assert late.document["text"] is None
    assert codes(late) == {"text": Code.FROZEN}


def test_a_manual_conflict_leaves_the_master_and_an_uncontested_edit_stands() -> None:
    conflict = meet(document(), {"verdict": "V"}, {"verdict": "W"})
    assert (conflict.document["verdict"], codes(conflict)) == ("W", {"verdict": Code.MANUAL_REVIEW})
    assert meet(document(), {"verdict": "V"}, {}).document["verdict"] == "V"


# ---- new records


def test_a_new_record_takes_what_may_be_set_and_defaults_for_the_rest() -> None:
    mine = {"id": "7", "name": "A", "risk": 3, "order": "stop", "state": "SIGNED", "revision": 9}
    merged = merge(PLAN, None, Edit(None, mine, "b", 5))
    assert merged.document == {
        **dict.fromkeys(PLAN.names),
        "id": "7",
        "name": "A",
        "risk": 1,
        "total": 0,
        "state": "SIGNED",
        "deleted": False,
    }
    assert codes(merged) == {"risk": Code.SERVER_OWNED, "order": Code.NOT_WRITABLE}


@pytest.mark.parametrize(("state", "code"), [("CLOSED", {"state": Code.MOVE_REFUSED}), (None, {}), ("DRAFT", {})])
def test_a_new_record_starts_where_the_role_can_reach(state: str | None, code: dict[str, str]) -> None:
    merged = merge(PLAN, None, Edit(None, {"id": "7", "state": state}, "b", 5))
    assert (merged.document["state"], codes(merged)) == ("DRAFT", code)


def test_an_insert_over_a_record_never_counts_twice_nor_overwrites_unseen_values() -> None:
    master = document(name="A", total=4, tags=["a"], verdict="V")
    mine = {"id": "1", "name": "B", "total": 6, "tags": ["b"], "verdict": "V", "phone": None}
    merged = merge(PLAN, master, Edit(None, mine, "b", 5))
    assert merged.document == master | {"tags": ["a", "b"]}
    assert codes(merged) == {"name": Code.LOST_LATER_EDIT, "total": Code.BASE_UNKNOWN}


def test_an_insert_over_a_record_of_known_authorship_goes_by_time() -> None:
    master = document(name="A", revision=2, phone="1")
    changes = [Change(1, "c", 3, None), Change(2, "c", 9, {"phone": (None, "1")})]
    merged = merge(PLAN, master, Edit(None, {"id": "1", "name": "B", "phone": "2"}, "b", 5), field_writes(changes, master))
    assert (merged.document["name"], merged.document["phone"]) == ("B", "1")
    assert codes(merged) == {"name": Code.OVERWROTE_THEIRS, "phone": Code.LOST_LATER_EDIT}


# ---- deletes


def test_a_delete_carries_its_edits_and_says_that_it_had_not_seen_others() -> None:
    merged = meet(document(), {"deleted": True, "name": "A"}, {"phone": "1"})
    assert (merged.document["deleted"], merged.document["name"], merged.document["phone"]) == (True, "A", "1")
    assert set(merged.changed) == {"deleted", "name"}
    assert codes(merged) == {"deleted": Code.DELETED_OVER_EDIT}
    assert meet(document(), {"deleted": True}, {}).outcomes == ()


@pytest.mark.parametrize(("plan", "deletable"), [(COORDINATOR, True), (PLAN, False)])
def test_a_refused_delete_still_merges_its_edits(plan: Any, deletable: bool) -> None:
    merged = meet(document(), {"deleted": True, "name": "A"}, {}, plan=plan, deletable=deletable)
    assert (merged.document["deleted"], merged.document["name"]) == (False, "A")
    assert codes(merged) == {"deleted": Code.DELETE_REFUSED}


def test_an_edit_does_not_bring_back_what_another_deleted_and_is_kept() -> None:
    merged = meet(document(), {"name": "A", "total": 1, "tags": ["a"]}, {"deleted": True})
    assert merged.changed == ()
    assert codes(merged) == dict.fromkeys(("name", "total", "tags"), Code.RECORD_DELETED)


def test_only_who_saw_the_delete_restores() -> None:
    gone = document(deleted=True)
    assert merge(PLAN, gone, Edit(gone, gone | {"deleted": False, "name": "A"}, "b", 5)).document == gone | {"deleted": False, "name": "A"}
    refused = merge(COORDINATOR, gone, Edit(gone, gone | {"deleted": False, "name": "A"}, "b", 5))
    assert refused.document == gone
    assert codes(refused) == {"deleted": Code.UNDELETE_REFUSED, "name": Code.RECORD_DELETED}


# ---- lost answers and crashes


def test_the_shadow_is_the_base_until_the_device_has_seen_its_own_write() -> None:
    shadow = document(revision=3, name="A", tags=["a"])
    unaware = Edit(document(revision=3), document(revision=3, name="A", tags=["a"]), "b", 5)
    assert rebase(unaware, shadow, 4).base == shadow | {"revision": 4}
    aware = Edit(document(revision=4), document(revision=4), "b", 5)
    assert rebase(aware, shadow, 4) is aware
    crashed = Edit(document(revision=3), document(revision=4), "b", 5)
    assert rebase(crashed, shadow, 4) is crashed
    overtaken = Edit(document(revision=2), document(revision=2), "b", 5)
    assert rebase(overtaken, shadow, 4) is overtaken
    assert rebase(unaware, None, None) is unaware
    assert shadow_of(Edit(document(name="A"), {"id": "1", "phone": "1"}, "b", 5)) == document(name="A", phone="1", revision=None)


def test_a_page_from_before_a_push_is_known_by_its_revision_when_the_push_stood_on_none() -> None:
    """The device made the document, wrote on, and then took in a page with what it had first made."""
    made = {"id": "1", "name": "A"}
    first = rebase(Edit(made, {**made, "name": "B"}, "b", 5), document(revision=1, name="A"), 1)
    overtaken = Edit(document(name="A"), document(name="A", phone="1"), "b", 6)
    assert rebase(overtaken, shadow_of(first), 2) is overtaken


def test_a_repeated_count_without_an_answer_counts_once() -> None:
    server = Server()
    terminal = Terminal(server, "a")
    terminal.edit(total=2)
    terminal.push(lost=True)
    terminal.edit(name="A")
    terminal.push()
    assert server.master["total"] == 2


@pytest.mark.parametrize("base", [document(), None])
def test_the_device_s_own_last_write_is_no_rival_even_without_a_shadow(base: Document | None) -> None:
    master = document(revision=2, name="A")
    changes = [Change(1, "b", 8, None), Change(2, "b", 9, {"name": (None, "A")})]
    merged = merge(PLAN, master, Edit(base, document(name="B"), "b", 5), field_writes(changes, master))
    assert (merged.document["name"], merged.outcomes) == ("B", ())


def test_what_comes_back_after_a_crash_is_an_echo() -> None:
    """A counter went 0, 5, 7 by others; the device holds 5 without knowing of it, and a name of its own."""
    base, master = document(), document(revision=3, total=7)
    history = {"total": [FieldWrite(2, 0, 5, "c", 3), FieldWrite(3, 5, 7, "c", 4)]}
    merged = merge(PLAN, master, Edit(base, document(revision=2, total=5, name="A"), "b", 5), history)
    assert merged.document == master | {"name": "A"}
    assert merged.outcomes == ()


def test_a_client_that_omits_the_revision_has_echoes_told_by_value() -> None:
    master = document(revision=3, name="C")
    history = {"name": [FieldWrite(2, None, "B", "c", 3), FieldWrite(3, "B", "C", "c", 4)]}
    echo = {name: value for name, value in document(name="B", created_at="2026").items() if name != "revision"}
    assert merge(PLAN, master, Edit(document(), echo, "b", 5), history) == Merged(master, (), ())


def test_what_never_came_from_the_server_holds_no_echo() -> None:
    """Nobody's value but the device's own, though another has counted to the same number."""
    made = {"id": "1", "total": 0}
    master = document(revision=3, total=3)
    history = {"total": [FieldWrite(2, 0, 1, "c", 3), FieldWrite(3, 1, 3, "d", 4)]}
    assert merge(PLAN, master, Edit({**made, "revision": 1}, {**made, "total": 1}, "b", 5), history).document["total"] == 4


def test_a_value_that_another_once_wrote_is_an_edit_when_the_device_typed_it() -> None:
    master = document(revision=3, name="C")
    history = {"name": [FieldWrite(2, None, "B", "c", 3), FieldWrite(3, "B", "C", "c", 4)]}
    assert merge(PLAN, master, Edit(document(), document(name="B"), "b", 5), history).document["name"] == "B"


def test_an_edit_on_the_current_master_is_not_contested() -> None:
    assert not contested(PLAN, document(revision=2), Edit(document(revision=2), document(revision=2, name="A"), "b", 5))
    assert contested(PLAN, document(revision=2, name="B"), Edit(document(), document(name="A"), "b", 5))
    assert not contested(PLAN, None, Edit(None, document(), "b", 5))


def test_a_document_ahead_of_its_base_is_contested() -> None:
    """Only the history tells what of it is an echo."""
    master = document(revision=3, total=7)
    assert contested(PLAN, master, Edit(document(total=7), document(revision=2, total=5), "b", 5))


def test_the_history_names_each_write_and_a_creation_writes_every_field() -> None:
    master = document(revision=2, name="B")
    found = field_writes([Change(1, "c", 3, None), Change(2, "d", 4, {"name": ["A", "B"]})], master)
    assert found["name"] == (FieldWrite(1, None, "A", "c", 3), FieldWrite(2, "A", "B", "d", 4))
    assert found["phone"] == (FieldWrite(1, None, None, "c", 3),)


# ---- the plan


@pytest.mark.parametrize(
    "column",
    [
        Column("a", Kind.TEXT, "", merge=Policy.UNION),
        Column("a", Kind.TEXT, "", merge=Policy.COUNTER),
        Column("a", Kind.TAGS, "", merge=Policy.APPEND),
        Column("a", Kind.ENUM, "", merge=Policy.MOVES),
    ],
)
def test_a_policy_that_a_column_cannot_have_is_found_when_the_plan_is_made(column: Column) -> None:
    with pytest.raises(ValueError, match=r"^a: "):
        plan_for(Record("odd", "", "", (column,), Scope(), {}), Role.INSPECTOR)


def test_without_frozen_when_a_frozen_column_is_settled_at_once() -> None:
    record = Record("slip", "", "", (Column("text", Kind.TEXT, "", merge=Policy.FROZEN),), Scope(), {})
    base = {"id": "1", "text": "T", "revision": 1, "deleted": False}
    merged = merge(plan_for(record, Role.INSPECTOR), base, Edit(base, base | {"text": "U"}, "b", 5))
    assert (merged.document, codes(merged)) == (base, {"text": Code.FROZEN})


def test_a_page_that_ones_own_push_has_overtaken_takes_nothing_back() -> None:
    server = Server()
    one, other = Terminal(server, "one"), Terminal(server, "other")
    other.edit(phone="1")
    other.push()
    late = deepcopy(server.master)  # on its way to `one`
    one.edit(tags=["a"], total=1)
    one.push()
    one.fork, one.assumed = deepcopy(late), deepcopy(late)
    one.edit(tags=["b"], total=2)
    one.push()
    assert (server.master["tags"], server.master["total"], server.outcomes) == (["a", "b"], 3, [])
