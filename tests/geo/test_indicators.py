"""Kept values are what a count of everything gives, and both are what plain Python counts: after any edits, on any day."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api import cluster
from api.settings import engine_url
from geo import indicators
from geo.coverage import Day, Item, Part, items
from schema.areas import ROOT, Level
from schema.indicators import Period, catalogue
from tests.geo.counting_world import (
    AREAS,
    CHIEF,
    PLACES,
    START,
    Register,
    chain,
    coordinators,
    counts_as_declared,
    declared,
    draw,
    enterprises,
    in_interval,
    offset,
    patrolled,
    rolled,
)

Run = Callable[[Callable[[Register], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def run(cluster_url: str, template: str) -> Iterator[Run]:
    """Runs a coroutine with an empty register in a transaction that is rolled back."""
    name = f"test_{os.getpid()}_counting"
    with asyncio.Runner() as runner:
        url = runner.run(cluster.create_database(cluster_url, name, template))
        engine = create_async_engine(engine_url(url))
        runner.run(_draw(engine))
        yield lambda body: runner.run(_within(engine, body))
        runner.run(engine.dispose())
        runner.run(cluster.drop_database(cluster_url, name))


async def _draw(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await draw(connection)


async def _within(engine: AsyncEngine, body: Callable[[Register], Awaitable[None]]) -> None:
    async with engine.connect() as connection:
        await connection.begin()
        await body(Register(connection))
        await connection.rollback()


LEVELS = [level for level in Level if level is not Level.VILLAGE]
DAYS = st.integers(-500, 200)
MAYBE_DAYS = st.none() | DAYS
SMALL = st.integers(0, 3)
STATES = st.sampled_from(["REPORTED", "REPORTED", "DISMISSED"])


def edits() -> st.SearchStrategy[tuple[str, int, dict[str, Any]]]:
    enterprise = st.fixed_dictionaries(
        {"area_code": st.sampled_from(PLACES), "name": st.just("甲"), "status": st.sampled_from(["OPERATING", "OPERATING", "CLOSED"])},
        optional={
            "hazards": st.sampled_from([[], ["DUST-SILICA"]]),
            "declared_on": MAYBE_DAYS.map(offset),
            "declaration_state": st.sampled_from([None, "ACCEPTED", "CANCELLED"]),
            "tested_on": MAYBE_DAYS.map(offset),
            "hazard_class": st.sampled_from([None, "SEVERE", "GENERAL"]),
            "key_industry": st.sampled_from([None, True, True, False]),
            "deleted": st.sampled_from([False, False, True]),
        },
    )
    patrol = st.fixed_dictionaries(
        {"enterprise_id": SMALL, "patrolled_at": DAYS.map(lambda days: f"{offset(days)}T20:00:00+00:00"), "state": STATES},
        optional={"deleted": st.sampled_from([False, True])},
    )
    coordinator = st.fixed_dictionaries(
        {"area_code": st.sampled_from(PLACES), "name": st.just("乙"), "status": st.sampled_from(["ACTIVE", "ACTIVE", "SUSPENDED"])},
        optional={"appointed_on": MAYBE_DAYS.map(offset), "ended_on": st.integers(100, 400).map(offset)},
    )
    return st.one_of(
        st.tuples(st.just("enterprise"), SMALL, enterprise),
        st.tuples(st.just("enterprise"), SMALL, enterprise),
        st.tuples(st.just("patrol"), SMALL, patrol),
        st.tuples(st.just("coordinator"), SMALL, coordinator),
        st.tuples(st.just("later"), st.integers(1, 120), st.just({})),
        st.tuples(st.just("settle"), SMALL, st.just({})),
    )


async def carry_out(register: Register, steps: list[tuple[str, int, dict[str, Any]]]) -> None:
    for kind, number, values in steps:
        if kind == "later":
            register.day += timedelta(days=number)
        elif kind == "settle":
            await register.settle()
        else:
            await register.put(kind, number, **_with_parent(register, values))
    await register.settle()


def _with_parent(register: Register, values: dict[str, Any]) -> dict[str, Any]:
    """The enterprise by its id, which is settled even if it comes later than its patrol, or never."""
    number = values.get("enterprise_id")
    if number is None:
        return values
    return {**values, "enterprise_id": register.ids.setdefault(("enterprise", number), f"019aa000-0000-7000-8000-{number:012d}")}


async def agree(register: Register, day: Day, *levels: Level) -> None:
    """What the engine answers for the areas of some levels, beside Python."""
    on = day.on
    first = on.replace(day=1, month=1 if day.period is Period.YEAR else on.month)
    everybody = enterprises(register, on, lambda row: True)
    exposed = enterprises(register, on, lambda row: row["hazards"])
    expected = {
        "IND-01": (declared(register, on), exposed),
        "IND-04K": (in_interval(register, on), enterprises(register, on, lambda row: row["hazards"] and row["key_industry"])),
        "PATROLLED": (patrolled(register, on, first), everybody),
        "COORDINATOR-LOAD": (everybody, coordinators(register, on)),
    }
    for name, (top, whole) in expected.items():
        tops, wholes = rolled(top), rolled(whole)
        for level in levels:
            found = await register.asked(name, level, day)
            assert {code: (value.numerator, value.denominator) for code, value in found.items()} == {
                code: (tops.get(code, 0), wholes.get(code, 0)) for code in areas_of(level, on)
            }, (name, level, day)
    served = rolled(coordinators(register, on))
    townships = areas_of(Level.TOWNSHIP, on)
    found = await register.asked("COORDINATOR-TOWNSHIPS", Level.COUNTY, day)
    for code, value in found.items():
        below = [township for township in townships if code in chain(township)]
        assert (value.numerator, value.denominator) == (sum(served.get(each, 0) > 0 for each in below), len(below))


async def agree_on_the_undeclared(register: Register, on: date) -> None:
    """The list of what is missing, in pages of two."""
    found: list[Item] = []
    while page := await _gap(register, on, found[-1].cursor if found else ""):
        found += page
    missing = {
        (row["area_code"], row["id"])
        for row in register.all("enterprise", on)
        if row["status"] == "OPERATING" and row["hazards"] and register.now("enterprise", row["id"]) and not counts_as_declared(row, on)
    }
    assert [(item.area, item.id) for item in found] == sorted(missing)


async def _gap(register: Register, on: date, after: str) -> list[Item]:
    return await items(register.connection, CHIEF, catalogue().indicators["IND-01"], ROOT, Part.GAP, Day(on), 2, after)


def areas_of(level: Level, on: date) -> list[str]:
    return sorted(code for code, (*_, layers, to) in AREAS.items() if level.value in layers and (to is None or on < to))


@settings(max_examples=35)
@given(steps=st.lists(edits(), min_size=1, max_size=14), back=st.integers(0, 500), level=st.sampled_from(LEVELS))
def test_kept_values_are_a_full_count_and_plain_python(run: Run, steps: list[Any], back: int, level: Level) -> None:
    async def body(register: Register) -> None:
        await carry_out(register, steps)
        kept = await register.kept()
        await agree(register, Day(register.day), Level.TOWNSHIP, level)
        await agree(register, Day(register.day - timedelta(days=back), Period.MONTH), Level.COUNTY)
        for on in (register.day, register.day - timedelta(days=back)):
            await agree_on_the_undeclared(register, on)
        await indicators.recompute(register.connection, register.day)
        assert await register.kept() == kept

    run(body)


def test_two_patrols_of_an_enterprise_count_once_and_the_last_one_decides(run: Run) -> None:
    async def body(register: Register) -> None:
        await register.put("enterprise", 1, name="甲", area_code="220102001", status="OPERATING")
        seen = {"enterprise_id": register.ids["enterprise", 1], "patrolled_at": f"{offset(0)}T02:00:00+00:00", "state": "REPORTED"}
        gone: dict[str, Any] = {"state": "DISMISSED"}
        expected = []
        for number, values, numerator in ((1, seen, 1), (2, seen, 1), (1, gone, 1), (2, gone, 0)):
            await register.put("patrol", number, **values)
            await register.settle()
            expected.append(((await register.asked("PATROLLED", Level.COUNTY, Day(register.day)))["220102"].numerator, numerator))
        assert [found for found, _ in expected] == [numerator for _, numerator in expected]

    run(body)


def test_what_hangs_on_an_enterprise_follows_it(run: Run) -> None:
    async def body(register: Register) -> None:
        await register.put("enterprise", 1, name="甲", area_code="220102001", status="OPERATING")
        enterprise = register.ids["enterprise", 1]
        await register.put("patrol", 1, enterprise_id=enterprise, patrolled_at=f"{offset(0)}T02:00:00+00:00", state="REPORTED")
        for values, inside, beside in (({}, 1, 0), ({"area_code": "220103001"}, 0, 1), ({"status": "CLOSED"}, 0, 0)):
            await register.put("enterprise", 1, **values)
            await register.settle()
            found = await register.asked("PATROLLED", Level.COUNTY, Day(register.day))
            assert (found["220102"].numerator, found["220103"].numerator) == (inside, beside)
            kept = await register.kept()
            await indicators.recompute(register.connection, register.day)
            assert await register.kept() == kept

    run(body)


def test_a_past_day_does_not_change_with_what_is_entered_later(run: Run) -> None:
    async def body(register: Register) -> None:
        await register.put("enterprise", 1, name="甲", area_code="220102001", status="OPERATING", hazards=["DUST-SILICA"])
        register.day = START + timedelta(days=100)
        await register.put("enterprise", 1, declared_on=offset(10))
        await register.put("enterprise", 1, area_code="220103001")
        await register.settle()
        before = await register.asked("IND-01", Level.COUNTY, Day(START + timedelta(days=50)))
        after = await register.asked("IND-01", Level.COUNTY, Day(register.day))
        assert (before["220102"].numerator, before["220102"].denominator, before["220103"].value) == (0, 1, None)
        assert (after["220103"].value, after["220102"].value) == (1, None)

    run(body)


def test_a_test_lapses_by_itself_when_its_interval_is_over(run: Run) -> None:
    async def body(register: Register) -> None:
        values = {"hazards": ["DUST-SILICA"], "hazard_class": "SEVERE", "tested_on": offset(0)}
        await register.put("enterprise", 1, name="甲", area_code="220102001", status="OPERATING", **values)
        await register.settle()
        for day, numerator in ((date(2026, 12, 31), 1), (date(2027, 1, 1), 0)):
            register.day = day
            await indicators.step(register.connection, day)
            counts = await register.connection.scalar(
                text("SELECT coalesce(sum(n), 0) FROM indicator_count WHERE measure = 'enterprise-tested' AND area = '220102'")
            )
            assert counts == numerator
            assert (await register.asked("IND-04", Level.COUNTY, Day(day)))["220102"].numerator == numerator

    run(body)


def test_a_step_that_was_done_twice_changes_nothing(run: Run) -> None:
    async def body(register: Register) -> None:
        await register.put("enterprise", 1, name="甲", area_code="220102001", status="OPERATING")
        await register.settle()
        kept = await register.kept()
        await indicators.refresh(register.connection, "enterprise", ["220102001"], register.day)
        await indicators.refresh(register.connection, "enterprise", ["220102001"], register.day)
        assert await register.kept() == kept

    run(body)


def test_what_is_declared_can_be_counted(run: Run) -> None:
    """Every indicator without `waits` answers, from kept values and before there are any."""

    async def body(register: Register) -> None:
        for _ in range(2):
            for indicator in catalogue().indicators.values():
                if not indicator.waits:
                    found = await register.asked(indicator.id, Level.COUNTY, Day(START))
                    assert set(found) == {"110101", "220102", "220103"}
            await register.settle()

    run(body)


async def test_an_areas_own_database_is_not_needed(connection: AsyncConnection) -> None:
    """Without areas and without feed a step does nothing and fails at nothing."""
    assert await indicators.step(connection, START)
    assert not await indicators.step(connection, START)
