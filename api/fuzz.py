"""The fuzzer: real RxDB terminals write at random while the network, the server, the stamper and the terminals themselves fail.

`python -m api fuzz --seed 1 --steps 2000 --terminals 5`. The seed settles who does what when, and which faults come when; what the
network makes of it depends on the clock, so a failure may need some runs of its seed to show again. Every second seed reads on a
streaming standby, every third goes back to a backup. At the end everything is repaired, everybody syncs until nothing moves, and
the journal of all writes is compared with the server (`api.fuzz_oracle`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from rich.console import Console

from api import areas, cluster, fuzz_standby, migrate
from api.fuzz_facts import Facts, expected, read, wrongly_scoped
from api.fuzz_journal import Fault, Journal
from api.fuzz_oracle import judge
from api.fuzz_plan import STANDBY_SEEDS, prepare, restores, take
from api.fuzz_standby import Standby
from api.fuzz_steps import RECORDS
from api.fuzz_world import Officer, World, connect, skews, townships
from api.graphql.names import camel
from api.server_process import ServerError, ServerProcess
from api.settings import Settings
from api.story_checks import differences
from api.story_day import Person
from api.terminal import TerminalError

STEPS, TERMINALS = 2000, 5
MOST_SHOWN = 5
EXCERPT = 12
SERVER_TIMES = ("revision", "createdAt", "updatedAt")

TRAVELLING = {camel(record): record for record in RECORDS}

Documents = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """How a run ended: what was wrong (nothing is the bar), and what it consisted of."""

    faults: tuple[Fault, ...]
    report: str
    seconds: float


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api fuzz", description="Sync under random faults with real RxDB terminals.")
    parser.add_argument("--seed", type=_seeds, default=[1], help="a number, or FIRST-LAST (1)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of each seed ({STEPS})")
    parser.add_argument("--terminals", type=int, default=TERMINALS, choices=range(4, 8), help=f"4 to 7 ({TERMINALS})")
    parser.add_argument("--keep", action="store_true", help="keep the database and the folder of a run that failed")
    given = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    own = replace(settings, data=settings.data / "fuzz")  # not the demo's: this one gives up safety from power cuts
    try:
        with cluster.running(own, throwaway=True) as url:
            private = settings.database_url is None
            return asyncio.run(_every(replace(own, database_url=url), given, console, private=private))
    except (cluster.ClusterError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1


async def _every(settings: Settings, given: argparse.Namespace, console: Console, *, private: bool) -> int:
    url = settings.database_url or ""
    template = await _template(url, console)
    shared = [seed for seed in given.seed if private and seed % STANDBY_SEEDS == 0]
    alone = [seed for seed in given.seed if seed not in shared]
    standby = await _standby(url) if shared else None
    try:  # two lanes: much of a run is waiting
        lanes = (_lane(settings, template, seeds, given, console, standby) for seeds in (alone, shared))
        return 1 if any(await asyncio.gather(*lanes)) else 0
    finally:
        if standby:
            await asyncio.to_thread(fuzz_standby.remove, standby)
        await cluster.drop_database(url, template)


async def _lane(
    settings: Settings, template: str, seeds: Sequence[int], given: argparse.Namespace, console: Console, standby: Standby | None
) -> bool:
    """Whether one of the seeds failed; one after the other."""
    return any([await _one(settings, template, seed, given, console, standby) for seed in seeds])


async def _standby(url: str) -> Standby:
    """Follows the private cluster. Its position in the log says nothing about commits that aren't written at once."""
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = on")
    await connection.close()
    return await asyncio.to_thread(fuzz_standby.make, url)


async def _one(settings: Settings, template: str, seed: int, given: argparse.Namespace, console: Console, standby: Standby | None) -> bool:
    """Whether the run of one seed failed."""
    url, name = settings.database_url or "", f"fuzz_{os.getpid()}_{seed}"
    folder = Path(tempfile.mkdtemp(prefix="zhijian-fuzz-"))
    here = replace(settings, database_url=await cluster.create_database(url, name, template), port=free_port(), data=folder)
    if standby and seed % STANDBY_SEEDS == 0:
        await standby.mend(url)
        here = replace(here, read_database_url=standby.url(here.database_url or ""))
    else:
        standby = None
    verdict = await run(here, seed, given.steps, given.terminals, standby)
    console.print(f"seed {seed}: {verdict.report}", markup=False)
    if given.keep and verdict.faults:
        console.print(f"  kept: database {name}, folder {folder}", markup=False)
    else:
        for left in await cluster.database_names(url, f"{name}%"):  # a restore keeps the old one
            await cluster.drop_database(url, left)
        shutil.rmtree(folder, ignore_errors=True)
    return bool(verdict.faults)


async def _template(url: str, console: Console) -> str:
    """A database of this run's own with the areas, to copy for each seed."""
    name = f"fuzz_{os.getpid()}_template"
    made = await cluster.create_database(url, name)
    await migrate.upgrade(made)
    await areas.load(made, console)
    return name


async def run(settings: Settings, seed: int, steps: int, terminals: int, standby: Standby | None = None) -> Verdict:
    """One run on an empty database with areas and a port that is free; the data folder keeps terminals and the server's log."""
    began = time.monotonic()
    database, server = await connect(settings.database_url or ""), ServerProcess(settings)
    try:
        await asyncio.to_thread(server.__enter__)
        world = World(server, database, settings.data, await townships(database), standby=standby, restores=restores(seed, steps))
        try:
            faults, rounds = await _play(world, seed, steps, terminals)
            facts = await read(database)
        finally:
            await world.go_home()
    finally:
        await asyncio.to_thread(server.stop)
        await database.close()
    seconds = time.monotonic() - began
    return Verdict(tuple(faults), _report(world, facts, faults, f"{steps} steps, {seconds:.0f} s, quiet after {rounds} rounds"), seconds)


async def _play(world: World, seed: int, steps: int, terminals: int) -> tuple[list[Fault], int]:
    await world.populate(terminals)
    await world.switch_on(skews(Random(f"{seed}/clocks"), terminals))
    await prepare(world, seed)
    for number in range(steps):
        await take(world, seed, number)
    try:
        rounds = await world.settle()
    except (TerminalError, ServerError, TimeoutError) as error:
        return [Fault(f"never quiet: {error}", "")], 0
    facts = await read(world.database)
    faults = judge(world.journal, facts)
    faults += [*world.wrongs, *await _unlisted(world)]
    faults += [Fault("its scopes are not its area's or its parent's", doc_id) for doc_id in await wrongly_scoped(world.database)]
    for officer in world.officers:
        faults += await _scope(world, officer, facts)
    return faults, rounds


async def _unlisted(world: World) -> list[Fault]:
    """Locked devices whose unsent work the supervisor is not told to be unknown."""
    listed = (await world.desk("{ devices { id unsentUnknownSince } }"))["devices"]
    unknown = {each["id"] for each in listed if each["unsentUnknownSince"]}
    lost = [device for device, sure in world.journal.locked.items() if sure and device not in unknown]
    return [Fault(f"{device} was locked, but its unsent work is not listed as unknown", "") for device in lost]


async def _scope(world: World, officer: Officer, facts: Facts) -> list[Fault]:
    """The terminal holds exactly what the server lists for its person, field by field, and that is what his grants say."""
    assert officer.terminal is not None
    person = Person(officer.person.name, officer.terminal, officer.proxy, officer.person.collections, fields=officer.fields)
    faults: list[Fault] = []
    totals = await person.totals()
    for collection in person.collections:
        held, listed = await person.documents(collection), await person.listed(collection)
        _forget_ghosts(world.journal, facts, collection, held, listed)
        _forgive_own(officer.person.device_id, held, listed, facts)
        different = differences(collection, held, listed)
        faults += [Fault(f"{officer.person.name}, terminal / server: {text}", text.split()[1]) for text in different]
        if len(held) != totals[collection]:
            faults.append(Fault(f"{officer.person.name} holds {len(held)} {collection}, the server counts {totals[collection]}", ""))
        if collection in TRAVELLING:
            faults += _misplaced(officer, set(held), await expected(world.database, officer.person.id, TRAVELLING[collection]))
    return faults


def _misplaced(officer: Officer, held: set[str], granted: set[str]) -> list[Fault]:
    name = officer.person.name
    lacking = [Fault(f"{name} lacks it, though granted", doc_id) for doc_id in sorted(granted - held)]
    return lacking + [Fault(f"{name} has it, though not granted", doc_id) for doc_id in sorted(held - granted)]


def _forget_ghosts(journal: Journal, facts: Facts, collection: str, held: Documents, listed: Documents) -> None:
    """What a restore took from the server stays on terminals that had it, until somebody edits it (sync/README.md, Lineage)."""
    if journal.loss is None:
        return
    conflicts = {row["id"] for rows in facts.conflicts.values() for row in rows}
    for doc_id in held.keys() - listed.keys():
        if (doc_id not in conflicts) if collection == "syncConflict" else journal.ghost(doc_id):
            del held[doc_id]


def _forgive_own(device: str, held: Documents, listed: Documents, facts: Facts) -> None:
    """Levels the server's own fields where the terminal misses nothing but its own last edits.

    RxDB passes over a pulled document while its edit is under way, and does not ask again when the push was simply taken:
    revision and times then stay behind until the next change. `sync.merge.rebase` knows.
    """
    for doc_id in held.keys() & listed.keys():
        revision = held[doc_id].get("revision") or 0
        if all(change["device_id"] == device for change in facts.changes.get(doc_id, ()) if change["revision"] > revision):
            held[doc_id] |= {name: listed[doc_id][name] for name in SERVER_TIMES if name in listed[doc_id]}


# ---- what is said


def _report(world: World, facts: Facts, faults: Sequence[Fault], summary: str) -> str:
    happened = ", ".join(f"{what} {count}" for what, count in sorted(world.counts.items()))
    size = f"{len(world.journal.entries)} writes, {len(facts.documents)} documents, {sum(map(len, facts.conflicts.values()))} conflicts"
    lines = [f"{'FAILED' if faults else 'passed'}: {summary}; {size}; {happened}"]
    if faults:
        lines += [f"  {len(faults)} faults", *(f"      trouble {each}" for each in world.troubles[:EXCERPT])]
        lines += [line for fault in _first_of_each(faults) for line in _explain(world, facts, fault)]
    return "\n".join(lines)


def _first_of_each(faults: Sequence[Fault]) -> list[Fault]:
    """One fault of each document, a few in all."""
    return list({fault.doc_id: fault for fault in reversed(faults)}.values())[::-1][:MOST_SHOWN]


def _explain(world: World, facts: Facts, fault: Fault) -> list[str]:
    """Enough to debug it: the document's journal, server row, history and conflicts."""
    column = fault.column or None
    lines = [f"  ✗ {facts.records.get(fault.doc_id, '')} {fault.doc_id} {fault.column} (step {fault.step}): {fault.sentence}"]
    journal = [entry for entry in world.journal.of(fault.doc_id) if column in (None, entry.column) or not entry.column]
    lines += [f"      wrote   step {e.step} {e.device} {e.kind} {e.column} {e.value!r} seen {e.seen} {e.stamp}" for e in journal[-EXCERPT:]]
    document = facts.documents.get(fault.doc_id)
    if document:
        shown = {name: document.get(name) for name in ("revision", "stamp", "deleted", *([column] if column else ()))}
        lines.append(f"      server  {shown}")
    for change in facts.changes.get(fault.doc_id, [])[-3 * EXCERPT :]:
        pairs = change["changes"] or {}
        if column is None or column in pairs or change["kind"] != "UPDATE":
            told = {name: pair for name, pair in pairs.items() if column in (None, name)}
            lines.append(f"      change  {change['revision']} {change['device_id']} {change['kind']} at {change['edited_at_ms']} {told}")
    for row in list(facts.kept(fault.doc_id))[-EXCERPT:]:
        if column in (None, row["field"]) or row["policy"] is None:
            base, mine, theirs = (str(row[name])[:400] for name in ("base", "mine", "theirs"))
            lines.append(f"      conflict {row['code']} {row['device_id']} {row['field']} base {base} mine {mine} theirs {theirs}")
    return lines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))
