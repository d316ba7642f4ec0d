"""Answers in which areas a point lies."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import EVERY, ON, AreaName, valid
from geo.coordinates import Datum, to_wgs84
from schema.areas import Level, Tree

# A point on a border lies in both areas; the smaller code has it. If the boundary is newer than the day asked for, the one
# area that the code followed is answered instead; where several were merged, nobody can tell, and today's answer stands.
_LOCATE = text(f"""
WITH spot AS (SELECT ST_SetSRID(ST_MakePoint(:lon, :lat), 4326) AS point
), found AS (
  SELECT p.code FROM spot JOIN area_piece p ON ST_Intersects(p.geom, spot.point)
   WHERE p.layer = 'county' AND p.layer <> 'derived' AND (p.valid_to IS NULL OR p.valid_to > {ON})
     AND ({valid("p")} OR NOT EXISTS (SELECT FROM area_boundary b WHERE b.code = p.code AND {valid("b")}))
   ORDER BY {valid("p")} DESC, p.valid_to NULLS LAST, p.code LIMIT 1
), then_valid AS (
  SELECT o.code FROM found f JOIN area_succession s ON s.new_code = f.code JOIN {EVERY} o ON o.code = s.old_code
   WHERE {valid("o")} AND NOT EXISTS (SELECT FROM {EVERY} e WHERE e.code = f.code AND {valid("e")})
), county AS (
  SELECT coalesce((SELECT min(code) FROM then_valid HAVING count(DISTINCT code) = 1), (SELECT code FROM found)) AS code
), near AS (
  SELECT p.code, p.layer FROM spot JOIN area_piece p ON ST_Intersects(p.geom, spot.point) WHERE p.layer = 'derived' AND {valid("p")}
  UNION ALL
  SELECT p.code, p.layer FROM spot JOIN area_piece p ON ST_Intersects(p.geom, spot.point)
   WHERE p.layer = 'township' AND p.layer <> 'derived' AND {valid("p")}
), township AS (
  SELECT p.code FROM near p, county
   WHERE EXISTS (SELECT FROM {EVERY} e WHERE e.code = p.code AND {valid("e")} AND e.chain @> ARRAY[county.code])
   ORDER BY p.layer DESC, p.code LIMIT 1
), answer AS (SELECT coalesce((SELECT code FROM township), (SELECT code FROM county)) AS code
), line AS (
  SELECT e.chain FROM answer JOIN {EVERY} e USING (code) ORDER BY {valid("e")} DESC, e.valid_from LIMIT 1
)
SELECT n.code, n.name, n.level, n.tree, n.derived
  FROM line CROSS JOIN unnest(line.chain) WITH ORDINALITY u(code, place) CROSS JOIN LATERAL (
    SELECT e.* FROM {EVERY} e WHERE e.code = u.code ORDER BY {valid("e")} DESC, e.valid_from LIMIT 1) n
 ORDER BY u.place DESC""")


async def locate(
    connection: AsyncConnection, lon: float, lat: float, datum: Datum | str = Datum.WGS84, on: date | None = None
) -> list[AreaName]:
    """The areas around a point, from the province down to the township where it has an outline, be it `derived`; empty outside China.

    As the codes were on the day `on`, today if None. On a border the smallest code is taken, of the counties and of the
    townships in that county; a surveyed township goes before a derived one.
    Raises Refused for an impossible position or a datum that does not go there.
    """
    east, north = to_wgs84(lon, lat, datum)
    rows = await connection.execute(_LOCATE, {"lon": east, "lat": north, "on": on})
    return [AreaName(row.code, row.name, Level(row.level), Tree(row.tree), row.derived) for row in rows]
