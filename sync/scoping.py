"""Which scopes a row belongs to: from its area, its parent and its keys; and what follows when those of a parent change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schema.base import Document, Record
from schema.registry import Registry

Scopes = tuple[str, ...]

AREAS = sa.text("SELECT code, chain FROM area WHERE code = ANY(CAST(:codes AS text[]))")
HAS_ORPHANS = sa.text("SELECT EXISTS (SELECT FROM sync_orphan)")
QUEUE = "INSERT INTO sync_pending (record, doc_id, scopes_in, scopes_out)"


@dataclass(frozen=True)
class Sources:
    """What the rows of a batch take their scopes from. Unknown areas and parents that haven't arrived are absent."""

    chains: Mapping[str, Scopes]
    parents: Mapping[str, Scopes]

    def scopes(self, record: Record, document: Document, author: str) -> Scopes:
        """The row's scopes, sorted; an orphan's are its author's."""
        found = {f"{prefix}:{document[column]}" for prefix, column in record.scope.keys.items() if document[column]}
        if record.scope.area:
            found.update(self.chains.get(document[record.scope.area] or "", ()))
        if record.scope.parent:
            found.update(self.parents.get(document[record.scope.parent] or "", (f"user:{author}",)))
        return tuple(sorted(found))


async def sources(connection: AsyncConnection, record: Record, registry: Registry, documents: Iterable[Document]) -> Sources:
    """Two queries at most. Parents are locked against moving until the transaction ends."""
    chains: dict[str, Scopes] = {}
    parents: dict[str, Scopes] = {}
    documents = list(documents)
    if codes := {document[record.scope.area] for document in documents if record.scope.area} - {None}:
        chains = {code: tuple(chain) for code, chain in await connection.execute(AREAS, {"codes": sorted(codes)})}
    if ids := {document[record.scope.parent] for document in documents if record.scope.parent} - {None}:
        parent = registry[record.by_name[record.scope.parent].ref]
        parents = {row_id: tuple(scopes) for row_id, scopes in await connection.execute(_parents(parent), {"ids": sorted(ids)})}
    return Sources(chains, parents)


@cache
def _parents(parent: Record) -> sa.TextClause:
    return sa.text(
        f"SELECT p.id::text, p.scopes FROM unnest(CAST(:ids AS uuid[])) AS k(id) JOIN {parent.name} p ON p.id = k.id"
        " ORDER BY p.id FOR SHARE OF p"
    )


async def cascade(connection: AsyncConnection, record: Record, registry: Registry, ids: Sequence[str]) -> None:
    """Hands the changed scopes of rows `ids` down to the records that take theirs from them, level by level."""
    for child in registry.children[record.name] if ids else ():
        moved = (await connection.execute(_hand_down(record, child), {"ids": list(ids)})).scalars().all()
        await cascade(connection, child, registry, moved)


@cache
def _hand_down(parent: Record, child: Record) -> sa.TextClause:
    keys = "".join(
        f" || CASE WHEN c.{column} IS NULL THEN '{{}}' ELSE ARRAY['{prefix}:' || c.{column}] END"
        for prefix, column in child.scope.keys.items()
    )
    return sa.text(
        f"""WITH moved AS (
          SELECT c.id, c.scopes AS was, ARRAY(SELECT DISTINCT s FROM unnest(p.scopes{keys}) AS s ORDER BY s) AS now, c.deleted
          FROM {child.name} c JOIN {parent.name} p ON p.id = c.{child.scope.parent} WHERE p.id = ANY(CAST(:ids AS uuid[]))
          ORDER BY c.id FOR UPDATE OF c
        ), changed AS (
          UPDATE {child.name} c SET scopes = m.now FROM moved m WHERE c.id = m.id AND c.scopes IS DISTINCT FROM m.now RETURNING c.id
        ), queued AS (
          {QUEUE} SELECT '{child.name}', id, CASE WHEN deleted THEN '{{}}' ELSE now END,
            ARRAY(SELECT unnest(was) EXCEPT SELECT unnest(CASE WHEN deleted THEN '{{}}' ELSE now END))
          FROM moved WHERE was IS DISTINCT FROM now ORDER BY id
        ) SELECT id::text FROM changed"""
    )


async def adopt_waiting(engine: AsyncEngine, registry: Registry) -> None:
    """`adopt`, at the cost of one round trip when nobody waits."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        waiting = await connection.scalar(HAS_ORPHANS)
    if waiting:
        async with engine.begin() as connection:
            await adopt(connection, registry)


async def mention(connection: AsyncConnection, record: Record, ids: Sequence[str]) -> None:
    """Gives unaltered rows `ids`, which the caller has locked, a new position in the feed."""
    if ids:
        await connection.execute(_mention(record), {"ids": list(ids)})


@cache
def _mention(record: Record) -> sa.TextClause:
    return sa.text(
        f"WITH queued AS ({QUEUE} SELECT '{record.name}', id, scopes, '{{}}' FROM {record.name}"
        " WHERE id = ANY(CAST(:ids AS uuid[])) AND NOT deleted ORDER BY id) SELECT pg_notify('zhijian_pending', '')"
    )


async def adopt(connection: AsyncConnection, registry: Registry) -> int:
    """Gives orphans whose parent has arrived their parent's scopes; returns how many.

    Runs after the commit of whatever wrote parents or orphans, in a transaction of its own: each side then sees the other.
    """
    if not await connection.scalar(HAS_ORPHANS):
        return 0
    adopted = 0
    for record in registry.values():
        for child in registry.children[record.name]:
            ids = (await connection.execute(_arrived(record, child))).scalars().all()
            adopted += len(ids)
            if ids:
                parents = sorted(set(ids))
                moved = (await connection.execute(_hand_down(record, child), {"ids": parents})).scalars().all()
                await cascade(connection, child, registry, moved)
    if adopted:
        await connection.execute(sa.text("SELECT pg_notify('zhijian_pending', '')"))
    return adopted


@cache
def _arrived(parent: Record, child: Record) -> sa.TextClause:
    return sa.text(
        f"DELETE FROM sync_orphan o USING {parent.name} p WHERE o.record = '{child.name}' AND o.parent_record = '{parent.name}'"
        " AND p.id = o.parent_id RETURNING p.id::text"
    )
