"""What a row that the merge changed must fulfil before it is written, and what the server adds to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schema.actor import Actor, Role
from schema.base import Record, Verb
from schema.problems import Problem
from sync import evidence
from sync.moment import Moment
from sync.normalise import normalise
from sync.rows import OUTSIDE, Row, revision_of
from sync.scoping import Sources


def forbidden(role: Role, record: Record, row: Row) -> Problem | None:
    """What the role may not do at all."""
    if row.before is None:
        return None if record.may(role, Verb.CREATE) else Problem("CREATE_FORBIDDEN", f"您的角色不能新建{record.label}")
    return None if record.may(role, Verb.UPDATE) else Problem("UPDATE_FORBIDDEN", f"您的角色不能修改{record.label}")


def scope_changed(record: Record, row: Row) -> bool:
    """Whether the row may belong elsewhere now."""
    names = {record.scope.area, record.scope.parent, *record.scope.keys.values()}
    return row.before is None or not names.isdisjoint(row.changed)


def locate(actor: Actor, record: Record, row: Row, found: Sources) -> Sequence[Problem]:
    """Where a changed row belongs and stands: its scopes and normalised positions; problems of a position that its datum can't have."""
    if not row.changed or row.after is None:
        return ()
    if scope_changed(record, row):
        row.scopes = found.scopes(record, row.after, actor.user_id)
    return (*normalise(record, row.after, row.changed),)


def settle(
    actor: Actor,
    record: Record,
    row: Row,
    misplaced: Sequence[Problem],
    *,
    found: Sources,
    proofs: evidence.Proofs,
    moment: Moment,
    floor: int,
) -> None:
    """The record's rules and the server-owned columns for a row that was located; refuses it if one says no."""
    if not row.changed or row.after is None:
        return
    after = row.after
    problems = [*_faults(actor, record, row, misplaced, found, moment)]
    if record.issued_when:
        problems += evidence.issue(actor, record, row, proofs, moment)
    if problems:
        row.refuse(*problems)
        return
    after["revision"] = max(revision_of(row.before), floor) + 1
    after["stamp"] = row.edit.mine.get("stamp")
    after["created_at"] = row.before["created_at"] if row.before else moment.text
    after["updated_at"] = moment.text


def _faults(actor: Actor, record: Record, row: Row, misplaced: Sequence[Problem], found: Sources, moment: Moment) -> Iterable[Problem]:
    after = row.after
    assert after is not None  # a changed row has an after-state
    for column in record.required:
        if after[column.name] is None:
            yield Problem("REQUIRED", f"{column.label}（{column.name}）不能为空", column.name)
    if record.scope.area and scope_changed(record, row) and after[record.scope.area] and after[record.scope.area] not in found.chains:
        yield Problem("AREA_UNKNOWN", f"没有区划代码 {after[record.scope.area]}", record.scope.area)
    elif frozenset(row.scopes).isdisjoint(actor.scopes):
        yield OUTSIDE
    yield from misplaced
    for rule in record.rules:
        yield from rule(after, row.before, moment.now)
