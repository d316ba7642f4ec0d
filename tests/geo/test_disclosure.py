"""Who subtracts published counts of patients from each other never comes to one person."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from api import cluster
from api.settings import engine_url
from geo.coverage import Day, Part, items
from geo.disclosure import month_end
from schema.areas import ROOT, Level
from schema.indicators import catalogue
from schema.problems import Refused
from tests.geo.counting_world import AREAS, CDC, CHIEF, START, Register, chain, draw

LEVELS = (Level.COUNTRY, Level.PROVINCE, Level.CITY, Level.COUNTY, Level.TOWNSHIP, Level.JURISDICTION)
TOWNSHIPS = ["220102001", "220102002", "220103001", "110101001"]
Bounds = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def register(runner: asyncio.Runner, cluster_url: str, template: str) -> Iterator[Register]:
    name = f"test_{os.getpid()}_disclosure"
    engine = create_async_engine(engine_url(runner.run(cluster.create_database(cluster_url, name, template))))
    connection = engine.connect()
    runner.run(_begin(connection))
    yield Register(connection)
    runner.run(connection.rollback())
    runner.run(connection.close())
    runner.run(engine.dispose())
    runner.run(cluster.drop_database(cluster_url, name))


async def _begin(connection: Any) -> None:
    await connection.start()
    await connection.begin()
    await draw(connection)
    await connection.execute(text("INSERT INTO indicator_state VALUES (1, '', 0, '2026-01-01', 'kept by this test')"))


async def put(register: Register, counts: dict[str, int], first: date = date(2020, 1, 1)) -> None:
    """That many patients in each township, as facts."""
    await register.connection.execute(text("DELETE FROM indicator_fact"))
    rows = [
        {"id": f"019aa000-0000-7000-8000-{at:06d}{number:06d}", "area": area, "first": first}
        for at, (area, count) in enumerate(counts.items())
        for number in range(count)
    ]
    if rows:
        await register.connection.execute(
            text("INSERT INTO indicator_fact VALUES ('patient', CAST(:id AS uuid), NULL, :area, :first, 'infinity', 1)"), rows
        )


async def published(register: Register, on: date = START) -> dict[str, int | None]:
    """Everything that can be asked about patients on a day."""
    answers = [await register.asked("PATIENTS", level, Day(on)) for level in LEVELS]
    return {code: value.numerator for answer in answers for code, value in answer.items()}


def deduced(shown: dict[str, int | None]) -> Bounds:
    """What follows from all figures together: each says its own, and wholes are the sums of their parts."""
    bounds = {code: (0, 9) if value is None else (max(0, value - 4), value + 4) for code, value in shown.items()}
    parts = {code: [below for below in TOWNSHIPS if code in chain(below)] for code in shown if code not in TOWNSHIPS and code in AREAS}
    bounds |= {code: (0, 10_000) for code in parts if shown[code] is not None and len(parts[code]) > 1}  # wholes are sums of rounded parts
    for code, below in parts.items():
        own = shown[code]
        if own is not None and below:  # the parts' rounded figures add up to it: hidden ones are what is left
            left = own - sum(shown[each] or 0 for each in below)
            hidden = [each for each in below if shown[each] is None]
            if len(hidden) == 1:
                low, high = bounds[hidden[0]]
                bounds[hidden[0]] = (max(low, left - 4), min(high, left + 4))
    return bounds


@settings(max_examples=25)
@given(counts=st.fixed_dictionaries({code: st.integers(0, 30) for code in TOWNSHIPS}))
def test_no_subtraction_tells_how_many_there_are(runner: asyncio.Runner, register: Register, counts: dict[str, int]) -> None:
    async def body() -> dict[str, int | None]:
        await put(register, counts)
        return await published(register)

    shown = runner.run(body())
    assert all(value is None or (value >= 10 and value % 5 == 0) for value in shown.values())
    for code, (low, high) in deduced(shown).items():
        true = sum(count for area, count in counts.items() if code in chain(area))
        assert high - low >= 4, (code, shown)
        assert code not in counts or low <= true <= high


def test_the_difference_of_two_answers_never_shows_one_person(runner: asyncio.Runner, register: Register) -> None:
    """One more patient: the figures differ by nothing or by five, and by five also where nobody but another came."""

    async def body() -> list[set[int]]:
        steps: list[set[int]] = []
        for count in range(12, 40):
            seen = []
            for each in (count, count + 1):
                await put(register, {"220102001": each})
                found = await published(register)
                assert found["220102001"] == found["220102"] == found[ROOT]  # the same persons, the same figure
                seen.append(found["220102001"] or 0)
            steps.append({seen[1] - seen[0]})
        return steps

    differences = set().union(*runner.run(body()))
    assert {0} < differences <= {-5, 0, 5, 10}


def test_a_hidden_area_is_not_what_is_left_of_the_whole(runner: asyncio.Runner, register: Register) -> None:
    async def body(count: int) -> dict[str, int | None]:
        await put(register, {"220102001": count, "220102002": 40, "220103001": 40})
        return await published(register)

    for count in range(5):
        shown = runner.run(body(count))
        assert shown["220102001"] is None
        assert (shown["220102"] or 0) - (shown["220102002"] or 0) in (0, 5)
        assert shown["J220001"] == shown["220102002"] == 40


def test_nobody_can_ask_before_and_after(runner: asyncio.Runner, register: Register) -> None:
    """Somebody who is there from the 15th on shows at the end of the month, whatever day is asked."""

    async def body() -> list[dict[str, int | None]]:
        await put(register, {"220102001": 60}, first=date(2026, 1, 15))
        return [await published(register, START + timedelta(days=days)) for days in (12, 14, 29, 30, 31, 57)]

    found = [shown["220102001"] for shown in runner.run(body())]
    assert found == [None, None, None, 60, 60, 60]
    assert month_end(date(2024, 2, 29)) == date(2024, 2, 29)
    assert month_end(date(2024, 3, 1)) == date(2024, 2, 29)


def test_a_share_of_persons_hides_with_its_parts(runner: asyncio.Runner, register: Register) -> None:
    async def body() -> Any:
        await put(register, {"220102001": 40, "220103001": 3})
        await register.connection.execute(
            text("INSERT INTO indicator_fact SELECT 'patient-enrolled', doc_id, NULL, area, starts, ends, 1 FROM indicator_fact LIMIT 30")
        )
        return await register.asked("PATIENT-ENROLLED", Level.COUNTY, Day(START))

    found = runner.run(body())
    assert (found["220103"].numerator, found["220103"].denominator, found["220103"].suppressed) == (None, None, True)
    assert (found["220102"].denominator, found["220102"].suppressed) == (40, False)


def test_a_township_with_a_hundred_patients_and_no_station_is_a_gap_by_its_true_number(runner: asyncio.Runner, register: Register) -> None:
    async def body() -> tuple[Any, Any]:
        await put(register, {"220102001": 100, "220102002": 99, "220103001": 100})
        await register.put("rehab_site", 1, name="站", kind="STATION", area_code="220103001", status="OPEN")
        found = await register.asked("REHAB-STATIONS", Level.CITY, Day(START))
        station = catalogue().indicators["REHAB-STATIONS"]
        return found["220100"], await items(register.connection, CHIEF, station, ROOT, Part.GAP, Day(START), 10)

    value, gap = runner.run(body())
    assert (value.numerator, value.denominator) == (1, 2)
    assert [each.id for each in gap] == ["220102001"]


def test_persons_are_listed_for_those_who_may_read_them_alone(runner: asyncio.Runner, register: Register) -> None:
    async def body() -> tuple[str, list[str]]:
        await register.put("patient", 1, name="患者", area_code="220102001", diagnosed_on="2025-01-01")
        await register.connection.execute(text("DELETE FROM indicator_state"))
        patients = catalogue().indicators["PATIENTS"]
        try:
            await items(register.connection, CHIEF, patients, ROOT, Part.NUMERATOR, Day(START), 10)
            code = "listed"
        except Refused as refused:
            code = refused.problems[0].code
        found = await items(register.connection, CDC, patients, ROOT, Part.NUMERATOR, Day(START), 10)
        return code, [each.label for each in found]

    assert runner.run(body()) == ("FORBIDDEN", ["患者"])
