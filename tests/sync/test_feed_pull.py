"""Pull pages against a plain model: documents move between scopes, grants change, lineages change, and a terminal pulls in between."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.feed import drain, read_head
from sync.pull import NEWS_SQL, PagePlan, plan_page
from sync.token import Sweep, TokenState
from sync.tombstones import trim
from tests.sync.feed_world import Terminal, document, readable, write

_scopes = st.frozensets(st.sampled_from("abcd"))
_writes = st.lists(st.tuples(st.integers(0, 9), _scopes), min_size=1, max_size=3)
_pulls = st.lists(st.integers(1, 3), min_size=1, max_size=4)
_steps = st.tuples(_writes, st.booleans(), _scopes, st.booleans(), _pulls, st.integers(0, 9))
_opening = st.lists(_scopes, min_size=10, max_size=10)


def test_a_terminal_ends_with_exactly_the_documents_that_it_may_read(feed_url: str) -> None:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(feed_url))

        @settings(max_examples=120, suppress_health_check=list(HealthCheck))
        @given(_opening, _scopes, st.lists(_steps, min_size=2, max_size=6), st.integers(1, 3))
        def holds(opening: list[frozenset[str]], granted: frozenset[str], steps: list[tuple[Any, ...]], limit: int) -> None:
            runner.run(_play(connection, opening, granted, steps, limit))

        holds()
        runner.run(connection.close())


async def _play(connection: Any, opening: list[frozenset[str]], granted: frozenset[str], steps: list[tuple[Any, ...]], limit: int) -> None:
    """One history in a transaction that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        terminal = Terminal(granted)
        await _write(connection, list(enumerate(opening)))
        for step in steps:
            await _take(connection, terminal, step)
        await drain(connection)
        await terminal.catch_up(connection, limit)
        assert terminal.documents == await readable(connection, terminal.scopes)
        rows, _ = await terminal.look(connection, limit)
        assert rows == [], "a short page must be the last one"
    finally:
        await transaction.rollback()


async def _write(connection: Any, writes: list[tuple[int, frozenset[str]]]) -> None:
    for number, scopes in writes:
        await write(connection, document(number), scopes)


async def _take(connection: Any, terminal: Terminal, step: tuple[Any, ...]) -> None:
    """Some changes, perhaps stamped; perhaps another grant; now and then another lineage, or old tombstones trimmed; a few pages."""
    writes, stamped, granted, changed, pulls, chance = step
    await _write(connection, writes)
    if stamped:
        await drain(connection)
    if changed:
        terminal.scopes = granted
    if chance == 9:
        await connection.execute("UPDATE sync_head SET epoch = epoch || '+'")
    if chance >= 6:
        await trim(connection, max(1, (await read_head(connection)).pos - chance + 6), batch=1 + chance % 2 * 9)
    for limit in pulls:
        await _pull_checked(connection, terminal, limit)


async def _pull_checked(connection: Any, terminal: Terminal, limit: int) -> None:
    """A page names no document twice, is the same when asked for again, and is short only when it is the last."""
    rows, _ = await terminal.look(connection, limit)
    again, _ = await terminal.look(connection, limit)
    assert rows == again
    assert len({row["doc_id"] for row in rows}) == len(rows) <= limit
    assert [row["ord"] for row in rows] == sorted({row["ord"] for row in rows})
    await terminal.pull(connection, limit)
    if 0 < len(rows) < limit:
        assert (await terminal.look(connection, limit))[0] == []


@pytest.fixture
async def connection(feed_url: str) -> Any:
    opened = await asyncpg.connect(feed_url)
    yield opened
    await opened.close()


async def test_a_first_pull_brings_no_tombstones(connection: Any) -> None:
    await write(connection, document(0), "a")
    await drain(connection)
    await write(connection, document(0), "b")
    await write(connection, document(1), "a")
    await drain(connection)
    rows, _ = await Terminal(frozenset("a")).look(connection, 10)
    assert [(row["doc_id"], row["readable"]) for row in rows] == [(document(1), True)]


async def test_a_withdrawn_scope_is_removed_before_anything_else_is_sent(connection: Any) -> None:
    terminal = Terminal(frozenset("ab"))
    for number, scopes in enumerate(["a", "ab", "b", "c"]):
        await write(connection, document(number), scopes)
    await drain(connection)
    await terminal.catch_up(connection, 10)
    await write(connection, document(2), "b")
    await drain(connection)
    terminal.scopes = frozenset("bc")
    rows, _ = await terminal.look(connection, 10)
    assert [(row["doc_id"], row["readable"]) for row in rows] == [(document(0), False), (document(3), True), (document(2), True)]


async def test_a_deletion_reaches_who_loses_the_scope_and_gets_it_back_in_any_order(connection: Any) -> None:
    """Deleted, withdrawn and given back in each order, a page of each size pulled or not after each."""
    orders = ["dwg", "wdg", "wgd", "dw", "wd"]
    for order, pulls in product(orders, product((False, True), repeat=3)):
        limit = 1 + pulls[0]
        transaction = connection.transaction()
        await transaction.start()
        terminal = Terminal(frozenset("ab"))
        for number, scopes in enumerate(["ab", "b", "b"]):
            await write(connection, document(number), scopes)
        await drain(connection)
        await terminal.catch_up(connection, limit)
        for step, pulled in zip(order, pulls, strict=False):
            if step == "d":
                await write(connection, document(1), "")
                await drain(connection)
            else:
                terminal.scopes = frozenset("ab" if step == "g" else "a")
            if pulled:
                await terminal.pull(connection, limit)
        await terminal.catch_up(connection, limit)
        assert terminal.documents == await readable(connection, terminal.scopes), (order, pulls)
        await transaction.rollback()


async def test_a_document_in_several_scopes_comes_once_at_its_last_position(connection: Any) -> None:
    terminal = Terminal(frozenset("ab"))
    await write(connection, document(9), "a")
    await drain(connection)
    await terminal.catch_up(connection, 10)
    for scopes in ("ab", "b", "b"):
        await write(connection, document(0), scopes)
        await write(connection, document(1), "ab")
        await drain(connection)
    rows, _ = await terminal.look(connection, 10)
    assert [row["doc_id"] for row in rows] == [document(0), document(1)]


async def test_news_names_the_records_that_changed_in_the_scopes_held(connection: Any) -> None:
    await write(connection, document(0), "a")
    await drain(connection)
    pos = (await read_head(connection)).pos
    assert await _news(connection, pos - 1, ["a", "z"]) == ["probe"]
    assert await _news(connection, pos, ["a", "z"]) == []
    assert await _news(connection, 0, ["z"]) == []


async def _news(connection: Any, pos: int, scopes: list[str]) -> list[str]:
    return [row["record"] for row in await connection.fetch(NEWS_SQL, ["probe", "other"], [pos, 0], scopes)]


async def test_a_page_of_one_scope_is_a_range_of_one_index(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO sync_scope_doc SELECT s, 'probe', gen_random_uuid(), n, 'in' "
        "FROM generate_series(1, 20000) AS n, unnest('{a,b}'::text[]) AS s"
    )
    await connection.execute("ANALYZE sync_scope_doc")
    source = plan_page(TokenState("e", 15000, ("a",)), ["a"], 1000, "e", 20000).source("probe")
    plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + source.sql, *source.args))
    assert "ix_sync_scope_doc_scope_record_pos" in plan
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan


def test_nothing_to_ask_when_the_head_has_been_seen() -> None:
    assert _plan(TokenState("e", 5, ("a",)), "a").idle
    assert not _plan(TokenState("e", 4, ("a",)), "a").idle
    assert not _plan(TokenState("e", 5, ("a",)), "ab").idle
    assert not _plan(TokenState("e", 5, ("a",)), "").idle


def test_another_epoch_is_replayed_from_the_beginning_with_removals() -> None:
    state = _plan(TokenState("old", 5, ("a",), Sweep(("b",), 3), Sweep(("c",), 2)), "ac").state
    assert state == TokenState("e", 0, ("a", "c"), Sweep(), Sweep(("b",), 0))


def test_a_page_of_no_rows_is_not_planned() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan_page(None, ["a"], 0, "e", 5)


def _plan(state: TokenState, scopes: str) -> PagePlan:
    return plan_page(state, list(scopes), 10, "e", 5)
