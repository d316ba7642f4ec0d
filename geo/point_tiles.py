"""Vector tiles of records: points when near, clusters when far, of what the reader may see. PostgreSQL builds the bytes.

Rights: the kept cells are by province and county. A reader's scopes come down to the provinces and counties that they hold whole (`keys`)
and, for what is left, single areas and documents; the parts never overlap, so nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from geo.points import CELL, HOME, KEPT_TO, WORLD, quads
from geo.reads import Reads
from geo.scope import READABLE
from schema.actor import Actor
from schema.base import Record, Verb
from schema.problems import Problem, Refused
from schema.registry import load

MOST = 2000
"""Points of a tile: where there are more, it has clusters."""


@dataclass(frozen=True)
class PointLayer:
    """A record on the map: what its points say, and from which zoom on there are points."""

    name: str
    record: str
    columns: tuple[str, ...]
    near: int = 0


LAYERS = {
    layer.name: layer
    for layer in (
        PointLayer("enterprises", "enterprise", ("name", "status", "hazard_class"), near=12),
        PointLayer("sites", "rehab_site", ("name", "kind", "status")),
    )
}


@dataclass(frozen=True)
class Cover:
    """What a reader's scopes hold: whole provinces and counties, further areas, further documents by record."""

    scopes: tuple[str, ...]
    keys: tuple[str, ...]
    areas: tuple[str, ...]

    def ids(self, record: Record) -> list[str]:
        """Documents that are the reader's own, by key; those in the areas too."""
        own = tuple(f"{prefix}:" for prefix, column in record.scope.keys.items() if column == "id")
        return [scope.partition(":")[2] for scope in self.scopes if own and scope.startswith(own)]


_COVER = f"""
WITH mine AS MATERIALIZED (SELECT code FROM area WHERE level = 'province' AND code = ANY($1::text[])),
below AS MATERIALIZED ({HOME} WHERE a.chain && $1::text[] AND NOT a.chain && ARRAY(SELECT code FROM mine))
SELECT true AS whole, code FROM mine
UNION SELECT u.chain && $1::text[], CASE WHEN u.chain && $1::text[] THEN b.unit ELSE b.code END
  FROM below b JOIN area u ON u.code = b.unit"""


async def cover(reads: Reads, actor: Actor) -> Cover:
    """The parts that the actor's scopes come down to."""
    rows = await reads.fetch(_COVER, list(actor.scopes))
    keys = tuple(sorted(row["code"] for row in rows if row["whole"]))
    return Cover(actor.scopes, keys, tuple(sorted(row["code"] for row in rows if not row["whole"])))


def may_read(actor: Actor, layer: PointLayer) -> bool:
    """Whether the actor's role may read the layer's record."""
    return load()[layer.record].may(actor.role, Verb.READ)


def require_layer(actor: Actor, layer: PointLayer) -> None:
    """Raises Refused FORBIDDEN unless the actor's role may read the layer's record."""
    if not may_read(actor, layer):
        raise Refused(Problem("FORBIDDEN", f"您的角色无权查看{load()[layer.record].label}。", "layer"))


async def point_tile(reads: Reads, actor: Actor, layer: PointLayer, held: Cover, z: int, x: int, y: int) -> bytes:
    """The tile of a layer, b"" where nothing is: points, or clusters where it is far or there are more than MOST."""
    record = load()[layer.record]
    first, end = quads(z, x, y)
    origin = [x << (WORLD - z), y << (WORLD - z), 4096.0 / 2 ** (WORLD - z)]
    rights = [list(held.keys), list(held.areas), held.ids(record), first, end, *origin]
    if z >= layer.near:
        row = await reads.fetchrow(_points(layer, _shown(record, layer, actor)), *rights, list(actor.scopes))
        if row["n"] <= MOST:
            return bytes(row["tile"]) if row["n"] else b""
    row = await reads.fetchrow(_clusters(layer, kept=z <= KEPT_TO), *rights, z, 2 * (WORLD - z - CELL))
    return bytes(row["tile"]) if row["n"] else b""


def _shown(record: Record, layer: PointLayer, actor: Actor) -> tuple[str, ...]:
    columns: Sequence[tuple[str, Any]] = [(name, record.by_name[name].readers) for name in layer.columns]
    return tuple(name for name, readers in columns if readers is None or actor.role in readers)


# Subqueries hide the values from the planner: a plan for each tile costs four times what it saves, and this way PostgreSQL keeps one.
_KEYS, _AREAS, _IDS, _SCOPES = (f"(SELECT ${at}::{kind}[])::{kind}[]" for at, kind in ((1, "text"), (2, "text"), (3, "uuid"), (9, "text")))
_FIRST, _END = "(SELECT $4::bigint)", "(SELECT $5::bigint)"
# $6 x, $7 y of the tile's corner, $8 its units to one of the world
_RANGE = f"p.quad >= {_FIRST} AND p.quad < {_END}"
_MINE = f"(p.province = ANY({_KEYS}) OR p.unit = ANY({_KEYS}) OR p.area = ANY({_AREAS}) OR p.doc_id = ANY({_IDS}))"
# Says less than READABLE, and sooner: whoever reads the country has 34 scopes, to be compared with each of the row's.
_STILL_THERE = f"p.province = ANY(r.scopes) AND p.province = ANY({_SCOPES})"
_SPOT = "ST_MakePoint(floor(({} - $6::bigint) * $8::float8), floor(({} - $7::bigint) * $8::float8))"


@cache
def _points(layer: PointLayer, columns: tuple[str, ...]) -> str:
    said = "".join(f", r.{name}" for name in columns)
    return f"""
SELECT ST_AsMVT(t, '{layer.name}', 4096, 'geom') AS tile, count(*) AS n FROM (
  SELECT r.id::text AS id{said}, 1 AS count, {_SPOT.format("p.x", "p.y")} AS geom
    FROM map_point p JOIN {layer.record} r ON r.id = p.doc_id
   WHERE p.record = '{layer.record}' AND {_RANGE} AND {_MINE}
     AND NOT r.deleted AND ({_STILL_THERE} OR {READABLE.format(alias="r", scopes=_SCOPES)}) LIMIT {MOST + 1}) t"""


@cache
def _clusters(layer: PointLayer, *, kept: bool) -> str:
    record = f"p.record = '{layer.record}'"
    point = f"SELECT p.quad >> $10::integer AS quad, 1 AS n, p.x AS sum_x, p.y AS sum_y FROM map_point p WHERE {record} AND {_RANGE}"
    # Kept cells' codes are those of their zoom: the range is shortened by as many bits.
    own = f"(p.unit = ANY({_KEYS}) OR p.province = ANY({_KEYS}))"
    cells = f"""
    SELECT p.quad, p.n, p.sum_x, p.sum_y FROM map_cell p WHERE {record} AND p.zoom = (SELECT $9::smallint) AND p.scope = ANY({_KEYS})
       AND p.quad >= (SELECT $4::bigint >> $10::integer) AND p.quad < (SELECT $5::bigint >> $10::integer) AND p.n > 0
    UNION ALL {point} AND p.area = ANY({_AREAS})
    UNION ALL {point} AND p.doc_id = ANY({_IDS}) AND NOT p.area = ANY({_AREAS}) AND NOT coalesce({own}, false)"""
    near = f"{point} AND {_MINE} AND $9::smallint IS NOT NULL"
    return f"""
SELECT ST_AsMVT(t, '{layer.name}', 4096, 'geom') AS tile, count(*) AS n FROM (
  SELECT sum(c.n)::integer AS count, {_SPOT.format("sum(c.sum_x) / sum(c.n)", "sum(c.sum_y) / sum(c.n)")} AS geom
    FROM ({cells if kept else near}) c GROUP BY c.quad) t"""
