"""What has become of the files of documents, in GraphQL: `evidence` for their readers, `documentsWaiting` for supervisors."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.names import camel
from schema.actor import Role
from schema.base import Record, Verb
from schema.problems import Problem, Refused
from schema.registry import load
from schema.values import canonical
from sync import evidence_list
from sync.evidence_list import items_of, waiting_documents

MOST = 1000
MOST_DOCUMENTS = 200
_SUPERVISING = frozenset({Role.SUPERVISOR, Role.ADMIN})
ContextInfo = Info[RequestContext, None]


@strawberry.type(description="One file that a document names. Until it has been sent by whoever named it, size and type are what he said.")
class EvidenceFile:
    doc_id: strawberry.ID
    field: str = strawberry.field(description="GraphQL name of the column that names it.")
    item_id: str
    sha256: str
    state: str = strawberry.field(description="PROMISED, RECEIVED (whole, not looked at yet) or VERIFIED.")
    size: float | None = strawberry.field(description="Bytes.")
    media_type: str | None
    url: str | None = strawberry.field(description="Path of the original, once verified.")
    thumbnail_url: str | None
    width: int | None
    height: int | None
    taken_at: str | None = strawberry.field(description="As the camera wrote it, without a time zone.")
    position_check: str | None = strawberry.field(description="NEAR, FAR, NO_IMAGE_POSITION or NO_DEVICE_POSITION; null until verified.")
    distance: float | None = strawberry.field(description="Metres between where the image says it was taken and where the device was.")
    image_problem: str | None = strawberry.field(description="Why an image has no thumbnail.")


@strawberry.type
class EvidencePage:
    nodes: list[EvidenceFile]
    has_next_page: bool
    end_cursor: str | None


@strawberry.type(description="A document with files that have not come yet.")
class WaitingDocument:
    record: str
    record_label: str
    doc_id: strawberry.ID
    document_label: str | None
    missing: int
    since: datetime = strawberry.field(description="When the first of the missing files was promised.")
    awaits_issue: bool = strawberry.field(description="Whether it is signed and not issued because of them.")
    people: list[str] = strawberry.field(description="Who promised them.")
    devices: list[str]


@strawberry.type
class WaitingPage:
    nodes: list[WaitingDocument]
    has_next_page: bool
    end_cursor: str | None


async def evidence(info: ContextInfo, record: str, ids: list[strawberry.ID], first: int = 200, after: str | None = None) -> EvidencePage:
    """Of documents that the actor may not read there is nothing."""
    actor, declared = info.context.signed_in(), _record(record)
    if not declared.may(actor.role, Verb.READ):
        raise Refused(Problem("READ_FORBIDDEN", f"您的角色不能查看{declared.label}", "record"))
    _check(first)
    if len(ids) > MOST_DOCUMENTS:
        raise Refused(Problem("LIMIT_INVALID", f"一次最多查询 {MOST_DOCUMENTS} 条记录，收到 {len(ids)}", "ids"))
    wanted, place = [_id(declared, text) for text in ids], _item_place(declared, after) if after else None
    async with info.context.database.engine.connect() as connection:
        found = await items_of(connection, actor, declared, wanted, first + 1, place)
    shown = found[:first]
    end = _cursor(shown[-1].doc_id, shown[-1].field, shown[-1].item_id) if shown else None
    return EvidencePage(nodes=[_file(item) for item in shown], has_next_page=len(found) > first, end_cursor=end)


async def documents_waiting(info: ContextInfo, record: str | None = None, first: int = 50, after: str | None = None) -> WaitingPage:
    actor = info.context.signed_in()
    if actor.role not in _SUPERVISING:
        raise Refused(Problem("ROLE_FORBIDDEN", "只有监督管理人员可以查看等待文件的记录"))
    _check(first)
    name, place = _record(record).name if record else None, _waiting_place(after) if after else None
    async with info.context.database.engine.connect() as connection:
        found = await waiting_documents(connection, actor, load(), name, first + 1, place)
    shown = found[:first]
    end = _cursor(shown[-1].since.astimezone(UTC).isoformat(), shown[-1].doc_id) if shown else None
    return WaitingPage(nodes=[_waiting(waiting) for waiting in shown], has_next_page=len(found) > first, end_cursor=end)


@strawberry.type
class EvidenceQuery:
    evidence: EvidencePage = strawberry.field(
        resolver=evidence,
        description=f"The files that documents name, and what has become of them; up to {MOST_DOCUMENTS} documents at once.",
    )
    documents_waiting: WaitingPage = strawberry.field(
        resolver=documents_waiting, description="Documents in the supervisor's scope whose files have not all come; longest waiting first."
    )


def _file(item: evidence_list.Item) -> EvidenceFile:
    path = f"/evidence/{item.sha256}"
    values = {**vars(item), "doc_id": strawberry.ID(item.doc_id), "field": camel(item.field)}
    del values["thumbnail"]
    return EvidenceFile(
        **values, url=path if item.state == "VERIFIED" else None, thumbnail_url=f"{path}/thumbnail" if item.thumbnail else None
    )


def _waiting(waiting: evidence_list.Waiting) -> WaitingDocument:
    values = {**vars(waiting), "doc_id": strawberry.ID(waiting.doc_id), "people": list(waiting.people), "devices": list(waiting.devices)}
    label = values.pop("label")
    return WaitingDocument(**values, record_label=load()[waiting.record].label, document_label=label)


def _record(name: str) -> Record:
    for record in load().values():
        if name.lower() in (record.name, camel(record.name).lower()) and record.evidence:
            return record
    raise Refused(Problem("RECORD_UNKNOWN", f"没有带文件的台账 {name}", "record"))


def _id(record: Record, text: str) -> str:
    try:
        return str(canonical(record.by_name["id"], text))
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"编号（ids）{error}", "ids")) from None


def _check(first: int) -> None:
    if not 1 <= first <= MOST:
        raise Refused(Problem("LIMIT_INVALID", f"first 应在 1 与 {MOST} 之间，收到 {first}", "first"))


def _cursor(*parts: str) -> str:
    return base64.b64encode("\n".join(parts).encode()).decode()


def _parts(cursor: str, count: int) -> list[str]:
    try:
        parts = base64.b64decode(cursor, validate=True).decode().split("\n", count - 1)
    except (binascii.Error, ValueError):
        parts = []
    if len(parts) != count or any("\0" in part for part in parts):
        raise _lost()
    return parts


def _item_place(record: Record, cursor: str) -> tuple[str, str, str]:
    doc_id, field, item_id = _parts(cursor, 3)
    try:
        return str(canonical(record.by_name["id"], doc_id)), field, item_id
    except ValueError:
        raise _lost() from None


def _waiting_place(cursor: str) -> tuple[datetime, str]:
    at, doc_id = _parts(cursor, 2)
    try:
        return datetime.fromisoformat(at).astimezone(UTC), doc_id
    except ValueError:
        raise _lost() from None


def _lost() -> Refused:
    return Refused(Problem("CURSOR_INVALID", "after 不是本列表给出的游标；请从第一页重新读取", "after"))
