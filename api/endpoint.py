"""GraphQL over HTTP at /graphql: https://graphql.github.io/graphql-over-http/draft/

Whatever a client sends is answered with a code; only a bug of ours is a 500, and that with a number that stands in the log.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from graphql import OperationDefinitionNode, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.context import RequestContext
from api.documents import Invalid, Prepared, choose
from api.errors import BadRequest, as_error, log_bug
from api.limits import Limits, too_deep
from api.serving import Serving
from schema.problems import Problem

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
SMALL = 1024  # bytes: not worth compressing
LARGE = 64 * 1024  # bytes: compressed beside the loop
CLOSE = {"Connection": "close"}  # the rest of the body is not read
Take = Callable[[int], None]
MakeContext = Callable[[Request], Awaitable[RequestContext]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A well-formed request."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None


@dataclass(slots=True)
class Answer:
    body: dict[str, Any]
    status: int = 200
    operation: str = "invalid"
    headers: dict[str, str] | None = None


class Endpoint(Serving[MakeContext]):
    """Answers GET and POST on /graphql from `documents`, with a context from `make_context`."""

    async def handle(self, request: Request) -> Response:
        began = time.perf_counter()
        media_type = accepted(request.headers.get("accept"))
        with self.pressure.bodies.share(_sender(request)) as take:
            answer = await self._answer(request, media_type, take)
            response = await respond(answer, media_type or JSON, request.headers.get("accept-encoding", ""))
        self.metrics.request(answer.operation, response.status_code, time.perf_counter() - began)
        return response

    async def _answer(self, request: Request, media_type: str | None, take: Take) -> Answer:
        try:
            if media_type is None:
                raise BadRequest(406, "NOT_ACCEPTABLE", f"Answers come as {GRAPHQL} or {JSON}.")
            return await self._serve(request, await read(request, self.limits, take), media_type)
        except BadRequest as refused:
            return Answer({"errors": [as_error(refused.problem)]}, refused.status, headers=refused.headers)
        except ClientDisconnect:
            return Answer({"errors": [as_error(Problem("DISCONNECTED", "The client went away."))]}, 400)
        except Exception as bug:  # the edge: nobody above would answer
            return Answer({"errors": [_internal(bug)]}, 500)

    async def _serve(self, request: Request, asked: Asked, media_type: str) -> Answer:
        prepared = self.documents.prepare(asked.query)
        if isinstance(prepared, Invalid):
            return Answer({"errors": prepared.errors}, 400 if prepared.over_limit else _refusal_status(media_type))
        operation = choose(prepared, asked.operation_name)
        _check_method(request.method, operation.operation)
        context = await self.make_context(request)
        refuse_introspection(prepared, context, self.production)
        return await self._run(prepared, operation, asked, context, media_type)

    async def _run(
        self, prepared: Prepared, operation: OperationDefinitionNode, asked: Asked, context: RequestContext, media_type: str
    ) -> Answer:
        async with self.pressure.admitted(context, operation):
            context.now = datetime.now(UTC)  # it may have waited
            body = await self.documents.run(prepared, operation, asked.variables, context)
        return Answer(body, 200 if "data" in body else _refusal_status(media_type), operation.operation.value)


def refuse_introspection(prepared: Prepared, context: RequestContext, production: bool) -> None:
    if production and prepared.introspects and context.actor is None:
        raise BadRequest(403, "INTROSPECTION_REFUSED", "Sign in to read the schema.")


@lru_cache(256)
def accepted(header: str | None) -> str | None:
    """The media type of the answer to an Accept header; None if neither of ours will do."""
    weights: dict[str, float] = {}
    for part in (header or "*/*").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weights[name] = _weight(parameters)
    best = {name: next((weights[key] for key in (name, "application/*", "*/*") if key in weights), 0.0) for name in (JSON, GRAPHQL)}
    if GRAPHQL in weights and best[GRAPHQL] > 0 and best[GRAPHQL] >= best[JSON]:
        return GRAPHQL
    return JSON if best[JSON] > 0 else GRAPHQL if best[GRAPHQL] > 0 else None


def _weight(parameters: list[str]) -> float:
    found = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    return float(found) if re.fullmatch(r"[01](\.\d{0,3})?", found) else 1.0


def _sender(request: Request) -> str:
    return request.headers.get("authorization") or (request.client.host if request.client else "")


async def read(request: Request, limits: Limits, take: Take) -> Asked:
    """What is asked, by GET or POST; `take` is told of each chunk's length. Raises BadRequest."""
    if request.method == "GET":
        return asked(_from_url(request), limits)
    _check_content_type(request)
    return asked(_parse(await _body(request, limits, take)), limits)


def _from_url(request: Request) -> dict[str, Any]:
    given: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = _parse(given[name])
    return given


def _check_content_type(request: Request) -> None:
    """JSON alone is taken: no form of a foreign page can send it without asking first."""
    media_type, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media_type.strip() != JSON or charset not in ("", "utf-8", "utf8"):
        raise BadRequest(415, "UNSUPPORTED_MEDIA_TYPE", f"Send {JSON} in UTF-8.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest(415, "UNSUPPORTED_ENCODING", "Send the body uncompressed.")


async def _body(request: Request, limits: Limits, take: Take) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body_bytes + limits.drain_bytes:
        raise _too_large(limits)
    try:
        return await _chunks(request, limits, take)
    except TimeoutError:
        raise BadRequest(408, "BODY_TOO_SLOW", "The body did not arrive in time.", CLOSE) from None


async def _chunks(request: Request, limits: Limits, take: Take) -> bytes:
    clock = asyncio.get_running_loop().time
    deadline = clock() + limits.body_seconds
    chunks: list[bytes] = []
    size = 0
    async with asyncio.timeout(limits.body_idle_seconds) as patience:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limits.body_bytes + limits.drain_bytes:
                raise _too_large(limits)
            if size <= limits.body_bytes:
                take(len(chunk))
                chunks.append(chunk)
            patience.reschedule(min(clock() + limits.body_idle_seconds, deadline))
    if size > limits.body_bytes:
        raise _too_large(limits)
    return b"".join(chunks)


def _too_large(limits: Limits) -> BadRequest:
    return BadRequest(413, "BODY_TOO_LARGE", f"At most {limits.body_bytes} bytes fit in one request.", CLOSE)


def _parse(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(400, "BAD_JSON", "This is not JSON in UTF-8, or it nests too deeply.") from None


def asked(given: Any, limits: Limits) -> Asked:
    """The request in a JSON value. Raises BadRequest."""
    if isinstance(given, list):
        raise BadRequest(400, "BATCHING_REFUSED", "Send one operation per request; several fields fit in one operation.")
    if not isinstance(given, dict):
        raise BadRequest(400, "BAD_REQUEST", "The request must be a JSON object with a query.")
    query = given.get("query")
    if not isinstance(query, str) or not query:
        raise BadRequest(400, "QUERY_MISSING", "query must be a string that holds a GraphQL document.")
    name = _typed(given, "operationName", str, "a string")
    _typed(given, "extensions", dict, "an object")
    variables = _typed(given, "variables", dict, "an object")
    if too_deep(variables, limits.json_depth):
        raise BadRequest(400, "VARIABLES_TOO_DEEP", f"Variables nest deeper than {limits.json_depth} levels.")
    return Asked(query, name, variables)


def _typed(given: dict[str, Any], name: str, kind: type, what: str) -> Any:
    value = given.get(name)
    if value is not None and not isinstance(value, kind):
        raise BadRequest(400, "BAD_REQUEST", f"{name} must be {what} or null.")
    return value


def _check_method(method: str, operation: OperationType) -> None:
    if operation is OperationType.SUBSCRIPTION:
        raise BadRequest(400, "SUBSCRIPTION_NEEDS_WEBSOCKET", "Subscribe over WebSocket with graphql-transport-ws.")
    if method == "GET" and operation is not OperationType.QUERY:
        raise BadRequest(405, "MUTATION_NEEDS_POST", "Send mutations by POST.", {"Allow": "POST"})


def _refusal_status(media_type: str) -> int:
    """A request that never began: 400, but 200 for clients of the older media type, as the specification says."""
    return 400 if media_type == GRAPHQL else 200


def _internal(bug: BaseException) -> dict[str, Any]:
    return {"message": "internal error", "extensions": {"code": "INTERNAL", "id": log_bug(bug)}}


async def respond(answer: Answer, media_type: str, accept_encoding: str) -> Response:
    try:
        body = orjson.dumps(answer.body)
    except orjson.JSONEncodeError as bug:
        body, answer.status = orjson.dumps({"errors": [_internal(bug)]}), 500
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Accept-Encoding", **(answer.headers or {})}
    if len(body) >= SMALL and "gzip" in accept_encoding:
        body = await asyncio.to_thread(compress, body) if len(body) > LARGE else compress(body)
        headers["Content-Encoding"] = "gzip"
    return Response(body, answer.status, headers, media_type=f"{media_type}; charset=utf-8")


def compress(body: bytes) -> bytes:
    """gzip at level 1: a page of 850 kB in 5 ms."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
