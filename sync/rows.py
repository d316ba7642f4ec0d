"""One row on its way through the write path: as it was sent, what the merge made of it, and what the log keeps. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from schema.actor import Actor
from schema.base import Document, Record
from schema.problems import Problem
from schema.values import canonical_document, identifier
from sync.chain import area_of
from sync.merge import Edit, Outcome
from sync.moment import Moment
from sync.shadow import Shadow, thin
from sync.stamp import Stamp, edit_ms, is_passed_on, parse_stamp

BUSY = Problem("ROW_CONTENDED", "这条记录正被多处同时写入，请稍后再试")
UNSEEN = Problem("NOT_IN_SCOPE", "这条记录不在您的管辖范围内，或不存在")
OUTSIDE = Problem("OUT_OF_SCOPE", "修改后的记录不在您的管辖范围内", "area_code")
TWICE = Problem("DUPLICATE_IN_BATCH", "同一批次中同一记录出现两次，只采用第一次")
_PLACE = frozenset({"id", "revision"})


@dataclass(frozen=True, slots=True)
class Sent:
    """One row as it came: what the sender believes the server has (None: nothing) and what it should be. Values of any form.

    partial   `new` names what changes and nothing else: on the revision that it names, else on the master as it is.
    named_by  who answers for the files that it names, if not the actor: whoever adopts another's value vouches for nothing
    """

    assumed: Document | None
    new: Document
    partial: bool = False
    named_by: str | None = None


@dataclass(slots=True)
class Row:
    """One row on its way, and after `apply` what became of it.

    before, after  the master, complete; `after` is `before` when nothing changed
    visible        whether the actor may see the master now
    problems       why it was refused; nothing of it was written then
    """

    id: str
    sent: Document
    edit: Edit
    stamp: Stamp | None
    known: int = 0  # revision of the assumed master as it was sent
    assumed: Document | None = None  # that master
    partial: bool = False
    rivals: Mapping[str, Collection[str]] = field(default_factory=dict)  # by column: who wrote it unseen; "" made the document
    problems: tuple[Problem, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    before: Document | None = None
    after: Document | None = None
    changed: tuple[str, ...] = ()
    shadow: Document | None = None
    scopes_before: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    visible: bool = False
    repeat: bool = False
    report: bool = False  # says what its sender holds: no edit, which would be rebased, and nothing that the device has written
    passed_on: bool = False  # as another wrote it, see `sync.stamp`
    seen: Shadow | None = None  # what the server knows that this device wrote
    named_by: str | None = None

    @property
    def known_id(self) -> bool:
        """Whether its id can be one of ours."""
        return bool(self.edit.mine.get("id"))

    def keep_only_news(self) -> None:
        """Drops what the master has already: a save names values, not differences, so saving twice counts once."""
        before, mine = self.before or {}, self.edit.mine
        for name in [name for name, value in mine.items() if name not in _PLACE and value == before.get(name)]:
            del mine[name]

    def refuse(self, *problems: Problem) -> None:
        self.problems, self.outcomes, self.changed, self.after, self.scopes = problems, (), (), self.before, self.scopes_before


def known_id(sent: Sent) -> str | None:
    """Its id, if it can be one of ours."""
    try:
        return identifier(sent.new.get("id"))
    except ValueError:
        return None


def prepare(actor: Actor, record: Record, sent: Sent, moment: Moment) -> Row:
    """The row in canonical form; with problems if it has values that fit no column, or no id."""
    mine, problems = canonical_document(record, sent.new)
    base = None if sent.assumed is None else canonical_document(record, sent.assumed)[0]
    stamp = parse_stamp(mine.get("stamp"))
    passed_on = base is not None and is_passed_on(stamp, base.get("stamp"), actor.device_id)
    if stamp is not None and actor.device_id is not None and stamp.device_id != actor.device_id:
        stamp = None  # a counter of another device says nothing about this one
    device = actor.device_id or (stamp.device_id if stamp else None)
    if sent.partial:
        base = {}
    edit = Edit(base, mine, device, edit_ms(stamp, moment.offset_ms, moment.ms))
    row_id = mine.get("id") or str(sent.new.get("id") or "")
    row = Row(row_id, sent.new, edit, stamp, known=revision_of(base), assumed=base, partial=sent.partial, named_by=sent.named_by)
    row.report, row.passed_on = base is not None and base == mine, passed_on
    if not mine.get("id") and not problems:
        problems.append(Problem("ID_MISSING", "缺少记录编号 id（UUIDv7）", "id"))
    row.problems = tuple(problems)
    return row


def change_row(actor: Actor, row: Row) -> Document:
    """A written row in the history and the feed."""
    before, after = row.before, row.after
    assert after is not None  # a changed row has an after-state
    gone = bool(after["deleted"])
    left = set(row.scopes_before if before else row.scopes) - (set() if gone else set(row.scopes))
    return {
        "doc_id": row.id,
        "revision": after["revision"],
        "user_id": actor.user_id,
        "device_id": row.edit.device_id,
        "kind": "CREATE" if before is None else "DELETE" if gone and not before["deleted"] else "UPDATE",
        "edited_at_ms": row.edit.edited_ms,
        "area": area_of(row.scopes or row.scopes_before),
        "changes": None if before is None else {name: [before.get(name), after[name]] for name in row.changed},
        "scopes_in": [] if gone else list(row.scopes),
        "scopes_out": sorted(left | set(row.scopes)) if gone else sorted(left & set(row.scopes_before)),
    }


def shadow_row(record: Record, row: Row) -> Document:
    """What the device is known to have written; of a refused row the counter alone, of one taken whole the revision."""
    accepted = row.shadow is not None and not row.problems
    return {
        "device_id": row.edit.device_id,
        "doc_id": row.id,
        "counter": row.stamp.counter if row.stamp else 0,
        "revision": revision_of(row.after) if accepted else None,
        "document": thin(record, row.shadow or {}, row.after or {}) if accepted else None,
    }


def orphan_row(record: Record, row: Row) -> Document:
    """A written row whose parent has not arrived."""
    assert row.after is not None  # a changed row has an after-state
    return {"doc_id": row.id, "parent_record": record.by_name[record.scope.parent].ref, "parent_id": row.after[record.scope.parent]}


def revision_of(document: Mapping[str, Any] | None) -> int:
    revision = document.get("revision") if document else None
    return revision if type(revision) is int else 0
