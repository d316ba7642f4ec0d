"""An invented register of the whole country, written by SQL straight into the table: millions of enterprises in minutes.

Townships get equal shares. One in twenty was changed once: it then has a history, from which past days are rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BLOCK = 100_000  # rows of a statement: an interruption waits for one, and progress is seen
_TOWNS = """
CREATE TEMPORARY TABLE IF NOT EXISTS bench_town AS
SELECT row_number() OVER (ORDER BY t.code) - 1 AS n, t.code, t.chain, c.code AS county, c.point FROM area t
  CROSS JOIN LATERAL (SELECT u.code, u.point FROM area u WHERE u.code = ANY(t.chain) AND u.layers @> ARRAY['county'] LIMIT 1) c
 WHERE t.level = 'township' AND t.valid_to IS NULL"""
_FILL = """
INSERT INTO enterprise (id, name, area_code, address, size, status, hazard_class, hazards, supervision_class, key_industry, employees,
  exposed_workers, declared_on, declaration_state, tested_on, visits, source, revision, stamp, deleted, created_at, updated_at, scopes,
  location, location_wgs84, place_check, place_area_code)
SELECT s.id, '虚构企业' || s.n, a.code, '虚构路' || s.n % 997 || '号', 'SMALL', CASE WHEN s.n % 13 = 0 THEN 'CLOSED' ELSE 'OPERATING' END,
       (ARRAY['SEVERE', 'GENERAL', 'GENERAL'])[1 + s.n % 3], CASE WHEN s.n % 5 < 3 THEN ARRAY['DUST-SILICA', 'PHYS-NOISE'] ELSE '{}' END,
       (ARRAY['JIA', 'YI', 'BING', NULL])[1 + s.n % 4], s.n % 7 = 0, 10 + s.n % 300, s.n % 11,
       CASE WHEN s.n % 10 < 8 THEN $3::date - (s.n * 31 % 3000)::integer END,
       (ARRAY['ACCEPTED', 'SUBMITTED', 'CANCELLED'])[1 + s.n % 50 / 20],
       CASE WHEN s.n % 10 < 7 THEN $3::date - (s.n * 17 % 1400)::integer END, 0, 'DECLARATION', CASE WHEN s.n % 20 = 0 THEN 2 ELSE 1 END,
       'bench:' || s.n, false, now(), now(), a.chain,
       CASE WHEN a.point IS NOT NULL THEN jsonb_build_object('lon', p.lon, 'lat', p.lat, 'datum', 'WGS84') END,
       CASE WHEN a.point IS NOT NULL THEN ST_SetSRID(ST_MakePoint(p.lon, p.lat), 4326) END,
       CASE WHEN a.point IS NOT NULL THEN (ARRAY['OK', 'OK', 'OK', 'NEAR_BORDER', 'OUTSIDE'])[1 + s.n % 5] END,
       CASE WHEN a.point IS NOT NULL THEN a.county END
  FROM (SELECT n, md5('bench ' || n)::uuid AS id FROM generate_series($1::integer, $2::integer) n) s
  JOIN bench_town a ON a.n = s.n::bigint * 7919 % (SELECT count(*) FROM bench_town)
  CROSS JOIN LATERAL (SELECT ST_X(a.point) + (s.n % 1009 - 504) / 5000.0 AS lon, ST_Y(a.point) + (s.n % 1013 - 506) / 7000.0 AS lat) p
ON CONFLICT DO NOTHING"""
_HISTORY = """
INSERT INTO sync_change (record, doc_id, revision, kind, at, changes)
SELECT 'enterprise', md5('bench ' || n)::uuid, 2, 'UPDATE', now() - make_interval(days => (n * 13 % 1500)::integer),
       jsonb_build_object('tested_on', jsonb_build_array(($3::date - 1400 - n * 19 % 900)::text, NULL),
                          'status', jsonb_build_array(CASE WHEN n % 3 = 0 THEN 'SUSPENDED' ELSE 'OPERATING' END, 'OPERATING'))
  FROM generate_series($1::integer, $2::integer) n WHERE n % 20 = 0"""
_INDEXES = """
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'enterprise' AND indexname NOT LIKE 'pk_%' ORDER BY 1"""


async def fill(connection: Any, enterprises: int, tell: Callable[[str], object]) -> None:
    """Invent so many enterprises where there are areas; their indexes are built once, at the end."""
    await connection.execute("SET statement_timeout = 0")
    await connection.execute(_TOWNS)
    indexes = [row["indexdef"] for row in await connection.fetch(_INDEXES)]
    for index in indexes:
        await connection.execute(f"DROP INDEX {index.split()[2]}")
    on = await connection.fetchval("SELECT current_date")
    for first in range(1, enterprises + 1, BLOCK):
        last = min(first + BLOCK - 1, enterprises)
        tell(f"inventing enterprises: {first - 1:,} of {enterprises:,}")
        await connection.execute(_FILL, first, last, on)
        await connection.execute(_HISTORY, first, last, on)
    for at, index in enumerate(indexes, 1):
        tell(f"inventing enterprises: index {at} of {len(indexes)}")
        await connection.execute(index)
    for table in ("enterprise", "sync_change"):
        tell(f"inventing enterprises: statistics of {table}")
        await connection.execute(f"VACUUM ANALYZE {table}")
