"""The conflict inbox in GraphQL: `conflicts` for people to read, `resolveConflict` to settle; terminals get `pullSyncConflict`."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.names import camel
from api.graphql.types import JSON, DateTime
from schema.base import Choice, Document
from schema.problems import Problem, Refused
from schema.records.sync_conflict import OUTCOME, RESOLUTION
from schema.registry import load
from schema.values import canonical
from sync import inbox
from sync.resolve import Take, resolve

ContextInfo = Info[RequestContext, None]
MOST = 1000
strawberry.enum(Take, name="Take", description="Whose value stands: the device's, the server's, or another.")


@strawberry.input(description="Which conflicts; what is left out asks nothing.")
class ConflictInboxFilter:
    record: str | None = None
    doc_id: strawberry.ID | None = None
    outcome: Annotated[str | None, strawberry.argument(description="LOST, REFUSED or MANUAL.")] = None
    open: bool | None = strawberry.field(default=None, description="True: without a decision yet.")
    area: strawberry.ID | None = None
    from_: DateTime | None = strawberry.field(default=None, name="from")
    to: DateTime | None = strawberry.field(default=None, description="The first moment that is not asked for.")


@strawberry.type(description="What lost or was refused, for a person to read.")
class Conflict:
    id: strawberry.ID
    record: str
    record_label: str
    doc_id: strawberry.ID
    document_label: str | None = strawberry.field(description="The document's name or its owner's; null if the reader may not see it now.")
    field: str | None = strawberry.field(description="GraphQL name; null when no one column is at fault.")
    field_label: str | None
    policy: str | None
    outcome: str
    outcome_label: str
    code: str | None
    message: str | None
    base: JSON | None
    mine: JSON | None
    theirs: JSON | None
    author_id: strawberry.ID | None
    author_name: str | None
    device_id: strawberry.ID | None
    device_name: str | None
    occurred_at: datetime
    resolution: str | None
    resolution_label: str | None
    resolved_by: str | None
    resolved_at: datetime | None


@strawberry.type
class ConflictPage:
    nodes: list[Conflict]
    total_count: int
    has_next_page: bool
    end_cursor: str | None


async def conflicts(
    info: ContextInfo,
    filter: ConflictInboxFilter | None = None,  # noqa: A002 - the argument's name in the schema
    first: int = 50,
    after: str | None = None,
) -> ConflictPage:
    """Latest first. Values of columns that the reader may not see are null."""
    actor = info.context.signed_in()
    if not 1 <= first <= MOST:
        raise Refused(Problem("LIMIT_INVALID", f"first 应在 1 与 {MOST} 之间，收到 {first}", "first"))
    wanted, place = _wanted(filter or ConflictInboxFilter()), _place(after) if after else None
    async with info.context.database.engine.connect() as connection:
        page = await inbox.conflicts(connection, actor, load(), wanted, first, place)
    nodes = [_conflict(row) for row in page.rows]
    return ConflictPage(nodes=nodes, total_count=page.total, has_next_page=page.more, end_cursor=_cursor(nodes[-1]) if nodes else None)


async def resolve_conflict(info: ContextInfo, id: strawberry.ID, take: Take, value: JSON | None = None) -> bool:  # noqa: A002
    """Writes the chosen value through the write path and closes the conflict with a name and a time."""
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        await resolve(connection, actor, _id(id), take, _plain(value), moment=context.moment, registry=load())
    return True


@strawberry.type
class ConflictQuery:
    conflicts: ConflictPage = strawberry.field(
        resolver=conflicts, description="The conflict inbox: what lost or was refused, with names to read; latest first."
    )


@strawberry.type
class ConflictMutation:
    resolve_conflict: bool = strawberry.mutation(resolver=resolve_conflict, description="Settles a conflict of the inbox.")


def _wanted(given: ConflictInboxFilter) -> inbox.Wanted:
    if given.outcome and given.outcome not in OUTCOME.values:
        raise Refused(Problem("VALUE_INVALID", f"outcome 应为 {'、'.join(sorted(OUTCOME.values))} 之一", "outcome"))
    names = {camel(name): name for name in load()}
    record = names.get(given.record, given.record) if given.record else None
    return inbox.Wanted(record, given.doc_id, given.outcome, given.open, given.area, _moment("from", given.from_), _moment("to", given.to))


def _moment(name: str, text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        at = None
    if text and (at is None or at.tzinfo is None):
        raise Refused(Problem("VALUE_INVALID", f"{name} 应为带时区的 ISO 8601 时间", name))
    return at


def _conflict(row: Document) -> Conflict:
    record = load().get(row["record"])
    column = record.by_name.get(row["field"] or "") if record else None
    values = {name: None if row[name] is None else orjson.loads(row[name]) for name in inbox.VALUES}
    known = {name: value for name, value in row.items() if name != "author_username"}
    return Conflict(
        **known
        | values
        | {"field": camel(row["field"]) if row["field"] else None, "author_name": row["author_name"] or row["author_username"]}
        | {"record_label": record.label if record else row["record"], "field_label": column.label if column else None}
        | {"outcome_label": _label(OUTCOME, row["outcome"]), "resolution_label": _label(RESOLUTION, row["resolution"])}
    )


def _label(choice: Choice, value: str | None) -> str | None:
    return dict(choice.members).get(value) if value else None


def _cursor(last: Conflict) -> str:
    return base64.b64encode(f"{last.occurred_at.astimezone(UTC).isoformat()} {last.id}".encode()).decode()


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        at, _, row_id = base64.b64decode(cursor, validate=True).decode().rpartition(" ")
        return datetime.fromisoformat(at).astimezone(UTC), _id(row_id)
    except (binascii.Error, ValueError, Refused):
        raise Refused(Problem("CURSOR_INVALID", "after 不是本列表给出的游标；请从第一页重新读取", "after")) from None


def _id(text: str) -> str:
    try:
        return str(canonical(load()["sync_conflict"].by_name["id"], text))
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"编号（id）{error}", "id")) from None


def _plain(value: Any) -> Any:
    return None if value is strawberry.UNSET else value
