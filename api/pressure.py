"""Fair shares of a process: how many requests of one actor run and wait at once, and how many bytes they may hold.

Whoever asks too much is told so with 429 and Retry-After, and is alone in waiting; RxDB sends the same again after its retry time.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from graphql import FieldNode, OperationDefinitionNode

from api.context import RequestContext
from api.errors import BadRequest
from api.limits import Limits

RETRY_SECONDS = 5  # what RxDB waits by itself
_BULK = ("pull", "push")


def _busy() -> BadRequest:
    return BadRequest(429, "TOO_BUSY", "Too many requests at once; try again later.", {"Retry-After": str(RETRY_SECONDS)})


class Gate:
    """At most `total` run, `each` of one key; the rest waits, key by key in turn, each key in its order."""

    def __init__(self, each: int, total: int, queue_each: int, queue_total: int, patience: float) -> None:
        self.each, self.total, self.queue_each, self.queue_total, self.patience = each, total, queue_each, queue_total, patience
        self.running: Counter[object] = Counter()
        self.queues: OrderedDict[object, deque[asyncio.Future[None]]] = OrderedDict()
        self.active = 0
        self.waiting = 0

    @asynccontextmanager
    async def admitted(self, key: object) -> AsyncIterator[None]:
        """Raises BadRequest (429) when too many wait already, or it waited for too long."""
        await self._enter(key)
        try:
            yield
        finally:
            self._leave(key)

    async def _enter(self, key: object) -> None:
        if self._has_room(key) and not self.waiting:
            self._start(key)
            return
        if len(self.queues.get(key, ())) >= self.queue_each or self.waiting >= self.queue_total:
            raise _busy()
        turn = asyncio.get_running_loop().create_future()
        self.queues.setdefault(key, deque()).append(turn)
        self.waiting += 1
        self._admit()
        try:
            async with asyncio.timeout(self.patience):
                await turn
        except BaseException as ended:
            self._give_up(key, turn)
            if isinstance(ended, TimeoutError):
                raise _busy() from None
            raise

    def _give_up(self, key: object, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._leave(key)  # its turn came in the same moment
            return
        self._forget(key, turn)

    def _forget(self, key: object, turn: asyncio.Future[None]) -> None:
        queue = self.queues.get(key)
        if queue and turn in queue:
            queue.remove(turn)
            self.waiting -= 1
            if not queue:
                del self.queues[key]

    def _leave(self, key: object) -> None:
        self.active -= 1
        self.running[key] -= 1
        if not self.running[key]:
            del self.running[key]
        self._admit()

    def _admit(self) -> None:
        while self.active < self.total:
            key = next((key for key in self.queues if self.running[key] < self.each), None)
            if key is None:
                return
            queue = self.queues[key]
            turn = queue.popleft()
            self.waiting -= 1
            self.queues.move_to_end(key)
            if not queue:
                del self.queues[key]
            if not turn.done():
                self._start(key)
                turn.set_result(None)

    def _has_room(self, key: object) -> bool:
        return self.active < self.total and self.running[key] < self.each

    def _start(self, key: object) -> None:
        self.active += 1
        self.running[key] += 1


class Bodies:
    """The bytes of requests that are in memory: `each` of one sender, `total` of all."""

    def __init__(self, each: int, total: int) -> None:
        self.each, self.total = each, total
        self.used = 0
        self.by_sender: Counter[str] = Counter()

    @contextmanager
    def share(self, sender: str) -> Iterator[Callable[[int], None]]:
        """A function to call with each chunk's length, which raises BadRequest (429); all is given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self.used + size > self.total or self.by_sender[sender] + size > self.each:
                raise _busy()
            taken += size
            self.used += size
            self.by_sender[sender] += size

        try:
            yield take
        finally:
            self.used -= taken
            self.by_sender[sender] -= taken
            if not self.by_sender[sender]:
                del self.by_sender[sender]


class Pressure:
    """The gates and the memory of one process: bulk (pull and push) beside everything else, so that neither waits for the other."""

    def __init__(self, limits: Limits) -> None:
        self.bulk = Gate(limits.bulk_each, limits.bulk_total, limits.queue_each, limits.queue_total, limits.queue_seconds)
        self.light = Gate(limits.light_each, limits.light_total, limits.queue_each, limits.queue_total, limits.queue_seconds)
        self.bodies = Bodies(limits.bodies_each, limits.bodies_total)

    @asynccontextmanager
    async def admitted(self, context: RequestContext, operation: OperationDefinitionNode) -> AsyncIterator[None]:
        """Somebody who isn't signed in shares with nobody: a whole county may log in from one address."""
        actor = context.actor
        gate = self.bulk if actor and is_bulk(operation) else self.light
        async with gate.admitted((actor.user_id, actor.device_id) if actor else object()):
            yield


def is_bulk(operation: OperationDefinitionNode) -> bool:
    """Whether an operation pulls or pushes; a fragment at the root may."""
    return any(not isinstance(node, FieldNode) or node.name.value.startswith(_BULK) for node in operation.selection_set.selections)
