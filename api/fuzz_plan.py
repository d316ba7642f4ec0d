"""How often what happens, and the carrying out of one step.

Each step draws from a generator of its own, so that what the network made of earlier steps changes nothing in the choices
of later ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from api import fuzz_office as office
from api import fuzz_steps as field
from api.backup import BackupError
from api.fuzz_steps import Step
from api.fuzz_world import LOST, World

Action = Callable[[Step], Awaitable[None]]
WEIGHTS: Mapping[Action, int] = {
    field.write_text: 290,
    field.write_set: 80,
    field.write_list: 80,
    field.count_up: 80,
    field.move_on: 70,
    field.write_code: 25,
    field.remove: 12,
    field.adopt_child: 20,
    field.relocate: 20,
    field.make_any: 80,
    field.desk_moves: 20,
    field.toggle_network: 60,
    field.lose_answer: 30,
    field.send_twice: 30,
    field.write_over_loss: 20,
    field.dawdle: 15,
    field.wait: 40,
    field.sync_one: 25,
    field.kill_server: 1,
    field.kill_in_push: 3,
    field.kill_stamper: 6,
    field.restart_terminal: 6,
    office.decide_at_desk: 15,
    office.decide_on_terminal: 15,
    office.change_grant: 10,
    office.desk_deletes: 4,
    office.delete_over_edit: 5,
    office.lose_device: 1,
    office.reserve_numbers: 8,
    office.use_number: 20,
    office.vex_standby: 8,
}
RESTORING_SEEDS, STANDBY_SEEDS = 3, 2  # every third, every second


async def take(world: World, seed: int, number: int) -> str:
    """Carry out step `number` of `seed`; its name."""
    random = Random(f"{seed}/{number}")
    (action,) = random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
    for each in (action, *_due(world, number)):
        try:
            await each(Step(world, number, random))
        except (*LOST, BackupError) as error:
            world.suspect(number, error)
            world.count("step failed")
            world.troubles.append(f"step {number} {_name(each)}: {type(error).__name__} {error}"[:200])
    return _name(action)


def _due(world: World, number: int) -> list[Action]:
    """Backup and restore come once, as soon as they can."""
    if world.restores is None or world.journal.loss:
        return []
    if world.backup is None:
        return [office.back_up] if number >= world.restores[0] else []
    return [office.go_back] if number >= world.restores[1] else []


def restores(seed: int, steps: int) -> tuple[int, int] | None:
    """At which steps a run makes its backup and goes back to it; most don't."""
    if seed % RESTORING_SEEDS:
        return None
    random = Random(f"{seed}/restore")
    first = random.randint(steps // 6, steps // 2)
    return first, first + random.randint(1, max(1, steps // 3))


async def prepare(world: World, seed: int, enterprises: int = 8) -> None:
    """The first documents, made on the terminals; everybody has his share before the faults begin."""
    for number in range(-enterprises, 0):
        await field.insert_first(Step(world, number, Random(f"{seed}/{number}")))
    for _ in range(2):
        await asyncio.gather(*(officer.call("sync") for officer in world.officers))
    world.journal.sent = {officer.person.device_id: -1 for officer in world.officers}


def _name(action: Action) -> str:
    return getattr(action, "__name__", "")
