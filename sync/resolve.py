"""A person decides a conflict: the value goes through the write path like any other edit, and the conflict gets a name and a time."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.scope import readable
from schema.actor import Actor
from schema.base import Document
from schema.problems import Problem, Refused
from schema.registry import Registry
from schema.tables import TABLES
from sync import store
from sync.merge import Code
from sync.moment import Moment
from sync.rows import Sent
from sync.write import apply

_MINE_STANDS = frozenset({Code.OVERWROTE_THEIRS, Code.DELETED_OVER_EDIT})  # in all others the server's value has stayed


class Take(StrEnum):
    MINE = "MINE"
    THEIRS = "THEIRS"
    VALUE = "VALUE"


async def resolve(
    connection: AsyncConnection, actor: Actor, conflict_id: str, take: Take, value: Any, *, moment: Moment, registry: Registry
) -> None:
    """Adopts the device's value (MINE), the server's (THEIRS) or another (VALUE). The caller commits.

    Raises Refused when the conflict isn't the actor's to see, is settled already, or the value isn't allowed; nothing changes then.
    """
    conflict = await _open_conflict(connection, actor, conflict_id, registry)
    if not conflict["policy"] and take is not Take.THEIRS:
        raise Refused(Problem("WHOLE_ROW_REFUSED", "整条记录被拒绝：请改正后重新提交，或以 THEIRS 结案", "take"))
    if take is not Take.THEIRS or conflict["code"] in _MINE_STANDS:
        chosen = {Take.MINE: conflict["mine"], Take.THEIRS: conflict["theirs"], Take.VALUE: value}[take]
        await _adopt(connection, actor, conflict, chosen, moment, registry)
    settled = {"resolution": take.value, "resolved_by": actor.username, "resolved_at": moment.text, "updated_at": moment.text}
    await store.rewrite_conflict(connection, {**conflict, **settled, "revision": conflict["revision"] + 1}, actor.device_id)


async def _open_conflict(connection: AsyncConnection, actor: Actor, conflict_id: str, registry: Registry) -> Document:
    record = registry["sync_conflict"]
    seen = await connection.scalar(
        sa.select(TABLES[record.name].c.id).where(TABLES[record.name].c.id == conflict_id, readable(actor, record))
    )
    if seen is None:
        raise Refused(Problem("NOT_IN_SCOPE", "这条冲突不在您的管辖范围内，或不存在", "id"))
    document, scopes = (await store.lock(connection, record, [conflict_id])).found[conflict_id]
    if document["resolved_at"]:
        raise Refused(Problem("ALREADY_RESOLVED", f"已由 {document['resolved_by']} 处理", "id"))
    return {**document, "scopes": list(scopes)}


async def _adopt(connection: AsyncConnection, actor: Actor, conflict: Document, value: Any, moment: Moment, registry: Registry) -> None:
    record = registry[conflict["record"]]
    author = str(conflict["author_id"]) if conflict["author_id"] else actor.user_id
    sent = Sent({}, {"id": conflict["doc_id"], conflict["field"]: value}, partial=True, named_by=author)
    (row,) = await apply(connection, actor, record, [sent], moment=moment, registry=registry)
    if row.problems:
        raise Refused(*row.problems)
    if row.outcomes:
        raise Refused(Problem(f"CONFLICT_{row.outcomes[0].code.value.upper()}", "该值不能采用：字段已归档或您无权修改", conflict["field"]))
