"""Topic `conflicts`: batches whose every row is contested, since somebody else has changed the same field; beside the same uncontested."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from api.bench.client import Client, body
from api.bench.field import OURS, PROVINCE, Field, Race, require
from api.bench.floor import FIRST, Floor
from api.bench.push import stamped
from api.bench.report import Figure
from api.bench.stock import PUSH, RECORD
from api.bench.terminals import signed_in
from schema.actor import Role
from schema.base import Document

CONTESTED = "remark"
UNCONTESTED = "uncontested"
Batches = Sequence[Sequence[Document]]


async def conflicts(field: Field) -> list[Figure]:
    """Turns end when the feed has given out the last position. The rival's own pushes are not in the figures."""
    [(mine, my_token)], [(theirs, their_token)] = [await signed_in(field, Role.SUPERVISOR, PROVINCE, 1) for _ in range(2)]
    race = Race(field, f"conflicts.{field.sizes.contested[0]}", "merges/s")
    port = field.ports[OURS]
    async with Client(port, my_token) as me, Client(port, their_token) as rival:
        for number in range(field.rounds + 1):
            field.tell(f"conflicts: round {number} of {field.rounds}")
            each = race if number else Race(field, "warm-up", "merges/s")
            await _turn(field, each, UNCONTESTED, me, _edits(await _masters(field), mine, f"u{number}", field))
            known = await _masters(field)
            await _send(rival, _edits(known, theirs, f"r{number}", field))
            await stamped(field)
            await _contested(field, each, me, _edits(known, mine, f"c{number}", field))
    return race.figures()


async def _contested(field: Field, race: Race, me: Client, edits: Sequence[bytes]) -> None:
    before = await field.count("SELECT count(*) FROM sync_conflict")
    await _turn(field, race, OURS, me, edits)
    rows, batches = field.sizes.contested
    lost = await field.count("SELECT count(*) FROM sync_conflict") - before
    require(lost == rows * batches, f"{rows * batches} values that lost and are kept, got {lost}")


async def _turn(field: Field, race: Race, name: str, client: Client, edits: Sequence[bytes]) -> None:
    async def run() -> int:
        await _send(client, edits)
        await stamped(field)
        return field.sizes.contested[0] * len(edits)

    await race.turn(name, run)
    await field.kept_up()


async def _send(client: Client, edits: Sequence[bytes]) -> None:
    for content in edits:
        answer = await client.post(content)
        require(b'"errors"' not in answer, answer[:1000].decode(errors="replace"))


async def _masters(field: Field) -> Batches:
    """Documents as a terminal that is up to date holds them, in batches; the same ones each time."""
    rows, batches = field.sizes.contested
    floor, after, found = Floor(field.connection, RECORD, rows), FIRST, []
    for _ in range(batches):
        content, after = await floor.page(after)
        found.append(orjson.loads(content))
    return found


def _edits(batches: Batches, device: str, text: str, field: Field) -> list[bytes]:
    return [body(PUSH, rows=[_row(document, device, text, field) for document in batch]) for batch in batches]


def _row(document: Document, device: str, text: str, field: Field) -> Document:
    stamp = device + ":" + field.stock.stamp().partition(":")[2]
    return {"assumedMasterState": document, "newDocumentState": {**document, CONTESTED: text, "stamp": stamp}}
