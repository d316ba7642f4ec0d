"""What the server holds at the end of a run: documents, their history field by field, conflicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from api.fuzz_steps import RECORDS

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One accepted change of one field."""

    revision: int
    device: str
    value: Any


@dataclass(frozen=True, slots=True)
class Block:
    """Document numbers of one device."""

    series: str
    first: int
    last: int
    device: str


@dataclass
class Facts:
    """Everything by document id."""

    documents: dict[str, Document] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    changes: dict[str, list[Document]] = field(default_factory=lambda: defaultdict(list))
    conflicts: dict[str, list[Document]] = field(default_factory=lambda: defaultdict(list))
    settlements: dict[str, int] = field(default_factory=dict)  # conflict -> entries of the audit that say who settled it
    locked: set[str] = field(default_factory=set)  # devices
    blocks: list[Block] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)  # document number -> document

    def writes(self, doc_id: str, column: str) -> list[Write]:
        """The accepted changes of a field, oldest first; the document's creation is the first."""
        found, value = [], self.documents[doc_id].get(column)
        for change in reversed(self.changes[doc_id]):
            pairs = change["changes"]
            if pairs is None:
                found.append(Write(change["revision"], change["device_id"], value))
            elif column in pairs:
                found.append(Write(change["revision"], change["device_id"], pairs[column][1]))
                value = pairs[column][0]
        return found[::-1]

    def kept(self, doc_id: str, device: str | None = None) -> Iterator[Document]:
        """The conflicts of a document."""
        return (row for row in self.conflicts.get(doc_id, ()) if device in (None, row["device_id"]))

    def keeps(self, doc_id: str, device: str, column: str, value: Any) -> bool:
        """Whether a conflict of that device holds what it wrote, alone or in the whole document that was refused."""
        return any(_holds(row, column, value) for row in self.kept(doc_id, device))

    def keeps_loser(self, doc_id: str, column: str, value: Any) -> bool:
        """Whether a conflict holds the value as the server's that was overwritten."""
        return any(row["field"] == column and row["theirs"] == value for row in self.kept(doc_id))


def whole(row: Document) -> Document | None:
    """The document of which everything was refused; None for a conflict over one field."""
    mine = row["mine"]
    return mine if row["policy"] is None and isinstance(mine, dict) else None


def _holds(row: Document, column: str, value: Any) -> bool:
    refused = whole(row)
    return _contains(refused.get(column), value) if refused is not None else row["field"] == column and _contains(row["mine"], value)


def _contains(held: Any, value: Any) -> bool:
    """Whether it is the value, the set that holds it, or the list with the item of that id."""
    if isinstance(held, list) and not isinstance(value, list):
        return any(each == value or (isinstance(each, dict) and each.get("id") == value) for each in held)
    return bool(held == value)


async def read(database: asyncpg.Pool[asyncpg.Record]) -> Facts:
    facts = Facts()
    for record in RECORDS:
        for row in await database.fetch(f"SELECT id::text, to_jsonb(t) AS document FROM {record} t"):
            facts.documents[row["id"]], facts.records[row["id"]] = row["document"], record
    for row in await database.fetch("SELECT doc_id::text, revision, device_id, kind, edited_at_ms, changes FROM sync_change ORDER BY id"):
        facts.changes[row["doc_id"]].append(dict(row))
    for row in await database.fetch("SELECT to_jsonb(t) - 'scopes' AS conflict FROM sync_conflict t ORDER BY occurred_at, id"):
        facts.conflicts[row["conflict"]["doc_id"]].append(row["conflict"])
    facts.settlements = {row[0]: row[1] for row in await database.fetch(_SETTLEMENTS)}
    facts.locked = {row["id"] for row in await database.fetch("SELECT id FROM device WHERE revoked_at IS NOT NULL")}
    facts.blocks = [Block(*row) for row in await database.fetch(_BLOCKS)]
    facts.used = {row[0]: row[1] for row in await database.fetch(_USED)}
    return facts


_SETTLEMENTS = "SELECT detail ->> 'conflict', count(*) FROM audit_entry WHERE kind = 'CONFLICT_SETTLED' GROUP BY 1"
_SERIES = "concat_ws('-', series, area_code, year)"
_BLOCKS = f"SELECT {_SERIES}, first, last, device_id FROM number_block ORDER BY 1, 2"
_USED = f"SELECT {_SERIES} || '-' || lpad(number::text, 6, '0'), doc_id::text FROM number_fate WHERE fate = 'USED'"
_EXPECTED = """SELECT t.id::text FROM {record} t WHERE NOT t.deleted AND t.scopes && ARRAY(
  SELECT scope FROM user_grant WHERE user_id = $1 AND valid_from <= now() AND (valid_to IS NULL OR valid_to > now())
  UNION SELECT 'user:' || $1::text)"""


async def expected(database: asyncpg.Pool[asyncpg.Record], user_id: str, record: str) -> set[str]:
    """Ids of the documents that a person is to have, told from his grants as they stand."""
    return {row["id"] for row in await database.fetch(_EXPECTED.format(record=record), user_id)}


SCOPE_FAULTS = {
    "enterprise": "SELECT e.id::text FROM enterprise e JOIN area a ON a.code = e.area_code"
    " WHERE NOT (e.scopes @> a.chain AND a.chain || ARRAY['enterprise:' || e.id] @> e.scopes)",
    **{
        child: f"SELECT c.id::text FROM {child} c JOIN enterprise e ON e.id = c.enterprise_id"
        f" WHERE NOT (c.scopes @> e.scopes AND e.scopes @> c.scopes)"
        for child in RECORDS
        if child != "enterprise"
    },
}


async def wrongly_scoped(database: asyncpg.Pool[asyncpg.Record]) -> Sequence[str]:
    """Ids of documents whose scopes aren't those of their area, or of their parent."""
    return [row["id"] for query in SCOPE_FAULTS.values() for row in await database.fetch(query)]
