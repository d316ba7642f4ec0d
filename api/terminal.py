"""A field terminal as a child process: a real RxDB client in Node (web/terminal), driven by JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent.parent / "web" / "terminal" / "terminal.mjs"
PACKAGES = PROGRAM.parent.parent / "node_modules" / "rxdb"
_LONGEST_LINE = 512 * 1024 * 1024  # a county's documents arrive on one line
_GRACE_SECONDS = 5.0

Event = dict[str, Any]


class TerminalError(Exception):
    """The terminal answered with an error, was too slow or is gone; the message says which."""


def node() -> str:
    """The Node that runs terminals: the virtual environment's or the one on the path. Raises TerminalError where there is none."""
    found = shutil.which("node", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    if not found or not PACKAGES.exists():
        raise TerminalError("Node 20 or later or the packages of web/ are missing: run `python3 -m api.bootstrap demo`.")
    return found


class Terminal:
    """One running terminal. It ends when its stdin closes, thus with its parent at the latest."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, listener: Callable[[Event], None]) -> None:
        self.name = name
        self._process = process
        self._listener = listener
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_request = 0
        self._complaints: deque[str] = deque(maxlen=20)
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_complaints())]

    @classmethod
    async def start(cls, name: str, url: str, *, listener: Callable[[Event], None] = lambda event: None, **options: Any) -> Terminal:
        """A terminal called `name` for the GraphQL endpoint `url`; `options` as in web/terminal/README.md, `start`."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            node(), str(PROGRAM), stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST_LINE, start_new_session=True
        )
        terminal = cls(name, process, listener)
        try:
            await terminal.call("start", url=url, deviceName=name, **options)
        except BaseException:
            terminal.kill()
            raise
        return terminal

    async def call(self, command: str, *, within: float = 60.0, **options: Any) -> Any:
        """Run one command, at most `within` seconds; its result. Raises TerminalError."""
        self._last_request += 1
        request = self._last_request
        future = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            self._send({"request": request, "command": command, "timeout": int(within * 1000), **options})
            return await asyncio.wait_for(future, within + 2)
        except TimeoutError:
            raise TerminalError(f"{self.name}: {command} got no answer in {within} s {self._last_words()}") from None
        finally:
            self._waiting.pop(request, None)

    async def quit(self) -> None:
        """End it gently, then by force; twice is once."""
        with suppress(ConnectionError, RuntimeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def kill(self) -> None:
        """kill -9, as an empty battery does."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        if self._process.returncode is not None:
            raise TerminalError(f"{self.name} has ended {self._last_words()}")
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._heard(json.loads(line))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(TerminalError(f"{self.name} has ended {self._last_words()}"))

    def _heard(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._listener(message)
            return
        future = self._waiting.get(message["request"])
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(TerminalError(f"{self.name}: {message['error']}"))
        else:
            future.set_result(message["result"])

    async def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._complaints.append(line.decode(errors="replace").rstrip())

    def _last_words(self) -> str:
        return f"({' / '.join(self._complaints)})" if self._complaints else ""
