"""Answers in which areas a point lies."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import ON, AreaName, valid
from geo.coordinates import Datum, to_wgs84
from schema.areas import Level, Tree

# A point on a border lies in both areas; the smaller code has it. If the boundary is newer than the day asked for, the one
# area that the code followed is answered instead; where several were merged, nobody can tell, and today's answer stands.
_LOCATE = text(f"""
WITH found AS (
  SELECT a.code, a.valid_from, p.geom FROM area_piece p JOIN area a ON a.code = p.code
   WHERE ST_Intersects(p.geom, ST_SetSRID(ST_MakePoint(:lon, :lat), 4326))
     AND (p.valid_to IS NULL OR p.valid_to > {ON})
   ORDER BY {valid("p")} DESC, p.valid_to NULLS LAST, p.code LIMIT 1
), then_valid AS (
  SELECT o.code FROM found f JOIN area_succession s ON s.new_code = f.code JOIN area o ON o.code = s.old_code
   WHERE f.valid_from > {ON} AND {valid("o")}
), answer AS (
  SELECT coalesce((SELECT min(code) FROM then_valid HAVING count(DISTINCT code) = 1), (SELECT code FROM found)) AS code
)
SELECT n.code, n.name, n.level, n.tree
  FROM answer JOIN area a USING (code) CROSS JOIN unnest(a.chain) WITH ORDINALITY u(code, place) JOIN area n ON n.code = u.code
 ORDER BY u.place DESC""")


async def locate(
    connection: AsyncConnection, lon: float, lat: float, datum: Datum | str = Datum.WGS84, on: date | None = None
) -> list[AreaName]:
    """The areas around a point, from the province down to the county (no source has township outlines); empty outside China.

    As the codes were on the day `on`, today if None. On a border the smallest code is taken.
    Raises Refused for an impossible position or a datum that does not go there.
    """
    east, north = to_wgs84(lon, lat, datum)
    rows = await connection.execute(_LOCATE, {"lon": east, "lat": north, "on": on})
    return [AreaName(row.code, row.name, Level(row.level), Tree(row.tree)) for row in rows]
