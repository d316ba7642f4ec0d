"""What the field day knows: who is out with which terminal, what was made, what must be found in the evening."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from api.fault_proxy import FaultProxy
from api.server_process import ServerProcess
from api.terminal import Event, Terminal

COLLECTIONS = ("enterprise", "workplace", "exposure", "inspection", "finding", "patrol", "coordinator", "rehabSite", "syncConflict")
UNREADABLE = {"coordinator1": {"inspection"}}
LISTS = {name: f"{name}s" for name in COLLECTIONS}
COUNTY = "220102"
OFFICERS = ("inspector1", "inspector2")  # their terminals have keys
CREW = {"inspector1": "执法员甲", "inspector2": "执法员乙", "coordinator1": "协管员", "inspector3": "外县执法员"}
PASSWORD = "zhijian-demo"  # noqa: S105 - the demo accounts', refused off the loopback
RETRY_MS = 500
PAGE = 200

Document = dict[str, Any]
Held = dict[str, dict[str, Document]]
"""What a terminal holds: collection -> id -> document."""


@dataclass
class Person:
    """Somebody in the field with a terminal behind a network of its own."""

    name: str
    terminal: Terminal
    proxy: FaultProxy
    collections: list[str]
    user: Document = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)  # of each collection, as the server declares them

    async def documents(self, collection: str) -> dict[str, Document]:
        if collection not in self.collections:
            return {}
        return {document["id"]: document for document in await self.terminal.call("find", collection=collection)}

    async def held(self) -> Held:
        return {collection: await self.documents(collection) for collection in COLLECTIONS}

    async def totals(self) -> dict[str, int]:
        """How many documents the server's lists have for this person."""
        parts = " ".join(f"{collection}: {LISTS[collection]}(first: 1) {{ totalCount }}" for collection in self.collections)
        answer = await self.terminal.call("ask", query=f"{{ {parts} }}")
        return {collection: answer[collection]["totalCount"] for collection in self.collections}

    async def listed(self, collection: str) -> dict[str, Document]:
        """All documents of the server's list, page by page."""
        wanted = " ".join(name for name in self.fields[collection] if name != "deleted")
        query = f"""query ($first: Int!, $after: String) {{
            list: {LISTS[collection]}(first: $first, after: $after) {{ nodes {{ {wanted} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
        found: dict[str, Document] = {}
        page: Document = {"pageInfo": {"hasNextPage": True, "endCursor": None}}
        while page["pageInfo"]["hasNextPage"]:
            variables = {"first": PAGE, "after": page["pageInfo"]["endCursor"]}
            page = (await self.terminal.call("ask", query=query, variables=variables))["list"]
            found |= {document["id"]: document for document in page["nodes"]}
        return found


@dataclass
class Day:
    """One field day as it goes on."""

    url: str
    server: ServerProcess
    console: Console
    number: str = field(default_factory=lambda: secrets.token_hex(3))  # marks all that the day writes
    crew: dict[str, Person] = field(default_factory=dict)
    terminals: dict[str, Terminal] = field(default_factory=dict)
    proxies: list[FaultProxy] = field(default_factory=list)
    coverage: dict[str, Document] = field(default_factory=dict)  # in the morning, by township
    enterprise: Document = field(default_factory=dict)  # as it was in the morning
    expected: Document = field(default_factory=dict)  # fields as they must be in the evening
    losing: str = ""
    winning: str = ""
    made: dict[str, list[str]] = field(default_factory=dict)  # collection -> ids
    numbers: list[str] = field(default_factory=list)  # of documents, as handed out offline
    point: tuple[float, float] = (0.0, 0.0)  # lon, lat, WGS 84, of the inspection
    failures: int = 0

    def check(self, sentence: str, holds: bool, detail: object = "") -> None:
        self.failures += not holds
        self.console.print(f"  {'[green]✓[/green]' if holds else '[bold red]✗[/bold red]'} {sentence}", highlight=False, end="")
        self.console.print("" if detail == "" else f"  {detail}", style="dim", highlight=False, markup=False)

    def tell(self, sentence: str) -> None:
        self.console.print(f"    {sentence}", highlight=False, markup=False)

    @property
    def touched(self) -> set[str]:
        """Ids of all that the day wrote."""
        return {key for ids in self.made.values() for key in ids} | {self.enterprise["id"]}

    @property
    def devices(self) -> set[str]:
        return {self.device_id(name) for name in CREW}

    def device_id(self, name: str) -> str:
        # Of its own each day: the terminal's memory, and with it its counter, starts anew.
        return f"story-{name}-{self.number}"

    async def sign_in(self, name: str, url: str, listener: Callable[[Event], None] = lambda event: None) -> Terminal:
        terminal = await Terminal.start(name, url, listener=listener, deviceId=self.device_id(name), retryTime=RETRY_MS)
        self.terminals[name] = terminal
        user = await terminal.call("login", username=name, password=PASSWORD)
        if name in OFFICERS:
            await self.enrol(terminal, user)
        return terminal

    async def enrol(self, terminal: Terminal, user: Document) -> None:
        """Give a terminal a key with a code of the supervisor's; what was open on it ends, so sign in again."""
        query = "mutation ($user: ID!) { issueDeviceCode(userId: $user) { code } }"
        code = (await self.ask_desk(query, user=user["id"]))["issueDeviceCode"]["code"]
        await terminal.call("enrol", code=code)
        await terminal.call("login", username=user["username"], password=PASSWORD)

    async def send_out(self, name: str, listener: Callable[[Event], None]) -> Person:
        """Sign somebody in behind a network of his own."""
        proxy = FaultProxy(self.url)
        self.proxies.append(proxy)
        await proxy.start()
        terminal = await self.sign_in(name, proxy.url, listener)
        collections = [collection for collection in COLLECTIONS if collection not in UNREADABLE.get(name, ())]
        person = self.crew[name] = Person(name, terminal, proxy, collections)
        person.user = (await terminal.call("ask", query="{ me { id username role areas { code name } } }"))["me"]
        return person

    async def insert(self, name: str, collection: str, values: Document, **options: Any) -> Document:
        """A new document on somebody's terminal."""
        document: Document = await self.crew[name].terminal.call("insert", collection=collection, document=values, **options)
        self.made.setdefault(collection, []).append(document["id"])
        return document

    async def ask_desk(self, query: str, **variables: Any) -> Document:
        """GraphQL as the supervisor at the desk."""
        answer: Document = await self.terminals["changchun"].call("ask", query=query, variables=variables)
        return answer

    async def go_home(self) -> None:
        """End all that the day started; twice is once."""
        await asyncio.gather(*(terminal.quit() for terminal in self.terminals.values()), return_exceptions=True)
        await asyncio.gather(*(proxy.close() for proxy in self.proxies), return_exceptions=True)
