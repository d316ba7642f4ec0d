"""What can happen in one step of the fuzzer: somebody writes, the network fails, something is killed, somebody is sent elsewhere.

Each step draws from a generator of its own, so that what the network made of earlier steps changes nothing in the choices
of later ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from api.bench.client import AnswerError
from api.fuzz_journal import DESK, Entry, Kind
from api.fuzz_world import CITY, HOME, LOST, NEIGHBOUR, Document, Officer, World, skews
from api.graphql.names import camel
from api.terminal import TerminalError
from schema import registry
from schema.identifiers import CREDIT_CODE_ALPHABET, credit_code_check

RECORDS = ("enterprise", "workplace", "inspection", "finding", "patrol")
TEXTS: Mapping[str, tuple[str, ...]] = {
    "enterprise": ("remark", "address", "contact_name", "contact_phone"),
    "workplace": ("process", "remark"),
    "inspection": ("opinion",),  # frozen once it is signed
    "finding": ("description", "responsible"),
    "patrol": ("lead",),
}
OFFICERS_TEXTS: Mapping[str, str] = {"finding": "law_article", "patrol": "feedback"}  # a coordinator's is refused
SETS = {"enterprise": "hazards"}
COUNTERS = {"enterprise": "visits"}
LISTS = {"enterprise": "notes", "inspection": "measurements", "finding": "evidence", "patrol": "evidence"}
STATES = {"inspection": "state", "finding": "state", "patrol": "state"}
MANY_TRIES = 5
HOT = 6  # documents that everybody likes best
DAY_ONE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Step:
    world: World
    number: int
    random: Random

    @property
    def mark(self) -> str:
        return f"s{self.number}"

    async def officer_with(self, *records: str) -> tuple[Officer, str, Document] | None:
        """Somebody, a record of `records` and a document of it that is on his terminal."""
        officer = self.random.choice(self.world.officers)
        for _ in range(MANY_TRIES):
            record = self.random.choice(records)
            ids = self.world.journal.ids(record)
            if not ids or camel(record) not in officer.person.collections:
                continue
            if self.random.random() < 0.9:
                ids = self.alive(record) or ids
            pool = ids[:HOT] if self.random.random() < 0.5 else ids[-HOT:] if self.random.random() < 0.5 else ids
            document = await officer.call("get", collection=camel(record), id=self.random.choice(pool))
            if document:
                return officer, record, document
        return None

    def alive(self, record: str) -> list[str]:
        """Ids that nobody has removed."""
        removed = {entry.doc_id for entry in self.world.journal.every(Kind.REMOVE)}
        return [doc_id for doc_id in self.world.journal.ids(record) if doc_id not in removed]

    async def edit(self, officer: Officer, record: str, document: Document, **change: Any) -> Document:
        """One write on the terminal; the document after it."""
        renamed = {how: {camel(name): value for name, value in values.items()} for how, values in change.items()}
        edited: Document = await officer.call("edit", collection=camel(record), id=document["id"], **renamed)
        return edited

    def note(self, officer: Officer, record: str, after: Document, kind: Kind, column: str, value: Any) -> None:
        seen = int(after.get("revision") or 0)
        self.world.journal.add(
            Entry(self.number, officer.person.device_id, record, after["id"], kind, column, value, seen, after.get("stamp") or "")
        )

    def new_id(self) -> str:
        """A UUIDv7 of the step's own, so that a run is told again by its seed."""
        milliseconds = int(DAY_ONE.timestamp() * 1000) + self.number
        value = (milliseconds << 80) | (7 << 76) | (self.random.getrandbits(12) << 64) | (2 << 62) | self.random.getrandbits(62)
        return str(UUID(int=value))


# ---- what people write


async def write_text(step: Step) -> None:
    found = await step.officer_with(*RECORDS)
    if not found:
        return
    officer, record, document = found
    columns = step.random.sample(TEXTS[record], k=min(len(TEXTS[record]), step.random.choice((1, 1, 2))))
    if record in OFFICERS_TEXTS and step.random.random() < 0.3:
        columns = [OFFICERS_TEXTS[record]]
    values = {column: f"{step.mark}-{column[:3]}" for column in columns}
    after = await step.edit(officer, record, document, set=values)
    for column, value in values.items():
        step.note(officer, record, after, Kind.SET, column, value)


async def write_set(step: Step) -> None:
    found = await step.officer_with(*SETS)
    if not found:
        return
    officer, record, document = found
    column, tag = SETS[record], f"T{step.number}"
    held = document.get(camel(column)) or []
    if held and step.random.random() < 0.3:
        gone = step.random.choice(held)
        after = await step.edit(officer, record, document, set={column: [each for each in held if each != gone]})
        step.note(officer, record, after, Kind.DISCARD, column, gone)
        if after.get("revision") != document.get("revision"):  # a pull between the look and the write: more may have gone
            step.note(officer, record, after, Kind.DISCARD, column, None)
        return
    after = await step.edit(officer, record, document, add={column: [tag]})
    step.note(officer, record, after, Kind.ADD, column, tag)


async def write_list(step: Step) -> None:
    found = await step.officer_with(*LISTS)
    if not found:
        return
    officer, record, document = found
    item: Document = {"id": f"i{step.number}", "text": step.mark}
    if LISTS[record] == "evidence":
        item |= {"sha256": step.random.randbytes(32).hex(), "size": 1, "media_type": "image/jpeg"}
    after = await step.edit(officer, record, document, append={LISTS[record]: [item]})
    step.note(officer, record, after, Kind.APPEND, LISTS[record], item["id"])


async def count_up(step: Step) -> None:
    found = await step.officer_with(*COUNTERS)
    if not found:
        return
    officer, record, document = found
    amount = step.random.choice((1, 2, 5))
    after = await step.edit(officer, record, document, increase={COUNTERS[record]: amount})
    step.note(officer, record, after, Kind.COUNT, COUNTERS[record], amount)


async def move_on(step: Step) -> None:
    """A move that the state on the terminal and the role allow."""
    found = await step.officer_with(*STATES)
    if not found:
        return
    officer, record, document = found
    column = STATES[record]
    moves = registry.load()[record].by_name[column].moves
    assert moves is not None
    here = document.get(camel(column))
    targets = sorted(to for (source, to), roles in moves.allowed.items() if source == here and officer.person.role in roles)
    if not targets:
        return
    target = step.random.choice(targets)
    if record == "inspection" and target == "VOID" and step.random.random() < 0.7:
        return
    change: Document = {column: target}
    if target == "SIGNED":
        change["officers"] = ["one", "two"]
    after = await step.edit(officer, record, document, set=change)
    step.note(officer, record, after, Kind.SET, column, target)


async def write_code(step: Step) -> None:
    """A credit code, which a person decides when two differ; sometimes one that no licence can bear."""
    found = await step.officer_with("enterprise")
    if not found:
        return
    officer, record, document = found
    digits = f"91220{step.number:06d}"
    first = digits + "".join(step.random.choices(CREDIT_CODE_ALPHABET, k=17 - len(digits)))
    code = first + credit_code_check(first)
    if step.random.random() < 0.15:
        code = first + next(each for each in CREDIT_CODE_ALPHABET if each != code[-1])
    after = await step.edit(officer, record, document, set={"credit_code": code})
    step.note(officer, record, after, Kind.SET, "credit_code", code)


async def remove(step: Step) -> None:
    """A workplace, by whoever has it: a coordinator may not. Sometimes an enterprise, which supervisors alone may."""
    found = await step.officer_with(*["workplace"] * 4, "enterprise")
    if not found:
        return
    officer, record, document = found
    await officer.call("remove", collection=record, id=document["id"])
    step.note(officer, record, {**document, "stamp": "removed"}, Kind.REMOVE, "", None)


async def adopt_child(step: Step) -> None:
    """A child is found to belong to another enterprise."""
    found = await step.officer_with("workplace", "patrol")
    parents = step.world.journal.ids("enterprise")
    if not found or not parents:
        return
    officer, record, document = found
    parent = step.random.choice(parents)
    if parent == document["enterpriseId"] or not await officer.call("get", collection="enterprise", id=parent):
        return
    after = await step.edit(officer, record, document, set={"enterprise_id": parent})
    step.note(officer, record, after, Kind.SET, "enterprise_id", parent)


async def relocate(step: Step) -> None:
    """On a terminal an enterprise is given another township; outside one's own area that is refused."""
    found = await step.officer_with("enterprise")
    if not found:
        return
    officer, record, document = found
    codes = step.world.townships
    wide = officer.person.scope == CITY or step.random.random() < 0.15
    area = step.random.choice([*codes[HOME], *codes[NEIGHBOUR]] if wide else codes[officer.person.scope[:6]])
    if area == document["areaCode"]:
        return
    after = await step.edit(officer, record, document, set={"area_code": area})
    step.note(officer, record, after, Kind.SET, "area_code", area)


async def make_any(step: Step) -> None:
    records = ("enterprise", "workplace", "workplace", "inspection", "finding", "finding", "patrol", "patrol")
    await make(step, step.random.choice(step.world.officers), step.random.choice(records))


async def make(step: Step, officer: Officer, record: str) -> None:
    parents = step.world.journal.ids("enterprise")
    if camel(record) not in officer.person.collections or (record != "enterprise" and not parents):
        return
    parent = step.random.choice(parents[:HOT] if step.random.random() < 0.5 else parents) if parents else ""
    if record != "enterprise" and not await officer.call("get", collection="enterprise", id=parent):
        return
    await insert(step, officer, record, _values(step, officer, record, parent))


async def insert(step: Step, officer: Officer, record: str, values: Document) -> None:
    renamed = {camel(name): value for name, value in values.items()}
    after = await officer.call("insert", collection=camel(record), document={**renamed, "id": step.new_id()})
    step.note(officer, record, after, Kind.INSERT, "", None)
    for column in TEXTS[record]:
        if column in values:
            step.note(officer, record, after, Kind.SET, column, values[column])


def _values(step: Step, officer: Officer, record: str, parent: str) -> Document:
    text = {TEXTS[record][0]: f"{step.mark}-new"}
    if record == "enterprise":
        return {"name": f"企业 {step.mark}", "area_code": area_of(step, officer), "status": "OPERATING", "visits": 0, **text}
    if record == "workplace":
        return {"enterprise_id": parent, "name": f"车间 {step.mark}", **text}
    moment = (DAY_ONE + timedelta(minutes=step.number)).isoformat()
    if record == "inspection":
        return {"enterprise_id": parent, "kind": "ROUTINE", "state": "DRAFT", "inspected_at": moment, **text}
    if record == "patrol":
        return {"enterprise_id": parent, "state": "REPORTED", "patrolled_at": moment, **text}
    return {"enterprise_id": parent, "source": "PATROL", "state": "OPEN", **text}


def area_of(step: Step, officer: Officer) -> str:
    scope = officer.person.scope
    if len(scope) > 6:
        return scope
    counties = (HOME, NEIGHBOUR) if scope == CITY else (scope,)
    return step.random.choice([code for county in counties for code in step.world.townships[county]])


# ---- what happens to them


async def desk_moves(step: Step) -> None:
    """The supervisor at the desk sends an enterprise, and all that hangs on it, to another township or county."""
    ids, codes = step.world.journal.ids("enterprise"), step.world.townships
    if not ids:
        return
    doc_id, area = step.random.choice(ids), step.random.choice([*codes[HOME], *codes[NEIGHBOUR]])
    entry = Entry(step.number, DESK, "enterprise", doc_id, Kind.SET, "area_code", area, 1 << 30, "")
    try:
        await step.world.desk(
            "mutation ($input: EnterpriseInput!) { saveEnterprise(input: $input) { id } }", input={"id": doc_id, "areaCode": area}
        )
    except AnswerError:
        return  # not there yet, or refused: nothing was written
    except LOST:
        pass  # the server was killed: it may have been written
    step.world.journal.add(entry)


async def toggle_network(step: Step) -> None:
    officer = step.random.choice(step.world.officers)
    officer.connect(not officer.connected)
    step.world.count("network cut" if not officer.connected else "network back")


async def lose_answer(step: Step) -> None:
    officer = step.random.choice(step.world.officers)
    officer.proxy.swallow(step.random.choice(("mutation Push", "mutation Push", "query Pull")))
    step.world.count("answer lost")


async def send_twice(step: Step) -> None:
    officer = step.random.choice(step.world.officers)
    officer.proxy.repeat("mutation Push", step.random.choice((0.0, 0.0, 0.05, 0.5, 2.0)))
    step.world.count("request repeated")


async def write_over_loss(step: Step) -> None:
    """Somebody's push loses its answer or comes twice, another writes the same document, and he goes on before he has heard."""
    found = await step.officer_with("enterprise")
    if not found:
        return
    officer, _, document = found
    officer.connect(True)
    text = "mutation PushEnterprise"
    fault = officer.proxy.swallow(text) if step.random.random() < 0.6 else officer.proxy.repeat(text, step.random.choice((0.0, 0.2)))
    await _scribble(step, officer, document["id"], "a")
    with suppress(TimeoutError):
        await asyncio.wait_for(fault.finished.wait(), 0.5)
    others = [each for each in step.world.officers if each is not officer]
    for other in step.random.sample(others, k=len(others)):
        with suppress(TerminalError):  # it may not be his to see
            other.connect(True)
            await _scribble(step, other, document["id"], "b")
            await asyncio.sleep(0.05)  # to the server before the lost push is sent again
            break
    await _scribble(step, officer, document["id"], "c")
    step.world.count("written over a loss")


async def _scribble(step: Step, officer: Officer, doc_id: str, turn: str) -> None:
    """One write to a field of every kind."""
    column, mark = step.random.choice(TEXTS["enterprise"]), f"{step.mark}{turn}"
    tag, item = f"T{step.number}{turn}", {"id": f"i{step.number}{turn}", "text": mark}
    change: dict[str, Document] = {"set": {column: mark}, "add": {"hazards": [tag]}, "append": {"notes": [item]}, "increase": {"visits": 1}}
    after = await step.edit(officer, "enterprise", {"id": doc_id}, **change)
    step.note(officer, "enterprise", after, Kind.SET, column, mark)
    step.note(officer, "enterprise", after, Kind.ADD, "hazards", tag)
    step.note(officer, "enterprise", after, Kind.APPEND, "notes", item["id"])
    step.note(officer, "enterprise", after, Kind.COUNT, "visits", 1)


async def dawdle(step: Step) -> None:
    officer = step.random.choice(step.world.officers)
    what, seconds = step.random.choice(("mutation Push", "query Pull")), step.random.choice((0.05, 0.3, 1.0))
    if step.random.random() < 0.5:
        officer.proxy.delay(what, seconds)
        step.world.count("request delayed")
    else:
        officer.proxy.dally(what, seconds)
        step.world.count("answer delayed")


async def wait(step: Step) -> None:
    await asyncio.sleep(step.random.choice((0.0, 0.02, 0.1, 0.3)))


async def sync_one(step: Step) -> None:
    officer = step.random.choice(step.world.officers)
    officer.connect(True)
    with suppress(TerminalError):  # a fault was in the way
        await sync(officer, step, 0.6)
        step.world.count("sync")


async def sync(officer: Officer, step: Step, seconds: float) -> None:
    """Everything sent and fetched. Raises TerminalError when that takes longer."""
    await officer.call("sync", within=seconds)
    step.world.journal.sent[officer.person.device_id] = step.number


async def kill_server(step: Step) -> None:
    await step.world.kill_server()


async def kill_in_push(step: Step) -> None:
    """kill -9 just after a push has reached the server."""
    officer = step.random.choice(step.world.officers)
    struck = officer.proxy.watch("mutation Push")
    officer.connect(True)
    try:
        await asyncio.wait_for(struck.forwarded.wait(), 1.0)
    except TimeoutError:
        return
    await asyncio.sleep(step.random.choice((0.0, 0.005, 0.02)))
    await step.world.kill_server()


async def kill_stamper(step: Step) -> None:
    await step.world.kill_stamper()


async def restart_terminal(step: Step) -> None:
    """Its battery is empty, or it is switched off; afterwards its clock may be wrong."""
    officer = step.random.choice(step.world.officers)
    await officer.stop(hard=step.random.random() < 0.7)
    await officer.start(skews(step.random, 1)[0])
    step.world.count("terminal restarted")


async def insert_first(step: Step) -> None:
    """An enterprise before the faults begin."""
    officer = step.world.officers[step.number % len(step.world.officers)]
    await insert(step, officer, "enterprise", _values(step, officer, "enterprise", ""))
