"""Three terminals, one server, any order of edits, pushes, lost answers and pulls: nothing is lost, nobody fights himself, all agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.actor import Actor, Role
from schema.base import Document
from schema.registry import load
from tests.spine.spine_world import INSIDE, OUTSIDE, World, new_id, person, sample

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDS = load()
TEXTS = ("name", "address", "remark")


@dataclass
class Terminal:
    """What RxDB 17 does: a local state, what it believes the server has, and a conflict handler that takes the master."""

    world: World
    actor: Actor
    stamped: bool
    local: dict[str, Document] = field(default_factory=dict)
    assumed: dict[str, Document | None] = field(default_factory=dict)
    token: str | None = None
    edits: int = 0
    last: dict[tuple[str, str], Any] = field(default_factory=dict)

    def edit(self, doc_id: str, what: str) -> None:
        if doc_id not in self.local:
            return
        self.edits += 1
        mine, value = self.local[doc_id], f"{self.actor.device_id}/{self.edits}"
        if what in TEXTS:
            self.last[doc_id, what] = value
        else:
            value = [*(mine["hazards"] or []), value[-20:]] if what == "hazards" else (mine["visits"] or 0) + 1  # type: ignore[assignment]
        stamp = f"{self.actor.device_id}:{self.edits}" if self.stamped else None
        self.local[doc_id] = mine | {what: value, "stamp": stamp}

    async def push(self, *, lost: bool = False) -> int:
        rows = [(self.assumed.get(key), mine) for key, mine in self.local.items() if mine != self.assumed.get(key)]
        masters = {master["id"]: master for master in await self.world.push(self.actor, "enterprise", *rows)} if rows else {}
        if not lost:
            for _, mine in rows:
                self._know(masters.get(mine["id"], mine))
        return len(rows)

    def _know(self, document: Document) -> None:
        self.local[document["id"]] = self.assumed[document["id"]] = document

    async def pull(self, limit: int = 3) -> None:
        while True:
            page, self.token = await self.world.pull(self.actor, "enterprise", limit, self.token)
            for document in page:
                if self.local.get(document["id"]) == self.assumed.get(document["id"]):  # an unsent edit waits for its push
                    self._know(document)
            if len(page) < limit:
                return

    def holds(self) -> dict[str, Document]:
        return {key: document for key, document in self.local.items() if not document["deleted"]}


DOCUMENTS, DEVICES = 2, 3
ACTION = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, DEVICES - 1), st.integers(0, DOCUMENTS - 1), st.sampled_from([*TEXTS, "hazards", "visits"])),
    st.tuples(st.sampled_from(["push", "lose", "pull", "drain"]), st.integers(0, DEVICES - 1), st.just(0), st.just("")),
    st.tuples(st.just("move"), st.just(0), st.integers(0, DOCUMENTS - 1), st.sampled_from([INSIDE, OUTSIDE])),
)


@given(actions=st.lists(ACTION, min_size=4, max_size=24), stamped=st.booleans(), moves=st.booleans())
@settings(max_examples=40)
async def test_every_last_write_survives_and_all_terminals_agree(
    world: World, actions: list[tuple[str, int, int, str]], stamped: bool, moves: bool
) -> None:
    await world.forget("enterprise", "sync_scope_doc", "sync_pending", "sync_change", "sync_conflict", "sync_shadow")
    boss = person(Role.SUPERVISOR, INSIDE, OUTSIDE)
    ids = [new_id() for _ in range(DOCUMENTS)]
    for doc_id in ids:
        await world.put(boss, "enterprise", id=doc_id)
    await world.drain()
    areas = [(INSIDE,), (INSIDE,), (INSIDE, OUTSIDE)]
    terminals = [Terminal(world, person(Role.INSPECTOR, *grant), stamped) for grant in areas]
    for terminal in terminals:
        await terminal.pull()
    for what, device, number, value in actions:
        if what == "move" and moves:
            await world.save(boss, "enterprise", id=ids[number], area_code=value)
        await act(world, terminals[device], what, ids[number], value)
    await settle(world, terminals)
    await check(world, terminals, ids)


async def act(world: World, terminal: Terminal, what: str, doc_id: str, value: str) -> None:
    if what == "edit":
        terminal.edit(doc_id, value)
    elif what in ("push", "lose"):
        await terminal.push(lost=what == "lose")
    elif what == "pull":
        await terminal.pull()
    elif what == "drain":
        await world.drain()


async def settle(world: World, terminals: list[Terminal]) -> None:
    """Until nobody has anything to send; an echo that never ends fails here."""
    for _ in range(4):
        sent = [await terminal.push() for terminal in terminals]
        await world.drain()
        for terminal in terminals:
            await terminal.pull()
        if not any(sent):
            return
    raise AssertionError("the terminals never come to rest")


async def check(world: World, terminals: list[Terminal], ids: list[str]) -> None:
    masters = {doc_id: await world.master("enterprise", doc_id) for doc_id in ids}
    conflicts = {doc_id: await world.conflicts(doc_id) for doc_id in ids}
    for terminal in terminals:
        expected = {key: _plain(each) for key, each in masters.items() if set(each["scopes"]) & set(terminal.actor.scopes)}
        assert {key: _plain(each) for key, each in terminal.holds().items()} == expected
        for (doc_id, name), value in terminal.last.items():
            kept = [each for row in conflicts[doc_id] for each in (row["mine"], row["theirs"])]
            kept += [row["mine"].get(name) for row in conflicts[doc_id] if isinstance(row["mine"], dict)]
            assert value in [masters[doc_id][name], *kept] or await accepted(world, doc_id, name, value), (name, value)
    for row in (row for rows in conflicts.values() for row in rows if row["policy"]):
        assert not str(row["theirs"]).startswith(f"{row['device_id']}/"), row


async def accepted(world: World, doc_id: str, name: str, value: Any) -> bool:
    """Whether it stood on the server until somebody who had seen it replaced it."""
    sql = "SELECT FROM sync_change WHERE doc_id = $1::text::uuid AND changes -> $2 ->> 1 = $3"
    return bool(await world.rows(sql, doc_id, name, value))


def _plain(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "scopes"}


@given(actions=st.lists(ACTION, min_size=4, max_size=24), stamped=st.booleans())
@settings(max_examples=20)
async def test_what_is_counted_and_collected_is_complete(world: World, actions: list[tuple[str, int, int, str]], stamped: bool) -> None:
    boss = person(Role.SUPERVISOR, INSIDE)
    ids = [new_id() for _ in range(DOCUMENTS)]
    for doc_id in ids:
        await world.push(boss, "enterprise", (None, sample(RECORDS["enterprise"], id=doc_id, visits=0)))
    await world.drain()
    terminals = [Terminal(world, person(Role.INSPECTOR, INSIDE), stamped) for _ in range(DEVICES)]
    for terminal in terminals:
        await terminal.pull(1000)
    counted, collected = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    for what, device, number, value in actions:
        if what != "move":
            counted[ids[number]] += what == "edit" and value == "visits"
            collected[ids[number]] += what == "edit" and value == "hazards"
            await act(world, terminals[device], what, ids[number], value)
    await settle(world, terminals)
    for doc_id in ids:
        master = await world.master("enterprise", doc_id)
        assert (master["visits"], len(master["hazards"] or [])) == (counted[doc_id], collected[doc_id])
