"""Topic `tiles`: vector tiles of counties and of many enterprises, made anew and from the cache, beside tipg and MapServer.

Compared is what one gets for the same tile in which there are enterprises, over 8 connections, on one database and two cores:

- Near (z12): the same points with the same properties (id, name, status, hazard class), none left out; no margin in ours and MapServer's.
- Far: the peers leave out what is above 10,000 features (tipg's cap); we cluster, so that ours are complete, and simplify outlines.
- The peers read Web Mercator from tables of their own with spatial indexes, clean and complete, and know no rights: we check the token,
  and the rights of each row, and read the record itself.
- Ours and tipg's come by HTTP and gzip; MapServer is asked by FastCGI without a web server, and neither compresses nor is unpacked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from time import perf_counter

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.bench.client import Client
from api.bench.field import OURS, Field, require
from api.bench.mvt import layers
from api.bench.processes import database_milliseconds, own_milliseconds
from api.bench.report import Figure, Rounds
from api.bench.terminals import signed_in
from api.bench.tile_peers import SCHEMA, Asking, Peer, PeerMissingError, free_port, mapserver, tipg
from api.server_process import ServerProcess
from api.settings import engine_url
from geo import points
from schema.actor import Role
from schema.areas import ROOT

CONNECTIONS = 8
ZOOMS = (4, 8, 12)
UNCACHED = (sys.executable, "-m", "api.bench.uncached")
Place = tuple[int, int, int]
_FILL = """
WITH town AS (SELECT row_number() OVER (ORDER BY t.code) - 1 AS n, t.code, t.chain, c.point FROM area t
  JOIN LATERAL (SELECT u.point FROM area u WHERE u.code = ANY(t.chain)
    AND u.layers @> ARRAY['county'] AND u.point IS NOT NULL LIMIT 1) c ON true
 WHERE t.level = 'township' AND t.valid_to IS NULL)
INSERT INTO enterprise (id, name, area_code, status, hazard_class, revision, deleted, created_at, updated_at, scopes, location_wgs84)
SELECT gen_random_uuid(), '企业' || s.n, a.code, 'OPERATING', (ARRAY['SEVERE', 'GENERAL'])[1 + s.n % 2], 1, false, now(), now(), a.chain,
       ST_SetSRID(ST_MakePoint(ST_X(a.point) + 0.4 * (random() + random() - 1), ST_Y(a.point) + 0.3 * (random() + random() - 1)), 4326)
  FROM generate_series(1, $1::integer) s(n) JOIN town a ON a.n = s.n::bigint * 7919 % (SELECT count(*) FROM town)"""
_CHOSEN = """
SELECT x, y FROM (SELECT DISTINCT x >> $1::integer AS x, y >> $1::integer AS y FROM map_point WHERE record = 'enterprise') t
 ORDER BY md5(concat(x, '/', y)) LIMIT $2"""
_TABLES = f"""
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.county AS SELECT row_number() OVER ()::integer AS id, s.code, a.name, s.geom
  FROM area_shape s JOIN area a USING (code) WHERE s.layer = 'county' AND s.step = (SELECT max(step) FROM area_shape);
CREATE TABLE {SCHEMA}.enterprise AS SELECT row_number() OVER ()::integer AS id, name, status, hazard_class,
  ST_Transform(location_wgs84, 3857)::geometry(Point, 3857) AS geom FROM enterprise WHERE location_wgs84 IS NOT NULL AND NOT deleted;
ALTER TABLE {SCHEMA}.county ADD PRIMARY KEY (id);
ALTER TABLE {SCHEMA}.enterprise ADD PRIMARY KEY (id);
CREATE INDEX ON {SCHEMA}.county USING gist (geom);
CREATE INDEX ON {SCHEMA}.enterprise USING gist (geom)"""


async def tiles(field: Field) -> list[Figure]:
    """Tiles a second and p95 of each, by layer and zoom; what is missing in whose tiles; ours from the cache."""
    figures = await _fill(field)
    chosen = {z: await _chosen(field, z) for z in ZOOMS}
    [(_, token)] = await signed_in(field, Role.SUPERVISOR, ROOT, 1)
    with ExitStack() as stack:
        server = ServerProcess(replace(field.settings, port=free_port()), UNCACHED)
        stack.enter_context(server)
        ours: Peer = (lambda: Client(server.settings.port, token, encoding="gzip"), "/tiles/{layer}/{z}/{x}/{y}")
        peers = {OURS: ours, **_peers(field, stack)}
        for layer in ("county", "enterprise"):
            for z in ZOOMS:
                figures += await _compare(field, peers, layer, chosen[z])
        for name, peer in peers.items():
            figures.append(await _complete(field, name, peer))
    cached: Peer = (lambda: Client(field.ports[OURS], token, encoding="gzip"), ours[1])
    return [*figures, *await _cached(field, cached, chosen[8])]


async def _fill(field: Field) -> list[Figure]:
    connection, count = field.connection, field.sizes.points
    field.tell(f"tiles: {count} enterprises")
    await connection.execute("SET statement_timeout = 0")
    await connection.execute(_FILL, count)
    began = perf_counter()
    engine = create_async_engine(engine_url(field.settings.database_url or ""), poolclass=NullPool)
    async with engine.begin() as opened:
        await points.recompute(opened)
    await engine.dispose()
    seconds = perf_counter() - began
    await connection.execute(_TABLES)
    for table in (f"{SCHEMA}.county", f"{SCHEMA}.enterprise", "enterprise", "map_point", "map_cell", "area_shape"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    placed = await field.count("SELECT count(*) FROM map_point WHERE record = 'enterprise'")
    return [Figure("tiles.enterprises", placed, "points"), Figure("tiles.pyramid", round(seconds, 2), "s")]


async def _chosen(field: Field, z: int) -> list[Place]:
    """Tiles in which there are enterprises, each once, the same in each run."""
    rows = await field.connection.fetch(_CHOSEN, points.WORLD - z, field.sizes.tiles)
    return [(z, row["x"], row["y"]) for row in rows]


def _peers(field: Field, stack: ExitStack) -> dict[str, Peer]:
    found: dict[str, Peer] = {}
    for name, start in {"tipg": tipg, "MapServer": mapserver}.items() if field.sizes.peers else ():
        try:
            found[name] = stack.enter_context(start(field))
        except PeerMissingError as missing:
            field.tell(f"tiles: without {name}: {missing}")
    return found


async def _compare(field: Field, peers: Mapping[str, Peer], layer: str, chosen: Sequence[Place]) -> list[Figure]:
    z = chosen[0][0]
    topic = f"tiles.{layer}.z{z}"
    rates, late = Rounds(topic, "tiles/s"), Rounds(f"{topic}.p95", "ms", less_is_better=True)
    costs = Rounds(f"{topic}.cpu", "ms per tile", less_is_better=True)
    for number in range(field.rounds):
        for name, peer in peers.items():
            field.tell(f"{topic}: {name}, round {number + 1} of {field.rounds}")
            rate, p95, cost = await _measure(field, peer, [_address(name, peer, layer, place) for place in chosen])
            rates.add(name, rate)
            late.add(name, p95)
            costs.add(name, cost)
    return [*rates.figures(), *late.figures(), *(costs.figures() if field.postmaster else [])]


def _address(name: str, peer: Peer, layer: str, place: Place) -> str:
    z, x, y = place
    own = {"county": "areas", "enterprise": "enterprises"}[layer]
    address = peer[1].format(layer=own if name == OURS else layer, z=z, x=x, y=y)
    return f"{address}?level=county" if name == OURS and layer == "county" else address


async def _measure(field: Field, peer: Peer, addresses: Sequence[str]) -> tuple[float, float, float]:
    """Tiles a second over all connections, the 95th percentile of their milliseconds, and those of all servers' processors per tile."""
    times: list[float] = []
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(peer[0]()) for _ in range(CONNECTIONS)]
        await asyncio.gather(*(client.get(addresses[0]) for client in clients))
        spent, began = _spent(field), perf_counter()
        end = began + field.sizes.tile_seconds
        await asyncio.gather(*(_ask(client, addresses, at, end, times) for at, client in enumerate(clients)))
        seconds = perf_counter() - began
        spent = _spent(field) - spent
    times.sort()
    return len(times) / seconds, times[int(len(times) * 0.95)] * 1000, spent / len(times)


def _spent(field: Field) -> float:
    """Processor milliseconds so far of the servers and the database: what a busy machine doesn't blur."""
    return own_milliseconds() + (database_milliseconds(field.postmaster) if field.postmaster else 0.0)


async def _ask(client: Asking, addresses: Sequence[str], at: int, end: float, times: list[float]) -> None:
    at *= len(addresses) // CONNECTIONS + 1
    while (began := perf_counter()) < end:
        await client.get(addresses[at % len(addresses)])
        times.append(perf_counter() - began)
        at += 1


async def _complete(field: Field, name: str, peer: Peer) -> Figure:
    """The share of the enterprises that the tiles of zoom 4 account for; ours must all be there."""
    rows = await field.connection.fetch("SELECT DISTINCT x >> 26 AS x, y >> 26 AS y FROM map_point WHERE record = 'enterprise'")
    total = await field.count("SELECT count(*) FROM map_point WHERE record = 'enterprise'")
    found = 0
    async with peer[0]() as client:
        for row in rows:
            tile = layers(await client.get(_address(name, peer, "enterprise", (4, row["x"], row["y"]))))
            found += sum(feature.properties.get("count", 1) for features in tile.values() for feature in features)
    require(name != OURS or found == total, f"{total} enterprises in our tiles, got {found}")
    return Figure("tiles.complete" if name == OURS else f"tiles.complete.{name}", round(100 * found / total, 2), "% of points")


async def _cached(field: Field, peer: Peer, chosen: Sequence[Place]) -> list[Figure]:
    rates, late = Rounds("tiles.cached", "tiles/s"), Rounds("tiles.cached.p95", "ms", less_is_better=True)
    addresses = [_address(OURS, peer, layer, place) for place in chosen[:50] for layer in ("county", "enterprise")]
    async with peer[0]() as client:
        for address in addresses:
            await client.get(address)
    for _ in range(field.rounds):
        rate, p95, _ = await _measure(field, peer, addresses)
        rates.add("ours", rate)
        late.add("ours", p95)
    return [*rates.figures(), *late.figures()]
