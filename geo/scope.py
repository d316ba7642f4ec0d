"""Who may read which rows: every read of records starts here. Permission is SQL, so that it holds inside the query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import ColumnElement, bindparam, false, literal_column, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from schema.actor import Actor
from schema.areas import ROOT
from schema.base import Record, Verb
from schema.registry import Registry

READABLE = "{alias}.scopes && {scopes}"
"""`readable` for SQL in text; the caller has checked the role's READ, `scopes` is a parameter of type text[]."""


def readable(actor: Actor, record: Record, alias: str = "") -> ColumnElement[bool]:
    """The condition under which `actor` reads a row of `record`'s table (or its `alias`): false for a role without READ."""
    if not record.may(actor.role, Verb.READ):
        return false()
    scopes: ColumnElement[object] = literal_column(f"{alias or record.name}.scopes")
    return scopes.bool_op("&&")(bindparam(None, list(actor.scopes), type_=ARRAY(Text), unique=True))


def in_scope(actor: Actor, scopes: Iterable[str]) -> bool:
    """Whether a row of these scopes belongs to what `actor` is responsible for; what the role may do is another question."""
    return not set(actor.scopes).isdisjoint(scopes)


_EXPAND = text("""
WITH RECURSIVE follower AS (
  SELECT a.code, a.valid_to FROM area a WHERE a.code = ANY(CAST(:codes AS text[]))
  UNION
  SELECT n.code, n.valid_to FROM follower f
    JOIN area_succession s ON s.old_code = f.code AND s.new_code <> f.code
    JOIN area n ON n.code = s.new_code
   WHERE f.valid_to IS NOT NULL AND NOT EXISTS (
     SELECT FROM area_succession o WHERE o.new_code = s.new_code AND o."on" = s."on" AND o.old_code <> s.old_code)
)
SELECT code FROM follower
UNION SELECT code FROM area WHERE :national AND level = 'province' AND valid_to IS NULL
ORDER BY code""")


async def expand_grants(connection: AsyncConnection, codes: Sequence[str]) -> tuple[str, ...]:
    """The area codes that a grant of `codes` reaches, itself included: in order of code, unknown codes last.

    The country becomes its provinces, which chains end with. A retired code brings its follower too, unless the follower
    took in other areas at the same time: that would give more than was granted, so an administrator must say it.
    """
    asked = [code for code in dict.fromkeys(codes) if code != ROOT]
    found = (await connection.scalars(_EXPAND, {"codes": asked, "national": ROOT in codes})).all()
    return (*(code for code in found if code != ROOT), *(code for code in asked if code not in found))


def relevant(scopes: Iterable[str], record: Record, registry: Registry) -> tuple[str, ...]:
    """Those of an actor's scopes that a row of `record` can have at all: a pull need not look through the others."""
    prefixes = _prefixes(record, registry)
    return tuple(scope for scope in scopes if scope.partition(":")[0] in prefixes or (":" not in scope and "" in prefixes))


@cache
def _prefixes(record: Record, registry: Registry) -> frozenset[str]:
    own = {*record.scope.keys, *([""] if record.scope.area else [])}
    if record.name == "sync_conflict":
        own.add("inbox")
    if record.scope.parent:  # an orphan is its author's until the parent arrives
        own |= {"user"} | _prefixes(registry[record.by_name[record.scope.parent].ref], registry)
    return frozenset(own)
