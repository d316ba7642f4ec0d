"""Files that records promise: registered in the record's transaction; and documents that wait for them before they are issued.

Order of locks: rows of records, then rows of `evidence` in order of hash. Whoever verifies a file commits that before it touches
records, so the two can't wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.coordinates import to_wgs84
from geo.scope import readable
from schema.actor import Actor, Role
from schema.base import Document, Record, Verb
from schema.files import evidence_item
from schema.problems import Problem, Refused
from schema.registry import Registry
from schema.tables import TABLES
from sync.moment import Moment
from sync.rows import Row

EVIDENCE_PROMISED = "EVIDENCE_PROMISED"
NEAR_METRES = 200  # a phone's fix under trees or between houses (ours; facts e.5 names no figure)

SERVER = Actor("server", "server", Role.ADMIN, ())
"""Stands in the history for what the server does by itself."""


@dataclass(frozen=True)
class Proofs:
    """Which namings of files count: those that stand proven, and what each person has shown to hold.

    Who knows a hash doesn't hold the file. A naming by somebody who neither sent the file nor may read it shows nothing, hears nothing
    of it, and is as good as promised until he has sent it.
    """

    standing: frozenset[tuple[str, str, str, str]] = frozenset()  # document, column, item, hash
    held: frozenset[tuple[str, str]] = frozenset()  # person, hash

    def cover(self, actor: Actor, row: Row, column: str, item: Document) -> bool:
        """Of a naming that stands already, the proof of who made it counts, not that of whoever writes now."""
        if row.before is not None and _named_before(row.before, column, item):
            return (row.id, column, item["id"], item["sha256"]) in self.standing
        return (row.named_by or actor.user_id, item["sha256"]) in self.held


NO_PROOFS = Proofs()


def _named_before(before: Document, column: str, item: Document) -> bool:
    return any((old["id"], old["sha256"]) == (item["id"], item["sha256"]) for old in before[column] or ())


async def promise(connection: AsyncConnection, actor: Actor, registry: Registry, record: Record, rows: Sequence[Row]) -> Proofs:
    """Registers the files that the rows name and locks them; returns which namings are proven."""
    concerned = [row for row in rows if _concerned(record, row)] if record.evidence else []
    wanted = {item["sha256"]: item for row in concerned for _, item in (*_issued_items(record, row.before), *items(record, row.after))}
    if not wanted:
        return NO_PROOFS
    values = [{name: item.get(name) for name in ("sha256", "size", "media_type")} for item in wanted.values()]
    await connection.execute(_PROMISE, {"rows": orjson.dumps(values).decode()})
    standing = await connection.execute(_STANDING, {"record": record.name, "ids": [row.id for row in concerned]})
    people = sorted({row.named_by or actor.user_id for row in concerned})
    held = {(user, sha256) for user, sha256 in await connection.execute(_HELD, {"users": people, "hashes": sorted(wanted)})}
    left = [sha256 for sha256 in sorted(wanted) if (actor.user_id, sha256) not in held]
    shown = await readable_hashes(connection, actor, registry, left) if left and actor.user_id in people else []
    return Proofs(frozenset(tuple(row) for row in standing), frozenset(held | {(actor.user_id, sha256) for sha256 in shown}))


def _concerned(record: Record, row: Row) -> bool:
    named = {*record.evidence, "deleted"}  # who undeletes a document names its files anew
    return bool(row.changed) and (not named.isdisjoint(row.changed) or awaits_issue(record, row.after))


def _issued_items(record: Record, before: Document | None) -> Iterator[tuple[str, Document]]:
    return items(record, before if before and before.get("issued_at") else None)


def items(record: Record, document: Document | None) -> Iterator[tuple[str, Document]]:
    """(column, item) of each file that the document names."""
    for column in record.evidence if document else ():
        for item in (document or {}).get(column) or ():
            yield column, item


def awaits_issue(record: Record, document: Document | None) -> bool:
    """Whether it is signed, say, but not issued."""
    if record.issued_when is None or document is None or document["deleted"]:
        return False
    column, states = record.issued_when
    return document[column] in states and document["issued_at"] is None


def issue(actor: Actor, record: Record, row: Row, proofs: Proofs, moment: Moment) -> Iterator[Problem]:
    """Sets `issued_at` of a changed row that is signed, once all its files are here.

    A terminal signs in the field, where its photos can't go: its row is taken and the issue waits. Somebody at a desk who signs while files
    are still on their way is told so instead, and has lost nothing.
    """
    after = row.after
    if after is None or not awaits_issue(record, after):
        return
    missing = sum(not proofs.cover(actor, row, column, item) for column, item in items(record, after))
    if not missing:
        after["issued_at"] = moment.text
        row.changed = tuple(dict.fromkeys((*row.changed, "issued_at")))
    elif row.partial and not awaits_issue(record, row.before):
        yield Problem(EVIDENCE_PROMISED, f"还有 {missing} 个证据文件没有传到服务器，传完后才能签发", record.evidence[0])


async def attach(connection: AsyncConnection, actor: Actor, record: Record, rows: Sequence[Row], proofs: Proofs, moment: Moment) -> None:
    """The items of written rows, as they now are; what an issued document named before is kept for good."""
    concerned = [row for row in rows if row.changed and not set(record.evidence).isdisjoint(row.changed)] if record.evidence else []
    values = [value for row in concerned for value in _values(actor, record, row, proofs)]
    if not values and not any(row.before for row in concerned):
        return
    issued = {item["sha256"] for row in concerned for _, item in _issued_items(record, row.before)}
    if lasting := sorted(issued & {sha256 for *_, sha256 in proofs.standing}):
        await connection.execute(_KEEP, {"hashes": lasting})
    parameters = {"record": record.name, "ids": [row.id for row in concerned], "at": moment.now, "rows": orjson.dumps(values).decode()}
    await connection.execute(_ATTACH, parameters)
    await check_positions(connection, sorted({value["sha256"] for value in values}))


def _values(actor: Actor, record: Record, row: Row, proofs: Proofs) -> Iterator[Document]:
    for column, item in items(record, row.after):
        yield {
            "doc_id": row.id,
            "field": column,
            "item_id": item["id"],
            "sha256": item["sha256"],
            "user_id": row.named_by or actor.user_id,
            "device_id": row.edit.device_id,
            "proven": proofs.cover(actor, row, column, item),
            **_place(record, row.after or {}, item.get("position")),
        }


def _place(record: Record, document: Document, position: Any) -> Document:
    """Where the device was at the item, else where the record is; nothing that can't be read as a position."""
    try:
        lon, lat = to_wgs84(float(position["lon"]), float(position["lat"]), str(position["datum"]))
        return {"lon": lon, "lat": lat, "accuracy": float(position.get("accuracy") or 0)}
    except (KeyError, TypeError, ValueError, Refused):
        point = document.get(f"{record.place}_wgs84")
        here = point["coordinates"] if point else (None, None)
        return {"lon": here[0], "lat": here[1], "accuracy": None}


async def check_positions(connection: AsyncConnection, hashes: Sequence[str]) -> None:
    """Compares where the verified ones of `hashes` were taken with where the devices were: flags, no more."""
    await connection.execute(_CHECK, {"hashes": list(hashes), "near": NEAR_METRES})


async def prove(connection: AsyncConnection, user_id: str, sha256: str) -> None:
    """Notes that the person holds the file, whose row is locked; what he named before is shown from now on."""
    await connection.execute(_PROVE, {"user": user_id, "sha256": sha256})
    await connection.execute(_PROVEN, {"user": user_id, "sha256": sha256})
    await check_positions(connection, [sha256])


async def readable_hashes(connection: AsyncConnection, actor: Actor, registry: Registry, hashes: Sequence[str]) -> list[str]:
    """Those of the files that a record which `actor` may read names, by a naming that is proven."""
    named = [_named_by(actor, record, column, hashes) for record in registry.values() for column in record.evidence]
    shown = [statement for statement in named if statement is not None]
    return list((await connection.execute(sa.union(*shown))).scalars()) if shown else []


def _named_by(actor: Actor, record: Record, column: str, hashes: Sequence[str]) -> sa.Select[Any] | None:
    if not may_see(actor, record, column):
        return None
    table, item = TABLES[record.name], evidence_item.alias()
    same = (item.c.record == record.name, item.c.field == column, item.c.sha256.in_(hashes), item.c.doc_id == table.c.id, item.c.proven)
    return sa.select(item.c.sha256).select_from(table).join(item, sa.true()).where(*same, ~table.c.deleted, readable(actor, record))


def may_see(actor: Actor, record: Record, column: str) -> bool:
    """Whether the role reads the column at all; the scope of a row is another question."""
    readers = record.by_name[column].readers
    return record.may(actor.role, Verb.READ) and (readers is None or actor.role in readers)


async def waiting(connection: AsyncConnection, record: Record, hashes: Sequence[str] | None, most: int) -> list[str]:
    """Ids of documents that could be issued now: those that name one of `hashes`, or all."""
    if record.issued_when is None:
        return []
    named = f"t.id IN (SELECT doc_id FROM evidence_item WHERE record = '{record.name}' AND sha256 = ANY(CAST(:hashes AS text[]))) AND"
    statement = _waiting(record, named if hashes is not None else "")
    parameters = {"states": sorted(record.issued_when[1]), "most": most} | ({"hashes": list(hashes)} if hashes is not None else {})
    return list((await connection.execute(statement, parameters)).scalars())


@cache
def _waiting(record: Record, named: str) -> sa.TextClause:
    assert record.issued_when
    return sa.text(
        f"SELECT t.id::text FROM {record.name} t WHERE {named} t.issued_at IS NULL AND NOT t.deleted"
        f" AND t.{record.issued_when[0]} = ANY(CAST(:states AS text[])) AND NOT {_INCOMPLETE.format(record=record.name, id='t.id')}"
        " ORDER BY t.id LIMIT :most"
    )


_INCOMPLETE = "EXISTS (SELECT FROM evidence_item i WHERE i.record = '{record}' AND i.doc_id = {id} AND NOT i.proven)"


async def complete(connection: AsyncConnection, record: Record, documents: Iterable[Document]) -> list[Document]:
    """Those of the locked `documents` that await their issue and whose files are all here."""
    waiting_now = {document["id"]: document for document in documents if awaits_issue(record, document)}
    statement = sa.text(
        f"SELECT k.id::text FROM unnest(CAST(:ids AS uuid[])) AS k(id) WHERE NOT {_INCOMPLETE.format(record=record.name, id='k.id')}"
    )
    return [waiting_now[found] for found in (await connection.execute(statement, {"ids": list(waiting_now)})).scalars()]


_PROMISE = sa.text(
    "INSERT INTO evidence AS e (sha256, state, size, media_type)"
    " SELECT sha256, 'PROMISED', size, media_type "
    " FROM json_to_recordset(CAST(:rows AS json)) AS r(sha256 text, size bigint, media_type text)"
    ' ORDER BY sha256 COLLATE "C" ON CONFLICT (sha256) DO UPDATE SET sha256 = e.sha256'
)  # the update that changes nothing locks the row: what is read next is what whoever verified it has left
_STANDING = sa.text(
    "SELECT CAST(doc_id AS text), field, item_id, sha256 FROM evidence_item"
    " WHERE record = :record AND doc_id = ANY(CAST(:ids AS uuid[])) AND proven"
)
_HELD = sa.text(
    "SELECT user_id, sha256 FROM evidence_proof WHERE sha256 = ANY(CAST(:hashes AS text[])) AND user_id = ANY(CAST(:users AS text[]))"
)
_PROVE = sa.text("INSERT INTO evidence_proof (sha256, user_id) VALUES (:sha256, :user) ON CONFLICT DO NOTHING")
_PROVEN = sa.text("UPDATE evidence_item SET proven = true WHERE sha256 = :sha256 AND user_id = :user AND NOT proven")
_KEEP = sa.text("UPDATE evidence SET kept = true WHERE sha256 = ANY(CAST(:hashes AS text[])) AND NOT kept")
_ATTACH = sa.text("""
WITH item AS (
  SELECT doc_id, field, item_id, sha256, user_id, device_id, proven, accuracy, ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS place
  FROM json_to_recordset(CAST(:rows AS json)) AS r(
    doc_id uuid, field text, item_id text, sha256 text, user_id text, device_id text, proven boolean, lon float, lat float, accuracy float)
), gone AS (
  DELETE FROM evidence_item e WHERE e.record = :record AND e.doc_id = ANY(CAST(:ids AS uuid[]))
    AND NOT EXISTS (SELECT FROM item i WHERE i.doc_id = e.doc_id AND i.field = e.field AND i.item_id = e.item_id)
)
INSERT INTO evidence_item AS e (record, doc_id, field, item_id, sha256, user_id, device_id, proven, promised_at, device_wgs84, accuracy)
SELECT :record, doc_id, field, item_id, sha256, user_id, device_id, proven, CAST(:at AS timestamptz), place, accuracy FROM item
ON CONFLICT (record, doc_id, field, item_id) DO UPDATE
  SET sha256 = EXCLUDED.sha256, device_wgs84 = EXCLUDED.device_wgs84, accuracy = EXCLUDED.accuracy,
      distance = NULL, position_check = NULL,
      (user_id, device_id, proven, promised_at) = (SELECT old.* FROM (VALUES (e.user_id, e.device_id, e.proven, e.promised_at)) AS old
        WHERE e.sha256 = EXCLUDED.sha256 UNION ALL
        SELECT EXCLUDED.user_id, EXCLUDED.device_id, EXCLUDED.proven, EXCLUDED.promised_at WHERE e.sha256 <> EXCLUDED.sha256)
  WHERE (e.sha256, ST_AsText(e.device_wgs84)) IS DISTINCT FROM (EXCLUDED.sha256, ST_AsText(EXCLUDED.device_wgs84))""")
_METRES = "ST_Distance(CAST(e.exif_wgs84 AS geography), CAST(i.device_wgs84 AS geography))"
_CHECK = sa.text(f"""
UPDATE evidence_item i SET distance = {_METRES}, position_check = CASE
    WHEN e.exif_wgs84 IS NULL THEN 'NO_IMAGE_POSITION' WHEN i.device_wgs84 IS NULL THEN 'NO_DEVICE_POSITION'
    WHEN {_METRES} <= greatest(CAST(:near AS float), 2 * coalesce(i.accuracy, 0)) THEN 'NEAR' ELSE 'FAR' END
FROM evidence e WHERE e.sha256 = i.sha256 AND e.state = 'VERIFIED' AND i.proven AND i.position_check IS NULL
  AND i.sha256 = ANY(CAST(:hashes AS text[]))""")
