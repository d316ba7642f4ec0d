"""Vector tiles of records: points when near, clusters when far, of what the reader may see. PostgreSQL builds the bytes.

Rights: the kept cells are by province and county. A reader's scopes come down to the provinces and counties that they hold whole (`keys`)
and, for what is left, single areas and documents; the parts never overlap, so nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
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
        return [scope.partition(":")[2] for scope in self.scopes if ":" in scope and scope.startswith(own)]

    @cached_property
    def texts(self) -> tuple[str, str, str]:
        """Keys, areas and scopes as `asked` takes them."""
        return _text(self.keys), _text(self.areas), _text(self.scopes)


def _text(words: Iterable[str]) -> str:
    return ",".join(word for word in words if "," not in word)  # none has one; if one had, it must not become two


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
    keys, areas, scopes = held.texts
    rights = [keys, areas, _text(held.ids(record)), first, end, *origin]
    if z >= layer.near:
        row = await reads.fetchrow(_points(layer, _shown(record, layer, actor)), *rights, scopes)
        if row["n"] <= MOST:
            return bytes(row["tile"]) if row["n"] else b""
    row = await reads.fetchrow(_clusters(layer, kept=z <= KEPT_TO), *rights, z, 2 * (WORLD - z - CELL))
    return bytes(row["tile"]) if row["n"] else b""


def _shown(record: Record, layer: PointLayer, actor: Actor) -> tuple[str, ...]:
    columns: Sequence[tuple[str, Any]] = [(name, record.by_name[name].readers) for name in layer.columns]
    return tuple(name for name, readers in columns if readers is None or actor.role in readers)


# Out of the planner's sight: a plan for each tile takes four times as long as the tile, and like this PostgreSQL keeps one for all.
# Lists come as text: asyncpg takes a fifth of a tile's time in Python to send them as what they are.
_ASKED = """
WITH asked AS MATERIALIZED (
  SELECT string_to_array($1, ',') AS keys, string_to_array($2, ',') AS areas, string_to_array($3, ',')::uuid[] AS ids,
         $4::bigint AS first, $5::bigint AS past, {})"""
_X, _Y, _SCALE = "(SELECT $6::bigint)", "(SELECT $7::bigint)", "(SELECT $8::float8)"  # the tile's corner, and its units to one of the world
_SPOT = f"ST_MakePoint(floor(({{}} - {_X}) * {_SCALE}), floor(({{}} - {_Y}) * {_SCALE}))"
_INSIDE = "p.quad >= a.first AND p.quad < a.past"
_MINE = "(p.province = ANY(a.keys) OR p.unit = ANY(a.keys) OR p.area = ANY(a.areas) OR p.doc_id = ANY(a.ids))"
# Says less than READABLE, and sooner: whoever reads the country has 34 scopes, to be compared with each of the row's.
_STILL_THERE = "p.province = ANY(r.scopes) AND p.province = ANY(a.scopes)"


@cache
def _points(layer: PointLayer, columns: tuple[str, ...]) -> str:
    said = "".join(f", r.{name}" for name in columns)
    return f"""{_ASKED.format("string_to_array($9, ',') AS scopes")}
SELECT ST_AsMVT(t, '{layer.name}', 4096, 'geom') AS tile, count(*) AS n FROM (
  SELECT r.id::text AS id{said}, 1 AS count, {_SPOT.format("p.x", "p.y")} AS geom
    FROM asked a JOIN map_point p ON p.record = '{layer.record}' AND {_INSIDE} JOIN {layer.record} r ON r.id = p.doc_id
   WHERE {_MINE} AND NOT r.deleted AND ({_STILL_THERE} OR {READABLE.format(alias="r", scopes="a.scopes")}) LIMIT {MOST + 1}) t"""


@cache
def _clusters(layer: PointLayer, *, kept: bool) -> str:
    """SQL of clusters: of the cells that are kept, and of points for what they don't know; or of points alone."""
    of_record = f"p.record = '{layer.record}'"
    points = f"FROM asked a JOIN map_point p ON {of_record} AND {_INSIDE}"
    point = f"SELECT p.quad >> $10::integer AS quad, 1 AS n, p.x AS sum_x, p.y AS sum_y {points}"
    # Kept cells' codes are those of their zoom: the range is shortened by as many bits.
    cells = f"""
    SELECT p.quad, p.n, p.sum_x, p.sum_y FROM asked a JOIN map_cell p ON {of_record} AND p.zoom = a.zoom AND p.scope = ANY(a.keys)
       AND p.quad >= a.first >> $10::integer AND p.quad < a.past >> $10::integer AND p.n > 0
    UNION ALL {point} AND p.area = ANY(a.areas)
    UNION ALL {point} AND p.doc_id = ANY(a.ids) AND NOT p.area = ANY(a.areas)
       AND NOT coalesce(p.unit = ANY(a.keys) OR p.province = ANY(a.keys), false)"""
    return f"""{_ASKED.format("$9::smallint AS zoom")}
SELECT ST_AsMVT(t, '{layer.name}', 4096, 'geom') AS tile, count(*) AS n FROM (
  SELECT sum(c.n)::integer AS count, {_SPOT.format("sum(c.sum_x) / sum(c.n)", "sum(c.sum_y) / sum(c.n)")} AS geom
    FROM ({cells if kept else f"{point} AND {_MINE}"}) c GROUP BY c.quad) t"""
