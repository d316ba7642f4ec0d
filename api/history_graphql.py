"""Who changed this field when, from which device: one query."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.names import camel
from api.graphql.types import JSON
from schema.base import Record
from schema.problems import Problem, Refused
from schema.registry import load
from schema.values import canonical
from sync import history as kept
from sync.history import Place, history

MOST = 1000


@strawberry.type(description="One field in one accepted change.")
class FieldChange:
    field: str = strawberry.field(description="GraphQL name; empty for the creation as a whole, when no field was asked for.")
    label: str = strawberry.field(description="The field in Chinese, or the record for its creation.")
    old: JSON | None
    new: JSON | None
    kind: str = strawberry.field(description="CREATE, UPDATE or DELETE.")
    revision: int
    at: datetime = strawberry.field(description="When the server took it.")
    edited_at: datetime | None = strawberry.field(description="When it was edited, by the device's corrected clock.")
    user_id: strawberry.ID | None
    username: str | None
    display_name: str | None
    device_id: strawberry.ID | None
    device_name: str | None
    area: strawberry.ID | None = strawberry.field(description="Whose chain of the audit it stands in.")
    chained: bool = strawberry.field(description="Whether it stands in the audit's hash chain already.")
    cursor: str


async def field_history(
    info: Info[RequestContext, None],
    record: str,
    id: strawberry.ID,  # noqa: A002 - the argument's name in the schema
    field: str | None = None,
    first: int = 50,
    after: str | None = None,
) -> list[FieldChange]:
    """Newest first; values of fields that the reader may not see are left out. `record` and `field` as in GraphQL or in the database."""
    actor = info.context.signed_in()
    declared = _record(record)
    if not 1 <= first <= MOST:
        raise Refused(Problem("LIMIT_INVALID", f"first 应在 1 与 {MOST} 之间，收到 {first}", "first"))
    name = _columns(declared).get(field, field) if field else None
    place = _place(after) if after else None
    async with info.context.database.engine.connect() as connection:
        found = await history(connection, actor, declared, _id(declared, id), name, first, place)
    return [_field_change(declared, change) for change in found]


@strawberry.type
class HistoryQuery:
    history: list[FieldChange] = strawberry.field(
        resolver=field_history, description="Who changed a document's field when, from which device; newest first, paged by cursor."
    )


def _record(name: str) -> Record:
    for record in load().values():
        if name in (record.name, camel(record.name)) or name.lower() == camel(record.name).lower():
            return record
    raise Refused(Problem("RECORD_UNKNOWN", f"没有台账 {name}", "record"))


def _columns(record: Record) -> dict[str, str]:
    return {camel(column.name): column.name for column in record.all_columns}


def _id(record: Record, text: str) -> str:
    try:
        return str(canonical(record.by_name["id"], text))
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"编号（id）{error}", "id")) from None


def _place(cursor: str) -> Place:
    revision, separator, name = cursor.partition(":")
    if not (separator and revision.isascii() and revision.isdigit() and len(revision) < 10):
        raise Refused(Problem("CURSOR_INVALID", "after 不是本列表给出的游标；请从第一页重新读取", "after"))
    return int(revision), name


def _field_change(record: Record, change: kept.FieldChange) -> FieldChange:
    column = record.by_name.get(change.field)
    edited = datetime.fromtimestamp(change.edited_at_ms / 1000, UTC) if change.edited_at_ms else None
    return FieldChange(
        field=camel(change.field),
        label=column.label if column else record.label,
        old=change.old,
        new=change.new,
        kind=change.kind,
        revision=change.revision,
        at=change.at,
        edited_at=edited,
        user_id=_optional_id(change.user_id),
        username=change.username,
        display_name=change.display_name,
        device_id=_optional_id(change.device_id),
        device_name=change.device_name,
        area=_optional_id(change.area),
        chained=change.chained,
        cursor=f"{change.revision}:{change.field}",
    )


def _optional_id(text: str | None) -> strawberry.ID | None:
    return None if text is None else strawberry.ID(text)
