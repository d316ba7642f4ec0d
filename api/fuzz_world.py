"""The fuzzer's world: a server that is killed, people with real terminals behind networks of their own, and a desk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg

from api.bench.client import AnswerError, Client, sign_in
from api.fault_proxy import FaultProxy
from api.fuzz_journal import DESK, Fault, Journal
from api.fuzz_standby import Standby
from api.passwords import hash_password
from api.server_process import ServerError, ServerProcess
from api.terminal import Terminal, TerminalError
from schema.actor import Role

HOME, NEIGHBOUR, CITY = "220102", "220103", "220100"
COLLECTIONS = ("enterprise", "workplace", "inspection", "finding", "patrol", "syncConflict")
PASSWORD = "zhijian-demo"  # noqa: S105 - accounts on the loopback, of a database that is thrown away
RETRY_MS = 200
HOUR_MS = 3_600_000
TOLD_SECONDS = 0.5  # until every node has heard of a changed grant
LONGEST_ROUND_SECONDS = 90.0
MOST_ROUNDS = 12

Document = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Somebody with a terminal; `account` where it is another's second terminal, `device` grows with each new one."""

    name: str
    role: Role
    scope: str
    account: str = ""
    device: int = 1

    @property
    def username(self) -> str:
        return self.account or self.name

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"zhijian-fuzz/{self.username}"))

    @property
    def device_id(self) -> str:
        return DESK if self.name == "desk" else f"fuzz-{self.name}" if self.device == 1 else f"fuzz-{self.name}-{self.device}"

    @property
    def collections(self) -> list[str]:
        return [name for name in COLLECTIONS if name != "inspection" or self.role is not Role.COORDINATOR]


def people(count: int, home: Sequence[str], neighbour: Sequence[str]) -> list[Person]:
    """The first `count` of seven terminals, whose scopes overlap: counties, a township in each, and the city. One person has two."""
    everybody = [
        Person("inspector", Role.INSPECTOR, HOME),
        Person("coordinator", Role.COORDINATOR, home[0]),
        Person("stranger", Role.INSPECTOR, NEIGHBOUR),
        Person("supervisor", Role.SUPERVISOR, CITY),
        Person("tablet", Role.INSPECTOR, HOME, account="inspector"),
        Person("colleague", Role.INSPECTOR, HOME),
        Person("outsider", Role.COORDINATOR, neighbour[0]),
    ]
    if not 4 <= count <= len(everybody):
        raise ValueError(f"from 4 to {len(everybody)} terminals, not {count}")
    return everybody[:count]


@dataclass
class Officer:
    """A person in the field: terminal, network, memory on disk."""

    person: Person
    proxy: FaultProxy
    folder: Path
    terminal: Terminal | None = None
    skew: int = 0  # ms
    fields: dict[str, list[str]] = field(default_factory=dict)
    connected: bool = True
    numbers: list[str] = field(default_factory=list)  # reserved and not used yet

    async def call(self, command: str, **options: Any) -> Any:
        if self.terminal is None:
            raise TerminalError(f"{self.person.name} has no terminal")
        return await self.terminal.call(command, **options)

    async def start(self, skew: int) -> None:
        """Switch the terminal on with what its folder remembers; a network and a server must be there, or come within a minute."""
        self.skew = skew
        self.connect(True)
        self.terminal = await Terminal.start(
            self.person.name,
            self.proxy.url,
            deviceId=self.person.device_id,
            folder=str(self.folder),
            retryTime=RETRY_MS,
            clockSkew=skew,
        )
        await self._persist("login", username=self.person.username, password=PASSWORD)
        self.fields = await self._persist("open", collections=self.person.collections)

    async def sign_in(self) -> None:
        """Again, after all sessions have ended."""
        self.connect(True)
        await self._persist("login", username=self.person.username, password=PASSWORD)

    async def replace(self) -> None:
        """A fresh terminal for the same person; nothing comes over from the old one."""
        await self.stop(hard=True)
        self.person = replace(self.person, device=self.person.device + 1)
        self.folder = self.folder.with_name(f"{self.person.name}-{self.person.device}")
        self.numbers.clear()
        await self.start(0)

    async def stop(self, *, hard: bool) -> None:
        terminal, self.terminal = self.terminal, None
        if terminal is not None:
            if hard:
                terminal.kill()
            await terminal.quit()

    def connect(self, connected: bool) -> None:
        self.connected = connected
        if connected:
            self.proxy.restore()
        else:
            self.proxy.cut()

    async def _persist(self, command: str, **options: Any) -> Any:
        end = time.monotonic() + 60
        while True:
            try:
                return await self.call(command, **options)
            except TerminalError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.2)


@dataclass(frozen=True)
class Backup:
    """A backup made in the run: its file, when, and up to which step each device had sent everything."""

    file: Path
    step: int
    held: dict[str, int]


@dataclass
class World:
    """One run's server, database, people and journal."""

    server: ServerProcess
    database: asyncpg.Pool[asyncpg.Record]
    folder: Path
    townships: dict[str, list[str]]  # by county
    journal: Journal = field(default_factory=Journal)
    officers: list[Officer] = field(default_factory=list)
    quiet_at: float = 0.0  # monotonic: when the last change of grants has reached everybody
    wrongs: list[Fault] = field(default_factory=list)  # promises broken before the end
    standby: Standby | None = None
    restores: tuple[int, int] | None = None  # the first steps at which a backup is made and put back
    backup: Backup | None = None
    rising: asyncio.Task[None] | None = None  # the server, after a kill
    token: str = ""
    counts: dict[str, int] = field(default_factory=dict)  # what happened how often
    troubles: list[str] = field(default_factory=list)  # what could not be done, and why

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def suspect(self, step: int, error: Exception) -> None:
        """A network that fails never makes an internal error: that is a bug of ours."""
        if "INTERNAL" in str(error):
            self.wrongs.append(Fault(f"internal error: {error}"[:300], "", step=step))

    # ---- people

    async def populate(self, terminals: int) -> None:
        everybody = people(terminals, self.townships[HOME], self.townships[NEIGHBOUR])
        await _write_accounts(self.database, [*everybody, Person("desk", Role.SUPERVISOR, CITY)])
        for person in everybody:
            proxy = FaultProxy(f"{self.server.url}/graphql")
            await proxy.start()
            self.officers.append(Officer(person, proxy, self.folder / person.name))

    async def switch_on(self, skews: Sequence[int]) -> None:
        await asyncio.gather(*(officer.start(skew) for officer, skew in zip(self.officers, skews, strict=True)))

    async def go_home(self) -> None:
        if self.rising:
            await asyncio.gather(self.rising, return_exceptions=True)
        await asyncio.gather(*(officer.stop(hard=True) for officer in self.officers), return_exceptions=True)
        await asyncio.gather(*(officer.proxy.close() for officer in self.officers), return_exceptions=True)

    # ---- the desk

    async def desk(self, query: str, **variables: Any) -> Document:
        """GraphQL as the supervisor at the desk. Raises AnswerError for a no, OSError or EOFError when the answer didn't come."""
        if not self.token:
            self.token = await sign_in(self.server.settings.port, "desk", PASSWORD, DESK)
        async with Client(self.server.settings.port, self.token) as client:
            answer: Document = await client.ask(query, **variables)
        return answer

    # ---- faults

    @property
    def away(self) -> bool:
        """Whether the server is down or just coming up."""
        return self.rising is not None and not self.rising.done()

    async def kill_server(self) -> None:
        """kill -9; it comes up again by itself while everybody goes on."""
        if self.away:
            return
        self.count("server killed")
        await asyncio.to_thread(self.server.kill)
        self.rising = asyncio.create_task(self._raise_server())

    async def _raise_server(self) -> None:
        await asyncio.to_thread(self.server.start)
        await asyncio.to_thread(self.server.wait_ready)

    async def kill_stamper(self) -> None:
        killed = await self.database.fetchval(
            "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() AND a.application_name = 'zhijian-stamper'"
        )
        if killed:
            self.count("stamper killed")

    # ---- the end

    async def settle(self) -> int:
        """Everything back, then sync until nothing moves; the rounds it took. Raises TerminalError, ServerError, TimeoutError."""
        for officer in self.officers:
            officer.proxy.calm()
            officer.connect(True)
        if self.rising:
            await self.rising
        await asyncio.gather(*(officer.start(officer.skew) for officer in self.officers if officer.terminal is None))
        await asyncio.gather(*(officer.proxy.still() for officer in self.officers))
        if self.standby:
            await self.standby.mend(self.server.settings.database_url or "")
        await asyncio.sleep(max(0.0, self.quiet_at - time.monotonic()))
        digests: list[Any] = [None]
        while len(digests) < MOST_ROUNDS:
            await asyncio.gather(*(officer.call("sync", within=LONGEST_ROUND_SECONDS) for officer in self.officers))
            await self._stamped()
            digests.append(await asyncio.gather(*(officer.call("digest") for officer in self.officers)))
            if digests[-1] == digests[-2]:
                return len(digests) - 2
        raise TimeoutError(f"still moving after {MOST_ROUNDS} rounds")

    async def _stamped(self) -> None:
        async with asyncio.timeout(30):
            while await self.database.fetchval("SELECT EXISTS (SELECT FROM sync_pending)"):  # noqa: ASYNC110 - the queue is in the database
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)


async def townships(database: asyncpg.Pool[asyncpg.Record]) -> dict[str, list[str]]:
    """A few townships of each of the two counties."""
    query = "SELECT code FROM area WHERE parent_code = $1 AND level = 'township' AND valid_to IS NULL ORDER BY code LIMIT 3"
    found = {county: [row["code"] for row in await database.fetch(query, county)] for county in (HOME, NEIGHBOUR)}
    if not all(len(codes) == 3 for codes in found.values()):
        raise ServerError("The areas of the fuzzer's two counties are missing.")
    return found


async def _write_accounts(database: asyncpg.Pool[asyncpg.Record], everybody: Sequence[Person]) -> None:
    password, owners = await hash_password(PASSWORD), [person for person in everybody if not person.account]
    await database.executemany(
        "INSERT INTO user_account (id, username, password_hash, role, display_name, active, demo) VALUES ($1, $2, $3, $4, $2, true, true)",
        [(person.id, person.username, password, person.role.value) for person in owners],
    )
    await database.executemany("INSERT INTO user_grant (user_id, scope) VALUES ($1, $2)", [(person.id, person.scope) for person in owners])


async def connect(url: str) -> asyncpg.Pool[asyncpg.Record]:
    """A small pool that reads JSON as values."""
    return await asyncpg.create_pool(url, min_size=0, max_size=3, init=_read_json)


async def _read_json(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def skews(random: Random, count: int) -> list[int]:
    """Clocks of `count` terminals: most are right, some hours ahead or behind."""
    return [random.choice((0, 0, -5 * HOUR_MS, 3 * HOUR_MS, -40_000, 120_000)) for _ in range(count)]


LOST = (OSError, EOFError, TerminalError, AnswerError)
"""What a network that fails makes of a call."""
