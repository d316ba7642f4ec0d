"""Vector tiles for signed-in people: /tiles/{layer}/{z}/{x}/{y}, compressed, with an ETag that changes with the reader's data.

A tile is kept under its layer, question, reader's rights and data version; the version is read before the data, so that nothing old is
ever kept as new. The tags of gaps and of counts of persons are made of the content alone: a position of the feed would tell of one write.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.database import Database
from api.endpoint import compress
from api.errors import as_error
from api.read_tokens import reading
from geo import periods, place_tiles, tile_version
from geo.coverage import AreaValue, Day, coverage, require_reader
from geo.indicators import engine, today
from geo.point_tiles import LAYERS, Cover, PointLayer, cover, point_tile, require_layer
from geo.tiles import area_layer, area_tile, areas_version, check_tile, valued_tile
from schema.actor import Actor
from schema.areas import ROOT, Level
from schema.indicators import Indicator
from schema.problems import Problem, Refused

MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
KEEP_BYTES = 64 * 1024 * 1024
KEEP_VERSIONS = 4096  # by reader and question
KEEP_TABLES, KEEP_ROWS = 64, 100_000  # values and figures of areas, and all their rows: some 50 MB
LARGE = 64 * 1024  # bytes: compressed beside the loop
AREA_SECONDS = 10.0  # how long new boundaries may go unnoticed by a node
DATA_SECONDS = 1.0  # how long new data may
PUBLIC = "private, max-age=600"  # boundaries
SCOPED = "private, no-cache"
DRAWN_LEVELS = (Level.PROVINCE, Level.CITY, Level.COUNTY, Level.TOWNSHIP)
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """Where a layer's tiles come from, for one reader and question.

    key      what tells it from other sources
    version  of the data; `draw` is called with it afterwards
    secret   the version must not be seen
    """

    key: tuple[Hashable, ...]
    version: Callable[[], Awaitable[str]]
    draw: Callable[[str, Place], Awaitable[bytes]]
    seconds: float = DATA_SECONDS
    caching: str = SCOPED
    secret: bool = False


@dataclass(frozen=True)
class Tile:
    """Compressed; empty: nothing is drawn."""

    content: bytes
    tag: str


@dataclass
class Answer:
    """Asked for once; `rows`: how much it holds, known when it is there."""

    asked: float
    result: asyncio.Future[Any]

    @property
    def failed(self) -> bool:
        return self.result.done() and (self.result.cancelled() or self.result.exception() is not None)

    @property
    def rows(self) -> int:
        found = self.result.result() if self.result.done() and not self.failed else None
        return len(found) if isinstance(found, (list, dict)) else 1


@dataclass
class Answers:
    """What many tiles share, the latest used last; at most so many, of at most so many rows altogether."""

    most: int
    most_rows: int
    kept: OrderedDict[Hashable, Answer] = field(default_factory=OrderedDict)

    async def once(self, key: Hashable, ask: Callable[[], Awaitable[Any]], seconds: float = float("inf")) -> Any:
        """The answer to a question, not older than `seconds`; all who ask meanwhile wait for the same."""
        found = self.kept.get(key)
        if found is None or found.failed or time.monotonic() - found.asked > seconds:
            found = self.kept[key] = Answer(time.monotonic(), asyncio.ensure_future(ask()))
            self._bound()
        if key in self.kept:
            self.kept.move_to_end(key)
        return found.result.result() if found.result.done() else await asyncio.shield(found.result)

    def _bound(self) -> None:
        rows = sum(answer.rows for answer in self.kept.values()) if self.most_rows else 0
        while len(self.kept) > 1 and (len(self.kept) > self.most or rows > self.most_rows > 0):
            rows -= self.kept.popitem(last=False)[1].rows


@dataclass
class Cache:
    """Compressed tiles, the latest used last, at most `KEEP_BYTES`; versions and covers; values and figures of areas."""

    size: int = 0
    tiles: OrderedDict[Hashable, Tile] = field(default_factory=OrderedDict)
    small: Answers = field(default_factory=lambda: Answers(KEEP_VERSIONS, 0))
    large: Answers = field(default_factory=lambda: Answers(KEEP_TABLES, KEEP_ROWS))

    def get(self, key: Hashable) -> Tile | None:
        if key in self.tiles:
            self.tiles.move_to_end(key)
        return self.tiles.get(key)

    def put(self, key: Hashable, tile: Tile) -> None:
        before = self.tiles.pop(key, None)
        self.size += _weight(tile) - (_weight(before) if before else 0)
        self.tiles[key] = tile
        while self.size > KEEP_BYTES:
            self.size -= _weight(self.tiles.popitem(last=False)[1])


def _weight(tile: Tile) -> int:
    return len(tile.content) + 500  # with its keys


async def tile(request: Request) -> Response:
    """A tile; 204 where nothing is drawn, 304 if it is the one that the reader has."""
    try:
        actor = (await reading(request)).actor
    except Refused as refused:
        return _refusal(refused.problems[0], 401, {"WWW-Authenticate": "Bearer"})
    place: Place = (request.path_params["z"], request.path_params["x"], request.path_params["y"])
    try:
        check_tile(*place)
        source = SOURCES[request.path_params["layer"]](request, actor)
    except KeyError:
        return _refusal(Problem("LAYER_UNKNOWN", "没有这个图层。", "layer"), 404)
    except Refused as refused:
        return _refused(refused.problems[0])
    return await _answer(request, source, place)


async def _answer(request: Request, source: Source, place: Place) -> Response:
    cache = _cache(request.app)
    try:
        version = await cache.small.once(("version", *source.key), source.version, source.seconds)
        headers = {"Cache-Control": source.caching, "Vary": "Accept-Encoding, Authorization"}
        tag = "" if source.secret else _tag(source.key, version)
        if tag and tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={**headers, "ETag": tag})
        found = await _tile(cache, source, version, place, tag)
    except Refused as refused:
        return _refused(refused.problems[0])
    headers["ETag"] = found.tag
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if not found.content:
        return Response(status_code=204, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.content, media_type=MEDIA_TYPE, headers={**headers, "Content-Encoding": "gzip"})
    return Response(gzip.decompress(found.content), media_type=MEDIA_TYPE, headers=headers)


async def _tile(cache: Cache, source: Source, version: str, place: Place, tag: str) -> Tile:
    key = (source.key, version, place)
    found = cache.get(key)
    if found is None:
        raw = await source.draw(version, place)
        found = Tile(await _compressed(raw), tag or f'"{hashlib.sha256(raw).hexdigest()[:20]}"')
        cache.put(key, found)
    return found


def _tag(key: tuple[Hashable, ...], version: str) -> str:
    return f'"{hashlib.sha256(repr((key, version)).encode()).hexdigest()[:20]}"'


def _cache(app: Starlette) -> Cache:
    if not hasattr(app.state, "tiles"):
        app.state.tiles = Cache()
    found: Cache = app.state.tiles
    return found


async def _compressed(raw: bytes) -> bytes:
    if not raw:
        return b""
    if len(raw) > LARGE:
        return await asyncio.to_thread(compress, raw)
    return compress(raw)


def _refused(problem: Problem) -> Response:
    return _refusal(problem, {"FORBIDDEN": 403, "TILE_UNKNOWN": 404, "INDICATOR_UNKNOWN": 404}.get(problem.code, 400))


def _refusal(problem: Problem, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"errors": [as_error(problem)]}, status, headers)


# --- layers -----------------------------------------------------------------------------------------------------------------


def _areas(request: Request, actor: Actor) -> Source:
    asked = request.query_params
    if "indicator" in asked:
        return _valued(request, actor)
    pool = request.app.state.database.pool
    level = _level(asked) if "level" in asked else None

    async def draw(version: str, place: Place) -> bytes:
        return await (area_layer(pool, level, *place) if level else area_tile(pool, *place))

    return Source(("areas", level), lambda: areas_version(pool), draw, AREA_SECONDS, PUBLIC)


def _valued(request: Request, actor: Actor) -> Source:
    asked, app = request.query_params, request.app
    made, level, day = engine(), _level(asked), _day(asked)
    indicator = made.declared.indicators.get(asked["indicator"])
    if indicator is None:
        raise Refused(Problem("INDICATOR_UNKNOWN", f"没有指标 {asked['indicator']}。", "indicator"))
    require_reader(made, actor, indicator)
    key = ("areas", indicator.id, level, day.on, day.period, actor.role, actor.scopes)

    async def values() -> Mapping[str, AreaValue]:
        return await _values(app.state.database, actor, indicator, level, day)

    async def draw(version: str, place: Place) -> bytes:
        shown = await _cache(app).large.once(("values", version, *key), values)
        return await valued_tile(app.state.database.pool, level, shown, *place)

    records = tile_version.records_of(made, indicator)
    return Source(key, _version(app, actor, records, "indicator_state"), draw, secret=made.declared.personal(indicator))


async def _values(database: Database, actor: Actor, indicator: Indicator, level: Level, day: Day) -> Mapping[str, AreaValue]:
    async with database.engine.connect() as connection:
        return {value.code: value for value in await coverage(connection, actor, indicator, ROOT, level, day)}


def _of_points(layer: PointLayer) -> Callable[[Request, Actor], Source]:
    def source(request: Request, actor: Actor) -> Source:
        require_layer(actor, layer)
        app, pool = request.app, request.app.state.database.pool

        async def draw(version: str, place: Place) -> bytes:
            held: Cover = await _cache(app).small.once(("cover", actor.scopes), lambda: cover(pool, actor), AREA_SECONDS)
            return await point_tile(pool, actor, layer, held, *place)

        return Source((layer.name, actor.role, actor.scopes), _version(app, actor, (layer.record,), "map_state"), draw)

    return source


def _of_figures(layer: str, find: Any, records: tuple[str, ...], *, secret: bool) -> Callable[[Request, Actor], Source]:
    def source(request: Request, actor: Actor) -> Source:
        app, on = request.app, today(datetime.now(UTC))
        key = (layer, on, actor.role, actor.scopes)

        async def figures(level: Level) -> list[place_tiles.Figure]:
            async with app.state.database.engine.connect() as connection:
                found: list[place_tiles.Figure] = await find(connection, actor, level, on)
                return found

        async def draw(version: str, place: Place) -> bytes:
            level = place_tiles.level_of(place[0])
            shown = await _cache(app).large.once(("figures", version, level, *key), lambda: figures(level))
            async with app.state.database.engine.connect() as connection:
                return await place_tiles.figure_tile(connection, layer, shown, *place)

        return Source(key, _version(app, actor, records, "indicator_state"), draw, secret=secret)

    return source


SOURCES: Mapping[str, Callable[[Request, Actor], Source]] = {
    "areas": _areas,
    **{layer.name: _of_points(layer) for layer in LAYERS.values()},
    "coordinators": _of_figures("coordinators", place_tiles.coordinators, ("coordinator",), secret=False),
    "gaps": _of_figures("gaps", place_tiles.gaps, ("coordinator", "patient", "rehab_site"), secret=True),
}


def _version(app: Starlette, actor: Actor, records: tuple[str, ...], state: str) -> Callable[[], Awaitable[str]]:
    async def version() -> str:
        return await tile_version.version(app.state.database.pool, actor.scopes, records, state)

    return version


def _level(asked: Mapping[str, str]) -> Level:
    try:
        level = Level(asked.get("level", "county").lower())
    except ValueError:
        level = Level.VILLAGE
    if level not in DRAWN_LEVELS:
        names = "、".join(each.value for each in DRAWN_LEVELS)
        raise Refused(Problem("LEVEL_INVALID", f"level 应为 {names} 之一。", "level"))
    return level


def _day(asked: Mapping[str, str]) -> Day:
    """As the query `coverage`: the last day of the period that has come; without a period the year so far."""
    on = _date(asked["asOf"]) if asked.get("asOf") else today(datetime.now(UTC))
    if not asked.get("period"):
        return Day(on)
    span = periods.parse(asked["period"])
    if span is None:
        raise Refused(Problem("PERIOD_INVALID", f"周期应写作 2020、2020Q3 或 2020-07，收到 {asked['period']!r}。", "period"))
    return Day(min(span.last, on), span.length)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(Problem("DATE_INVALID", "日期应写作 YYYY-MM-DD。", "asOf")) from None


routes = [Route("/tiles/{layer}/{z:int}/{x:int}/{y:int}", tile, methods=["GET"])]
