"""The statements of the write path. Each takes a whole batch; documents travel as one JSON parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from schema import registry
from schema.base import Column, Document, Kind, Record
from sync.audit import CONFLICT_DIGEST
from sync.merge import Change
from sync.shadow import Shadow


class Masters(NamedTuple):
    """The masters with their scopes by id, and the floor of this epoch: revisions that are given now are above it."""

    found: Mapping[str, tuple[Document, tuple[str, ...]]]
    revision_floor: int


async def lock(connection: AsyncConnection, record: Record, ids: Sequence[str]) -> Masters:
    """Locks the masters in id order."""
    rows = (await connection.execute(_lock(record), {"ids": list(ids)})).all()
    found = {row_id: (orjson.loads(document), tuple(scopes)) for _, row_id, document, scopes in rows if row_id}
    return Masters(found, rows[0][0])


@cache
def _lock(record: Record) -> sa.TextClause:
    columns = ", ".join(f'{json_expression(column)} AS "{column.name}"' for column in record.all_columns)
    return sa.text(
        "SELECT h.floor, m.id, m.document, m.scopes FROM (SELECT coalesce(max(revision_floor), 0) AS floor FROM sync_head) h LEFT JOIN ("
        f"SELECT t.id::text, (SELECT row_to_json(u)::text FROM (SELECT {columns}) u) AS document, t.scopes"
        f" FROM unnest(CAST(:ids AS uuid[])) AS k(id) JOIN {record.name} t ON t.id = k.id ORDER BY t.id FOR UPDATE OF t) m ON true"
    )


def json_expression(column: Column) -> str:
    """The column of table `t` in canonical form, for row_to_json."""
    if column.kind is Kind.DECIMAL:
        return f"trim_scale(t.{column.name})::text"
    if column.kind is Kind.POINT:
        return f"CAST(ST_AsGeoJSON(t.{column.name}, 7) AS json)"
    return f"t.{column.name}"


LAST = sa.text(
    "SELECT k.id::text AS id, coalesce((SELECT max(c.revision) FROM sync_change c"
    " WHERE c.doc_id = k.id AND c.record = :record AND c.revision <= :floor), 0) AS last FROM unnest(CAST(:ids AS uuid[])) AS k(id)"
)


async def last_revisions(connection: AsyncConnection, record: Record, ids: Sequence[str], floor: int) -> dict[str, int]:
    """The last revision of each document in the epochs before this one, as far as this database knows."""
    found = await connection.execute(LAST, {"ids": list(ids), "record": record.name, "floor": floor})
    return {row.id: row.last for row in found}


SHADOWS = sa.text(
    "SELECT s.device_id, s.doc_id::text, s.counter, s.revision, CAST(s.document AS text) FROM unnest(CAST(:ids AS uuid[])) AS k(id)"
    " CROSS JOIN unnest(CAST(:devices AS text[])) AS d(id) CROSS JOIN LATERAL (SELECT * FROM sync_shadow AS own"
    " WHERE own.device_id = d.id AND own.record = :record AND own.doc_id = k.id LIMIT 1) AS s"  # LIMIT: by key, never the whole table
)


async def shadows(
    connection: AsyncConnection, devices: Collection[str | None], record: Record, ids: Sequence[str]
) -> dict[tuple[str | None, str], Shadow]:
    """The shadows of the devices by (device, document)."""
    found = await connection.execute(SHADOWS, {"ids": list(ids), "devices": sorted(filter(None, devices)), "record": record.name})
    return {
        (device, doc_id): Shadow(counter, revision or None, orjson.loads(document) if revision else None)
        for device, doc_id, counter, revision, document in found
    }


HISTORY = sa.text(
    "SELECT c.doc_id::text, c.revision, c.user_id, c.device_id, c.edited_at_ms, CAST(c.changes AS text)"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:since AS integer[])) AS k(id, since)"
    " JOIN sync_change c ON c.record = :record AND c.doc_id = k.id AND c.revision > k.since ORDER BY c.doc_id, c.revision"
)


class History(NamedTuple):
    """Accepted changes of a document, oldest first, and who wrote which column; "" is who made the document, all columns of it."""

    changes: Sequence[Change]
    authors: Mapping[str, set[str]]


async def history(connection: AsyncConnection, record: Record, since: Mapping[str, int]) -> dict[str, History]:
    """By document: what happened after a revision."""
    result = await connection.execute(HISTORY, {"ids": list(since), "since": list(since.values()), "record": record.name})
    changes: dict[str, list[Change]] = {}
    authors: dict[str, dict[str, set[str]]] = {}
    for doc_id, revision, user_id, device_id, edited_ms, fields in result:
        parsed = None if fields is None else orjson.loads(fields)
        changes.setdefault(doc_id, []).append(Change(revision, device_id, edited_ms or 0, parsed))
        for name in parsed or ("",):
            authors.setdefault(doc_id, {}).setdefault(name, set()).add(user_id)
    return {doc_id: History(found, authors[doc_id]) for doc_id, found in changes.items()}


async def upsert(connection: AsyncConnection, record: Record, rows: Sequence[Document]) -> frozenset[str]:
    """Writes complete rows, which are used up; returns the ids written, leaving out those whose master has moved on meanwhile."""
    for name in (column.name for column in record.all_columns if column.kind is Kind.POINT):
        for row in rows:
            row[name] = _ewkt(row[name])
    result = await connection.execute(_upsert(record), {"rows": orjson.dumps(rows).decode()})
    return frozenset(result.scalars())


def _ewkt(point: Any) -> str | None:
    return None if point is None else "SRID=4326;POINT({} {})".format(*point["coordinates"])


@cache
def _upsert(record: Record) -> sa.TextClause:
    names = [*(column.name for column in record.all_columns), "scopes"]
    columns = ", ".join(f'"{name}"' for name in names)
    changes = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in names if name != "id")
    return sa.text(
        f"INSERT INTO {record.name} AS t ({columns})"
        f" SELECT {columns} FROM json_populate_recordset(CAST(NULL AS {record.name}), CAST(:rows AS json))"
        f" ORDER BY id ON CONFLICT (id) DO UPDATE SET {changes} WHERE t.revision < EXCLUDED.revision RETURNING CAST(t.id AS text)"
    )


LOG = """
WITH change AS (SELECT * FROM json_to_recordset(CAST(:changes AS json)) AS r(
  doc_id uuid, revision integer, user_id text, device_id text, kind text, edited_at_ms bigint, changes jsonb, area text,
  scopes_in text[], scopes_out text[])),
logged AS (INSERT INTO sync_change (record, doc_id, revision, user_id, device_id, kind, at, edited_at_ms, changes, area)
  SELECT :record, doc_id, revision, user_id, device_id, kind, CAST(:at AS timestamptz), edited_at_ms, changes, area FROM change),
queued AS (INSERT INTO sync_pending (record, doc_id, scopes_in, scopes_out)
  SELECT :record, doc_id, scopes_in, scopes_out FROM change)"""
SHADOW = """,
shadowed AS (INSERT INTO sync_shadow AS s (device_id, record, doc_id, counter, revision, document)
  SELECT device_id, :record, doc_id, counter, coalesce(revision, 0), coalesce(document, '{}')
  FROM json_to_recordset(CAST(:shadows AS json)) AS r(device_id text, doc_id uuid, counter bigint, revision integer, document jsonb)
  ON CONFLICT (device_id, record, doc_id) DO UPDATE SET counter = greatest(s.counter, EXCLUDED.counter),
    revision = CASE WHEN EXCLUDED.revision = 0 THEN s.revision ELSE EXCLUDED.revision END,
    document = CASE WHEN EXCLUDED.revision = 0 THEN s.document ELSE EXCLUDED.document END)"""
ORPHAN = """,
orphaned AS (INSERT INTO sync_orphan (record, doc_id, parent_record, parent_id)
  SELECT :record, doc_id, parent_record, parent_id
  FROM json_to_recordset(CAST(:orphans AS json)) AS r(doc_id uuid, parent_record text, parent_id uuid)
  ON CONFLICT (record, doc_id) DO UPDATE SET parent_id = EXCLUDED.parent_id)"""
NOTIFY = " SELECT pg_notify('zhijian_pending', '')"


@cache
def _log(*, with_shadows: bool, with_orphans: bool) -> sa.TextClause:
    return sa.text(LOG + (SHADOW if with_shadows else "") + (ORPHAN if with_orphans else "") + NOTIFY)


class Entries(NamedTuple):
    """What is kept beside the rows: changes, what the devices wrote, and who still waits for a parent."""

    changes: Sequence[Document]
    shadows: Sequence[Document]
    orphans: Sequence[Document]


async def log(connection: AsyncConnection, record: Record, at: datetime, entries: Entries) -> None:
    """History and feed of the changes, shadows and orphans: one statement."""
    parameters: Document = {"changes": orjson.dumps(entries.changes).decode(), "record": record.name, "at": at}
    if entries.shadows:
        parameters["shadows"] = orjson.dumps(entries.shadows).decode()
    if entries.orphans:
        parameters["orphans"] = orjson.dumps(entries.orphans).decode()
    await connection.execute(_log(with_shadows=bool(entries.shadows), with_orphans=bool(entries.orphans)), parameters)


_QUEUED = (
    "queued AS (INSERT INTO sync_pending (record, doc_id, scopes_in) SELECT 'sync_conflict', id, scopes FROM sync_conflict"
    " WHERE id = ANY(CAST(:ids AS uuid[]))) SELECT pg_notify('zhijian_pending', '')"
)
# The inbox it stands in says the area; the values stay in the conflict, the audit keeps their digest.
_AREA = (
    "(SELECT a.code FROM (SELECT substring(s FROM '^inbox:[A-Z]+:([0-9]{6})$') AS code FROM unnest(t.scopes) AS s) a"
    " WHERE a.code IS NOT NULL ORDER BY length(rtrim(a.code, '0')) DESC, a.code LIMIT 1)"
)
CONFLICTS_NEW = sa.text(
    "WITH audited AS (INSERT INTO audit_entry (at, kind, user_id, device_id, area, detail)"
    f" SELECT t.occurred_at, CASE t.outcome WHEN 'REFUSED' THEN 'REFUSED' ELSE 'CONFLICT' END, t.author_id, t.device_id, {_AREA},"
    " jsonb_build_object('conflict', t.id, 'record', t.record, 'doc_id', t.doc_id, 'field', t.field, 'code', t.code,"
    f" 'digest', {CONFLICT_DIGEST.format('t')}) FROM sync_conflict t WHERE t.id = ANY(CAST(:ids AS uuid[])) ORDER BY t.id), {_QUEUED}"
)
CONFLICT_SETTLED = sa.text(
    "WITH audited AS (INSERT INTO audit_entry (at, kind, user_id, device_id, area, detail)"
    f" SELECT t.resolved_at, 'CONFLICT_SETTLED', (SELECT u.id FROM user_account u WHERE u.username = t.resolved_by), :device, {_AREA},"
    " jsonb_build_object('conflict', t.id, 'record', t.record, 'doc_id', t.doc_id, 'field', t.field, 'resolution', t.resolution,"
    f" 'by', t.resolved_by) FROM sync_conflict t WHERE t.id = ANY(CAST(:ids AS uuid[]))), {_QUEUED}"
)


async def insert_conflicts(connection: AsyncConnection, rows: Sequence[Document]) -> None:
    """Keeps what lost or was refused, and sends it to those concerned."""
    record = registry.load()["sync_conflict"]
    blank = dict.fromkeys(column.name for column in record.all_columns)
    ids = await upsert(connection, record, [blank | row for row in rows])
    await connection.execute(CONFLICTS_NEW, {"ids": sorted(ids)})


async def rewrite_conflict(connection: AsyncConnection, row: Document, device_id: str | None) -> None:
    """A conflict that a person has settled on a device, sent to those concerned."""
    ids = await upsert(connection, registry.load()["sync_conflict"], [row])
    await connection.execute(CONFLICT_SETTLED, {"ids": sorted(ids), "device": device_id})


def is_data_fault(error: DBAPIError) -> bool:
    """Whether a value was at fault (SQLSTATE class 22 or 23) and not the connection or the statement."""
    return str(getattr(error.orig, "sqlstate", "") or "")[:2] in ("22", "23")
