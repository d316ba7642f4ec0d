"""The pulls of one request ask once whether there is anything new, and miss nothing by it."""

from __future__ import annotations

from typing import Any

import pytest

from schema.actor import Role
from schema.base import Document
from tests.spine.spine_world import ELSEWHERE, INSIDE, World, code, person, with_scopes

PULLS = "\n".join(
    f"{name}: pull{name.title()}(checkpoint: ${name}, limit: 5) {{ documents {{ id deleted }} checkpoint {{ token }} }}"
    for name in ("enterprise", "workplace", "patrol")
)
ROUND = f"query($enterprise: CheckpointInput, $workplace: CheckpointInput, $patrol: CheckpointInput) {{ {PULLS} }}"
Statements = list[str]
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def statements(world: World, monkeypatch: pytest.MonkeyPatch) -> Statements:
    """What the read pool is asked from now on."""
    asked: Statements = []
    fetchrow, read = world.database.pool.fetchrow, world.database.pool.read

    async def counted(sql: str, *values: Any) -> Any:
        asked.append("news")
        return await fetchrow(sql, *values)

    async def page(work: Any) -> Any:
        asked.append("read")
        return await read(work)

    monkeypatch.setattr(world.database.pool, "fetchrow", counted)
    monkeypatch.setattr(world.database.pool, "read", page)
    return asked


async def _round(world: World, actor: Any, tokens: Document) -> Document:
    """Ids by record; `tokens` move on."""
    answer = await world.ask(actor, ROUND, tokens)
    assert code(answer) == "", answer
    pages = answer["data"]
    tokens.update({name: page["checkpoint"] for name, page in pages.items()})
    return {name: [(document["id"], document["deleted"]) for document in page["documents"]] for name, page in pages.items()}


async def _caught_up(world: World, actor: Any) -> Document:
    await world.drain()
    tokens: Document = {}
    while any((await _round(world, actor, tokens)).values()):
        pass
    return tokens


async def test_a_round_without_news_is_one_question_though_others_have_written(world: World, statements: Statements) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    tokens = await _caught_up(world, actor)
    await world.put(person(Role.INSPECTOR, ELSEWHERE), "enterprise", area_code=ELSEWHERE)
    await world.drain()
    before = dict(tokens)
    statements.clear()
    assert await _round(world, actor, tokens) == {"enterprise": [], "workplace": [], "patrol": []}
    assert statements == ["news", "read"]  # the question itself is a read of the pool, and the only one
    assert tokens == before


async def test_a_round_brings_the_record_that_has_news(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    tokens = await _caught_up(world, actor)
    made = await world.put(actor, "enterprise")
    await world.drain()
    assert await _round(world, actor, tokens) == {"enterprise": [(made["id"], False)], "workplace": [], "patrol": []}
    assert not any((await _round(world, actor, tokens)).values())


async def test_a_changed_grant_is_swept_though_nothing_was_written(world: World) -> None:
    actor = person(Role.INSPECTOR, INSIDE)
    made = await world.put(actor, "enterprise")
    tokens = await _caught_up(world, actor)
    moved = with_scopes(actor, ELSEWHERE)
    gone = []
    while page := (await _round(world, moved, tokens))["enterprise"]:
        gone += page
    assert (made["id"], True) in gone
