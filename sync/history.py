"""Who changed which field when, from which device: read from the history that the write path keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.scope import readable
from schema.actor import Actor
from schema.base import Column, Kind, Record, Verb
from schema.problems import Problem, Refused
from schema.tables import TABLES
from sync.store import json_expression

Place = tuple[int, str]
"""A revision, and the field within it: where a page of history ended."""


@dataclass(frozen=True)
class FieldChange:
    """One field in one revision; `field` is "" for the creation as a whole, whose values are those that later changes start from."""

    revision: int
    field: str
    kind: str
    old: Any
    new: Any
    at: datetime
    edited_at_ms: int | None
    user_id: str | None
    username: str | None
    display_name: str | None
    device_id: str | None
    device_name: str | None
    area: str | None
    chained: bool


async def history(
    connection: AsyncConnection, actor: Actor, record: Record, doc_id: str, field: str | None, first: int, before: Place | None
) -> list[FieldChange]:
    """The latest changes first, of one field or of all that the actor may see.

    Raises Refused when the document or the field isn't theirs to see.
    """
    names = _names(actor, record, field)
    table = TABLES[record.name]
    if await connection.scalar(sa.select(table.c.id).where(table.c.id == doc_id, readable(actor, record))) is None:
        raise Refused(Problem("NOT_IN_SCOPE", "这条记录不在您的管辖范围内，或不存在", "id"))
    values = {"record": record.name, "id": doc_id, "names": names, "first": first, "field": field or ""}
    revision, name = before or (2**31 - 1, "")
    found = await connection.execute(_sql(record), {**values, "revision": revision, "name": name})
    return [_change(row) for row in found]


def _change(row: Any) -> FieldChange:
    old, new = (None if text is None else orjson.loads(text) for text in row[3:5])
    return FieldChange(row[0], row[1], row[2], old, new, *row[5:])


def _names(actor: Actor, record: Record, field: str | None) -> list[str]:
    if not record.may(actor.role, Verb.READ):
        raise Refused(Problem("READ_FORBIDDEN", f"您的角色不能查看{record.label}", "record"))
    seen = [column for column in record.all_columns if column.readers is None or actor.role in column.readers]
    if field is None:
        return [column.name for column in seen]
    column = record.by_name.get(field)
    if column is None:
        raise Refused(Problem("FIELD_UNKNOWN", f"{record.label}没有字段 {field}", "field"))
    if column not in seen:
        raise Refused(Problem("FIELD_NOT_READABLE", f"您无权查看 {column.label}", "field"))
    return [field]


@cache
def _sql(record: Record) -> sa.TextClause:
    """A creation keeps no values: those of a field are what its first change found, or what stands there still."""
    current = _current([column for column in record.all_columns if column.kind is not Kind.ID])
    return sa.text(
        f"""WITH change AS (SELECT * FROM sync_change WHERE record = :record AND doc_id = CAST(:id AS uuid) AND revision <= :revision),
        page AS (
          SELECT c.id, c.revision, f.name, f.pair->0 AS old, f.pair->1 AS new
          FROM change c CROSS JOIN LATERAL jsonb_each(c.changes) AS f(name, pair) WHERE f.name = ANY(CAST(:names AS text[]))
          UNION ALL
          SELECT c.id, c.revision, CAST(:field AS text), NULL, CASE WHEN :field <> '' THEN coalesce(
            (SELECT l.changes->CAST(:field AS text)->0 FROM sync_change l WHERE l.record = :record AND l.doc_id = CAST(:id AS uuid)
              AND jsonb_exists(l.changes, :field) ORDER BY l.revision LIMIT 1),
            (SELECT to_jsonb(u)->CAST(:field AS text) FROM {record.name} t CROSS JOIN LATERAL (SELECT {current}) u
              WHERE t.id = CAST(:id AS uuid))) END
          FROM change c WHERE c.changes IS NULL
        )
        SELECT p.revision, p.name, c.kind, CAST(p.old AS text), CAST(p.new AS text), c.at, c.edited_at_ms, c.user_id, u.username,
          u.display_name, c.device_id, d.name, c.area, EXISTS (SELECT FROM audit_chain a WHERE a.source = 'change' AND a.entry_id = c.id)
        FROM page p JOIN change c USING (id)
        LEFT JOIN user_account u ON CAST(u.id AS text) = c.user_id LEFT JOIN device d ON d.id = c.device_id
        WHERE p.revision < :revision OR p.name > :name ORDER BY p.revision DESC, p.name LIMIT :first"""
    )


def _current(columns: Sequence[Column]) -> str:
    return ", ".join(f'{json_expression(column)} AS "{column.name}"' for column in columns)
