"""What the office does while the terminals work: it settles conflicts, lends people, deletes, locks devices, backs up and restores."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from api.backup import BackupError, backup, restore
from api.bench.client import AnswerError
from api.fuzz_journal import DESK, EVERYTHING, Decision, Entry, Fault, Kind, Loss
from api.fuzz_steps import OFFICERS_TEXTS, TEXTS, Step, make, sync
from api.fuzz_world import CITY, HOME, LOST, NEIGHBOUR, TOLD_SECONDS, Backup, Document, Officer
from api.graphql.names import camel, pascal
from api.terminal import TerminalError
from schema import registry
from schema.actor import Role

PLAIN = frozenset({column for columns in TEXTS.values() for column in columns} | set(OFFICERS_TEXTS.values()) | {"credit_code"})
"""Text fields, for which a person may also find a third value."""
DECIDABLE = PLAIN | {"area_code", "enterprise_id", "state", "deleted"}
"""Fields whose values can be adopted; lists, sets and counters would have to be told apart from what others added since."""

RESOLVE = "mutation ($id: ID!, $take: Take!, $value: JSON) { resolveConflict(id: $id, take: $take, value: $value) }"
INBOX = "{ conflicts(filter: {open: true}, first: 50) { nodes { id record docId field mine theirs policy } } }"
GRANT = "mutation ($user: ID!, $area: ID!, $to: DateTime) { grantScope(userId: $user, area: $area, to: $to) { id } }"
REVOKE = "mutation ($id: ID!) { revokeGrant(id: $id) }"
LOCK = 'mutation ($id: ID!) { revokeDevice(id: $id, reason: "lost") }'
SHORT_SECONDS = (1.0, 3.0, 10.0)  # for how long people are lent

Ask = Callable[..., Awaitable[Document]]


# ---- the conflict inbox


async def decide_at_desk(step: Step) -> None:
    found = (await step.world.desk(INBOX))["conflicts"]["nodes"]
    for each in found:
        step.world.journal.seen_conflicts.setdefault(each["id"], step.number)
    if found:
        conflict = step.random.choice(found[:10])
        columns = registry.load()[conflict["record"]].by_name
        conflict["field"] = next((name for name in columns if camel(name) == conflict["field"]), None)
        await _decide(step, step.world.desk, "desk", DESK, conflict)


async def decide_on_terminal(step: Step) -> None:
    """By the officer concerned, or a supervisor in the field."""
    officer = step.random.choice(step.world.officers)
    held = await officer.call("find", collection="syncConflict")
    for each in held:
        step.world.journal.seen_conflicts.setdefault(each["id"], step.number)
    waiting = sorted((each for each in held if not each["resolvedAt"]), key=lambda each: str(each["id"]))
    if not waiting:
        return
    officer.connect(True)

    async def ask(query: str, **variables: Any) -> Document:
        answer: Document = await officer.call("ask", within=3.0, query=query, variables=variables)
        return answer

    await _decide(step, ask, officer.person.username, officer.person.device_id, step.random.choice(waiting))


async def _decide(step: Step, ask: Ask, username: str, device: str, conflict: Document) -> None:
    column = conflict["field"] or ""
    takes = ["THEIRS"]
    if conflict["policy"] and column in DECIDABLE:
        takes += ["MINE", "MINE"] + (["VALUE"] if column in PLAIN and column != "credit_code" else [])
    take = step.random.choice(takes)
    value = {"MINE": conflict["mine"], "THEIRS": conflict["theirs"], "VALUE": f"{step.mark}-decided"}[take]
    sure = False
    try:
        await ask(RESOLVE, id=conflict["id"], take=take, value=value if take == "VALUE" else None)
        sure = True
        step.world.count(f"decided {take}")
    except LOST as error:
        step.world.suspect(step.number, error)
        if isinstance(error, AnswerError) or _refused(error):
            step.world.count("decision refused")
            return
    journal = step.world.journal
    journal.decisions.append(Decision(step.number, conflict["id"], conflict["docId"], column, take, username, sure))
    journal.add(Entry(step.number, device, conflict["record"], conflict["docId"], Kind.SET, column, value, EVERYTHING, ""))


def _refused(error: Exception) -> bool:
    """Whether the server said no. Without its word the decision may have been made."""
    codes = ("ALREADY_RESOLVED", "NOT_IN_SCOPE", "WHOLE_ROW_REFUSED", "CONFLICT_", "_INVALID", "_FORBIDDEN", "OUT_OF_SCOPE", "REQUIRED")
    return any(code in str(error) for code in codes)


# ---- who works where


async def change_grant(step: Step) -> None:
    """The desk withdraws an area that somebody has, or grants one, often for a moment only."""
    officer = step.random.choice([each for each in step.world.officers if each.person.role is not Role.SUPERVISOR])
    person, world = officer.person, step.world
    townships = [code for codes in world.townships.values() for code in codes]
    scope = step.random.choice([person.scope, HOME, NEIGHBOUR, *townships[:4]])
    lent = step.random.random() < 0.4
    seconds = step.random.choice(SHORT_SECONDS)
    held = await world.database.fetch(_GRANTS, person.id, scope)
    world.quiet_at = max(world.quiet_at, time.monotonic() + TOLD_SECONDS + (seconds if lent and not held else 0))
    if held:
        for row in held:
            await world.desk(REVOKE, id=str(row["id"]))
        world.count("grant withdrawn")
        return
    until = datetime.now(UTC) + timedelta(seconds=seconds) if lent else None
    await world.desk(GRANT, user=person.id, area=scope, to=until.isoformat() if until else None)
    world.count("person lent" if lent else "grant given")


_GRANTS = "SELECT id FROM user_grant WHERE user_id = $1 AND scope = $2 AND (valid_to IS NULL OR valid_to > now())"


# ---- deletion


async def desk_deletes(step: Step) -> None:
    """An enterprise or a workplace; what hangs on an enterprise stays."""
    record = step.random.choice(("enterprise", "workplace"))
    ids = step.alive(record)
    if not ids:
        return
    doc_id = step.random.choice(ids)
    done = "removed"
    try:
        await step.world.desk(f"mutation ($id: ID!) {{ delete{pascal(record)}(id: $id) }}", id=doc_id)
    except AnswerError:
        return  # not there yet, or out of its area
    except LOST:
        done = ""  # perhaps
    step.world.count(f"{record} deleted at the desk")
    step.world.journal.add(Entry(step.number, DESK, record, doc_id, Kind.REMOVE, "", None, EVERYTHING, done))


async def delete_over_edit(step: Step) -> None:
    """One deletes what another edits, neither knows; then both are heard at once."""
    found = await step.officer_with("enterprise", "workplace", "workplace")
    if not found:
        return
    officer, record, document = found
    others = [each for each in step.world.officers if each is not officer and camel(record) in each.person.collections]
    other = step.random.choice(others)
    if not await other.call("get", collection=camel(record), id=document["id"]):
        return
    officer.connect(False)
    other.connect(False)
    value = f"{step.mark}-over"
    with suppress(TerminalError):
        after = await step.edit(other, record, document, set={"remark": value})
        step.note(other, record, after, Kind.SET, "remark", value)
    with suppress(TerminalError):
        await officer.call("remove", collection=camel(record), id=document["id"])
        step.note(officer, record, {**document, "stamp": "removed"}, Kind.REMOVE, "", None)
    for each in step.random.sample([officer, other], k=2):
        each.connect(True)
    step.world.count("deleted over an edit")


# ---- lost devices


async def lose_device(step: Step) -> None:
    """A device is locked; what is written on it from then on is never taken. Its owner gets a fresh one."""
    world, officer = step.world, step.random.choice(step.world.officers)
    device = officer.person.device_id
    if len(world.journal.locked) >= 2 or world.away:
        return
    try:
        await world.desk(LOCK, id=device)
        sure = True
    except LOST:
        sure = False
    world.journal.locked[device] = sure
    if sure:
        try:
            await _knock(step, officer)
        except TerminalError as error:
            if "DEVICE_WIPED" not in str(error):  # it has asked meanwhile, and did as it was told
                raise
    world.count("device locked")
    await officer.replace()


async def _knock(step: Step, officer: Officer) -> None:
    """The locked terminal writes on and tries to send it."""
    officer.connect(True)
    before = len(step.world.journal.entries)
    held = await officer.call("find", collection="enterprise")
    if held:
        document = step.random.choice(sorted(held, key=lambda each: str(each["id"])))
        value = f"{step.mark}-locked"
        after = await step.edit(officer, "enterprise", document, set={"remark": value})
        step.note(officer, "enterprise", after, Kind.SET, "remark", value)
    step.world.journal.too_late += step.world.journal.entries[before:]
    with suppress(TerminalError):
        await officer.call("sync", within=0.3)
    with suppress(TerminalError):
        state = await officer.call("ask", within=2.0, query="{ deviceState { wipe } }")
        if not state["deviceState"]["wipe"] and not step.world.away:
            step.world.wrongs.append(Fault(f"{officer.person.device_id} was locked and isn't told to wipe", "", step=step.number))
    with suppress(TerminalError):
        await officer.call("ask", within=2.0, query="mutation { confirmWipe }")


# ---- document numbers


async def reserve_numbers(step: Step) -> None:
    await _reserve(step, step.random.choice([each for each in step.world.officers if each.person.role is not Role.COORDINATOR]))


async def _reserve(step: Step, officer: Officer) -> None:
    area = HOME if officer.person.scope == CITY else officer.person.scope
    query = """mutation ($area: ID!, $count: Int!) {
        reserveNumbers(series: "FZ", area: $area, count: $count) { first last prefix } }"""
    answer = await officer.call("ask", within=3.0, query=query, variables={"area": area, "count": step.random.randint(1, 4)})
    block = answer["reserveNumbers"]
    fresh = [f"{block['prefix']}{number:06d}" for number in range(block["first"], block["last"] + 1)]
    device = officer.person.device_id
    for number in fresh:
        if number in step.world.journal.numbers:
            step.world.wrongs.append(
                Fault(f"{number} of {step.world.journal.numbers[number]} was given to {device} too", "", step=step.number)
            )
        step.world.journal.numbers[number] = device
    officer.numbers += fresh
    step.world.count("numbers reserved")


async def use_number(step: Step) -> None:
    """A draft without a number gets the next one that the terminal has, also out of reach of the server."""
    officer = step.random.choice([each for each in step.world.officers if each.person.role is not Role.COORDINATOR])
    drafts = [
        each for each in await officer.call("find", collection="inspection", selector={"state": "DRAFT"}) if not each["documentNumber"]
    ]
    if not drafts:
        await make(step, officer, "inspection")
        return
    if not officer.numbers:
        officer.connect(True)
        await _reserve(step, officer)
    number = officer.numbers.pop(0)
    draft = step.random.choice(sorted(drafts, key=lambda each: str(each["id"])))
    after = await step.edit(officer, "inspection", draft, set={"document_number": number})
    step.note(officer, "inspection", after, Kind.SET, "document_number", number)
    step.world.count("number used")


# ---- standby, backup and restore


async def vex_standby(step: Step) -> None:
    """The standby stands still, dies or comes back."""
    standby, url = step.world.standby, step.world.server.settings.database_url or ""
    if standby is None:
        return
    if not standby.running:
        await standby.mend(url)
        step.world.count("standby back")
    elif step.random.random() < 0.3:
        await asyncio.to_thread(standby.stop)
        step.world.count("standby killed")
    else:
        paused = step.random.random() < 0.5
        await standby.replay(url, paused=paused)
        step.world.count("standby paused" if paused else "standby goes on")


async def back_up(step: Step) -> None:
    """Once in a run: what everybody could send until now is in it."""
    world = step.world
    if world.away:
        return
    for officer in world.officers:
        officer.connect(True)
    await asyncio.gather(*(sync(officer, step, 2.0) for officer in world.officers), return_exceptions=True)
    made = Backup(world.folder / "backup.zip", step.number, {**world.journal.sent, DESK: step.number})
    made.file.unlink(missing_ok=True)
    with suppress(BackupError):
        await backup(_url(step), made.file, world.folder / "keys", _quiet())
        world.backup = made
        world.count("backup")


async def go_back(step: Step) -> None:
    """The state of the backup takes the place of the database, and everybody signs in again."""
    world = step.world
    if world.away or world.backup is None:
        return
    await restore(_url(step), world.backup.file, world.folder / "keys", _quiet())
    world.journal.loss = Loss(world.backup.step, step.number, world.backup.held)
    world.token = ""
    world.count("restored")
    await asyncio.to_thread(world.server.wait_ready)
    await asyncio.gather(*(officer.sign_in() for officer in world.officers))


def _url(step: Step) -> str:
    return step.world.server.settings.database_url or ""


def _quiet() -> Console:
    return Console(file=io.StringIO())
