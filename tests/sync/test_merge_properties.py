"""What holds for every history of edits, losses, repetitions and crashes."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schema.base import Document, Policy
from sync.merge import Code, Edit, FieldWrite, merge
from tests.sync.merge_world import NAMES, PLAN, STATES, Server, Terminal, content, document, settle

thorough = settings(max_examples=2000, deadline=None)
quick = settings(max_examples=500, deadline=None)

ITEM = st.builds(lambda key, note: {"id": key, "note": note}, st.sampled_from("abc"), st.integers(0, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tags": st.sets(st.sampled_from("abcd")).map(sorted),
    "total": st.integers(-3, 3),
    "items": st.lists(ITEM, max_size=3, unique_by=lambda item: item["id"]),
    "state": st.sampled_from(STATES),
    "secret": st.none(),
}
PLAIN = st.none() | st.sampled_from("xyz")
CHANGES = st.fixed_dictionaries({}, optional={name: VALUES.get(name, PLAIN) for name in NAMES})
MS = st.integers(1, 3)


def written(change: Document, before: Document, device_id: str, ms: int) -> dict[str, list[FieldWrite]]:
    return {name: [FieldWrite(2, before[name], value, device_id, ms)] for name, value in change.items() if value != before[name]}


def kept(policy: Policy, side: Any, base: Any, other: Any, result: Any) -> bool:
    """Whether one side's change of a field can be found in the result."""
    if policy is Policy.UNION:
        return (set(side) - set(base)) <= set(result) and not (set(base) - set(side)) & set(result)
    if policy is Policy.COUNTER:
        return bool(result == base + (side - base) + (other - base))
    if policy is Policy.APPEND:
        found = {item["id"]: item for item in result}
        removed = {item["id"] for item in base} - {item["id"] for item in side}
        return not removed and all(found.get(item["id"]) == item or item in base for item in side)
    return bool(result == side)


@thorough
@given(CHANGES, CHANGES, CHANGES, MS, MS)
def test_no_edit_is_lost(start: Document, ours: Document, others: Document, our_ms: int, their_ms: int) -> None:
    base = document(**start)
    others["items"] = base["items"] + [item for item in others.get("items", ()) if item["id"] not in {i["id"] for i in base["items"]}]
    mine, master = base | ours, base | others | {"revision": 2}
    merged = merge(PLAN, master, Edit(base, mine, "b", our_ms), written(others, base, "c", their_ms))
    told = {outcome.column: outcome for outcome in merged.outcomes}
    for name in NAMES:
        policy, result = PLAN.policies[name], merged.document[name]
        if mine[name] != base[name] and not kept(policy, mine[name], base[name], master[name], result):
            assert told[name].mine == mine[name]
            assert told[name].kept == "theirs"
        if master[name] != base[name] and policy is not Policy.MOVES and not kept(policy, master[name], base[name], mine[name], result):
            assert told[name].theirs == master[name]
            assert told[name].kept == "mine"
        if mine[name] == base[name]:
            assert result == master[name]
            assert name not in told
        assert (name in merged.changed) == (result != master[name])


@thorough
@given(CHANGES, CHANGES, CHANGES, MS, MS)
def test_the_order_of_arrival_does_not_show(start: Document, ours: Document, others: Document, our_ms: int, their_ms: int) -> None:
    base = document(**start | {"state": "DRAFT"})
    edits = (("b", base | ours, our_ms), ("c", base | others, their_ms))
    ends = []
    for first, second in (edits, edits[::-1]):
        after = merge(PLAN, base, Edit(base, first[1], first[0], first[2])).document | {"revision": 2}
        changed = {name: after[name] for name in NAMES}
        ends.append(merge(PLAN, after, Edit(base, second[1], second[0], second[2]), written(changed, base, first[0], first[2])).document)
    for name in NAMES:
        if PLAN.policies[name] in (Policy.LATEST, Policy.UNION, Policy.COUNTER):
            assert ends[0][name] == ends[1][name]
    orders = [[item["id"] for item in end["items"]] for end in ends]
    assert set(orders[0]) == set(orders[1])
    if not new_ids(base, ours) & new_ids(base, others):
        assert orders[0] == orders[1]


def new_ids(base: Document, change: Document) -> set[str]:
    return {item["id"] for item in change.get("items", ())} - {item["id"] for item in base["items"]}


@quick
@given(CHANGES, CHANGES, st.sets(st.sampled_from(NAMES)), st.booleans())
def test_what_a_device_did_not_touch_it_does_not_change(start: Document, others: Document, omitted: set[str], knows: bool) -> None:
    base = document(**start)
    master = base | others | {"revision": 2}
    mine = {name: value for name, value in base.items() if name not in omitted}
    assumed = base if knows else {name: value for name, value in base.items() if name not in omitted}
    merged = merge(PLAN, master, Edit(assumed, mine, "b", 1), written(others, base, "c", 2))
    assert merged.document == master
    assert not merged.changed
    assert not merged.outcomes


@quick
@given(st.none() | CHANGES, st.none() | CHANGES, CHANGES, st.integers(0, 4), st.tuples(*[st.booleans()] * 3))
def test_any_three_states_merge(
    theirs: Document | None, base: Document | None, mine: Document, revision: int, deleted: tuple[bool, bool, bool]
) -> None:
    master = None if theirs is None else document(**theirs | {"deleted": deleted[0], "revision": 3})
    assumed = None if base is None else {**base, "deleted": deleted[1], "revision": 1}
    sent = {"id": "1", **mine, "deleted": deleted[2]} | ({"revision": revision} if revision else {})
    merged = merge(PLAN, master, Edit(assumed, sent, "b", 1))
    assert merged.document.keys() >= {"id", "deleted", *NAMES}
    assert merged.document["risk"] == (1 if master is None else master["risk"])
    assert merge(PLAN, master, Edit(assumed, sent, "b", 1)) == merged
    if master is not None and master["deleted"] and merged.document["deleted"]:
        assert content(merged.document) == content(master)


STEP = st.tuples(st.integers(0, 2), st.integers(0, 15), st.integers(0, 4))


class World:
    """Three terminals; steps are (who, what, with which value)."""

    def __init__(self, strict: bool, stamped: bool = True) -> None:
        self.server = Server(strict)
        self.terminals = [Terminal(self.server, device_id, stamped) for device_id in "abc"]
        self.serial = 0
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.counted = 0
        self.last: dict[str, Any] = {}
        self.authors: dict[str, str] = {}

    def run(self, steps: list[tuple[int, int, int]], own_column: bool) -> None:
        for who, what, number in steps:
            self.step(self.terminals[who], ("name", "phone", "verdict")[who] if own_column else "name", what, number)
        settle(self.terminals)

    def step(self, terminal: Terminal, column: str, what: int, number: int) -> None:
        match what:
            case 0 | 1 | 2:
                terminal.edit(**self.typed(terminal, column))
            case 3:
                terminal.edit(**self.shared(terminal.fork, number))
            case 4 | 5 | 6:
                terminal.push()
            case 7 | 8:
                terminal.push(lost=True)
            case 9:
                terminal.push(twice=True)
            case 10:
                terminal.push(crash=True)
            case 11 if terminal.fork != terminal.assumed:
                terminal.push(meanwhile=self.typed(terminal, column), lost=number == 0)
            case 12 | 13:
                terminal.pull()
            case 14:
                terminal.pull(crash=True)
            case 15 if terminal.stamped:  # without stamps an old request cannot be told from a new one
                terminal.replay(number)

    def typed(self, terminal: Terminal, column: str) -> Document:
        self.serial += 1
        self.last[column] = f"{column} {self.serial}"
        self.authors[self.last[column]] = terminal.device_id
        return {column: self.last[column]}

    def shared(self, held: Document, number: int) -> Document:
        self.serial += 1
        news = f"{self.serial:04}"
        if number in (0, 1):
            self.counted += number * 2 - 1 or 1
            return {"total": held["total"] + (number * 2 - 1)}
        if number == 2:
            self.added.add(news)
            return {"tags": sorted({*held["tags"], news})}
        if number == 3 and held["tags"]:
            self.removed.add(held["tags"][0])
            return {"tags": held["tags"][1:]}
        return {"items": [*held["items"], {"id": news}]}


@thorough
@given(st.lists(STEP, min_size=4, max_size=40), st.booleans(), st.booleans())
@example([(1, 0, 0), (1, 4, 0), (0, 14, 0), (0, 11, 0), (0, 4, 0), (0, 15, 0)], False, True)  # an echo delivered again later
def test_who_edits_apart_never_conflicts_and_loses_nothing(steps: list[tuple[int, int, int]], strict: bool, stamped: bool) -> None:
    world = World(strict, stamped)
    world.run(steps, own_column=True)
    master = world.server.master
    assert world.server.outcomes == []
    assert {column: master[column] for column in world.last} == world.last
    assert master["total"] == world.counted
    assert master["tags"] == sorted(world.added - world.removed)
    assert {item["id"] for item in master["items"]} == {i["id"] for t in world.terminals for i in t.fork["items"]}
    assert all(content(terminal.fork) == content(master) for terminal in world.terminals)


@thorough
@given(st.lists(STEP, min_size=4, max_size=40), st.booleans())
def test_who_edits_one_field_agrees_in_the_end_and_every_value_is_kept(steps: list[tuple[int, int, int]], strict: bool) -> None:
    world = World(strict)
    world.run(steps, own_column=False)
    server = world.server
    assert all(content(terminal.fork) == content(server.master) for terminal in world.terminals)
    sent = {mine["name"] for terminal in world.terminals for _, mine in terminal.sent}
    seen = {change.changes["name"][1] for change in server.changes if change.changes and "name" in change.changes}
    assert sent <= seen | {outcome.mine for outcome in server.outcomes} | {None}
    assert {outcome.code for outcome in server.outcomes} <= {Code.LOST_LATER_EDIT, Code.OVERWROTE_THEIRS}
    for outcome in server.outcomes:  # nobody is told of a conflict with himself, nor twice of one
        assert world.authors[outcome.mine] != world.authors[outcome.theirs]
    assert len({(o.column, o.mine, o.theirs) for o in server.outcomes}) == len(server.outcomes)
