"""The application, put together in plain sight."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import strawberry
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.accounts import Accounts
from api.contacts import Contacts, measured
from api.context import RequestContext
from api.database import Database
from api.documents import Documents
from api.endpoint import Endpoint
from api.exports import routes as export_routes
from api.graphql.schema import build_schema
from api.health import healthz, readyz
from api.limits import Limits
from api.metrics import Metrics, metrics
from api.ogc.service import routes as open_routes
from api.parts import feed, files
from api.pressure import Pressure
from api.proofs import Proof
from api.settings import ROOT, Settings
from api.surface import MUTATIONS, QUERIES
from api.tiles import routes as tile_routes
from api.tokens import Keys
from api.uploads import routes as file_routes
from api.websocket import SocketEndpoint, bearer
from schema.problems import Refused

Part = Callable[[Starlette], AbstractAsyncContextManager[None]]
"""Something that runs as long as the app: it is entered with the database open (the stamper, the wake hub)."""

PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
TIANDITU = "https://*.tianditu.gov.cn"
"""The only place outside from which the page may load, and only where its key is set."""
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"geolocation=(self), camera=(self), microphone=(self)"),
]


def build(
    settings: Settings,
    schema: strawberry.Schema | None = None,
    *,
    parts: Sequence[Part] = (feed, files),
    routes: Sequence[BaseRoute] = (*tile_routes, *file_routes, *export_routes, *open_routes),
    limits: Limits | None = None,
) -> Starlette:
    """The whole app. `app.state` has settings, database, accounts, metrics and sockets; while it runs, stamper, hub and files."""
    schema = schema or whole_schema()
    limits = limits or Limits()
    database = Database(settings.database_url or "", settings.read_database_url)
    accounts = Accounts(database, Keys(settings.data / "keys"), settings)
    figures = Metrics()
    documents = Documents(schema, limits, hide_suggestions=settings.production)
    contexts = Contexts(database, accounts, settings)
    pressure = Pressure(limits)
    figures.observe("zhijian_waiting", "Requests that wait for their turn", lambda: float(pressure.bulk.waiting + pressure.light.waiting))
    endpoint = Endpoint(documents, contexts.of_request, figures, limits, settings.production, pressure)
    sockets = SocketEndpoint(documents, contexts.of_socket, figures, limits, settings.production, pressure)
    app = Starlette(
        routes=[
            Route("/graphql", endpoint.handle, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", sockets.handle),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *routes,
            *web_client(),
        ],
        middleware=[Middleware(SafeHeaders, policy=page_policy(settings))],
        lifespan=lifespan(parts),
    )
    app.state.settings, app.state.database, app.state.accounts = settings, database, accounts
    app.state.metrics, app.state.sockets, app.state.contacts = figures, sockets.sockets, Contacts(database)
    return app


@cache
def whole_schema() -> strawberry.Schema:
    """All that can be asked of the registered records; it never changes, so apps of one process share it."""
    return build_schema(queries=QUERIES, mutations=MUTATIONS)


def lifespan(parts: Sequence[Part]) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(app: Starlette) -> AsyncIterator[None]:
        app.state.accounts.keys.load()
        async with AsyncExitStack() as stack:
            await app.state.database.open()
            stack.push_async_callback(app.state.database.close)
            await stack.enter_async_context(app.state.contacts.running())
            for part in parts:
                await stack.enter_async_context(part(app))
            stack.push_async_callback(app.state.sockets.close)
            yield

    return run


class Page(StaticFiles):
    """The built page: files named by their content are kept for good and packed by the build; the page itself is asked for anew."""

    def file_response(self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        packed = Path(f"{full_path}.gz")
        takes = "gzip" in Headers(scope=scope).get("accept-encoding", "") and packed.exists()
        response = super().file_response(*((packed, packed.stat()) if takes else (full_path, stat_result)), scope, status_code)
        if takes:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        kept = "/assets/" in str(full_path)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response


def web_client() -> list[Mount]:
    """The page at / if it has been built."""
    folder = ROOT / "web" / "dist"
    return [Mount("/", GZipMiddleware(Page(directory=folder, html=True), minimum_size=1024))] if folder.is_dir() else []


class Contexts:
    """Makes the context of a request or socket: who asks, and when."""

    def __init__(self, database: Database, accounts: Accounts, settings: Settings) -> None:
        self.database = database
        self.accounts = accounts
        self.settings = settings

    async def of_request(self, request: Request) -> RequestContext:
        proof = Proof(request.headers.get("dpop"), request.method, request.url.path)
        context = self._context(request, bearer(request.headers.get("authorization")), proof)
        await self._identify(context)
        if context.actor and context.actor.device_id and context.contacts:
            offset = measured(request.headers.get("x-device-clock"), int(request.scope.get("arrived", context.now.timestamp()) * 1000))
            context.offset_ms = context.offset_ms if offset is None else offset
            context.contacts.seen(context.actor.device_id, context.now, offset)
        return context

    async def of_socket(self, socket: WebSocket, token: str | None, proof: str | None, *, proven: bool = False) -> RequestContext:
        """`proven`: this socket has shown its device's key before."""
        context = self._context(socket, token, Proof(proof, "GET", socket.url.path))
        await self._identify(context, proven=proven)
        return context

    def _context(self, connection: HTTPConnection, token: str | None, proof: Proof) -> RequestContext:
        address = connection.client.host if connection.client else ""
        context = RequestContext(None, self.database, self.settings, self.accounts, datetime.now(UTC), address, token, proof=proof)
        context.hub = getattr(connection.app.state, "hub", None)
        context.contacts = connection.app.state.contacts
        return context

    async def _identify(self, context: RequestContext, *, proven: bool = False) -> None:
        """A bad token is no error yet: refresh and login are asked with one."""
        if not context.token:
            return
        try:
            who = await self.accounts.authenticate(context.token, context.now, context.proof, proven=proven)
        except Refused as refused:
            context.refusal = refused.problems[0]
            return
        context.actor, context.expires_at, context.offset_ms = who.actor, who.expires_at, who.offset_ms
        context.changes_at = who.changes_at


class SafeHeaders:
    """Adds the headers that keep a browser from guessing, framing and loading from elsewhere."""

    def __init__(self, app: ASGIApp, policy: str = PAGE_POLICY) -> None:
        self.app = app
        self.headers = [*HEADERS, (b"content-security-policy", policy.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["arrived"] = time.time()  # before the body, which may take its time: clocks are compared by it
        await self.app(scope, receive, _with_headers(send, self.headers) if scope["type"] == "http" else send)


def page_policy(settings: Settings) -> str:
    """What the page may load, and from where."""
    if not settings.tianditu_key:
        return PAGE_POLICY
    return PAGE_POLICY.replace("img-src 'self'", f"img-src 'self' {TIANDITU}").replace(
        "connect-src 'self'", f"connect-src 'self' {TIANDITU}"
    )


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    async def add(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return add
