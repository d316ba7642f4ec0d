"""Coverage: of what should be protected in an area, how much is. The first indicator: townships with an active coordinator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import ON, inside, valid
from geo.scope import READABLE
from schema.actor import Actor
from schema.areas import ROOT, Level
from schema.base import Record, Verb
from schema.problems import Problem, Refused

COORDINATOR_TOWNSHIPS = "COORDINATOR-TOWNSHIPS"
"""The indicator's id: share of townships with at least one active coordinator (乡镇职业卫生协管员覆盖率)."""


@dataclass(frozen=True)
class AreaValue:
    """An indicator's value for one area. `value` is 0 to 1; None is *no data*: there is nothing to count."""

    code: str
    name: str
    level: Level
    numerator: int
    denominator: int

    @property
    def value(self) -> float | None:
        return self.numerator / self.denominator if self.denominator else None


_BELOW = {Level.COUNTRY: Level.PROVINCE, Level.PROVINCE: Level.CITY, Level.CITY: Level.COUNTY}
_SCOPES = "CAST(:scopes AS text[])"
_NATIONAL = f"NOT EXISTS (SELECT FROM area p WHERE p.level = 'province' AND p.valid_to IS NULL AND p.code <> ALL({_SCOPES}))"


def _query(area: str) -> str:
    # A coordinator's scopes are its area's chain, so one of a village counts for the township.
    # Townships are linked to every area of their chain, so both trees and all levels are counted by one grouping.
    return f"""
WITH active AS (
  SELECT DISTINCT u.code FROM coordinator c CROSS JOIN unnest(c.scopes) u(code)
   WHERE {READABLE.format(alias="c", scopes=_SCOPES)} AND NOT c.deleted AND c.status = 'ACTIVE'
     AND (c.appointed_on IS NULL OR c.appointed_on <= {ON}) AND (c.ended_on IS NULL OR c.ended_on > {ON})
), township AS (
  SELECT a.code, a.chain FROM area a WHERE a.level = 'township' AND {inside("a", area)} AND {valid("a")}
), counted AS (
  SELECT u.code, count(*) AS denominator, count(active.code) AS numerator
    FROM township t LEFT JOIN active ON active.code = t.code CROSS JOIN unnest(t.chain || '{ROOT}'::text) u(code)
   GROUP BY u.code
)
SELECT g.code, g.name, g.level, coalesce(c.numerator, 0) AS numerator, coalesce(c.denominator, 0) AS denominator
  FROM area g LEFT JOIN counted c USING (code)
 WHERE g.layers @> ARRAY[:level] AND {inside("g", area)} AND {valid("g")}
   AND (g.chain && {_SCOPES} OR (g.code = '{ROOT}' AND {_NATIONAL}))
 ORDER BY g.code"""


async def township_coverage(
    connection: AsyncConnection, actor: Actor, coordinator: Record, area_code: str, level: Level | None = None, on: date | None = None
) -> list[AreaValue]:
    """Townships with at least one active coordinator, of all townships, for each area of `level` in `area_code`.

    `level` is the next below if None. Areas outside the actor's scopes are left out; none are empty.
    Raises Refused: AREA_UNKNOWN, and FORBIDDEN for a role that may not read coordinators.
    """
    if not coordinator.may(actor.role, Verb.READ):
        raise Refused(Problem("FORBIDDEN", "您的角色无权查看协管员覆盖情况。", "indicator"))
    own = await connection.scalar(text("SELECT level FROM area WHERE code = :code"), {"code": area_code})
    if own is None:
        raise Refused(Problem("AREA_UNKNOWN", f"没有代码为 {area_code} 的区划或管辖区。", "area"))
    shown = level or _BELOW.get(Level(own), Level.TOWNSHIP)
    parameters = {"area": area_code, "level": shown.value, "on": on, "scopes": list(actor.scopes)}
    rows = await connection.execute(text(_query(area_code)), parameters)
    return [AreaValue(row.code, row.name, Level(row.level), row.numerator, row.denominator) for row in rows]
