"""The fuzzer: real RxDB terminals write at random while the network, the server, the stamper and the terminals themselves fail.

`python -m api fuzz --seed 1 --steps 2000 --terminals 4`. The seed settles who does what when, and which faults come when; what the
network makes of it depends on the clock, so a failure may need some runs of its seed to show again. At the end everything is
repaired, everybody syncs until nothing moves, and the journal of all writes is compared with the server (`api.fuzz_oracle`).
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

from rich.console import Console

from api import areas, cluster, migrate
from api.fuzz_facts import Facts, read, wrongly_scoped
from api.fuzz_oracle import Fault, judge
from api.fuzz_steps import prepare, take
from api.fuzz_world import Officer, World, connect, skews, townships
from api.server_process import ServerError, ServerProcess
from api.settings import Settings
from api.story_checks import differences
from api.story_day import Person
from api.terminal import TerminalError

STEPS, TERMINALS = 2000, 4
MOST_SHOWN = 5
EXCERPT = 12
SERVER_TIMES = ("revision", "createdAt", "updatedAt")

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
    parser.add_argument("--terminals", type=int, default=TERMINALS, choices=range(4, 7), help=f"4 to 6 ({TERMINALS})")
    parser.add_argument("--keep", action="store_true", help="keep the database and the folder of a run that failed")
    given = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    try:
        with cluster.running(settings) as url:
            return asyncio.run(_every(replace(settings, database_url=url), given, console))
    except (cluster.ClusterError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1


async def _every(settings: Settings, given: argparse.Namespace, console: Console) -> int:
    url = settings.database_url or ""
    template = await _template(url, console)
    try:
        return 1 if sum([await _one(settings, template, seed, given, console) for seed in given.seed]) else 0
    finally:
        await cluster.drop_database(url, template)


async def _one(settings: Settings, template: str, seed: int, given: argparse.Namespace, console: Console) -> bool:
    """Whether the run of one seed failed."""
    url, name = settings.database_url or "", f"fuzz_{os.getpid()}_{seed}"
    folder = Path(tempfile.mkdtemp(prefix="zhijian-fuzz-"))
    here = replace(settings, database_url=await cluster.create_database(url, name, template), port=free_port(), data=folder)
    verdict = await run(here, seed, given.steps, given.terminals)
    console.print(f"seed {seed}: {verdict.report}", markup=False)
    if given.keep and verdict.faults:
        console.print(f"  kept: database {name}, folder {folder}", markup=False)
    else:
        await cluster.drop_database(url, name)
        shutil.rmtree(folder, ignore_errors=True)
    return bool(verdict.faults)


async def _template(url: str, console: Console) -> str:
    """A database of this run's own with the areas, to copy for each seed."""
    name = f"fuzz_{os.getpid()}_template"
    made = await cluster.create_database(url, name)
    await migrate.upgrade(made)
    await areas.load(made, console)
    return name


async def run(settings: Settings, seed: int, steps: int, terminals: int) -> Verdict:
    """One run on an empty database with areas and a port that is free; the data folder keeps terminals and the server's log."""
    began = time.monotonic()
    database = await connect(settings.database_url or "")
    try:
        with ServerProcess(settings) as server:
            world = World(server, database, settings.data, await townships(database))
            try:
                faults, rounds = await _play(world, seed, steps, terminals)
                facts = await read(database)
            finally:
                await world.go_home()
    finally:
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
    faults += [Fault("its scopes are not its area's or its parent's", doc_id) for doc_id in await wrongly_scoped(world.database)]
    for officer in world.officers:
        faults += await _scope(officer, facts)
    return faults, rounds


async def _scope(officer: Officer, facts: Facts) -> list[Fault]:
    """The terminal holds exactly what the server lists for its person, field by field."""
    assert officer.terminal is not None
    person = Person(officer.person.name, officer.terminal, officer.proxy, officer.person.collections, fields=officer.fields)
    faults: list[Fault] = []
    for collection in person.collections:
        held, listed = await person.documents(collection), await person.listed(collection)
        _forgive_own(officer.person.device_id, held, listed, facts)
        different = differences(collection, held, listed)
        faults += [Fault(f"{officer.person.name}, terminal / server: {text}", text.split()[1]) for text in different]
    totals, counts = await person.totals(), await officer.call("count")
    wrong = [name for name in totals if totals[name] != counts[name]]
    return faults + [Fault(f"{officer.person.name} holds {counts[name]} {name}, the server {totals[name]}", "") for name in wrong]


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
