"""How much of the uploads under way may be in memory at once, in all requests of a process together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

IN_MEMORY = 96 * 1024 * 1024  # bytes on their way from the requests to the store
WRITERS = 400  # requests that write; on a slow link each holds little, and not for long
JOINERS = 3  # files that are put together and looked at, each some 40 MiB
PATIENCE_SECONDS = 15.0


class CrowdedError(Exception):
    """There is no room now, and waiting did not help."""


class Budget:
    """Bytes in memory: whoever wants more than is free waits in turn, which slows his link down and nobody else's."""

    def __init__(self, total: int = IN_MEMORY, writers: int = WRITERS, joiners: int = JOINERS) -> None:
        self.total = total
        self.writers = writers
        self.used = 0
        self.most = 0  # that were ever used at once
        self.writing = 0
        self.joining = asyncio.Semaphore(joiners)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextmanager
    def writer(self) -> Iterator[None]:
        """One request's place. Raises CrowdedError when there is none."""
        if self.writing >= self.writers:
            raise CrowdedError
        self.writing += 1
        try:
            yield
        finally:
            self.writing -= 1

    def take(self, size: int) -> bool:
        """Takes the bytes if they are free and nobody waits; a single request is never refused all."""
        if self._waiting or not self._fits(size):
            return False
        self._use(size)
        return True

    async def wait(self, size: int, seconds: float) -> bool:
        """Takes the bytes in turn; false when they did not become free in time."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._admit()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as ended:
            self._give_up(size, turn)
            if isinstance(ended, TimeoutError):
                return False
            raise
        return True

    def give(self, size: int) -> None:
        self.used -= size
        self._admit()

    def _give_up(self, size: int, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.give(size)  # its turn came in the same moment
        else:
            self._waiting = deque(waiting for waiting in self._waiting if waiting[1] is not turn)
            self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._use(size)
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.total or self.used == 0

    def _use(self, size: int) -> None:
        self.used += size
        self.most = max(self.most, self.used)
