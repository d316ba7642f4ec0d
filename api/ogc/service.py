"""The routes at /ogc: who asks, in which format, what is answered, and how a refusal reads. Everything is read only.

A refusal is application/problem+json (RFC 9457) that is also the standard's exception: `code`, `description`, and `parameter` for
the one that does not fit. An ETag is a digest of the answer, so it is right whatever changed; it saves the way, not the work.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.accounts import Audit, audit
from api.database import Database
from api.endpoint import LARGE, SMALL, compress
from api.errors import BadRequest, log_bug
from api.limits import Limits
from api.ogc import documents, tilesets
from api.ogc.asked import asked, single
from api.ogc.catalogue import layer, layers
from api.ogc.documents import GEOJSON, JSON, OPENAPI, PROBLEM, SCHEMA, link
from api.ogc.layers import Page, Source
from api.pressure import Gate
from api.read_tokens import Reading, reading
from schema.problems import Problem, Refused

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Accept, Accept-Encoding"}
SIGN_IN = frozenset({"UNAUTHENTICATED", "SESSION_ENDED", "READ_TOKEN_INVALID", "READ_TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_EXPIRED"})
STATUS: Mapping[str, int] = {
    **dict.fromkeys(SIGN_IN, 401),
    "COLLECTION_UNKNOWN": 404,
    "FEATURE_UNKNOWN": 404,
    "TILESET_UNKNOWN": 404,
    "PARAMETER_INVALID": 400,
    "PARAMETER_UNKNOWN": 400,
}


@dataclass(frozen=True)
class Call:
    """One request of somebody who is signed in."""

    request: Request
    reading: Reading
    now: datetime

    @property
    def base(self) -> str:
        return f"{str(self.request.base_url).rstrip('/')}/ogc"

    @property
    def source(self) -> Source:
        database: Database = self.request.app.state.database
        return Source(database, self.reading.actor, self.now)

    @property
    def given(self) -> list[tuple[str, str]]:
        return self.request.query_params.multi_items()


Handler = Callable[[Call], Awaitable[bytes]]


async def _landing(call: Call) -> bytes:
    return _plain(call, documents.landing(call.base))


async def _conformance(call: Call) -> bytes:
    return _plain(call, documents.conformance())


async def _api(call: Call) -> bytes:
    return _plain(call, documents.openapi(call.base, layers(call.reading.actor).values()))


async def _collections(call: Call) -> bytes:
    return _plain(call, documents.collections(call.base, layers(call.reading.actor).values()))


async def _collection(call: Call) -> bytes:
    return _plain(call, documents.collection(call.base, layer(call.reading.actor, call.request.path_params["collection"])))


async def _queryables(call: Call) -> bytes:
    return _plain(call, documents.queryables(call.base, layer(call.reading.actor, call.request.path_params["collection"])))


async def _schema(call: Call) -> bytes:
    return _plain(call, documents.schema(call.base, layer(call.reading.actor, call.request.path_params["collection"])))


async def _items(call: Call) -> bytes:
    found = layer(call.reading.actor, call.request.path_params["collection"])
    wanted = asked(call.given, found.most, list(found.filters))
    page = await found.page(call.source, wanted)
    await note_export(call.source.database, call.reading, call.now, found.id, [name for name, _ in call.given])
    return feature_collection(page, _page_links(call, page))


async def _item(call: Call) -> bytes:
    found = layer(call.reading.actor, call.request.path_params["collection"])
    own = single(call.given, ["f", *found.chosen])
    feature_id = call.request.path_params["feature"]
    body = await found.one(call.source, feature_id, {name: own[name] for name in found.chosen if name in own})
    if body is None:
        raise Refused(Problem("FEATURE_UNKNOWN", f"图层 {found.id} 中没有 {feature_id}，或不在您的辖区范围内。", "featureId"))
    here = f"{call.base}/collections/{found.id}"
    links = [link(str(call.request.url), "self", GEOJSON), link(here, "collection")]
    return b'%b,"links":%b}' % (body.rstrip()[:-1], orjson.dumps(links))


async def _tilesets(call: Call) -> bytes:
    return _plain(call, tilesets.tilesets(call.base, call.reading.actor))


async def _tileset(call: Call) -> bytes:
    name = call.request.path_params["tileset"]
    found = tilesets.offered(call.reading.actor).get(name)
    if found is None:
        raise Refused(Problem("TILESET_UNKNOWN", f"没有瓦片集 {name}，或您的角色无权查看；清单见 /ogc/tiles。", "tileset"))
    return _plain(call, tilesets.tileset(call.base, name, found))


async def _matrix_sets(call: Call) -> bytes:
    return _plain(call, tilesets.matrix_sets(call.base))


async def _matrix_set(call: Call) -> bytes:
    return _plain(call, tilesets.matrix_set(call.base))


async def _nowhere(call: Call) -> bytes:
    raise BadRequest(404, "NOT_FOUND", "没有这个地址；从 /ogc 的链接开始。")


def _plain(call: Call, document: documents.Document) -> bytes:
    single(call.given, ["f"])
    return orjson.dumps(document)


def feature_collection(page: Page, links: list[documents.Document]) -> bytes:
    """The page as GeoJSON, its features untouched as they came."""
    matched = b"" if page.matched is None else b'"numberMatched":%d,' % page.matched
    head = b'{"type":"FeatureCollection",%b"numberReturned":%d,"links":%b,"features":[' % (matched, page.count, orjson.dumps(links))
    return b"%b%b]}" % (head, page.features)


def _page_links(call: Call, page: Page) -> list[documents.Document]:
    url = call.request.url
    links = [link(str(url), "self", GEOJSON), link(str(url.replace(path=url.path.removesuffix("/items"), query="")), "collection")]
    if page.after is not None:
        query = urlencode([*((name, value) for name, value in call.given if name != "after"), ("after", page.after)])
        links.append(link(str(url.replace(query=query)), "next", GEOJSON))
    return links


async def note_export(database: Database, who: Reading, now: datetime, name: str, parameters: list[str]) -> None:
    """Somebody reads a collection: the audit keeps which, and by which parameters; never their values, which may name somebody."""
    detail = {"collection": name, "parameters": sorted(set(parameters)), **({"token": who.token_id} if who.token_id else {})}
    async with database.engine.begin() as connection:
        actor = who.actor
        await audit(connection, now, Audit.EXPORT, user_id=actor.user_id, device_id=actor.device_id, detail=detail)


# --- the edge ---------------------------------------------------------------------------------------------------------------


async def _answer(request: Request, handler: Handler, media_type: str) -> Response:
    began = time.perf_counter()
    try:
        response = await _serve(request, handler, media_type)
    except BadRequest as refused:
        response = _refusal(refused.status, refused.problem, refused.headers)
    except Refused as refused:
        response = _refusal(STATUS.get(refused.problems[0].code, 403), refused.problems[0])
    except Exception as bug:  # the edge: nobody above would answer
        response = _refusal(500, Problem("INTERNAL", f"内部错误 {log_bug(bug)}。"))
    request.app.state.metrics.request("ogc", response.status_code, time.perf_counter() - began)
    return response


async def _serve(request: Request, handler: Handler, media_type: str) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise BadRequest(405, "METHOD_NOT_ALLOWED", "这里只供读取：请用 GET。", {"Allow": "GET, HEAD"})
    if not acceptable(request.headers.get("accept"), media_type):
        raise BadRequest(406, "NOT_ACCEPTABLE", f"只能以 {media_type} 回答。")
    who = await reading(request)
    async with _gate(request).admitted(who.actor.user_id):
        body = await handler(Call(request, who, datetime.now(UTC)))
    return await _respond(request, body, media_type)


def acceptable(header: str | None, media_type: str) -> bool:
    """Whether an Accept header takes our type, or plain JSON, which all of ours are."""
    ours = {media_type.partition(";")[0], JSON}
    for part in (header or "*/*").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        refused = any(text.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for text in parameters)
        if not refused and (name in ours or name in ("*/*", "application/*", "application/openapi+json")):
            return True
    return False


async def _respond(request: Request, body: bytes, media_type: str) -> Response:
    headers = {**HEADERS, "ETag": f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if _known(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if len(body) >= SMALL and "gzip" in request.headers.get("accept-encoding", ""):
        body = await asyncio.to_thread(compress, body) if len(body) > LARGE else compress(body)
        headers["Content-Encoding"] = "gzip"
    return Response(body, 200, headers, media_type=media_type)


def _known(header: str, etag: str) -> bool:
    return header.strip() == "*" or any(part.strip() == etag for part in header.split(","))


def _refusal(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.message,
        "code": problem.code,
        "description": problem.message,
        **({"parameter": problem.field} if problem.field else {}),
    }
    challenge = {"WWW-Authenticate": 'Bearer realm="zhijian"'} if status == 401 else {}
    return Response(
        orjson.dumps(body), status, {**HEADERS, "Cache-Control": "no-store", **challenge, **(headers or {})}, media_type=PROBLEM
    )


def _gate(request: Request) -> Gate:
    """A page may be megabytes: so many of one person, and of all, are made at once."""
    state = request.app.state
    if not hasattr(state, "ogc_gate"):
        limits = Limits()
        state.ogc_gate = Gate(limits.bulk_each, limits.bulk_total, limits.queue_each, limits.queue_total, limits.queue_seconds)
    found: Gate = state.ogc_gate
    return found


def _route(path: str, handler: Handler, media_type: str = JSON) -> Route:
    async def answer(request: Request) -> Response:
        return await _answer(request, handler, media_type)

    return Route(path, answer, methods=METHODS)


COLLECTION = "/ogc/collections/{collection}"
routes = [
    _route("/ogc", _landing),
    _route("/ogc/", _landing),
    _route("/ogc/conformance", _conformance),
    _route("/ogc/api", _api, OPENAPI),
    _route("/ogc/collections", _collections),
    _route(COLLECTION, _collection),
    _route(f"{COLLECTION}/queryables", _queryables, SCHEMA),
    _route(f"{COLLECTION}/schema", _schema, SCHEMA),
    _route(f"{COLLECTION}/items", _items, GEOJSON),
    _route(f"{COLLECTION}/items/{{feature}}", _item, GEOJSON),
    _route("/ogc/tiles", _tilesets),
    _route("/ogc/tiles/{tileset}", _tileset),
    _route("/ogc/tileMatrixSets", _matrix_sets),
    _route("/ogc/tileMatrixSets/WebMercatorQuad", _matrix_set),
    _route("/ogc/{rest:path}", _nowhere),
]
