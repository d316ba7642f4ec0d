"""What changes when areas do: the old state is closed with its last day, the new one opened, and jobs are left for the records.

Everything here is set-based and runs in the caller's transaction, so a load that is interrupted has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.bulk import stage
from geo.chains import chains
from geo.sources import BEGINNING, BOUNDARY_SOURCE
from schema.problems import Problem, Refused

AREA_COLUMNS = (
    "code, name, full_name, level, tree, parent_code, valid_from, valid_to, chain, other_codes, layers, source, point, point_source, bounds"
)
BOUNDARY_COLUMNS = "code, source, vintage, provenance, geom"
OURS = (BOUNDARY_SOURCE, "zhijian")
"""Sources whose boundaries a reload of the packages may replace; those that an administrator imported stay."""

PIECE_VERTICES = 128  # 64 to 256 take the same time to load and to ask (measured, geo/README.md)
_KEPT = "code, name, full_name, level, tree, parent_code, chain, other_codes, layers, source, point, bounds"
_BOTH = "a.valid_to IS NULL AND s.valid_to IS NULL AND a.valid_from < CAST(:on AS date)"
_NEW_STATE = "(a.name, a.level, a.tree, a.parent_code, a.chain) IS DISTINCT FROM (s.name, s.level, s.tree, s.parent_code, s.chain)"

_MOVED = text("SELECT a.code FROM area a JOIN staged_area s USING (code) WHERE a.chain IS DISTINCT FROM s.chain ORDER BY a.code")
_CLOSE = text(f"""
INSERT INTO area_version ({_KEPT}, valid_from, valid_to)
SELECT {", ".join(f"a.{name.strip()}" for name in _KEPT.split(","))}, a.valid_from, :on FROM area a JOIN staged_area s USING (code)
 WHERE {_BOTH} AND {_NEW_STATE}""")
_RENEWED = [name.strip() for name in AREA_COLUMNS.split(",") if name.strip() not in ("code", "valid_from")]
_RENEW = text(f"""
UPDATE area a SET {", ".join(f"{name} = s.{name}" for name in _RENEWED)},
       valid_from = CASE WHEN {_BOTH} AND {_NEW_STATE} THEN CAST(:on AS date)
                         WHEN EXISTS (SELECT FROM area_version v WHERE v.code = a.code) THEN a.valid_from ELSE s.valid_from END
  FROM staged_area s WHERE s.code = a.code
   AND ({", ".join(f"a.{name}" for name in _RENEWED)}) IS DISTINCT FROM ({", ".join(f"s.{name}" for name in _RENEWED)})""")
_RETIRE = text("""
UPDATE area a SET valid_to = greatest(a.valid_from, CAST(:on AS date))
 WHERE a.valid_to IS NULL AND NOT EXISTS (SELECT FROM staged_area s WHERE s.code = a.code)""")
_OPEN = text(f"""
INSERT INTO area ({AREA_COLUMNS})
SELECT {AREA_COLUMNS.replace("valid_from", "CASE WHEN :later AND s.valid_from = :beginning THEN :on ELSE s.valid_from END", 1)}
  FROM staged_area s WHERE NOT EXISTS (SELECT FROM area a WHERE a.code = s.code)""")


async def take_over(connection: AsyncConnection, rows: Sequence[tuple[Any, ...]], on: date) -> list[str]:
    """Make `area` say what `rows` (AREA_COLUMNS) say, from the day `on`; returns the codes whose chains changed.

    A code whose name, level, parent or chain changed keeps its old state in `area_version`; one that is not named any more is
    retired. States that began on `on` or later are overwritten: versions differ by whole days.
    """
    await stage(connection, "area", AREA_COLUMNS, rows)
    later = bool(await connection.scalar(text("SELECT EXISTS (SELECT FROM area)")))
    moved = list(await connection.scalars(_MOVED)) if later else []
    if later:
        await connection.execute(_CLOSE, {"on": on})
        await connection.execute(_RENEW, {"on": on})
        await connection.execute(_RETIRE, {"on": on})
    await connection.execute(_OPEN, {"on": on, "later": later, "beginning": BEGINNING})
    await leave_scopes(connection, moved)
    return moved


_STALE = """
SELECT s.code FROM staged_area_boundary s
  LEFT JOIN LATERAL (SELECT b.source, b.geom FROM area_boundary b WHERE b.code = s.code ORDER BY b.valid_from DESC LIMIT 1) b ON true
 WHERE b.source IS NULL OR ((:all OR b.source = ANY(CAST(:ours AS text[]))) AND NOT ST_OrderingEquals(b.geom, s.geom))"""
_ENDED = (
    "DELETE FROM {table} WHERE code = ANY(CAST(:codes AS text[])) AND valid_to IS NULL AND valid_from >= :on",
    "UPDATE {table} SET valid_to = :on WHERE code = ANY(CAST(:codes AS text[])) AND valid_to IS NULL",
)
_BEGUN = text(f"""
INSERT INTO area_boundary (valid_from, valid_to, {BOUNDARY_COLUMNS})
SELECT CASE WHEN EXISTS (SELECT FROM area_boundary o WHERE o.code = s.code) THEN :on ELSE coalesce(a.valid_from, :beginning) END,
       a.valid_to, {", ".join(f"s.{name.strip()}" for name in BOUNDARY_COLUMNS.split(","))}
  FROM staged_area_boundary s LEFT JOIN area a USING (code) WHERE s.code = ANY(CAST(:codes AS text[]))""")
_CUT = text("""
INSERT INTO area_piece (code, valid_from, valid_to, layer, geom)
SELECT b.code, b.valid_from, b.valid_to, CASE a.level WHEN 'township' THEN 'township' ELSE 'county' END, ST_Subdivide(b.geom, :vertices)
  FROM area_boundary b LEFT JOIN area a USING (code)
 WHERE b.code = ANY(CAST(:codes AS text[]))
   AND b.valid_from = (SELECT max(o.valid_from) FROM area_boundary o WHERE o.code = b.code)""")
_FOLLOW = (
    "UPDATE {table} t SET valid_to = greatest(a.valid_to, t.valid_from) FROM area a"
    " WHERE a.code = t.code AND t.valid_to IS NULL AND a.valid_to IS NOT NULL"
)
_MARK = text("""
UPDATE area a SET derived = NOT a.derived
 WHERE a.derived <> EXISTS (SELECT FROM area_boundary b WHERE b.code = a.code AND b.valid_to IS NULL AND b.provenance = 'derived')""")


async def take_over_boundaries(
    connection: AsyncConnection, rows: Sequence[tuple[Any, ...]], leaves: Sequence[str], on: date, *, replace_all: bool = False
) -> list[str]:
    """Make `rows` (BOUNDARY_COLUMNS) the boundaries of their codes from the day `on`; returns the codes whose outline is new.

    `leaves` are the codes that positions are looked up in. Outlines that an administrator imported stay, unless `replace_all`.
    """
    await stage(connection, "area_boundary", BOUNDARY_COLUMNS, rows)
    first = not await connection.scalar(text("SELECT EXISTS (SELECT FROM area_boundary)"))
    stale = list(await connection.scalars(text(_STALE), {"ours": list(OURS), "all": replace_all}))
    cut = sorted(set(stale).intersection(leaves))
    for table in () if first else ("area_boundary", "area_piece"):
        for statement in _ENDED:
            await connection.execute(text(statement.format(table=table)), {"codes": stale, "on": on})
    await connection.execute(_BEGUN, {"codes": stale, "on": on, "beginning": BEGINNING})
    await connection.execute(_CUT, {"codes": cut, "vertices": PIECE_VERTICES})
    for table in ("area_boundary", "area_piece"):
        await connection.execute(text(_FOLLOW.format(table=table)))
    if cut and not first:
        await leave_places(connection)
    return stale


async def mark_derived(connection: AsyncConnection) -> None:
    """Let `area.derived` say whose outline is derived."""
    await connection.execute(_MARK)


_MEMBERS = text("""
SELECT area_code, array_agg(jurisdiction_code ORDER BY jurisdiction_code) FROM jurisdiction_member
 WHERE valid_from <= :on AND (valid_to IS NULL OR valid_to > :on) GROUP BY area_code ORDER BY area_code""")
_TREE = text("SELECT code, parent_code, chain FROM area ORDER BY code")
_CHAINS = text("CREATE TEMPORARY TABLE staged_area ON COMMIT DROP AS SELECT * FROM area WHERE code = ANY(CAST(:codes AS text[]))")
_CHAIN = text("""
UPDATE staged_area s SET chain = n.chain FROM json_to_recordset(CAST(:chains AS json)) AS n(code text, chain text[])
 WHERE n.code = s.code""")


async def memberships(connection: AsyncConnection, on: date) -> dict[str, tuple[str, ...]]:
    """The jurisdictions of each area that has one on that day."""
    return {area: tuple(codes) for area, codes in await connection.execute(_MEMBERS, {"on": on})}


async def rechain(connection: AsyncConnection, on: date) -> list[str]:
    """Write the chains anew from the tree and the memberships of the day `on`; returns the codes whose chains changed.

    Raises Refused MEMBERSHIP_CIRCULAR for a jurisdiction that would lie below itself.
    """
    tree = (await connection.execute(_TREE)).all()
    try:
        found = chains({row.code: row.parent_code for row in tree}, await memberships(connection, on))
    except ValueError:
        raise Refused(Problem("MEMBERSHIP_CIRCULAR", "管辖区不能隶属于自己的成员", "area")) from None
    changed = {row.code: found[row.code] for row in tree if tuple(row.chain) != found[row.code]}
    if changed:
        await _write_chains(connection, changed, on)
        await leave_scopes(connection, sorted(changed))
    return sorted(changed)


async def _write_chains(connection: AsyncConnection, changed: Mapping[str, Sequence[str]], on: date) -> None:
    await connection.execute(text("DROP TABLE IF EXISTS staged_area"))
    await connection.execute(_CHAINS, {"codes": list(changed)})
    given = orjson.dumps([{"code": code, "chain": chain} for code, chain in changed.items()]).decode()
    await connection.execute(_CHAIN, {"chains": given})
    await connection.execute(_CLOSE, {"on": on})
    await connection.execute(_RENEW, {"on": on})


_CHAINED = text("""
INSERT INTO area_source (name, version) VALUES ('chains', clock_timestamp()::text)
ON CONFLICT (name) DO UPDATE SET version = excluded.version""")
_SCOPES = text("INSERT INTO area_job (kind, codes) SELECT 'scopes', CAST(:codes AS text[])")
_PLACES = text(
    "INSERT INTO area_job (kind) SELECT 'places' WHERE NOT EXISTS (SELECT FROM area_job WHERE kind = 'places' AND record IS NULL)"
)


async def leave_scopes(connection: AsyncConnection, codes: Sequence[str]) -> None:
    """Leave it to `sync.rescoping` to hand the new chains of `codes` to the records, and to check their positions anew.

    What is kept by area knows from `area_source` that chains have changed, also twice a day.
    """
    if codes:
        await connection.execute(_CHAINED)
        await connection.execute(_SCOPES, {"codes": list(codes)})
        await leave_places(connection)


async def leave_places(connection: AsyncConnection) -> None:
    """Leave it to `sync.rescoping` to check every position anew."""
    await connection.execute(_PLACES)
