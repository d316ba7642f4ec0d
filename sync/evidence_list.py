"""What has become of the files of documents: for those who may read the document, and for supervisors who wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.scope import READABLE
from schema.actor import Actor
from schema.base import Record
from schema.registry import Registry
from sync.evidence import may_see
from sync.inbox import labels_of

_SCOPES = "CAST(:scopes AS text[])"
_PERSON = "coalesce(nullif(u.display_name, ''), u.username)"
_READABLE = READABLE.format(alias="t", scopes=_SCOPES)


@dataclass(frozen=True)
class Item:
    """One file that a document names. Of a naming that isn't proven nothing is told but what the item itself says."""

    doc_id: str
    field: str
    item_id: str
    sha256: str
    state: str  # PROMISED, RECEIVED, VERIFIED
    size: int | None
    media_type: str | None
    thumbnail: bool
    width: int | None
    height: int | None
    taken_at: str | None  # as the camera wrote it
    position_check: str | None
    distance: float | None  # metres
    image_problem: str | None


@dataclass(frozen=True)
class Waiting:
    """A document with files that are still on their way."""

    record: str
    doc_id: str
    missing: int
    since: datetime
    awaits_issue: bool
    people: Sequence[str]
    devices: Sequence[str]
    label: str | None = None


async def items_of(
    connection: AsyncConnection, actor: Actor, record: Record, ids: Sequence[str], first: int, after: tuple[str, str, str] | None
) -> list[Item]:
    """In order of document, column and item; documents that the actor may not read have none."""
    fields = [column for column in record.evidence if may_see(actor, record, column)]
    if not fields or not ids:
        return []
    doc_id, field, item_id = after or ("00000000-0000-0000-0000-000000000000", "", "")
    place = {"after_doc": doc_id, "after_field": field, "after_item": item_id}
    values = {"ids": list(ids), "fields": fields, "scopes": list(actor.scopes), "first": first, **place}
    return [Item(*row) for row in await connection.execute(_items(record), values)]


async def waiting_documents(
    connection: AsyncConnection, actor: Actor, registry: Registry, record: str | None, first: int, after: tuple[datetime, str] | None
) -> list[Waiting]:
    """Documents in the actor's scope whose files aren't all here, those that wait longest first."""
    asked = [found for found in registry.values() if record in (None, found.name) and any(may_see(actor, found, c) for c in found.evidence)]
    if not asked:
        return []
    fields = {f"fields_{found.name}": [column for column in found.evidence if may_see(actor, found, column)] for found in asked}
    values: dict[str, Any] = {"scopes": list(actor.scopes), "first": first, **fields}
    if after:
        values |= {"after_at": after[0], "after_doc": after[1]}
    found = [row._asdict() for row in await connection.execute(_waiting(tuple(asked), paged=after is not None), values)]
    labels = await labels_of(connection, actor, registry, found)
    return [Waiting(**row, label=labels.get((row["record"], row["doc_id"]))) for row in found]


@cache
def _items(record: Record) -> sa.TextClause:
    told = " ".join(f"WHEN '{column}' THEN t.{column}" for column in record.evidence)
    said = f"""jsonb_path_query_first(CASE i.field {told} END, '$[*] ? (@.id == $id)', jsonb_build_object('id', i.item_id))"""
    size = r"CASE WHEN said->>'size' ~ '^[0-9]{1,15}$' THEN CAST(said->>'size' AS bigint) END"
    return sa.text(
        f"""SELECT CAST(i.doc_id AS text), i.field, i.item_id, i.sha256,
          CASE WHEN i.proven THEN 'VERIFIED' WHEN EXISTS (SELECT FROM upload u WHERE u.sha256 = i.sha256 AND u.user_id = i.user_id
            AND u.state = 'RECEIVING' AND u.received = u.length) THEN 'RECEIVED' ELSE 'PROMISED' END,
          CASE WHEN i.proven THEN e.size ELSE {size} END,
          CASE WHEN i.proven THEN e.media_type ELSE left(said->>'media_type', 80) END,
          i.proven AND e.thumbnail, CASE WHEN i.proven THEN e.width END, CASE WHEN i.proven THEN e.height END,
          CASE WHEN i.proven THEN e.exif_taken_at END, i.position_check, i.distance, CASE WHEN i.proven THEN e.image_problem END
        FROM evidence_item i JOIN {record.name} t ON t.id = i.doc_id JOIN evidence e USING (sha256)
          CROSS JOIN LATERAL (SELECT {said} AS said) s
        WHERE i.record = '{record.name}' AND i.doc_id = ANY(CAST(:ids AS uuid[])) AND i.field = ANY(CAST(:fields AS text[]))
          AND NOT t.deleted AND {_READABLE} AND (i.doc_id, i.field, i.item_id) > (CAST(:after_doc AS uuid), :after_field, :after_item)
        ORDER BY i.doc_id, i.field, i.item_id LIMIT :first"""
    )


@cache
def _waiting(records: tuple[Record, ...], *, paged: bool) -> sa.TextClause:
    documents = " UNION ALL ".join(_waiting_of(record) for record in records)
    later = "WHERE (since, d.doc_id) > (:after_at, :after_doc)" if paged else ""
    return sa.text(f"SELECT * FROM ({documents}) d {later} ORDER BY since, d.doc_id LIMIT :first")


def _waiting_of(record: Record) -> str:
    issued = record.issued_when
    states = ", ".join(f"'{state}'" for state in sorted(issued[1])) if issued else ""
    awaits = f"t.issued_at IS NULL AND t.{issued[0]} IN ({states})" if issued else "false"
    return (
        f"SELECT '{record.name}' AS record, CAST(t.id AS text) AS doc_id, count(*) AS missing, min(i.promised_at) AS since,"
        f" {awaits} AS awaits_issue, {_distinct(_PERSON)} AS people, {_distinct('v.name')} AS devices"
        f" FROM evidence_item i JOIN {record.name} t ON t.id = i.doc_id"
        " LEFT JOIN user_account u ON CAST(u.id AS text) = i.user_id LEFT JOIN device v ON v.id = i.device_id"
        f" WHERE i.record = '{record.name}' AND NOT i.proven AND i.field = ANY(CAST(:fields_{record.name} AS text[]))"
        f" AND NOT t.deleted AND {_READABLE} GROUP BY t.id"
    )


def _distinct(name: str) -> str:
    return f"coalesce(array_agg(DISTINCT {name}) FILTER (WHERE {name} IS NOT NULL), '{{}}')"
