"""Vector tiles for signed-in people: /tiles/areas/{z}/{x}/{y}, compressed, with an ETag that changes with the area data."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.context import NOBODY
from api.database import Database
from api.errors import as_error
from api.websocket import bearer
from geo.tiles import area_tile, areas_version, check_tile
from schema.problems import Problem, Refused

MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
KEEP_BYTES = 64 * 1024 * 1024
LARGE = 64 * 1024  # bytes: compressed beside the loop
VERSION_SECONDS = 10.0  # how long new boundaries may go unnoticed by a node
CACHING = "private, max-age=600"
Place = tuple[int, int, int]


@dataclass
class Cache:
    """Compressed tiles of one data version, the latest used last; at most `KEEP_BYTES`."""

    version: str = ""
    read_at: float = float("-inf")
    size: int = 0
    tiles: OrderedDict[Place, bytes] = field(default_factory=OrderedDict)

    def renew(self, version: str) -> None:
        self.read_at = time.monotonic()
        if version != self.version:
            self.version, self.size = version, 0
            self.tiles.clear()

    def get(self, place: Place) -> bytes | None:
        if place in self.tiles:
            self.tiles.move_to_end(place)
        return self.tiles.get(place)

    def put(self, place: Place, tile: bytes) -> None:
        self.size += len(tile) - len(self.tiles.get(place, b""))
        self.tiles[place] = tile
        while self.size > KEEP_BYTES:
            self.size -= len(self.tiles.popitem(last=False)[1])


async def areas(request: Request) -> Response:
    """A tile of the layers province, city and county; 204 where nothing is drawn."""
    z, x, y = (int(request.path_params[name]) for name in "zxy")
    try:
        await _signed_in(request)
    except Refused as refused:
        return _refusal(refused.problems[0], 401, {"WWW-Authenticate": "Bearer"})
    try:
        check_tile(z, x, y)
    except Refused as refused:
        return _refusal(refused.problems[0], 404)
    return await _answer(request, (z, x, y))


async def _signed_in(request: Request) -> None:
    token = bearer(request.headers.get("authorization"))
    if token is None:
        raise Refused(NOBODY)
    await request.app.state.accounts.authenticate(token, datetime.now(UTC))


async def _answer(request: Request, place: Place) -> Response:
    database: Database = request.app.state.database
    cache = _cache(request)
    if time.monotonic() - cache.read_at > VERSION_SECONDS:
        async with database.engine.connect() as connection:
            cache.renew(await areas_version(connection))
    headers = {"ETag": f'"{cache.version}"', "Cache-Control": CACHING, "Vary": "Accept-Encoding"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    tile = await _tile(database, cache, place)
    if not tile:
        return Response(status_code=204, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(tile, media_type=MEDIA_TYPE, headers={**headers, "Content-Encoding": "gzip"})
    return Response(gzip.decompress(tile), media_type=MEDIA_TYPE, headers=headers)


def _cache(request: Request) -> Cache:
    state = request.app.state
    if not hasattr(state, "tiles"):
        state.tiles = Cache()
    found: Cache = state.tiles
    return found


async def _tile(database: Database, cache: Cache, place: Place) -> bytes:
    kept = cache.get(place)
    if kept is not None:
        return kept
    version = cache.version
    async with database.engine.connect() as connection:
        raw = await area_tile(connection, *place)
    tile = await _compressed(raw)
    if version == cache.version:
        cache.put(place, tile)
    return tile


async def _compressed(raw: bytes) -> bytes:
    if not raw:
        return b""
    if len(raw) > LARGE:
        return await asyncio.to_thread(gzip.compress, raw, 5)
    return gzip.compress(raw, 5)


def _refusal(problem: Problem, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"errors": [as_error(problem)]}, status, headers)


routes = [Route("/tiles/areas/{z:int}/{x:int}/{y:int}", areas, methods=["GET"])]
