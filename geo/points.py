"""Keeps the places of records and their grid pyramid up: a changed document at once, all of it after new areas or on request.

One step is one transaction, and the row of `map_state` is its lock, so that in each moment one node works. A step follows the positions
of the feed as `geo.indicators` does; doing a document twice changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.indicators import CHANGED, FINGERPRINT, HEAD
from schema.base import Record
from schema.registry import load

MAPPED = ("enterprise", "rehab_site")
"""The records that tiles show as points; never persons."""
WORLD = 30  # bits of x and of y: 4 cm
CELL = 5  # bits: a tile has 32 x 32 cells
_EDGE = (1 << WORLD) - 1
KEPT_TO = 10  # the last zoom whose cells are kept; from the next on a tile's points are few enough to be counted
BATCH = 2000
_WAY = "1"  # of placing: another one asks for a recompute

_SPREAD = ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333), (1, 0x5555555555555555))


@dataclass(frozen=True)
class State:
    """How far the places are."""

    epoch: str
    pos: int
    fingerprint: str


def spread(number: int) -> int:
    """The bits of a number with a zero after each; twice the one of y plus that of x is a Morton code."""
    for shift, mask in _SPREAD:
        number = (number | number << shift) & mask
    return number


def world(lon: float, lat: float) -> tuple[int, int]:
    """Where a point, WGS 84 in degrees, lies on the map: x and y of `map_point`."""
    north = math.log(math.tan(math.pi / 4 + math.radians(min(max(lat, -85.06), 85.06)) / 2))
    x, y = (lon + 180) / 360, (1 - north / math.pi) / 2
    return min(max(int(x * (1 << WORLD)), 0), _EDGE), min(max(int(y * (1 << WORLD)), 0), _EDGE)


def quads(z: int, x: int, y: int) -> tuple[int, int]:
    """The Morton codes of a tile's points: from the first to before the second."""
    tile, below = spread(x) | spread(y) << 1, 2 * (WORLD - z)
    return tile << below, (tile + 1) << below


# --- following --------------------------------------------------------------------------------------------------------------

_STATE = "SELECT epoch, pos, fingerprint FROM map_state"
_LOCK = text(f"{_STATE} FOR UPDATE SKIP LOCKED")
_FIRST = text("INSERT INTO map_state (id, epoch, pos, fingerprint) VALUES (1, '', 0, '') ON CONFLICT DO NOTHING")
_SAVE = text("UPDATE map_state SET epoch = :epoch, pos = :pos, fingerprint = :fingerprint")


SETTLED = "SELECT EXISTS (SELECT FROM map_state s JOIN sync_head h ON s.epoch = h.epoch AND s.pos = h.pos AND s.fingerprint <> '')"
"""Whether the places have come to the head of this epoch's feed."""


async def step(connection: AsyncConnection, batch: int = BATCH) -> bool:
    """Bring the places closer to the head of the feed: whether there is more to do at once. Commits nothing.

    The first one, one after new areas, and one of another epoch, place everything. False also when another node is at it.
    """
    state = await _locked(connection)
    if state is None:
        return False
    head = (await connection.execute(HEAD)).one_or_none()
    epoch, top, trimmed = (head.epoch, head.pos, head.trimmed_pos) if head else ("", 0, 0)
    mark = await _fingerprint(connection)
    if (state.epoch, state.fingerprint) != (epoch, mark) or top < state.pos or state.pos < trimmed:
        await _all(connection, State(epoch, top, mark))
        return True
    if state.pos >= top:
        return False
    parameters = {"records": list(MAPPED), "after": state.pos, "top": top, "batch": batch}
    rows = (await connection.execute(CHANGED, parameters)).all()
    for record in sorted({row.record for row in rows}):
        await refresh(connection, record, sorted({row.doc_id for row in rows if row.record == record}))
    pos = rows[-1].pos if len(rows) == batch else top
    await _save(connection, State(epoch, pos, mark))
    return pos < top


async def recompute(connection: AsyncConnection) -> None:
    """Place everything anew in the caller's transaction: all or nothing."""
    await connection.execute(_FIRST)
    await connection.execute(text(f"{_STATE} FOR UPDATE"))
    head = (await connection.execute(HEAD)).one_or_none()
    mark = await _fingerprint(connection)
    await _all(connection, State(head.epoch if head else "", head.pos if head else 0, mark))


async def refresh(connection: AsyncConnection, record: str, ids: Sequence[str]) -> None:
    """Replaces the places of these documents by those they have now, and moves the cells by the difference."""
    await connection.execute(_refresh(load()[record]), {"ids": list(ids)})


async def _locked(connection: AsyncConnection) -> State | None:
    row = (await connection.execute(_LOCK)).one_or_none()
    if row is None:
        await connection.execute(_FIRST)
        row = (await connection.execute(_LOCK)).one_or_none()
    return State(*row) if row else None


async def _save(connection: AsyncConnection, state: State) -> None:
    await connection.execute(_SAVE, vars(state))


async def _fingerprint(connection: AsyncConnection) -> str:
    return f"{_WAY}/{await connection.scalar(FINGERPRINT)}"


# --- placing ----------------------------------------------------------------------------------------------------------------

_COLUMNS = "record, doc_id, quad, x, y, area, unit, province"
HOME = """SELECT a.code, a.chain,
  coalesce((SELECT min(u.code) FROM area u WHERE u.code = ANY(a.chain) AND u.layers @> ARRAY['county']), a.code) AS unit,
  (SELECT min(u.code) FROM area u WHERE u.code = ANY(a.chain) AND u.level = 'province') AS province FROM area a"""
"""SQL of each area with its unit and province, for a condition on `a` to follow."""
_X = f"floor((ST_X(g.point) + 180) / 360 * {1 << WORLD})"
_Y = f"floor((1 - ln(tan(pi() / 4 + radians(least(greatest(ST_Y(g.point), -85.06), 85.06)) / 2)) / pi()) / 2 * {1 << WORLD})"


def _places(record: Record, *, of_ids: bool = False) -> str:
    """A query for where each document of a record lies, with _COLUMNS."""
    steps = "".join(
        f" CROSS JOIN LATERAL (SELECT {_stretched('x', at)} AS x, {_stretched('y', at)} AS y) s{at + 1}" for at in range(len(_SPREAD))
    )
    area, point = record.scope.area, f"{record.place}_wgs84"
    chosen = " AND t.id = ANY(CAST(:ids AS uuid[]))" if of_ids else ""
    near = f"WHERE a.code IN (SELECT t.{area} FROM {record.name} t WHERE t.{point} IS NOT NULL{chosen})"  # the others cost a second
    return f"""
  SELECT '{record.name}' AS record, g.id AS doc_id, s5.x | (s5.y << 1) AS quad, s0.x, s0.y, g.area, h.unit, h.province
    FROM (SELECT t.id, t.{area} AS area, t.{point} AS point FROM {record.name} t
           WHERE NOT t.deleted AND t.{point} IS NOT NULL{chosen}) g
    JOIN ({HOME} {near} OFFSET 0) h ON h.code = g.area
    CROSS JOIN LATERAL (SELECT least(greatest({_X}, 0), {_EDGE})::bigint AS x, least(greatest({_Y}, 0), {_EDGE})::bigint AS y OFFSET 0) s0
    {steps}"""


def _stretched(axis: str, at: int) -> str:
    """SQL of one step of `spread`; all these operators bind alike."""
    shift, mask = _SPREAD[at]
    return f"((s{at}.{axis} | (s{at}.{axis} << {shift})) & {mask})"


def _cells(points: str, sign: str, zooms: str) -> str:
    """SQL of the cells of points at zooms."""
    return f"""SELECT m.record, z.zoom, s.scope, m.quad >> ({2 * (WORLD - CELL)} - 2 * z.zoom) AS quad,
      sum({sign}) AS n, sum({sign} * m.x) AS sum_x, sum({sign} * m.y) AS sum_y
    FROM {points} m CROSS JOIN {zooms} z(zoom) CROSS JOIN LATERAL (SELECT m.unit UNION SELECT m.province) s(scope)
   WHERE s.scope IS NOT NULL GROUP BY 1, 2, 3, 4"""


async def _all(connection: AsyncConnection, state: State) -> None:
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("SET LOCAL work_mem = '128MB'"))
    await connection.execute(text("DELETE FROM map_point"))
    await connection.execute(text("DELETE FROM map_cell"))
    for name in MAPPED:
        await connection.execute(text(f"INSERT INTO map_point ({_COLUMNS}) {_places(load()[name])} ORDER BY quad"))
    into = "INSERT INTO map_cell (record, zoom, scope, quad, n, sum_x, sum_y)"
    in_order = "ORDER BY 1, 2, 3, 4"  # what is read together lies together
    await connection.execute(text(f"{into} {_cells('map_point', '1', f'(VALUES ({KEPT_TO}))')} {in_order}"))
    up = text(f"""{into} SELECT record, zoom - 1, scope, quad >> 2, sum(n), sum(sum_x), sum(sum_y) FROM map_cell
       WHERE zoom = :below GROUP BY record, zoom, scope, quad >> 2 {in_order}""")
    for below in range(KEPT_TO, 0, -1):  # each from the one below: ten times less than from the points
        await connection.execute(up, {"below": below})
    await _save(connection, state)


_SAME = "(h.quad, h.area, h.unit) = (n.quad, n.area, n.unit) AND h.province IS NOT DISTINCT FROM n.province"


@cache
def _refresh(record: Record) -> TextClause:
    return text(f"""
WITH fresh AS MATERIALIZED ({_places(record, of_ids=True)}
), held AS MATERIALIZED (
  SELECT {_COLUMNS} FROM map_point WHERE record = '{record.name}' AND doc_id = ANY(CAST(:ids AS uuid[]))
), gone AS (
  DELETE FROM map_point p USING held h WHERE (p.record, p.doc_id) = (h.record, h.doc_id)
     AND NOT EXISTS (SELECT FROM fresh n WHERE n.doc_id = h.doc_id)
), added AS (
  INSERT INTO map_point AS p ({_COLUMNS}) SELECT {_COLUMNS} FROM fresh n
   WHERE NOT EXISTS (SELECT FROM held h WHERE h.doc_id = n.doc_id AND {_SAME})
  ON CONFLICT (record, doc_id) DO UPDATE SET (quad, x, y, area, unit, province)
    = (excluded.quad, excluded.x, excluded.y, excluded.area, excluded.unit, excluded.province)
), moved AS (
  SELECT {_COLUMNS}, -1 AS sign FROM held h WHERE NOT EXISTS (SELECT FROM fresh n WHERE n.doc_id = h.doc_id AND {_SAME})
  UNION ALL
  SELECT {_COLUMNS}, 1 FROM fresh n WHERE NOT EXISTS (SELECT FROM held h WHERE h.doc_id = n.doc_id AND {_SAME})
)
INSERT INTO map_cell AS c (record, zoom, scope, quad, n, sum_x, sum_y)
SELECT * FROM ({_cells("moved", "m.sign", f"generate_series(0, {KEPT_TO})")} ORDER BY 1, 2, 3, 4) d
 WHERE d.n <> 0 OR d.sum_x <> 0 OR d.sum_y <> 0
ON CONFLICT (record, zoom, scope, quad) DO UPDATE
  SET (n, sum_x, sum_y) = (c.n + excluded.n, c.sum_x + excluded.sum_x, c.sum_y + excluded.sum_y)""")
