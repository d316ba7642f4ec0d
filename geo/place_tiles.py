"""Vector tiles of figures of areas, drawn at the areas' points: coordinators, and townships that lack something. No persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.coverage import Day, Part, items, require_reader
from geo.indicators import engine
from geo.points import WORLD, world
from geo.scope import READABLE
from schema.actor import Actor
from schema.areas import ROOT, Level
from schema.base import Verb
from schema.indicators import catalogue
from schema.problems import Problem, Refused
from schema.registry import load

REASONS = {"NO_COORDINATOR": "COORDINATOR-TOWNSHIPS", "NO_STATION": "REHAB-STATIONS"}
"""By reason, the indicator whose gap it is."""
_ALL = 1_000_000  # no township is left out


@dataclass(frozen=True)
class Figure:
    """How many there are in an area; `near`: whose point stands for the area's own, which is not known."""

    code: str
    name: str
    level: str
    count: int
    near: str | None
    x: int
    y: int
    reason: str | None = None


def level_of(z: int) -> Level:
    """Whose figures a zoom shows: few enough to be told apart."""
    return Level.CITY if z <= 5 else Level.COUNTY if z <= 8 else Level.TOWNSHIP


def may_read(actor: Actor, layer: str) -> bool:
    """Whether the actor's role may see a layer, `coordinators` or `gaps`, at all."""
    if layer == "coordinators":
        return load()["coordinator"].may(actor.role, Verb.READ)
    return any(_may_count(actor, indicator) for indicator in REASONS.values())


def _may_count(actor: Actor, indicator: str) -> bool:
    try:
        require_reader(engine(), actor, catalogue().indicators[indicator])
    except Refused:
        return False
    return True


async def coordinators(connection: AsyncConnection, actor: Actor, level: Level, on: date) -> list[Figure]:
    """Coordinators active on a day, by area of `level`. Raises Refused FORBIDDEN for a role that may not read them."""
    if not may_read(actor, "coordinators"):
        raise Refused(Problem("FORBIDDEN", "您的角色无权查看协管员。", "layer"))
    found = (await connection.execute(_COORDINATORS, {"scopes": list(actor.scopes), "on": on})).all()
    return await _figures(connection, level, {row.code: row.n for row in found})


async def gaps(connection: AsyncConnection, actor: Actor, level: Level, on: date) -> list[Figure]:
    """Townships that lack something, by area of `level` and reason, for the reasons that the role may know.

    Raises Refused FORBIDDEN if there is none.
    """
    found: list[Figure] = []
    refused: list[Refused] = []
    for reason, indicator in REASONS.items():
        try:
            listed = await items(connection, actor, catalogue().indicators[indicator], ROOT, Part.GAP, Day(on), _ALL)
        except Refused as refusal:
            refused.append(refusal)
            continue
        found += await _figures(connection, level, {item.id: 1 for item in listed}, reason)
    if len(refused) == len(REASONS):
        raise refused[0]
    return found


async def figure_tile(connection: AsyncConnection, layer: str, figures: Sequence[Figure], z: int, x: int, y: int) -> bytes:
    """The tile of those figures that are in it; b"" if none is."""
    below = WORLD - z
    inside = [each for each in figures if each.x >> below == x and each.y >> below == y]
    if not inside:
        return b""
    names = ("code", "name", "level", "count", "near", "reason")
    columns = {name: [getattr(each, name) for each in inside] for name in names}
    places = {axis: [(getattr(each, axis) - (at << below)) * 4096 >> below for each in inside] for axis, at in (("x", x), ("y", y))}
    tile: bytes = await connection.scalar(_TILE, {**columns, **places, "layer": layer})
    return tile


async def _figures(connection: AsyncConnection, level: Level, counts: Mapping[str, int], reason: str | None = None) -> list[Figure]:
    """Counts by area, brought up to areas of `level`."""
    if not counts:
        return []
    rows = await connection.execute(_LIFTED, {"codes": list(counts), "counts": list(counts.values()), "level": level.value})
    return [
        Figure(row.code, row.name, row.level, row.n, None if row.near == row.code else row.near, *world(row.lon, row.lat), reason)
        for row in rows
    ]


_COORDINATORS = text(f"""
SELECT c.area_code AS code, count(*) AS n FROM coordinator c
 WHERE NOT c.deleted AND {READABLE.format(alias="c", scopes="CAST(:scopes AS text[])")} AND c.status = 'ACTIVE'
   AND (c.appointed_on IS NULL OR c.appointed_on <= :on) AND (c.ended_on IS NULL OR c.ended_on > :on)
 GROUP BY c.area_code""")
_LIFTED = text("""
WITH counted AS (SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:counts AS integer[])) c(code, n)),
lifted AS (
  SELECT coalesce((SELECT min(u.code) FROM area u WHERE u.code = ANY(a.chain) AND u.layers @> ARRAY[:level]), a.code) AS code,
         sum(c.n)::integer AS n
    FROM counted c JOIN area a USING (code) GROUP BY 1)
SELECT l.code, a.name, a.level, l.n, s.code AS near, ST_X(s.point) AS lon, ST_Y(s.point) AS lat
  FROM lifted l JOIN area a USING (code) CROSS JOIN LATERAL (
    SELECT u.code, u.point FROM unnest(a.chain) WITH ORDINALITY c(code, at) JOIN area u ON u.code = c.code
     WHERE u.point IS NOT NULL AND (u.tree = 'division' OR u.code = a.code) ORDER BY c.at LIMIT 1) s
 ORDER BY l.code""")
_TILE = text("""
SELECT ST_AsMVT(t, :layer, 4096, 'geom') FROM (
  SELECT u.code, u.name, u.level, u.count, u.near, u.reason, ST_MakePoint(u.x, u.y) AS geom
    FROM unnest(CAST(:code AS text[]), CAST(:name AS text[]), CAST(:level AS text[]), CAST(:count AS integer[]), CAST(:near AS text[]),
                CAST(:reason AS text[]), CAST(:x AS integer[]), CAST(:y AS integer[]))
         u(code, name, level, count, near, reason, x, y)) t""")
