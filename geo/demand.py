"""Whom sites should serve, and which sites there are: patients by township at a point of it, rounded as they are published.

A patient is never a point: all of a township stand at its own point; where no source has one, at the middle of its enterprises; else at
the nearest area above that has one. Which of these it was is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import inside, valid
from geo.disclosure import entered, rounded, settled
from geo.facts import facts
from geo.indicators import engine, read_state
from geo.scope import READABLE
from schema.actor import Actor
from schema.base import Verb
from schema.planning import SiteKind

OWN, ENTERPRISES, ABOVE, NOWHERE = "own", "enterprises", "above", "nowhere"
MEASURE = "patient"
_SCOPES = "CAST(:scopes AS text[])"


@dataclass(frozen=True)
class Town:
    """A township, or a larger area for patients of whom no township is known (`layer` false: named in no list).

    persons  rounded to multiples of five, to be added up and published by `geo.disclosure.published` alone
    placed   own, enterprises, above: whose point it is; nowhere: lon and lat are None
    """

    code: str
    name: str
    lon: float | None
    lat: float | None
    placed: str
    persons: int
    layer: bool


@dataclass(frozen=True)
class Site:
    """A site that is open; `capacity` as it says of itself."""

    id: str
    name: str
    lon: float
    lat: float
    capacity: int | None


@dataclass(frozen=True)
class Stop:
    """An enterprise to visit; `severe`: its risk class is the higher one."""

    id: str
    name: str
    lon: float
    lat: float
    severe: bool


async def towns_of(connection: AsyncConnection, area: str, on: date) -> list[Town]:
    """All townships of an area on a day, with the patients who lived there at the end of the last whole month; in order of code."""
    made = engine()
    measure = made.declared.measures[MEASURE]
    stored = await read_state(connection) is not None
    source = "indicator_fact" if stored else f"({facts(made.registry, (measure,))})"
    rows = await connection.execute(text(_towns(source, area)), {"area": area, "on": on, "settled": settled(on, on)})
    return [Town(row.code, row.name, row.lon, row.lat, row.placed, int(row.persons), row.layer) for row in rows]


def _towns(source: str, area: str) -> str:
    known = entered("patient", "f.doc_id", "CAST(:settled AS date)")
    return f"""
WITH local AS (
  SELECT area, {rounded("n", "area")} AS n FROM (
    SELECT f.area, sum(f.amount) AS n FROM {source} f
     WHERE f.measure = '{MEASURE}' AND f.starts <= :settled AND f.ends > :settled AND {known}
       AND f.area = ANY(ARRAY(SELECT a.code FROM area a WHERE {inside("a", area)}))
     GROUP BY f.area) c
), town AS (
  SELECT a.code, a.name, a.chain, a.point FROM area a WHERE a.layers @> ARRAY['township'] AND {inside("a", area)} AND {valid("a")}
), home AS (
  SELECT coalesce(t.code, l.area) AS code, sum(l.n) AS n FROM local l JOIN area a ON a.code = l.area
    LEFT JOIN town t ON t.code = ANY(a.chain) GROUP BY 1
), every AS (
  SELECT t.code, t.name, t.chain, t.point, true AS layer FROM town t
  UNION ALL
  SELECT a.code, a.name, a.chain, a.point, false FROM home h JOIN area a ON a.code = h.code
   WHERE h.n > 0 AND h.code NOT IN (SELECT code FROM town)
), middle AS (
  SELECT e.area_code AS code, ST_SetSRID(ST_MakePoint(
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ST_X(e.location_wgs84)),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ST_Y(e.location_wgs84))), 4326) AS point
    FROM enterprise e
   WHERE NOT e.deleted AND e.location_wgs84 IS NOT NULL AND e.area_code IN (SELECT code FROM every WHERE point IS NULL)
   GROUP BY e.area_code
)
SELECT v.code, v.name, v.layer, coalesce(h.n, 0) AS persons, ST_X(p.point) AS lon, ST_Y(p.point) AS lat,
       CASE WHEN v.point IS NOT NULL THEN '{OWN}' WHEN m.point IS NOT NULL THEN '{ENTERPRISES}'
            WHEN p.point IS NOT NULL THEN '{ABOVE}' ELSE '{NOWHERE}' END AS placed
  FROM every v LEFT JOIN home h ON h.code = v.code LEFT JOIN middle m ON m.code = v.code
  LEFT JOIN LATERAL (
    SELECT u.point FROM unnest(v.chain) WITH ORDINALITY c(code, at) JOIN area u ON u.code = c.code
     WHERE u.point IS NOT NULL ORDER BY c.at LIMIT 1) above ON true
  CROSS JOIN LATERAL (SELECT coalesce(v.point, m.point, above.point) AS point) p
 ORDER BY v.code"""


async def sites_of(connection: AsyncConnection, actor: Actor, kind: SiteKind, on: date) -> list[Site]:
    """The open sites that the actor may read and that have a position, in order of id."""
    record = engine().registry["rehab_site"]
    query = text(
        "SELECT s.id::text, s.name, ST_X(s.location_wgs84) AS lon, ST_Y(s.location_wgs84) AS lat, s.capacity FROM rehab_site s"
        " WHERE NOT s.deleted AND s.status = 'OPEN' AND s.kind = :kind AND s.location_wgs84 IS NOT NULL"
        f" AND (s.opened_on IS NULL OR s.opened_on <= :on) AND {READABLE.format(alias='s', scopes=_SCOPES)} ORDER BY s.id"
    )
    if not record.may(actor.role, Verb.READ):
        return []
    rows = await connection.execute(query, {"kind": kind.value, "on": on, "scopes": list(actor.scopes)})
    return [Site(row.id, row.name, row.lon, row.lat, row.capacity) for row in rows]


async def stops_of(connection: AsyncConnection, actor: Actor, area: str, ids: Sequence[str]) -> list[Stop]:
    """Those of these enterprises that lie in the area, have a position and may be read, in the order asked."""
    query = text(
        "SELECT e.id::text, e.name, ST_X(e.location_wgs84) AS lon, ST_Y(e.location_wgs84) AS lat,"
        " e.hazard_class IS NOT DISTINCT FROM 'SEVERE' AS severe"
        " FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY u(id, at) JOIN enterprise e ON e.id::text = u.id"
        f" WHERE NOT e.deleted AND e.location_wgs84 IS NOT NULL AND {READABLE.format(alias='e', scopes=_SCOPES)}"
        " AND e.scopes @> ARRAY[:area] ORDER BY u.at"
    )
    rows = await connection.execute(query, {"ids": list(ids), "scopes": list(actor.scopes), "area": area})
    return [Stop(row.id, row.name, row.lon, row.lat, row.severe) for row in rows]
