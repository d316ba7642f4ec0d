"""Whether positions fit the areas that their records declare. Flags, never changes: a declared code wins.

The verdict is of the county (the finest layer of surveyed outlines that covers the country), or of the city or province for a
record that declares no more. Derived outlines of townships take no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.coordinates import Datum, to_wgs84
from schema.problems import Refused

FARTHEST = 5000.0  # metres; a fix that is less accurate than this counts as no better: it would be near a border everywhere


class Check(StrEnum):
    """The members of `schema.base.PLACE_CHECK`."""

    OK = "OK"
    OUTSIDE = "OUTSIDE"
    NEAR_BORDER = "NEAR_BORDER"
    OTHER_DATUM = "OTHER_DATUM"
    UNCHECKED = "UNCHECKED"


@dataclass(frozen=True, slots=True)
class Claim:
    """A position as received, normalised, and the smallest division down to the county that its record declares."""

    position: Mapping[str, Any]
    lon: float
    lat: float
    area: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`area` is the lowest area with an outline of its own around the point, None where nothing is; `datum` with OTHER_DATUM."""

    check: Check
    area: str | None = None
    datum: str | None = None


# What touches the circle of the device's accuracy: pieces by index on its box, and those beside the point by distance on the
# ellipsoid, which is dear and so asked only of pieces that are near in degrees (`east` is the larger of the two). A retired
# code stands for those that followed it. On a border the smallest code is named, as `locate` does.
_JUDGE = text("""
WITH RECURSIVE target (asked, code) AS (
  SELECT DISTINCT t, t FROM unnest(CAST(:areas AS text[])) t
  UNION
  SELECT t.asked, n.code FROM target t CROSS JOIN LATERAL (
    SELECT s.new_code AS code FROM area a JOIN area_succession s ON s.old_code = a.code AND s.new_code <> a.code
     WHERE a.code = t.code AND a.valid_to IS NOT NULL OFFSET 0) n
), drawn AS MATERIALIZED (
  SELECT t.asked, t.code, (SELECT true FROM area_piece p WHERE p.code = t.code AND p.layer = 'county' LIMIT 1) AS itself FROM target t
), home AS MATERIALIZED (
  SELECT h.asked, array_agg(DISTINCT h.code) AS codes FROM (
    SELECT d.asked, d.code FROM drawn d WHERE d.itself
    UNION ALL
    SELECT d.asked, a.code FROM drawn d JOIN area a ON a.chain @> ARRAY[d.code] WHERE d.itself IS NULL
  ) h WHERE (SELECT true FROM area_piece p WHERE p.code = h.code AND p.layer = 'county' AND p.valid_to IS NULL LIMIT 1) GROUP BY h.asked
), sent AS MATERIALIZED (
  SELECT s.n, s.radius, s.area, ST_SetSRID(ST_MakePoint(s.lon, s.lat), 4326) AS point,
         s.radius / 110000 AS north, s.radius / 110000 / greatest(cos(radians(s.lat)), 0.01) AS east
    FROM unnest(CAST(:lons AS float8[]), CAST(:lats AS float8[]), CAST(:radii AS float8[]), CAST(:areas AS text[]))
         WITH ORDINALITY s(lon, lat, radius, area, n)
), touched AS (
  SELECT s.n, s.area, p.code, p.layer, p.inside FROM sent s CROSS JOIN LATERAL (
    SELECT p.code, p.layer, ST_Intersects(p.geom, s.point) AS inside, p.geom FROM area_piece p
     WHERE p.layer <> 'derived' AND p.valid_to IS NULL AND p.geom && ST_Expand(s.point, s.east, s.north) OFFSET 0) p
   WHERE p.inside OR CASE WHEN s.radius > 0 AND ST_DWithin(p.geom, s.point, s.east)
     THEN ST_DWithin(CAST(p.geom AS geography), CAST(s.point AS geography), s.radius) END
)
SELECT home.codes IS NOT NULL AS known, t.found, coalesce(t.inside, false) AS inside, coalesce(t.own, false) AS own,
       coalesce(t.other, false) AS other
  FROM sent s LEFT JOIN home ON home.asked = s.area LEFT JOIN (
    SELECT t.n, (array_agg(t.code ORDER BY t.layer DESC, t.code) FILTER (WHERE t.inside))[1] AS found,
           bool_or(t.inside AND t.code = ANY(h.codes)) FILTER (WHERE t.layer = 'county') AS inside,
           bool_or(t.code = ANY(h.codes)) FILTER (WHERE t.layer = 'county') AS own,
           bool_or(t.code <> ALL(h.codes)) FILTER (WHERE t.layer = 'county') AS other
      FROM touched t LEFT JOIN home h ON h.asked = t.area GROUP BY t.n
  ) t ON t.n = s.n ORDER BY s.n""")


async def judge(connection: AsyncConnection, claims: Sequence[Claim]) -> list[Verdict]:
    """One verdict per claim, in order; one statement, and a second only if a position lies outside."""
    found = await _judge(connection, claims)
    outside = [at for at, verdict in enumerate(found) if verdict.check is Check.OUTSIDE]
    if not outside:
        return found
    readings = [(at, reading) for at in outside for reading in _readings(claims[at])]
    fits: dict[int, str] = {}
    others = await _judge(connection, [claim for _, claim in readings]) if readings else []
    for (at, claim), verdict in zip(readings, others, strict=True):
        if verdict.check is Check.OK:
            fits.setdefault(at, claim.position["datum"])
    return [replace(verdict, check=Check.OTHER_DATUM, datum=fits[at]) if at in fits else verdict for at, verdict in enumerate(found)]


def _readings(claim: Claim) -> list[Claim]:
    """The same numbers under the other datums, in the order in which they are believed."""
    sent = claim.position["datum"]
    plain = Datum.WGS84 if sent == Datum.CGCS2000 else sent
    found = []
    for datum in (Datum.WGS84, Datum.GCJ02, Datum.BD09):
        if datum == plain:
            continue
        try:
            lon, lat = to_wgs84(claim.position["lon"], claim.position["lat"], datum)
        except Refused:  # not where that datum goes
            continue
        found.append(Claim({**claim.position, "datum": datum.value, "accuracy": None}, lon, lat, claim.area))
    return found


async def _judge(connection: AsyncConnection, claims: Sequence[Claim]) -> list[Verdict]:
    rows = await connection.execute(
        _JUDGE,
        {
            "lons": [claim.lon for claim in claims],
            "lats": [claim.lat for claim in claims],
            "radii": [min(float(claim.position.get("accuracy") or 0), FARTHEST) for claim in claims],
            "areas": [claim.area for claim in claims],
        },
    )
    return [_verdict(*row) for row in rows]


@lru_cache(4096)  # a batch has few counties
def _verdict(known: bool, found: str | None, inside: bool, own: bool, other: bool) -> Verdict:
    if not known:
        return Verdict(Check.UNCHECKED, found)
    if inside and not other:
        return Verdict(Check.OK, found)
    return Verdict(Check.NEAR_BORDER if own else Check.OUTSIDE, found)
