"""The gate: nobody over the share, nobody starved, nobody forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.errors import BadRequest
from api.pressure import Bodies, Gate

REQUESTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=30)


@given(REQUESTS, st.integers(1, 3), st.integers(1, 4))
@hypothesis_settings(max_examples=60)
def test_no_more_than_the_share_runs_and_everybody_is_served_or_told(requests: list[tuple[int, int, int]], each: int, total: int) -> None:
    """A request: who, when, and at which of its steps the client goes away (0: it stays)."""

    async def play() -> None:
        gate = Gate(each, total, queue_each=5, queue_total=9, patience=5)
        running: Counter[int] = Counter()
        ended: Counter[str] = Counter()

        async def one(who: int, when: int) -> None:
            for _ in range(when):
                await asyncio.sleep(0)
            try:
                async with gate.admitted(who):
                    running[who] += 1
                    assert running[who] <= each
                    assert running.total() <= total
                    for _ in range(3):
                        await asyncio.sleep(0)
                    ended["served"] += 1
            except BadRequest as refused:
                ended[f"told {refused.status} {refused.headers['Retry-After']}"] += 1
            except asyncio.CancelledError:
                ended["gone"] += 1
                raise
            finally:
                running[who] = max(0, running[who] - 1)

        async def fickle(who: int, when: int, steps: int) -> None:
            task = asyncio.create_task(one(who, when))
            for _ in range(steps):
                await asyncio.sleep(0)
            if steps:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():
                task.result()

        await asyncio.gather(*(fickle(*request) for request in requests))
        assert set(ended) <= {"served", "told 429 5", "gone"}
        assert (gate.active, gate.waiting, dict(gate.running), dict(gate.queues)) == (0, 0, {}, {})

    asyncio.run(play())


async def test_one_huge_client_does_not_hold_up_another() -> None:
    gate = Gate(each=2, total=4, queue_each=100, queue_total=1000, patience=5)
    order: list[str] = []

    async def ask(who: str) -> None:
        async with gate.admitted(who):
            await asyncio.sleep(0.001)
            order.append(who)

    huge = [asyncio.create_task(ask("huge")) for _ in range(100)]
    others = [asyncio.create_task(ask(f"other {number}")) for number in range(5)]
    await asyncio.gather(*huge, *others)
    assert max(order.index(f"other {number}") for number in range(5)) < 15
    assert order.count("huge") == 100


async def test_what_waits_too_long_is_told_and_leaves_no_trace() -> None:
    gate = Gate(each=1, total=1, queue_each=1, queue_total=2, patience=0.02)
    async with gate.admitted("one"):
        for who in ("one", "other"):
            with pytest.raises(BadRequest, match="try again"):
                async with gate.admitted(who):
                    raise AssertionError
        assert (gate.active, gate.waiting, dict(gate.queues)) == (1, 0, {})
    async with gate.admitted("other"):
        assert gate.active == 1


def test_bytes_are_counted_by_sender_and_given_back() -> None:
    bodies = Bodies(each=10, total=15)
    with bodies.share("one") as take:
        take(10)
        with pytest.raises(BadRequest):
            take(1)
        with bodies.share("other") as other:
            other(5)
            with pytest.raises(BadRequest):
                other(1)
        with bodies.share("one") as again, pytest.raises(BadRequest):
            again(1)
        assert bodies.used == 10
    assert (bodies.used, dict(bodies.by_sender)) == (0, {})
