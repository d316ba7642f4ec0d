"""The conflict inbox for people: what lost or was refused, with the names of documents and columns, and only what the reader may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.scope import READABLE
from schema.actor import Actor, Role
from schema.base import Document, Record, Verb
from schema.registry import Registry

VALUES = frozenset({"base", "mine", "theirs"})


@dataclass(frozen=True)
class Wanted:
    """Which conflicts; None asks nothing. `open`: without a decision yet. From the first moment on, up to before the last."""

    record: str | None = None
    doc_id: str | None = None
    outcome: str | None = None
    open: bool | None = None
    area: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Page:
    """Latest first; `total` counts all that is wanted and visible."""

    rows: Sequence[Document]
    more: bool
    total: int


def visible(role: Role, registry: Registry, alias: str, scopes: str) -> str:
    """SQL: conflicts of records that the role may read, and one's own of any. `scopes` is the placeholder of the actor's scopes."""
    readable = sorted(record.name for record in registry.values() if record.may(role, Verb.READ))
    return f"({alias}.record IN ({_quoted(readable)}) OR {_own(alias, scopes)})"


def masked(role: Role, registry: Registry, name: str, alias: str, scopes: str) -> str:
    """SQL of `base`, `mine` or `theirs` as the role may see it: without what the columns' readers exclude, but for one's own `mine`."""
    value = f'{alias}."{name}"'
    hidden = {record.name: _hidden(record, role) for record in registry.values()}
    pairs = [f"{record}.{column}" for record, columns in hidden.items() for column in columns]
    if not pairs:
        return value
    whole = "".join(
        f" WHEN {alias}.record = '{record}' AND {alias}.policy IS NULL AND jsonb_typeof({value}) = 'object'"
        f" THEN {value} - ARRAY[{_quoted(columns)}]"
        for record, columns in hidden.items()
        if columns
    )
    own = f" WHEN {_own(alias, scopes)} THEN {value}" if name == "mine" else ""
    one = f" WHEN {alias}.policy IS NOT NULL AND {alias}.record || '.' || {alias}.field IN ({_quoted(pairs)}) THEN NULL"
    return f"CASE{own}{one}{whole} ELSE {value} END"


def _hidden(record: Record, role: Role) -> list[str]:
    return [column.name for column in record.all_columns if column.readers is not None and role not in column.readers]


def _own(alias: str, scopes: str) -> str:
    return f"'user:' || {alias}.author_id::text = ANY({scopes})"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "NULL"


_SCOPES = "CAST(:scopes AS text[])"
_TESTS: Mapping[str, str] = {
    "record": "t.record = :record",
    "doc_id": "t.doc_id = :doc_id",
    "outcome": "t.outcome = :outcome",
    "open": "(t.resolved_at IS NULL) = :open",
    "area": "EXISTS (SELECT FROM unnest(t.scopes) AS s WHERE s LIKE 'inbox:%' AND split_part(s, ':', 3) = :area)",
    "since": "t.occurred_at >= :since",
    "until": "t.occurred_at < :until",
}


async def conflicts(
    connection: AsyncConnection, actor: Actor, registry: Registry, wanted: Wanted, first: int, after: tuple[datetime, str] | None
) -> Page:
    """A page of the inbox: rows of sync_conflict with `author_name`, `device_name` and `document_label`. `after`: the last row's place."""
    asked = {name: value for name, value in vars(wanted).items() if value is not None}
    matching = " AND ".join([visible(actor.role, registry, "t", _SCOPES), *(_TESTS[name] for name in asked)])
    matching = f"{READABLE.format(alias='t', scopes=_SCOPES)} AND NOT t.deleted AND {matching}"
    values: dict[str, Any] = {"scopes": list(actor.scopes), **asked}
    total = await connection.scalar(sa.text(f"SELECT count(*) FROM sync_conflict t WHERE {matching}"), values)
    if after:
        matching += " AND (t.occurred_at, t.id) < (:at, CAST(:id AS uuid))"
        values |= {"at": after[0], "id": after[1]}
    found = await connection.execute(_page(actor.role, registry, matching), values | {"most": first + 1})
    rows = [row._asdict() for row in found]
    labels = await labels_of(connection, actor, registry, rows[:first])
    return Page(
        [{**row, "document_label": labels.get((row["record"], row["doc_id"]))} for row in rows[:first]], len(rows) > first, total or 0
    )


def _page(role: Role, registry: Registry, matching: str) -> sa.TextClause:
    shown = ", ".join(f"CAST({masked(role, registry, name, 't', _SCOPES)} AS text) AS {name}" for name in sorted(VALUES))
    return sa.text(
        "SELECT CAST(t.id AS text) AS id, t.record, t.doc_id, t.field, t.policy, t.outcome, t.code, t.message, t.device_id, t.occurred_at,"
        f" t.resolution, t.resolved_by, t.resolved_at, CAST(t.author_id AS text) AS author_id, {shown}, u.username AS author_username,"
        " u.display_name AS author_name, d.name AS device_name FROM sync_conflict t"
        " LEFT JOIN user_account u ON u.id = t.author_id LEFT JOIN device d ON d.id = t.device_id"
        f" WHERE {matching} ORDER BY t.occurred_at DESC, t.id DESC LIMIT :most"
    )


async def labels_of(
    connection: AsyncConnection, actor: Actor, registry: Registry, rows: Sequence[Document]
) -> dict[tuple[str, str], str | None]:
    """What a person calls the documents, by (record, id), of those that the actor may read: one query per kind of record."""
    labels: dict[tuple[str, str], str | None] = {}
    for name in sorted({row["record"] for row in rows}):
        record = registry.get(name)
        if record is None or not record.may(actor.role, Verb.READ):
            continue
        ids = [row["doc_id"] for row in rows if row["record"] == name]
        found = await connection.execute(_names(record, registry), {"ids": ids, "scopes": list(actor.scopes)})
        labels |= {(name, doc_id): label for doc_id, label in found}
    return labels


def _names(record: Record, registry: Registry) -> sa.TextClause:
    """The document's own name, or that of the nearest document that it belongs to."""
    joins, alias, holder = "", "t", record
    while "name" not in holder.by_name and holder.scope.parent:
        column = holder.by_name[holder.scope.parent]
        holder, above = registry[column.ref], f"{alias}p"
        joins += f" LEFT JOIN {holder.name} {above} ON {above}.id = {alias}.{column.name}"
        alias = above
    name = f"{alias}.name" if "name" in holder.by_name else "NULL"
    readable = READABLE.format(alias="t", scopes=_SCOPES)
    return sa.text(
        f"SELECT CAST(t.id AS text), {name} FROM {record.name} t{joins} WHERE CAST(t.id AS text) = ANY(CAST(:ids AS text[])) AND {readable}"
    )
