"""What lost or was refused, as rows of `sync_conflict`: for the officer concerned and for the inbox of those who decide. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schema.actor import Actor
from schema.base import Document, Record
from schema.problems import Problem
from schema.values import storable, timestamp
from sync.identity import uuid_of
from sync.merge import Code, Outcome
from sync.moment import Moment

_OUTCOMES = {
    Code.LOST_LATER_EDIT: "LOST",
    Code.OVERWROTE_THEIRS: "LOST",
    Code.RECORD_DELETED: "LOST",
    Code.DELETED_OVER_EDIT: "LOST",
    Code.MANUAL_REVIEW: "MANUAL",
    Code.LOST_IN_RESTORE: "LOST",
}
_MESSAGES = {
    Code.LOST_LATER_EDIT: "他人较晚的修改被保留，您的值存于此处",
    Code.OVERWROTE_THEIRS: "您较晚的修改取代了他人的值，被取代的值存于此处",
    Code.SERVER_OWNED: "该字段由服务器维护，不能修改",
    Code.NOT_WRITABLE: "您的角色不能修改该字段",
    Code.FROZEN: "记录已签发或归档，该字段不能再改",
    Code.MOVE_REFUSED: "不允许的状态变更",
    Code.MANUAL_REVIEW: "双方都改了该字段，等待人工裁定",
    Code.APPEND_ONLY: "列表只增不减，删除或改写的条目未被采纳",
    Code.BASE_UNKNOWN: "不知道您在哪个数值上计数，未采纳",
    Code.RECORD_DELETED: "记录已被他人删除，您的修改存于此处",
    Code.DELETE_REFUSED: "您不能删除这条记录",
    Code.UNDELETE_REFUSED: "您不能恢复这条记录",
    Code.DELETED_OVER_EDIT: "记录已删除；删除时未见到的修改存于此处",
    Code.LOST_IN_RESTORE: "服务器恢复到较早的备份，备份之后的值存于此处",
}


@dataclass(frozen=True)
class Refusal:
    """A document of which something was not simply taken."""

    doc_id: str
    known: int  # revision of the assumed master
    scopes: Sequence[str]  # of the document; () when its author may not see it
    sent: Document
    outcomes: Sequence[Outcome] = ()
    problems: Sequence[Problem] = ()
    rivals: Mapping[str, Collection[str]] = field(default_factory=dict)  # users on the other side by column; "" made the document


def message(code: Code) -> str:
    return _MESSAGES[code]


def conflict_rows(actor: Actor, record: Record, refusals: Iterable[Refusal], moment: Moment) -> list[Document]:
    """Complete rows of sync_conflict, `scopes` included; what was refused twice in the same words stands there once."""
    rows = [row for refusal in refusals for row in _rows(actor, record, refusal, moment)]
    return list({row["id"]: row for row in rows}.values())


def _rows(actor: Actor, record: Record, refusal: Refusal, moment: Moment) -> list[Document]:
    common = {
        "record": record.name,
        "doc_id": storable(refusal.doc_id)[:100],
        "author_id": actor.user_id,
        "device_id": actor.device_id,
        "occurred_at": timestamp(moment.now),
    }
    fields = [
        {
            "field": outcome.column,
            "policy": outcome.policy.value,
            "outcome": _OUTCOMES.get(outcome.code, "REFUSED"),
            "code": outcome.code.value,
            "message": _MESSAGES[outcome.code],
            "base": outcome.base,
            "mine": outcome.mine,
            "theirs": outcome.theirs,
            "scopes": _scopes(actor, record, refusal, _rivals(record, refusal, outcome)),
        }
        for outcome in refusal.outcomes
    ]
    scopes = _scopes(actor, record, refusal)
    whole = [_refused_row(problem, refusal.sent) | {"scopes": scopes} for problem in refusal.problems[:1]]
    return [_system(moment) | common | row | {"id": _identity(common, row, refusal.known)} for row in [*fields, *whole]]


def _refused_row(problem: Problem, sent: Document) -> dict[str, Any]:
    return {"field": problem.field, "outcome": "REFUSED", "code": problem.code, "message": problem.message[:2000], "mine": storable(sent)}


def _identity(common: Document, row: Document, known: int) -> str:
    """The same wish on the same revision has the same id, so that a push whose answer was lost leaves nothing twice.

    What a restore lost is the same whoever still has it.
    """
    if row["code"] == Code.LOST_IN_RESTORE.value:
        return uuid_of([common["record"], common["doc_id"], row["field"], row["code"], row["mine"]])
    words = [common["record"], common["doc_id"], common["author_id"], common["device_id"], known]
    return uuid_of([*words, *(row.get(name) for name in ("field", "policy", "code", "base", "mine"))])


def _system(moment: Moment) -> Document:
    at = timestamp(moment.now)
    return {"revision": 1, "deleted": False, "created_at": at, "updated_at": at}


def _rivals(record: Record, refusal: Refusal, outcome: Outcome) -> set[str]:
    """Whose edit of the field this one met. Others who changed the document may not be allowed to read the field."""
    columns = ["", outcome.column]
    if outcome.code is Code.RECORD_DELETED and record.by_name[outcome.column].readers is None:
        columns.append("deleted")
    if outcome.code is Code.DELETED_OVER_EDIT:
        columns = list(refusal.rivals)
    return {user_id for column in columns for user_id in refusal.rivals.get(column, ())}


def _scopes(actor: Actor, record: Record, refusal: Refusal, rivals: Collection[str] = ()) -> list[str]:
    people = {actor.user_id, *rivals}
    return [*(f"user:{user_id}" for user_id in sorted(people)), *_inbox(record, refusal.scopes)]


def _inbox(record: Record, scopes: Sequence[str]) -> list[str]:
    areas = [scope for scope in scopes if ":" not in scope]
    return [f"inbox:{role.value}:{area}" for role in sorted(record.arbiters) for area in areas]
