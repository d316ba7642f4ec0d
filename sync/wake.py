"""Tells the terminals of this process that there is something to pull: one LISTEN connection, no queue.

A subscriber has a flag, not a list of messages: however much happens while it is busy, it is woken once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from sync.feed import FEED_CHANNEL, LOST, Connect, connector, release

RESYNC = "RESYNC"
_RECONNECT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0

log = logging.getLogger(__name__)


def _at_once() -> float:
    return 0.0


class Subscription:
    """Yields RESYNC after each change in its scopes, several as one. Ends with `close`; forgotten when nobody holds it."""

    def __init__(self, hub: WakeHub, scopes: frozenset[str]) -> None:
        self.scopes = scopes
        self._hub = hub
        self._changed = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        await self._changed.wait()
        if not self._closed and (delay := self._hub.jitter()) > 0:
            await asyncio.sleep(delay)
        if self._closed:
            raise StopAsyncIteration
        self._changed.clear()
        return RESYNC

    def wake(self) -> None:
        self._changed.set()

    def move(self, scopes: Iterable[str]) -> None:
        """Listens to other scopes from now on, and says so: what they hold has to be pulled."""
        self._hub.forget(self)
        self.scopes = frozenset(scopes)
        self._hub.add(self)
        self.wake()

    def close(self) -> None:
        self._closed = True
        self._hub.forget(self)
        self._changed.set()


class WakeHub:
    """The subscribers of this process, by scope. `jitter` gives the seconds each waits, so that a crowd doesn't pull at once."""

    def __init__(self, connect: str | Connect, jitter: Callable[[], float] = _at_once) -> None:
        self._connect = connector(connect)
        self.jitter = jitter
        self.pos = 0  # the last position heard of
        self._everybody: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._by_scope: defaultdict[str, weakref.WeakSet[Subscription]] = defaultdict(weakref.WeakSet)
        self.listening = asyncio.Event()

    def subscribe(self, scopes: Iterable[str]) -> Subscription:
        """From this call on, changes in any of `scopes` are told."""
        subscription = Subscription(self, frozenset(scopes))
        self.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        self._everybody.add(subscription)
        for scope in subscription.scopes:
            self._by_scope[scope].add(subscription)

    def forget(self, subscription: Subscription) -> None:
        self._everybody.discard(subscription)
        for scope in subscription.scopes:
            self._by_scope[scope].discard(subscription)

    @property
    def subscribers(self) -> int:
        return len(self._everybody)

    async def run(self) -> None:
        """Listen until cancelled; after a lost connection everybody is woken once, since something may have been missed."""
        while True:
            try:
                await self._session()
            except (TimeoutError, *LOST) as lost:
                log.warning("wake: connection lost (%s), trying again", lost)
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _session(self) -> None:
        connection = await self._connect()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(FEED_CHANNEL, self._notified)
            self._wake(self._everybody)
            self.listening.set()
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), _HEARTBEAT_SECONDS)
                await connection.execute("SELECT", timeout=_HEARTBEAT_SECONDS)
                self._sweep()
        finally:
            self.listening.clear()
            await release(connection)

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        pos, _, scopes = str(payload).partition(" ")
        self.pos = int(pos)
        self._wake(self._everybody if scopes == "*" else self._subscribers_of(scopes.split()))

    def _subscribers_of(self, scopes: Iterable[str]) -> Iterator[Subscription]:
        for scope in scopes:
            yield from self._by_scope.get(scope, ())

    def _wake(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in tuple(subscriptions):
            subscription.wake()

    def _sweep(self) -> None:
        for scope in [scope for scope, subscribers in self._by_scope.items() if not subscribers]:
            del self._by_scope[scope]
