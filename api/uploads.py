"""Files over HTTP: tus 1.0 at /files (creation, termination, checksum, expiration), and what has been verified at /evidence.

`sync.files` does the work; here are the headers and the status of each refusal.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from api.context import NOBODY
from api.errors import BadRequest, as_error
from api.websocket import bearer
from schema.actor import Actor
from schema.problems import Problem, Refused
from sync.files import ALGORITHMS, Announced, Checksum, Files, Known, LinkLostError, Upload, content_key, thumbnail_key
from sync.pictures import THUMBNAIL_TYPE

VERSION = "1.0.0"
CHUNK_TYPE = "application/offset+octet-stream"
IDLE_SECONDS = 20.0  # without a byte; then what came is kept and the link is closed
LONGEST_METADATA = 4096
STATUS: Mapping[str, int] = {
    "UNAUTHENTICATED": 401,
    "TOKEN_EXPIRED": 401,
    "TOKEN_INVALID": 401,
    "SESSION_ENDED": 401,
    "DEVICE_NEEDED": 403,
    "UPLOAD_OF_OTHER_DEVICE": 403,
    "UPLOAD_UNKNOWN": 404,
    "EVIDENCE_UNKNOWN": 404,
    "OFFSET_MISMATCH": 409,
    "UPLOAD_EXPIRED": 410,
    "UPLOAD_FAILED": 410,
    "BEYOND_LENGTH": 413,
    "FILE_TOO_LARGE": 413,
    "UPLOAD_BUSY": 423,
    "TOO_MANY_UPLOADS": 429,
    "CHECKSUM_MISMATCH": 460,
    "EVIDENCE_HASH_MISMATCH": 460,
    "UPLOADS_CROWDED": 503,
    "STORAGE_FULL": 507,
}
RETRY = {"UPLOAD_BUSY": "2", "UPLOADS_CROWDED": "5", "STORAGE_FULL": "60", "TOO_MANY_UPLOADS": "60"}
NO_EVIDENCE = Problem("EVIDENCE_UNKNOWN", "There is no such file, or you may not see it.")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"(?:image|audio|video)/[a-z0-9][a-z0-9.+-]{0,60}|application/(?:pdf|octet-stream)")
_NUMBER = re.compile(r"0|[1-9]\d{0,15}")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")

Handler = Callable[[Request], Awaitable[Response]]


def _answering(handler: Handler) -> Handler:
    """Refusals as JSON with their status."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return _refusal(refused.problems[0])
        except BadRequest as bad:
            return JSONResponse({"errors": [as_error(bad.problem)]}, bad.status, bad.headers)

    return answer


def _refusal(problem: Problem) -> Response:
    status = STATUS.get(problem.code, 400)
    headers = {"Retry-After": RETRY[problem.code]} if problem.code in RETRY else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"errors": [as_error(problem)]}, status, headers)


def _tus(methods: Mapping[str, Handler]) -> Handler:
    """One resource of the protocol: version, method override, and the headers that every answer carries."""

    async def answer(request: Request) -> Response:
        method = request.headers.get("x-http-method-override", request.method).upper()
        response = await _answering(lambda asked: _dispatch(asked, method, methods))(request)
        response.headers["Tus-Resumable"] = VERSION
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer


async def _dispatch(request: Request, method: str, methods: Mapping[str, Handler]) -> Response:
    if method == "OPTIONS":
        return _options(request)
    if method not in methods:
        raise BadRequest(405, "METHOD_NOT_ALLOWED", "Not with this method.", {"Allow": ", ".join((*methods, "OPTIONS"))})
    if request.headers.get("tus-resumable") != VERSION:
        raise BadRequest(412, "TUS_VERSION", f"Send Tus-Resumable: {VERSION}.", {"Tus-Version": VERSION})
    return await methods[method](request)


def _options(request: Request) -> Response:
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,termination,checksum,expiration",
        "Tus-Max-Size": str(_files(request).most_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


def _files(request: Request) -> Files:
    found: Files = request.app.state.files
    return found


async def _actor(request: Request) -> Actor:
    token = bearer(request.headers.get("authorization"))
    if token is None:
        raise Refused(NOBODY)
    return (await request.app.state.accounts.authenticate(token, _now())).actor  # type: ignore[no-any-return]  # state is untyped


def _now() -> datetime:
    return datetime.now(UTC)


# --- /files ---------------------------------------------------------------------------------------------------------------


async def create(request: Request) -> Response:
    upload = await _files(request).create(await _actor(request), _announced(request), _now())
    return Response(status_code=201, headers={"Location": f"/files/{upload.id}", **_progress(upload)})


async def head(request: Request) -> Response:
    """Where to go on. Bytes that are all here but not verified yet are verified first: a full offset is a verified file."""
    files = _files(request)
    upload = await files.look_after(await files.find(await _actor(request), _id(request), _now()))
    headers = {"Upload-Length": str(upload.length), **_progress(upload)}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(headers=headers)


async def patch(request: Request) -> Response:
    if request.headers.get("content-type", "").lower() != CHUNK_TYPE:
        raise BadRequest(415, "UNSUPPORTED_MEDIA_TYPE", f"Send {CHUNK_TYPE}.")
    actor, offset, checksum = await _actor(request), _number(request, "upload-offset"), _checksum(request)
    try:
        upload = await _files(request).write(actor, _id(request), offset, _body(request), checksum, _now())
    except LinkLostError:
        raise BadRequest(408, "LINK_LOST", "The body did not arrive whole; what came is kept.", {"Connection": "close"}) from None
    return Response(status_code=204, headers=_progress(upload))


async def remove(request: Request) -> Response:
    await _files(request).remove(await _actor(request), _id(request), _now())
    return Response(status_code=204)


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _progress(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.received)}
    if upload.state == "RECEIVING":
        headers["Upload-Expires"] = format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)
    return headers


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise BadRequest(400, "HEADER_INVALID", f"{name} must be a number of bytes.")
    return int(text)


def _announced(request: Request) -> Announced:
    raw = request.headers.get("upload-metadata", "")
    length, metadata = _number(request, "upload-length"), _metadata(raw)
    sha256, media_type = metadata.get("sha256", "").lower(), metadata.get("media_type", metadata.get("filetype", "")).lower()
    if not _SHA256.fullmatch(sha256):
        raise BadRequest(400, "METADATA_INVALID", "Upload-Metadata must hold sha256: 64 hexadecimal digits in base64.")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise BadRequest(400, "METADATA_INVALID", "Upload-Metadata must hold media_type: an image, audio, video or PDF type.")
    return Announced(sha256, length, media_type, raw)


def _metadata(raw: str) -> dict[str, str]:
    if len(raw) > LONGEST_METADATA or not raw.isascii():
        raise BadRequest(400, "METADATA_INVALID", f"Upload-Metadata has at most {LONGEST_METADATA} ASCII characters.")
    try:
        pairs = [pair.strip().partition(" ") for pair in raw.split(",") if pair.strip()]
        return {name: base64.b64decode(value, validate=True).decode() for name, _, value in pairs}
    except (binascii.Error, UnicodeDecodeError):
        raise BadRequest(400, "METADATA_INVALID", "Upload-Metadata must be pairs of a name and a value in base64.") from None


def _checksum(request: Request) -> Checksum | None:
    raw = request.headers.get("upload-checksum")
    if raw is None:
        return None
    algorithm, _, value = raw.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm not in ALGORITHMS or not digest:
        raise BadRequest(400, "CHECKSUM_INVALID", f"Upload-Checksum must name one of {', '.join(ALGORITHMS)} and a digest in base64.")
    return Checksum(algorithm, digest)


async def _body(request: Request) -> AsyncIterator[bytes]:
    blocks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                block = await anext(blocks)
        except StopAsyncIteration:
            return
        except (ClientDisconnect, TimeoutError):
            raise LinkLostError from None
        if block:
            yield block


# --- /evidence ------------------------------------------------------------------------------------------------------------


async def evidence(request: Request) -> Response:
    """HEAD tells a person that he need not send a file; GET is for those who may read a record that names it."""
    actor, sha256 = await _actor(request), _hash(request)
    if request.method == "HEAD":
        known = await _files(request).held(actor, sha256)
        if known is None:
            raise Refused(NO_EVIDENCE)
        return Response(headers={"Content-Length": str(known.size), "Cache-Control": "no-store"})
    return _content(request, await _readable(request, actor, sha256))


async def thumbnail(request: Request) -> Response:
    actor, sha256 = await _actor(request), _hash(request)
    known = await _readable(request, actor, sha256)
    if not known.thumbnail:
        raise Refused(NO_EVIDENCE)
    return Response(await _files(request).vault.get(thumbnail_key(sha256)), headers=_lasting(sha256), media_type=THUMBNAIL_TYPE)


def _hash(request: Request) -> str:
    sha256 = str(request.path_params["sha256"]).lower()
    if not _SHA256.fullmatch(sha256):
        raise Refused(NO_EVIDENCE)
    return sha256


async def _readable(request: Request, actor: Actor, sha256: str) -> Known:
    known = await _files(request).readable(actor, sha256)
    if known is None:
        raise Refused(NO_EVIDENCE)
    return known


def _content(request: Request, known: Known) -> Response:
    """The original, always as a download: a browser never runs or draws what a device sent."""
    start, end = _span(request.headers.get("range", ""), known.size)
    headers = {**_lasting(known.sha256), "Accept-Ranges": "bytes", "Content-Length": str(end - start), "Content-Disposition": "attachment"}
    partial = end - start < known.size
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{known.size}"
    if start == end:
        return Response(headers=headers, media_type=known.media_type)
    stream = _files(request).vault.stream(content_key(known.sha256), start, end)
    return StreamingResponse(stream, 206 if partial else 200, headers, known.media_type)


def _lasting(sha256: str) -> dict[str, str]:
    return {"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=3600, immutable", "Vary": "Authorization"}


def _span(asked: str, size: int) -> tuple[int, int]:
    """(start, end) of one range; the whole file for anything else that isn't out of bounds."""
    found = _RANGE.fullmatch(asked)
    if not found or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1 if last else size, size)
    if start >= size:
        raise BadRequest(416, "RANGE_INVALID", "The file is shorter than that.", {"Content-Range": f"bytes */{size}"})
    return (start, end) if end > start else (0, size)


_VERBS = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"]
routes = [
    Route("/files", _tus({"POST": create}), methods=_VERBS),
    Route("/files/{id:uuid}", _tus({"HEAD": head, "PATCH": patch, "DELETE": remove}), methods=_VERBS),
    Route("/evidence/{sha256}", _answering(evidence), methods=["GET"]),
    Route("/evidence/{sha256}/thumbnail", _answering(thumbnail), methods=["GET"]),
]
