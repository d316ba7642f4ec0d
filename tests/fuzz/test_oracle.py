"""The fuzzer's judge finds each kind of fault, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.fuzz_facts import Block, Document, Facts
from api.fuzz_journal import EVERYTHING, Decision, Entry, Journal, Kind, Loss
from api.fuzz_oracle import judge

DOC = "019b76da-a8b2-7039-ab42-cb26f25cf139"
ONE, TWO = "fuzz-one", "fuzz-two"


def entry(device: str, kind: Kind, column: str = "", value: Any = None, seen: int = 1, stamp: str = "") -> Entry:
    return Entry(1, device, "enterprise", DOC, kind, column, value, seen, stamp or f"{device}:{seen}:1")


def change(revision: int, device: str, **changes: list[Any]) -> Document:
    kind = "UPDATE" if changes else "CREATE"
    return {"revision": revision, "device_id": device, "kind": kind, "edited_at_ms": 1, "changes": changes or None}


def conflict(code: str, device: str, field: str | None, mine: Any, theirs: Any = None, policy: str | None = "latest") -> Document:
    return {
        "record": "enterprise",
        "doc_id": DOC,
        "code": code,
        "device_id": device,
        "field": field,
        "policy": policy,
        "base": None,
        "mine": mine,
        "theirs": theirs,
        "id": f"{code}/{device}/{field}/{mine}",
        "deleted": False,
        "resolution": None,
        "resolved_by": None,
        "resolved_at": None,
    }


def decide(journal: Journal, facts: Facts, take: str, value: Any, *, by: str = "boss") -> Document:
    """The conflict over the remark is settled, as the server does it; its row."""
    row = facts.conflicts[DOC][0]
    row |= {"resolution": take, "resolved_by": by, "resolved_at": "2026-11-22T00:00:00+00:00"}
    facts.settlements[row["id"]] = 1
    journal.decisions.append(Decision(9, row["id"], DOC, "remark", take, by, sure=True))
    journal.add(Entry(9, "boss-1", "enterprise", DOC, Kind.SET, "remark", value, EVERYTHING, ""))
    facts.changes[DOC].append(change(4, "boss-1", remark=["b", value]))
    facts.documents[DOC]["remark"] = value
    return row


def good() -> tuple[Journal, Facts]:
    """ONE makes it, both write the remark unseen: TWO wins, the loser is kept; sets, lists and visits add up."""
    journal = Journal()
    for each in (
        entry(ONE, Kind.INSERT, seen=0),
        entry(ONE, Kind.SET, "remark", "a"),
        entry(TWO, Kind.SET, "remark", "b"),
        entry(ONE, Kind.ADD, "hazards", "T1"),
        entry(TWO, Kind.APPEND, "notes", "i1"),
        entry(ONE, Kind.COUNT, "visits", 2),
        entry(TWO, Kind.COUNT, "visits", 1),
    ):
        journal.add(each)
    facts = Facts()
    facts.records[DOC] = "enterprise"
    facts.documents[DOC] = {"remark": "b", "hazards": ["T1"], "notes": [{"id": "i1"}], "visits": 3, "deleted": False}
    facts.changes[DOC] = [
        change(1, ONE),
        change(2, ONE, remark=[None, "a"], hazards=[[], ["T1"]], visits=[0, 2]),
        change(3, TWO, remark=["a", "b"], notes=[None, [{"id": "i1"}]], visits=[2, 3]),
    ]
    facts.conflicts[DOC] = [conflict("overwrote_theirs", TWO, "remark", "b", "a")]
    return journal, facts


def test_a_good_end_has_no_fault() -> None:
    assert judge(*good()) == []


def test_decisions_locks_numbers_and_restores_are_no_faults() -> None:
    journal, facts = good()
    decide(journal, facts, "MINE", "b")
    facts.conflicts[DOC][0]["theirs"] = "a"
    journal.seen_conflicts[facts.conflicts[DOC][0]["id"]] = 8
    journal.locked[TWO] = True
    facts.locked.add(TWO)
    journal.add(entry(TWO, Kind.SET, "address", "never sent", stamp="x"))
    journal.sent[TWO] = 0
    facts.blocks = [Block("FZ-220102-2026", 1, 5, ONE), Block("FZ-220102-2026", 6, 9, TWO)]
    assert judge(journal, facts) == []


def test_a_restore_excuses_what_was_sent_between_backup_and_restore_alone() -> None:
    journal, facts = good()
    journal.add(Entry(5, ONE, "enterprise", DOC, Kind.SET, "address", "lost", 3, f"{ONE}:5:1"))
    assert judge(journal, facts)
    journal.loss = Loss(4, 6, {ONE: 4, TWO: 4})
    assert judge(journal, facts) == []
    journal.add(Entry(7, ONE, "enterprise", DOC, Kind.SET, "contact_name", "after", 3, f"{ONE}:6:1"))
    assert len(judge(journal, facts)) == 1


def test_a_document_made_again_after_a_restore_may_say_when_it_had_been_issued() -> None:
    journal, facts = good()
    facts.conflicts[DOC].append(conflict("server_owned", ONE, "issued_at", "2026-11-22T00:00:00+00:00"))
    assert judge(journal, facts)
    journal.loss = Loss(0, 6, {ONE: 0, TWO: 0})
    assert judge(journal, facts) == []


def test_who_may_not_see_it_any_more_may_say_what_a_restore_took_from_another() -> None:
    journal, facts = good()
    journal.add(entry(ONE, Kind.SET, "address", "lost", stamp="of one"))
    journal.loss = Loss(0, 6, {ONE: 0, TWO: 0})
    facts.conflicts[DOC].append(conflict("NOT_IN_SCOPE", TWO, None, {"stamp": "of one"}, policy=None))
    assert judge(journal, facts) == []
    facts.conflicts[DOC].append(conflict("NOT_IN_SCOPE", TWO, None, {"stamp": "nobody's"}, policy=None))
    assert judge(journal, facts)


def lose_the_loser(journal: Journal, facts: Facts) -> None:
    facts.conflicts.clear()


def lose_a_value(journal: Journal, facts: Facts) -> None:
    journal.add(entry(ONE, Kind.SET, "address", "c"))


def lose_an_element(journal: Journal, facts: Facts) -> None:
    facts.documents[DOC]["hazards"] = []


def double_an_item(journal: Journal, facts: Facts) -> None:
    facts.documents[DOC]["notes"] = [{"id": "i1"}, {"id": "i1"}]


def count_twice(journal: Journal, facts: Facts) -> None:
    facts.documents[DOC]["visits"] = 5


def bring_back_an_element(journal: Journal, facts: Facts) -> None:
    journal.add(entry(TWO, Kind.DISCARD, "hazards", "T1", seen=3))


def delete_what_nobody_removed(journal: Journal, facts: Facts) -> None:
    facts.documents[DOC]["deleted"] = True


def forget_a_removal(journal: Journal, facts: Facts) -> None:
    journal.add(entry(ONE, Kind.REMOVE))


def lose_a_document(journal: Journal, facts: Facts) -> None:
    journal.add(Entry(2, ONE, "patrol", "another", Kind.INSERT, "", None, 0, "x"))


def speak_for_another(journal: Journal, facts: Facts) -> None:
    facts.changes[DOC][2]["device_id"] = ONE


def relapse(journal: Journal, facts: Facts) -> None:
    facts.documents[DOC]["remark"] = "a"
    facts.changes[DOC].append(change(4, ONE, remark=["b", "a"]))


def fight_oneself(journal: Journal, facts: Facts) -> None:
    facts.conflicts[DOC].append(conflict("lost_later_edit", TWO, "remark", "b", "b"))


def fight_alone(journal: Journal, facts: Facts) -> None:
    journal.add(Entry(2, ONE, "patrol", "another", Kind.INSERT, "", None, 0, "x"))
    facts.conflicts["another"] = [conflict("move_refused", ONE, "state", "VERIFIED") | {"record": "patrol", "doc_id": "another"}]
    facts.documents["another"], facts.records["another"] = {"deleted": False}, "patrol"
    facts.changes["another"] = [change(1, ONE)]


def refuse_what_nobody_sent(journal: Journal, facts: Facts) -> None:
    facts.conflicts[DOC].append(conflict("NOT_IN_SCOPE", TWO, None, {"id": DOC, "stamp": "fuzz-one:9:1"}, policy=None))


def tell_twice(journal: Journal, facts: Facts) -> None:
    facts.conflicts[DOC] *= 2


def make_twice(journal: Journal, facts: Facts) -> None:
    facts.changes[DOC].insert(0, change(1, ONE))


def settle_without_a_name(journal: Journal, facts: Facts) -> None:
    decide(journal, facts, "MINE", "b")["resolved_by"] = None


def settle_by_nobody(journal: Journal, facts: Facts) -> None:
    decide(journal, facts, "MINE", "b")
    journal.decisions.clear()


def settle_unheard(journal: Journal, facts: Facts) -> None:
    decide(journal, facts, "MINE", "b")
    facts.settlements.clear()


def forget_a_decision(journal: Journal, facts: Facts) -> None:
    decide(journal, facts, "VALUE", "c")
    facts.conflicts[DOC][0] |= {"resolution": None, "resolved_by": None, "resolved_at": None}
    facts.settlements.clear()


def decide_without_effect(journal: Journal, facts: Facts) -> None:
    decide(journal, facts, "VALUE", "c")
    del facts.changes[DOC][-1]
    facts.documents[DOC]["remark"] = "b"


def vanish_from_the_inbox(journal: Journal, facts: Facts) -> None:
    journal.seen_conflicts["gone"] = 3


def fight_over_what_was_seen(journal: Journal, facts: Facts) -> None:
    journal.entries.clear()
    journal.add(entry(TWO, Kind.SET, "remark", "b", seen=2))


def unlock(journal: Journal, facts: Facts) -> None:
    journal.locked[ONE] = True


def take_from_a_locked_device(journal: Journal, facts: Facts) -> None:
    journal.too_late.append(journal.of(DOC, "remark", TWO)[0])


def hand_out_twice(journal: Journal, facts: Facts) -> None:
    facts.blocks = [Block("FZ-220102-2026", 1, 5, ONE), Block("FZ-220102-2026", 5, 9, TWO)]


def number_two_documents(journal: Journal, facts: Facts) -> None:
    for doc_id in ("one", "two"):
        facts.documents[doc_id], facts.records[doc_id] = {"deleted": False, "document_number": "FZ-1"}, "workplace"
        facts.changes[doc_id] = [change(1, ONE)]
    facts.used["FZ-1"] = "one"


@pytest.mark.parametrize(
    "spoil",
    [
        settle_without_a_name,
        settle_by_nobody,
        settle_unheard,
        forget_a_decision,
        decide_without_effect,
        vanish_from_the_inbox,
        fight_over_what_was_seen,
        unlock,
        take_from_a_locked_device,
        hand_out_twice,
        number_two_documents,
        lose_the_loser,
        lose_a_value,
        lose_an_element,
        double_an_item,
        count_twice,
        bring_back_an_element,
        delete_what_nobody_removed,
        forget_a_removal,
        lose_a_document,
        speak_for_another,
        relapse,
        fight_oneself,
        fight_alone,
        refuse_what_nobody_sent,
        tell_twice,
        make_twice,
    ],
)
def test_the_judge_sees(spoil: Callable[[Journal, Facts], None]) -> None:
    journal, facts = good()
    spoil(journal, facts)
    assert judge(journal, facts)
