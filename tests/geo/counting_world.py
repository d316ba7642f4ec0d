"""A small ragged country, documents written by the real write path on days of our choice, and the same counts in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import coverage as counting
from geo import indicators
from geo.coverage import AreaValue, Day
from geo.curves import COLUMNS as CURVE
from geo.facts import COLUMNS
from schema.actor import Actor, Role
from schema.areas import ROOT, Level
from schema.indicators import catalogue
from schema.registry import load
from sync.feed import drain
from sync.identity import uuid7
from sync.moment import Moment
from sync.rows import Sent
from sync.scoping import adopt
from sync.write import apply

START = date(2026, 1, 1)
# code: (level, tree, parent, chain after itself, layers, valid_to); 110000 is a city too, J220001 holds a township of 220102.
AREAS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...], date | None]] = {
    ROOT: ("country", "division", (), ("country",), None),
    "220000": ("province", "division", (), ("province",), None),
    "J220001": ("jurisdiction", "jurisdiction", ("220000",), ("jurisdiction",), None),
    "220100": ("city", "division", ("220000",), ("city",), None),
    "220102": ("county", "division", ("220100", "220000"), ("county",), None),
    "220103": ("county", "division", ("220100", "220000"), ("county",), None),
    "220102001": ("township", "division", ("220102", "220100", "220000"), ("township",), None),
    "220102002": ("township", "division", ("J220001", "220102", "220100", "220000"), ("township",), None),
    "220103001": ("township", "division", ("220103", "220100", "220000"), ("township",), None),
    "220103009": ("township", "division", ("220103", "220100", "220000"), ("township",), date(2026, 3, 1)),
    "110000": ("province", "division", (), ("province", "city"), None),
    "110101": ("county", "division", ("110000",), ("county",), None),
    "110101001": ("township", "division", ("110101", "110000"), ("township",), None),
}
PLACES = [code for code, (level, *_) in AREAS.items() if level == "township"] + ["220102", "J220001"]
EVERYWHERE = ("220000", "110000")
CHIEF = Actor("00000000-0000-7000-8000-00000000000a", "chief", Role.SUPERVISOR, EVERYWHERE)
CDC = Actor("00000000-0000-7000-8000-00000000000c", "cdc", Role.CDC, EVERYWHERE)


async def draw(connection: AsyncConnection) -> None:
    """The areas, in a database that has none."""
    rows = [
        {"code": code, "level": level, "tree": tree, "chain": [code, *above] if code != ROOT else [], "layers": list(layers), "to": to}
        for code, (level, tree, above, layers, to) in AREAS.items()
    ]
    await connection.execute(
        text(
            "INSERT INTO area (code, name, full_name, level, tree, valid_from, valid_to, chain, layers, source)"
            " VALUES (:code, '虚构' || :code, '', :level, :tree, '1980-01-01', :to, :chain, :layers, 'test')"
        ),
        rows,
    )


def chain(code: str) -> tuple[str, ...]:
    return (code, *AREAS[code][2], ROOT)


def offset(days: int | None) -> str | None:
    return None if days is None else (START + timedelta(days=days)).isoformat()


@dataclass
class Register:
    """Documents and all their versions by day, as the write path took them."""

    connection: AsyncConnection
    day: date = START
    ids: dict[tuple[str, int], str] = field(default_factory=dict)
    versions: dict[tuple[str, str], list[tuple[date, dict[str, Any]]]] = field(default_factory=dict)
    written: int = 0

    async def put(self, record: str, number: int, **values: Any) -> bool:
        """Creates or changes document `number`; whether it was taken."""
        now = datetime.combine(self.day, time(3), UTC) + timedelta(seconds=self.written)
        self.written += 1
        key = self.ids.setdefault((record, number), uuid7(now))
        sent = Sent(None, {"id": key, **values}, partial=(record, key) in self.versions)
        who = CDC if record == "patient" else CHIEF
        (row,) = await apply(self.connection, who, load()[record], [sent], moment=Moment(now), registry=load())
        if row.problems:
            return False
        if row.changed and row.after:
            self.versions.setdefault((record, key), []).append((self.day, dict(row.after)))
        await adopt(self.connection, load())
        return True

    def at(self, record: str, key: str, on: date) -> dict[str, Any] | None:
        """The version of a day; before the first, the first."""
        versions = self.versions.get((record, key), [])
        begun = [document for since, document in versions if since <= on]
        return begun[-1] if begun else versions[0][1] if versions else None

    def all(self, record: str, on: date) -> Iterator[dict[str, Any]]:
        for name, key in self.versions:
            document = self.at(record, key, on) if name == record else None
            if document and not document["deleted"]:
                yield document

    def now(self, record: str, key: str | None) -> dict[str, Any] | None:
        document = self.at(record, key or "", date.max)
        return document if document and not document["deleted"] else None

    async def settle(self, *, step: bool = True) -> None:
        """Stamps what is pending, and lets the kept values follow."""
        raw = (await self.connection.get_raw_connection()).driver_connection
        await drain(raw)
        while step and await indicators.step(self.connection, self.day, batch=3):
            pass

    async def kept(self) -> list[list[str]]:
        """Curves, facts of persons, former places, and counts as they are stored."""
        places = "SELECT record, link, doc_id FROM indicator_past"
        counts = "SELECT measure, area, n FROM indicator_count WHERE n <> 0"
        queries = (f"SELECT {CURVE} FROM indicator_curve", f"SELECT {COLUMNS} FROM indicator_fact", places, counts)
        return [sorted(map(str, await self.connection.execute(text(query)))) for query in queries]

    async def asked(self, indicator: str, level: Level, day: Day, area: str = ROOT, who: Actor = CHIEF) -> dict[str, AreaValue]:
        found = await counting.coverage(self.connection, who, catalogue().indicators[indicator], area, level, day)
        return {value.code: value for value in found}


Counted = Sequence[tuple[str, int]]
"""(area, amount) of what counts."""


def rolled(counted: Counted) -> dict[str, int]:
    """By every area of the chains."""
    found: dict[str, int] = {}
    for area, amount in counted:
        for code in chain(area):
            found[code] = found.get(code, 0) + amount
    return found


def enterprises(register: Register, on: date, condition: Callable[[dict[str, Any]], Any]) -> Counted:
    return [(row["area_code"], 1) for row in register.all("enterprise", on) if row["status"] == "OPERATING" and condition(row)]


def day_of(text_: str | None) -> date:
    return date.fromisoformat(text_) if text_ else date.min


def months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    ends = [31, 29 if year % 4 == 0 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return date(year, month + 1, min(day.day, ends[month]))


def counts_as_declared(row: dict[str, Any], on: date) -> bool:
    return bool(row["hazards"] and row["declared_on"]) and row["declaration_state"] != "CANCELLED" and day_of(row["declared_on"]) <= on


def declared(register: Register, on: date) -> Counted:
    return enterprises(register, on, lambda row: counts_as_declared(row, on))


def in_interval(register: Register, on: date) -> Counted:
    def holds(row: dict[str, Any]) -> bool:
        if not (row["hazards"] and row["tested_on"] and row["key_industry"]):
            return False
        last = day_of(row["tested_on"])
        return last <= on < months_later(last, 12 if row["hazard_class"] == "SEVERE" else 36)

    return enterprises(register, on, holds)


def patrolled(register: Register, on: date, first: date) -> Counted:
    """Enterprises that operate now, visited from `first` to `on`, each once, where they are now."""
    found: dict[str, str] = {}
    for row in register.all("patrol", on):
        enterprise = register.now("enterprise", row["enterprise_id"])
        visited = datetime.fromisoformat(row["patrolled_at"]).astimezone(UTC) + timedelta(hours=8)
        counts = row["state"] != "DISMISSED" and first <= visited.date() <= on
        if enterprise and enterprise["status"] == "OPERATING" and counts and register.now("patrol", row["id"]) is not None:
            found[row["enterprise_id"]] = enterprise["area_code"]
    return [(area, 1) for area in found.values()]


def coordinators(register: Register, on: date) -> Counted:
    return [
        (row["area_code"], 1)
        for row in register.all("coordinator", on)
        if row["status"] == "ACTIVE" and day_of(row["appointed_on"]) <= on and (row["ended_on"] is None or on < day_of(row["ended_on"]))
    ]
