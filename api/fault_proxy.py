"""A network that fails on demand: a small HTTP and WebSocket proxy between one terminal and the server.

For the field day and the fuzzer alone; each request goes on its own connection, so an answer can be dropped whole.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

_LINK_ERRORS = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError)
_LONGEST_ANSWER_SECONDS = 60.0


@dataclass
class Fault:
    """What happens to the next request whose body holds `text`; the events say when it did."""

    text: bytes
    swallow: bool = False  # the server gets the request, the terminal never gets the answer
    delay: float = 0.0  # seconds before the request goes on
    late: float = 0.0  # seconds before the answer goes on, or until `passing` is set
    again: float | None = None  # seconds after which the network delivers the request a second time
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    forwarded: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    passing: asyncio.Event = field(default_factory=asyncio.Event)

    async def tarry(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.passing.wait(), self.late)


class FaultProxy:
    """Stands at `url` for the server at `target`, an `http://host:port/...` address."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._faults: list[Fault] = []
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._echoes: set[asyncio.Task[None]] = set()
        self._open = True
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = urlunsplit(("http", f"127.0.0.1:{port}", self._target.path, "", ""))

    async def close(self) -> None:
        self.cut()
        if self._server:
            self._server.close()
        tasks = (*self._tasks, *self._echoes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every link and refuse new ones, as in a valley without reception."""
        self._open = False
        for writer in tuple(self._links):
            writer.transport.abort()

    def restore(self) -> None:
        self._open = True

    def swallow(self, text: str) -> Fault:
        """The answer to the next request that holds `text` is lost."""
        return self._add(Fault(text.encode(), swallow=True))

    def delay(self, text: str, seconds: float) -> Fault:
        """The next request that holds `text` dawdles."""
        return self._add(Fault(text.encode(), delay=seconds))

    def dally(self, text: str, seconds: float) -> Fault:
        """The answer to the next request that holds `text` dawdles."""
        return self._add(Fault(text.encode(), late=seconds))

    def watch(self, text: str) -> Fault:
        """Nothing happens to the next request that holds `text`, but its `forwarded` tells when the server has it."""
        return self._add(Fault(text.encode()))

    def repeat(self, text: str, seconds: float) -> Fault:
        """The next request that holds `text` is delivered a second time so much later; nobody hears that answer."""
        return self._add(Fault(text.encode(), again=seconds))

    def calm(self) -> None:
        """Nothing more fails; what was delivered twice may still be under way, see `still`."""
        self._faults.clear()

    async def still(self) -> None:
        """Return when every second delivery has been made."""
        await asyncio.gather(*self._echoes, return_exceptions=True)

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._guard(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            if self._open:
                await self._exchange(reader, writer)
        except _LINK_ERRORS:
            pass  # a broken link is what this proxy is for
        finally:
            self._links.discard(writer)
            with suppress(*_LINK_ERRORS):
                writer.close()
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        upstream_reader, upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._links.add(upstream)
        try:
            if b"upgrade: websocket" in head.lower():
                upstream.write(head)
                await _both_ways((reader, upstream), (upstream_reader, writer))
            else:
                await self._request(head, await _body(head, reader), (upstream_reader, upstream), writer)
        finally:
            self._links.discard(upstream)
            upstream.transport.abort()

    async def _request(
        self, head: bytes, body: bytes, server: tuple[asyncio.StreamReader, asyncio.StreamWriter], terminal: asyncio.StreamWriter
    ) -> None:
        fault = self._take(body)
        if fault:
            fault.arrived.set()
            await asyncio.sleep(fault.delay)
        if not self._open:
            return
        server[1].write(_closing(head) + body)
        await server[1].drain()
        if fault:
            fault.forwarded.set()
            if fault.again is not None:
                self._start_echo(_closing(head) + body, fault.again)
        try:
            answer = await asyncio.wait_for(server[0].read(-1), _LONGEST_ANSWER_SECONDS)
            if fault:
                fault.answered.set()
                await fault.tarry()
            if not (fault and fault.swallow):
                terminal.write(answer)
                await terminal.drain()
        finally:
            if fault:
                fault.finished.set()

    def _start_echo(self, request: bytes, seconds: float) -> None:
        task = asyncio.create_task(self._echo(request, seconds))
        self._echoes.add(task)
        task.add_done_callback(self._echoes.discard)

    async def _echo(self, request: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with suppress(*_LINK_ERRORS):
            reader, writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            try:
                writer.write(request)
                await asyncio.wait_for(reader.read(-1), _LONGEST_ANSWER_SECONDS)
            finally:
                writer.close()

    def _take(self, body: bytes) -> Fault | None:
        fault = next((fault for fault in self._faults if fault.text in body), None)
        if fault:
            self._faults.remove(fault)
        return fault


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    return b""


def _closing(head: bytes) -> bytes:
    """`head` asking for a connection of its own, so that the answer ends where the link does."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _both_ways(*pairs: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    tasks = [asyncio.create_task(_pipe(reader, writer)) for reader, writer in pairs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
