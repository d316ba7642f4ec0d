"""GraphQL over WebSocket at /graphql: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

A subscription that ends from our side (expired token, restart, lost feed) is never told `error` or `complete`: RxDB would
take that as the end of the stream. The socket closes instead, with a code after which clients come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import orjson
from graphql import ExecutionResult, OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from api.context import RequestContext
from api.documents import Invalid, answer, choose
from api.endpoint import asked, refuse_introspection
from api.errors import BadRequest, as_error, log_bug
from api.serving import Serving
from schema.problems import Refused

PROTOCOL = "graphql-transport-ws"
RECHECK_SECONDS = 30.0  # how soon a log-out or a revoked device reaches an open socket
SEND_SECONDS = 20.0  # a peer that takes nothing for so long is gone


class MakeContext(Protocol):
    """Says who asks; `proven` for a socket that has shown its device's key before."""

    def __call__(self, socket: WebSocket, token: str | None, proof: str | None, *, proven: bool = False) -> Awaitable[RequestContext]: ...


class Closed(Exception):  # noqa: N818 - how a conversation ends
    """The socket must close with a code of the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Sockets:
    """The open sockets of this process, so that a restart can send them all away."""

    def __init__(self) -> None:
        self.open: set[Conversation] = set()

    def doubt(self, user_id: str | None) -> None:
        """Looks again at once who this person is and what they may see; None: everybody."""
        for conversation in self.open:
            if conversation.context and conversation.context.actor and user_id in (None, conversation.context.actor.user_id):
                conversation.doubted.set()

    async def close(self) -> None:
        await asyncio.gather(*(conversation.leave(1012, "Service Restart") for conversation in list(self.open)))


@dataclass(eq=False)
class SocketEndpoint(Serving[MakeContext]):
    """Serves WebSockets from `documents`; `make_context` gets the socket and the bearer token, and says who it is and until when."""

    sockets: Sockets = field(default_factory=Sockets)

    async def handle(self, socket: WebSocket) -> None:
        if PROTOCOL not in socket.scope.get("subprotocols", ()):
            await socket.accept()
            await socket.close(4406, "Subprotocol not acceptable")
            return
        await socket.accept(PROTOCOL)
        conversation = Conversation(self, socket)
        self.sockets.open.add(conversation)
        try:
            with self.metrics.sockets.track_inprogress():
                await conversation.run()
        finally:
            self.sockets.open.discard(conversation)


class Conversation:
    """One socket: its identity, and the operations that run on it."""

    def __init__(self, endpoint: SocketEndpoint, socket: WebSocket) -> None:
        self.endpoint = endpoint
        self.limits = endpoint.limits
        self.socket = socket
        self.context: RequestContext | None = None
        self.initialised = False
        self.operations: dict[str, asyncio.Task[None]] = {}
        self.watch: asyncio.Task[None] | None = None
        self.sending = asyncio.Lock()
        self.doubted = asyncio.Event()

    async def run(self) -> None:
        self.watch = asyncio.create_task(self._guard(self._await_init))
        try:
            await self._guard(self._listen)
        finally:
            await self._cancel()

    async def leave(self, code: int, reason: str) -> None:
        """Closes from our side; what runs is dropped without a word."""
        if self.socket.application_state is WebSocketState.CONNECTED and self.socket.client_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await self.socket.close(code, reason)

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Runs one of the conversation's tasks; however it fails, the socket closes with a code. `work` is begun when its turn comes."""
        try:
            await work(*arguments)
        except Closed as closed:
            await self.leave(closed.code, closed.reason)
        except (WebSocketDisconnect, TimeoutError):
            await self.leave(1013, "Try again later")
        except Exception as bug:  # the edge: nobody above would close
            log_bug(bug)
            await self.leave(1013, "Try again later")

    async def _cancel(self) -> None:
        tasks = [*self.operations.values(), *([self.watch] if self.watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _await_init(self) -> None:
        await asyncio.sleep(self.limits.init_seconds)
        raise Closed(4408, "Connection initialisation timeout")

    async def _listen(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._handle(self._read(message))

    def _read(self, message: Any) -> dict[str, Any]:
        text = message.get("text")
        if text is None or len(text) > self.limits.frame_characters:
            raise Closed(4400, "Send text frames of a sensible size")
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Closed(4400, "This is not JSON") from None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise Closed(4400, "A message is an object with a type")
        return frame

    async def _handle(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "connection_init":
                await self._initialise(_optional(frame, "payload"))
            case "ping":
                await self._send({"type": "pong", **({"payload": _optional(frame, "payload")} if frame.get("payload") else {})})
            case "pong":
                _optional(frame, "payload")
            case "subscribe":
                self._subscribe(frame)
            case "complete":
                self._stop(_id(frame))
            case _:
                raise Closed(4400, "Unknown message type")

    async def _initialise(self, payload: dict[str, Any]) -> None:
        if self.initialised:
            raise Closed(4429, "Too many initialisation requests")
        self.initialised = True
        if self.watch:
            self.watch.cancel()  # from here on it is we who take our time
        token = bearer(payload.get("authorization") or payload.get("Authorization"))
        proof = payload.get("dpop") or payload.get("DPoP")
        self.context = await self._identify(token, proof if isinstance(proof, str) else None)
        self._watch_identity(token)
        await self._send({"type": "connection_ack"})

    async def _identify(self, token: str | None, proof: str | None = None, *, proven: bool = False) -> RequestContext:
        """4403 and not 4401 without a valid token: after 4401 graphql-ws gives up, after 4403 it comes back with a new token."""
        context = await self.endpoint.make_context(self.socket, token, proof, proven=proven)
        if context.actor is None:
            raise Closed(4403, context.refusal.code if context.refusal else "Forbidden")
        return context

    def _watch_identity(self, token: str | None) -> None:
        if self.watch:
            self.watch.cancel()
        self.watch = asyncio.create_task(self._guard(self._recheck, token))

    async def _recheck(self, token: str | None) -> None:
        while self.context:
            await self._until_doubtful(self.context)
            self._change_to(self.context, await self._identify(token, proven=True))

    async def _until_doubtful(self, context: RequestContext) -> None:
        """Until the token ends, a grant begins or ends, somebody says that something changed, or a while has passed."""
        turns = [turn for turn in (context.expires_at, context.changes_at) if turn is not None]
        left = min(turns) - datetime.now(context.now.tzinfo).timestamp()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.doubted.wait(), max(0.0, min(left, RECHECK_SECONDS)))
        self.doubted.clear()

    def _change_to(self, before: RequestContext, context: RequestContext) -> None:
        """Open wake subscriptions follow the person's scopes."""
        assert before.actor is not None  # only identified people get so far
        assert context.actor is not None
        context.listening = before.listening
        if set(before.actor.scopes) != set(context.actor.scopes):
            for subscription in context.listening:
                subscription.move(context.actor.scopes)
        self.context = context

    def _subscribe(self, frame: dict[str, Any]) -> None:
        if self.context is None:
            raise Closed(4401, "Unauthorized")
        name = _id(frame)
        payload = frame.get("payload")
        if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
            raise Closed(4400, "A subscription needs a payload with a query")
        if name in self.operations:
            raise Closed(4409, f"Subscriber for {name} already exists")
        if len(self.operations) >= self.limits.subscriptions:
            raise Closed(4429, "Too many operations at once")
        self.operations[name] = asyncio.create_task(self._guard(self._operate, name, payload))

    def _stop(self, name: str) -> None:
        task = self.operations.pop(name, None)
        if task:
            task.cancel()

    async def _operate(self, name: str, payload: dict[str, Any]) -> None:
        context = self.context
        assert context is not None
        try:
            await self._execute(name, payload, context)
        except BadRequest as refused:
            await self._refuse(name, [as_error(refused.problem)])
        except Refused as refused:
            await self._refuse(name, [as_error(refused.problems[0])])

    async def _execute(self, name: str, payload: dict[str, Any], context: RequestContext) -> None:
        request = asked(payload, self.limits)
        prepared = self.endpoint.documents.prepare(request.query)
        if isinstance(prepared, Invalid):
            await self._refuse(name, prepared.errors)
            return
        operation = choose(prepared, request.operation_name)
        refuse_introspection(prepared, context, self.endpoint.production)
        if operation.operation is OperationType.SUBSCRIPTION:
            found = await self.endpoint.documents.stream(prepared, operation, request.variables, context)
            await self._stream(name, found)
        else:
            async with self.endpoint.pressure.admitted(context, operation):
                body = await self.endpoint.documents.run(prepared, operation, request.variables, context)
            await self._answer(name, body)

    async def _answer(self, name: str, body: dict[str, Any]) -> None:
        if "data" not in body:
            await self._refuse(name, body["errors"])
            return
        await self._send({"type": "next", "id": name, "payload": body})
        await self._complete(name)

    async def _stream(self, name: str, found: AsyncIterator[ExecutionResult] | dict[str, Any]) -> None:
        if isinstance(found, dict):
            await self._refuse(name, found["errors"])
            return
        with self.endpoint.metrics.subscriptions.track_inprogress():
            async for result in found:
                await self._send({"type": "next", "id": name, "payload": answer(result)})
        raise Closed(1012, "Service Restart")  # a source ends only when the process does

    async def _complete(self, name: str) -> None:
        self.operations.pop(name, None)
        await self._send({"type": "complete", "id": name})

    async def _refuse(self, name: str, errors: list[dict[str, Any]]) -> None:
        self.operations.pop(name, None)
        await self._send({"type": "error", "id": name, "payload": errors})

    async def _send(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_SECONDS), self.sending:
            await self.socket.send_text(orjson.dumps(message).decode())


def bearer(header: Any) -> str | None:
    """The token in an Authorization value."""
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _optional(frame: dict[str, Any], name: str) -> dict[str, Any]:
    value = frame.get(name)
    if value is not None and not isinstance(value, dict):
        raise Closed(4400, f"{name} must be an object")
    return value or {}


def _id(frame: dict[str, Any]) -> str:
    name = frame.get("id")
    if not isinstance(name, str) or not name or len(name) > 200:
        raise Closed(4400, "A message about an operation has its id")
    return name
