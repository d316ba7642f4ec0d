"""The fuzzer's judge finds each kind of fault, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.fuzz_facts import Document, Facts
from api.fuzz_journal import Entry, Journal, Kind
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
    }


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


@pytest.mark.parametrize(
    "spoil",
    [
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
