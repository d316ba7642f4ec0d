"""A record with every policy, and a small world round `merge`: a server in memory and terminals that behave like RxDB 17."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from schema.actor import Role
from schema.base import Choice, Column, Document, Kind, Moves, Policy, Record, Scope, Verb
from sync.merge import Change, Edit, Merged, Outcome, contested, field_writes, merge, plan_for, rebase, shadow_of
from sync.stamp import edit_ms, is_passed_on, is_repeat, parse_stamp

STATES = ("DRAFT", "SUBMITTED", "SIGNED", "RETURNED", "CLOSED")
INSPECTOR, SUPERVISOR = frozenset({Role.INSPECTOR}), frozenset({Role.SUPERVISOR})
MOVES = Moves(
    initial=frozenset({"DRAFT"}),
    allowed={
        ("DRAFT", "SUBMITTED"): INSPECTOR,
        ("SUBMITTED", "SIGNED"): INSPECTOR | SUPERVISOR,
        ("SUBMITTED", "RETURNED"): SUPERVISOR,
        ("RETURNED", "DRAFT"): INSPECTOR,
        ("SIGNED", "CLOSED"): SUPERVISOR,
    },
)
RECORD = Record(
    name="visit",
    label="巡查",
    doc="",
    columns=(
        Column("name", Kind.TEXT, "名称"),
        Column("phone", Kind.TEXT, "电话"),
        Column("place", Kind.POSITION, "位置"),
        Column("risk", Kind.INTEGER, "风险", merge=Policy.SERVER, default=1),
        Column("tags", Kind.TAGS, "标签", merge=Policy.UNION),
        Column("total", Kind.INTEGER, "计数", merge=Policy.COUNTER, default=0),
        Column("items", Kind.ITEMS, "条目", merge=Policy.APPEND),
        Column("state", Kind.ENUM, "状态", merge=Policy.MOVES, moves=MOVES, choice=Choice("State", tuple((s, s) for s in STATES))),
        Column("text", Kind.TEXT, "正文", merge=Policy.FROZEN),
        Column("verdict", Kind.TEXT, "结论", merge=Policy.MANUAL),
        Column("order", Kind.TEXT, "批示", writers=SUPERVISOR),
        Column("secret", Kind.TEXT, "举报人", readers=SUPERVISOR),
    ),
    scope=Scope(),
    access={
        Role.INSPECTOR: Verb.READ | Verb.CREATE | Verb.UPDATE | Verb.DELETE,
        Role.SUPERVISOR: Verb.READ | Verb.CREATE | Verb.UPDATE | Verb.DELETE,
        Role.COORDINATOR: Verb.READ | Verb.CREATE | Verb.UPDATE,
    },
    frozen_when=("state", frozenset({"SIGNED", "CLOSED"})),
)
PLAN = plan_for(RECORD, Role.INSPECTOR)
NAMES = PLAN.names


def document(**values: Any) -> Document:
    plain: Document = dict.fromkeys(NAMES) | {"id": "1", "risk": 1, "tags": [], "total": 0, "items": [], "state": "DRAFT"}
    return plain | {"revision": 1, "stamp": None, "deleted": False, "created_at": None, "updated_at": None} | values


def content(held: Document) -> Document:
    return {name: held.get(name) for name in (*NAMES, "deleted")}


@dataclass
class Server:
    """One document; the push of sync.md without a database."""

    strict: bool = False  # whether the revision counts in "differs"
    master: Document = field(default_factory=lambda: document(stamp="setup:0"))
    changes: list[Change] = field(default_factory=list)
    shadows: dict[str, tuple[Document, int]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    now_ms: int = 1_000_000

    def push(self, device_id: str, base: Document | None, mine: Document) -> Document | None:
        stamp = parse_stamp(mine["stamp"])
        own = stamp if stamp is not None and stamp.device_id == device_id else None
        passed_on = base is not None and is_passed_on(stamp, base["stamp"], device_id) and device_id in self.counters
        if not (passed_on or is_repeat(own, self.counters.get(device_id))):
            if own is not None:
                self.counters[device_id] = own.counter
            sent = Edit(base, mine, device_id, edit_ms(own, 0, self.now_ms))
            edit = rebase(sent, *self.shadows.get(device_id, (None, None)))
            self._keep(edit, self._merge(sent, edit), mine["stamp"])
        ignored = set() if self.strict else {"revision"}
        return None if all(self.master[name] == mine[name] for name in mine.keys() - ignored) else deepcopy(self.master)

    def _merge(self, sent: Edit, edit: Edit) -> Merged:
        since = sent.base["revision"] if sent.base else 0
        history = field_writes([change for change in self.changes if change.revision > since], self.master)
        merged = merge(PLAN, self.master, edit, history)
        if not contested(PLAN, self.master, edit):
            assert merge(PLAN, self.master, edit) == merged
        return merged

    def _keep(self, edit: Edit, merged: Merged, stamp: str | None) -> None:
        self.outcomes += merged.outcomes
        after = merged.document | {"stamp": stamp}
        if after != self.master or merged.outcomes:
            after["revision"] = self.master["revision"] + 1
            pairs = {name: (self.master[name], after[name]) for name in merged.changed}
            self.changes.append(Change(after["revision"], edit.device_id, edit.edited_ms, pairs))
            self.master = deepcopy(after)
        assert edit.device_id is not None
        self.shadows[edit.device_id] = (deepcopy(shadow_of(edit)), self.master["revision"])


@dataclass
class Terminal:
    """The two states that RxDB keeps of a document: what the user sees, and what it believes of the master."""

    server: Server
    device_id: str
    stamped: bool = True
    fork: Document = field(default_factory=lambda: document(stamp="setup:0"))
    assumed: Document = field(default_factory=lambda: document(stamp="setup:0"))
    counter: int = 0
    sent: list[tuple[Document, Document]] = field(default_factory=list)

    def edit(self, **values: Any) -> None:
        self.counter += 1
        self.server.now_ms += 1
        stamp = f"{self.device_id}:{self.counter}:{self.server.now_ms}" if self.stamped else None
        self.fork = self.fork | deepcopy(values) | {"stamp": stamp}

    def send(self) -> Document | None:
        self.sent.append((deepcopy(self.assumed), deepcopy(self.fork)))
        return self.server.push(self.device_id, *deepcopy(self.sent[-1]))

    def push(self, *, lost: bool = False, twice: bool = False, crash: bool = False, meanwhile: Document | None = None) -> None:
        if self.fork == self.assumed:
            return
        answer = self.send()
        if twice:
            answer = self.server.push(self.device_id, *deepcopy(self.sent[-1]))
        if meanwhile is not None:
            self.edit(**meanwhile)
        if lost:
            return
        if answer is None:
            self.assumed = deepcopy(self.sent[-1][1])
        elif self.fork == self.sent[-1][1]:
            self._take(answer, crash)

    def pull(self, *, crash: bool = False) -> None:
        if self.fork == self.server.master:
            self.assumed = deepcopy(self.fork)
        elif self.fork == self.assumed:
            self._take(deepcopy(self.server.master), crash)

    def replay(self, which: int) -> None:
        """The network delivers an old request once more."""
        if self.sent:
            self.server.push(self.device_id, *deepcopy(self.sent[which % len(self.sent)]))

    def _take(self, master: Document, crash: bool) -> None:
        self.fork = master
        if not crash:
            self.assumed = deepcopy(master)


def settle(terminals: list[Terminal]) -> None:
    """Everybody comes back online and stays there."""
    for _ in range(3):
        for terminal in terminals:
            terminal.push()
            terminal.pull()
