"""The one write path: a batch of edits of one record goes through permission, merge, rules, feed and history, or is refused row by row.

Every statement works on the whole batch. Rows are locked in id order; a row that somebody else inserted meanwhile is merged again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from schema.actor import Actor
from schema.base import Document, Record, Verb
from schema.problems import Problem
from schema.registry import Registry
from sync import evidence, store
from sync.conflicts import Refusal, conflict_rows
from sync.merge import Edit, contested, field_writes, lost_in_restore, merge, plan_for, shadow_of
from sync.moment import Moment
from sync.numbers import claim
from sync.placing import place
from sync.rows import BUSY, TWICE, UNSEEN, Row, Sent, change_row, known_id, orphan_row, prepare, revision_of, shadow_row
from sync.scoping import Sources, cascade, mention, sources
from sync.settle import forbidden, locate, scope_changed, settle
from sync.shadow import rebased, undone
from sync.stamp import is_repeat

Answer = TypeVar("Answer")
Done = TypeVar("Done")

_NO_HISTORY = store.History((), {})
_ISSUED_AT_ONCE = 500
_ROUNDS = 4  # a row that meets a concurrent insert in each of them is refused, and kept


async def apply(
    connection: AsyncConnection,
    actor: Actor,
    record: Record,
    sent: Sequence[Sent],
    *,
    moment: Moment,
    registry: Registry,
    careful: bool = True,
) -> list[Row]:
    """Writes what may be written and refuses the rest, one result per row in the order sent. The caller commits.

    Raises nothing for a row; DBAPIError only when the database itself fails, or without `careful` (which costs two round
    trips) when a value is one that it can't hold: the caller then begins anew, carefully.
    """
    ids = dict.fromkeys(row_id for each in sent if (row_id := known_id(each)))
    locking = store.lock(connection, record, [*ids])
    locked, rows = await _beside(locking, lambda: [prepare(actor, record, each, moment) for each in sent])
    firsts: dict[str, Row] = {}
    for row in rows:
        if row.known_id:
            firsts.setdefault(row.id, row)
    waiting = list(firsts.values())
    for number in range(_ROUNDS if waiting else 0):
        if number:
            locked = await store.lock(connection, record, [row.id for row in waiting])
        waiting = await _round(connection, actor, record, waiting, locked, moment, registry, careful=careful)
        if not waiting:
            break
    for row in waiting:
        row.refuse(BUSY)
    for row in rows:
        if firsts.get(row.id, row) is not row:
            row.before, row.visible = firsts[row.id].after, firsts[row.id].visible
            row.refuse(TWICE)
    # The answer removes what its sender may not see now. Should he see it again before he has pulled, no change would bring it back.
    await mention(connection, record, [row.id for row in rows if row.before is not None and not row.visible])
    refusals = [_refusal(row) for row in rows if _said(row)]
    if refusals:
        await store.insert_conflicts(connection, conflict_rows(actor, record, refusals, moment))
    return rows


def _refusal(row: Row) -> Refusal:
    return Refusal(row.id, row.known, _seen_scopes(row), row.sent, row.outcomes, row.problems, row.rivals)


def _seen_scopes(row: Row) -> tuple[str, ...]:
    return (row.scopes or row.scopes_before) if row.visible else ()


def _said(row: Row) -> bool:
    return bool(row.outcomes or row.problems) and not row.repeat


async def _beside(asked: Coroutine[Any, Any, Answer], work: Callable[[], Done]) -> tuple[Answer, Done]:
    """What PostgreSQL is asked, and what Python does meanwhile."""
    asking = asyncio.create_task(asked)
    try:
        await asyncio.sleep(0)  # it is sent
        done = work()
    except BaseException:
        asking.cancel()
        await asyncio.wait([asking])
        raise
    return await asking, done


async def _round(
    connection: AsyncConnection,
    actor: Actor,
    record: Record,
    rows: list[Row],
    locked: store.Masters,
    moment: Moment,
    registry: Registry,
    *,
    careful: bool,
) -> list[Row]:
    """One pass over the rows that wait; returns those that met a concurrent insert."""
    floor = locked.revision_floor
    await _load(connection, actor, record, rows, locked)
    await _merge(connection, actor, record, rows)
    await _note_lost(connection, actor, record, rows, floor)
    found = await sources(connection, record, registry, [row.after for row in rows if row.after and scope_changed(record, row)])
    proofs = await evidence.promise(connection, actor, registry, record, rows)
    located = [(row, locate(actor, record, row, found)) for row in rows]

    def settle_all() -> None:
        for row, misplaced in located:
            settle(actor, record, row, misplaced, found=found, proofs=proofs, moment=moment, floor=floor)

    await _beside(place(connection, record, rows), settle_all)
    await claim(connection, actor, record, rows, moment)
    written = [row for row in rows if row.changed]
    stored, entries = await _beside(
        _store(connection, record, written, careful=careful), lambda: None if careful else _entries(actor, record, rows, found)
    )
    again = [row for row in written if row.id not in stored]
    done = [row for row in rows if row not in again] if again else rows
    if again or entries is None:
        entries = _entries(actor, record, done, found)
    await _log(connection, actor, record, done, entries, proofs, moment, registry)
    return again


async def _load(connection: AsyncConnection, actor: Actor, record: Record, rows: Sequence[Row], locked: store.Masters) -> None:
    """What the server has of the rows."""
    devices = {row.edit.device_id for row in rows} - {None}
    shadows = await store.shadows(connection, devices, record, [row.id for row in rows]) if devices else {}
    granted = frozenset(actor.scopes)
    for row in rows:
        row.before, row.scopes_before = locked.found.get(row.id, (None, ()))
        row.after, row.scopes = row.before, row.scopes_before
        row.changed, row.outcomes, row.shadow = (), (), None  # of the round before, if there was one
        row.visible = row.before is None or (record.may(actor.role, Verb.READ) and not granted.isdisjoint(row.scopes_before))
        if row.partial and row.before and not row.edit.mine.get("revision"):
            row.edit.mine["revision"] = revision_of(row.before)
        if row.partial and row.before:
            row.keep_only_news()
        shadow = shadows.get((row.edit.device_id, row.id))
        if shadow is not None and not row.partial:
            row.repeat = is_repeat(row.stamp, shadow.counter) or (row.passed_on and shadow.counter > 0)
            row.seen = shadow
    await _rebase(connection, record, [row for row in rows if not (row.repeat or row.report)])


async def _rebase(connection: AsyncConnection, record: Record, rows: Sequence[Row]) -> None:
    """Puts what a device last wrote under its edit, if it never got the answer."""
    since = {
        row.id: row.seen.revision or 0
        for row in rows
        if row.seen and row.known < (row.seen.revision or 0) and row.seen.older_than(row.before)
    }
    history = await store.history(connection, record, since) if since else {}
    for row in rows:
        if row.seen is not None:
            row.edit = rebased(row.edit, row.seen, row.before, history.get(row.id, _NO_HISTORY)[0])


async def _merge(connection: AsyncConnection, actor: Actor, record: Record, rows: Sequence[Row]) -> None:
    plan = plan_for(record, actor.role)
    candidates = []
    for row in rows:
        if row.repeat or row.problems:
            continue
        if not row.visible:
            row.refuse(UNSEEN)
        elif problem := forbidden(actor.role, record, row):
            row.refuse(problem)
        else:
            candidates.append(row)
    since = {row.id: row.known for row in candidates if contested(plan, row.before, row.edit)}
    history = await store.history(connection, record, since) if since else {}
    for row in candidates:
        changes, row.rivals = history.get(row.id, _NO_HISTORY)
        merged = merge(plan, row.before, row.edit, field_writes(changes, row.before) if row.before and changes else {})
        row.outcomes, row.changed, row.after = merged.outcomes, merged.changed, merged.document
        row.shadow = shadow_of(row.edit)


async def _note_lost(connection: AsyncConnection, actor: Actor, record: Record, rows: Sequence[Row], floor: int) -> None:
    """Keeps what a terminal holds of a history that a restore has ended: people decide, since others may hold it too."""
    held = [
        row for row in rows if 0 < row.known <= floor and row.assumed and row.before and row.visible and not row.problems and not row.repeat
    ]
    last = await store.last_revisions(connection, record, [row.id for row in held], floor) if held else {}
    gone = [row for row in held if row.known > last[row.id]]
    history = await store.history(connection, record, {row.id: last[row.id] for row in gone}) if gone else {}
    plan = plan_for(record, actor.role)
    for row in gone:
        restored = undone(row.before or {}, history.get(row.id, _NO_HISTORY)[0])
        row.outcomes = (*row.outcomes, *lost_in_restore(plan, actor.role, row.assumed or {}, row.edit.mine, restored))


async def _store(connection: AsyncConnection, record: Record, rows: Sequence[Row], *, careful: bool) -> frozenset[str]:
    """Ids that were written. When the database itself refuses the batch, row by row finds the one that it can't hold."""
    if not rows:
        return frozenset()
    documents = [_stored(row) for row in rows]
    if not careful:
        return await store.upsert(connection, record, documents)
    try:
        async with connection.begin_nested():
            return await store.upsert(connection, record, documents)
    except DBAPIError as error:
        if error.connection_invalidated or not store.is_data_fault(error):
            raise
        if len(rows) == 1:
            rows[0].refuse(Problem("NOT_STORABLE", "数据库不能保存这条记录中的某个值"))
            return frozenset({rows[0].id})
    half = len(rows) // 2
    parts = [await _store(connection, record, part, careful=True) for part in (rows[:half], rows[half:])]
    return parts[0] | parts[1]


def _stored(row: Row) -> Document:
    assert row.after is not None  # a changed row has an after-state
    return {**row.after, "scopes": list(row.scopes)}


def _entries(actor: Actor, record: Record, rows: Sequence[Row], found: Sources) -> store.Entries:
    """What history, feed, shadows and orphans get of rows that are done."""
    written = [row for row in rows if row.changed]
    return store.Entries(
        [change_row(actor, row) for row in written],
        [shadow_row(record, row) for row in rows if row.edit.device_id is not None and not (row.repeat or row.partial or row.report)],
        [orphan_row(record, row) for row in written if _is_orphan(record, row, found)],
    )


async def _log(
    connection: AsyncConnection,
    actor: Actor,
    record: Record,
    rows: Sequence[Row],
    entries: store.Entries,
    proofs: evidence.Proofs,
    moment: Moment,
    registry: Registry,
) -> None:
    """History, feed, shadows and orphans of the rows that are done, then the scopes of their children."""
    written = [row for row in rows if row.changed]
    if entries.changes or entries.shadows:
        await store.log(connection, record, moment.now, entries)
    await evidence.attach(connection, actor, record, written, proofs, moment)
    moved = [row.id for row in written if row.before is not None and row.scopes != row.scopes_before]
    await cascade(connection, record, registry, moved)


async def issue_waiting(
    connection: AsyncConnection, record: Record, *, hashes: Sequence[str] | None = None, moment: Moment, registry: Registry
) -> int:
    """Issues the documents whose last file has come: those that name one of `hashes`, or all. Returns how many."""
    ids = await evidence.waiting(connection, record, hashes, _ISSUED_AT_ONCE)
    if not ids:
        return 0
    masters, _ = await store.lock(connection, record, ids)
    ready = await evidence.complete(connection, record, [document for document, _ in masters.values()])
    rows = [_issued(before, masters[before["id"]][1], moment) for before in ready]
    await _store(connection, record, rows, careful=True)
    entries = _entries(evidence.SERVER, record, rows, Sources({}, {}))
    await _log(connection, evidence.SERVER, record, rows, entries, evidence.NO_PROOFS, moment, registry)
    return len(rows)


def _issued(before: Document, scopes: tuple[str, ...], moment: Moment) -> Row:
    after = {**before, "issued_at": moment.text, "revision": revision_of(before) + 1, "updated_at": moment.text}
    edit = Edit(before, {}, None, moment.ms)
    return Row(before["id"], {}, edit, None, before=before, after=after, changed=("issued_at",), scopes_before=scopes, scopes=scopes)


def _is_orphan(record: Record, row: Row, found: Sources) -> bool:
    if not record.scope.parent or not scope_changed(record, row) or row.after is None:
        return False
    return row.after[record.scope.parent] not in found.parents
