"""Who subtracts published counts of patients from each other never comes to one person."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from graphql import GraphQLInputObjectType, GraphQLObjectType, build_schema, get_named_type
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from api import cluster
from api.settings import ROOT as ROOT_FOLDER
from api.settings import engine_url
from geo import coverage as counting
from geo.coverage import Day, Part, items
from geo.demand import towns_of
from geo.disclosure import known_from, month_end, rounded, settled
from schema.actor import Role
from schema.areas import ROOT, Level
from schema.base import Verb
from schema.indicators import catalogue
from schema.problems import Refused
from schema.registry import load
from tests.geo.counting_world import CDC, CHIEF, START, Register, chain, draw

TOWNSHIPS = ["220102001", "220102002", "220103001", "110101001"]
LEVELS = (Level.COUNTRY, Level.PROVINCE, Level.CITY, Level.COUNTY, Level.TOWNSHIP, Level.VILLAGE, Level.JURISDICTION)
TODAY = date(2026, 6, 15)
VILLAGES = ("220102001101", "220102001102")
CELLS = (*VILLAGES, "220102001", "220102002", "220103001", "220102", "110101001")
MEASURES = ("patient", "patient-enrolled", "patient-followed-up")
INDICATORS = [each for each in catalogue().indicators.values() if catalogue().personal(each) and not each.waits]
Counts = dict[tuple[int, str], list[int]]
"""By month and cell: how many of each measure, the second and third among the first."""


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
    await connection.execute(
        text(
            "INSERT INTO area (code, name, full_name, level, tree, valid_from, chain, layers, source)"
            " SELECT v, v, '', 'village', 'division', '1980-01-01', v || chain, '{village}', 'test' FROM area, unnest(CAST(:v AS text[])) v"
            " WHERE code = '220102001'"
        ),
        {"v": list(VILLAGES)},
    )
    await connection.execute(text("INSERT INTO indicator_state VALUES (1, '', 0, :today, 'kept by this test')"), {"today": TODAY})


async def put(register: Register, counts: dict[str, int], first: date = date(2020, 1, 1)) -> None:
    """That many patients in each township, as facts."""
    await register.connection.execute(text("DELETE FROM indicator_fact"))
    for at, (area, count) in enumerate(counts.items()):
        await _count(register, MEASURES[0], area, at, count, (first, date.max))


async def put_months(register: Register, counts: Counts) -> None:
    """The same persons from month to month, as far as there are as many."""
    await register.connection.execute(text("DELETE FROM indicator_fact"))
    for (month, area), numbers in counts.items():
        days = (date(2026, month, 1), date(2026, month + 1, 1))
        for measure, number in zip(MEASURES, numbers, strict=True):
            await _count(register, measure, area, CELLS.index(area), number, days)


async def _count(register: Register, measure: str, area: str, at: int, number: int, days: tuple[date, date]) -> None:
    sql = """INSERT INTO indicator_fact
      SELECT :measure, CAST(format('019aa000-0000-7000-8000-%s%s', lpad(:at, 6, '0'), lpad(n::text, 6, '0')) AS uuid), NULL, :area,
             :first, CAST(:last AS date), 1 FROM generate_series(1, :number) n"""
    given = {"measure": measure, "at": str(at), "area": area, "first": days[0], "last": days[1], "number": number}
    await register.connection.execute(text(sql), given)


async def published(register: Register, on: date = START) -> dict[str, int | None]:
    """Everything that can be asked about patients on a day."""
    answers = [await register.asked("PATIENTS", level, Day(on)) for level in LEVELS]
    return {code: value.numerator for answer in answers for code, value in answer.items()}


async def everything(register: Register, months: Sequence[int]) -> list[Any]:
    """Whatever a supervisor can learn of persons: values, shares, lists, and what access and planning start from."""
    connection, days = register.connection, [Day(date(2026, month + 1, 1) - timedelta(days=1)) for month in months]
    found: list[Any] = []
    for indicator in INDICATORS:
        found += await counting._values(connection, CHIEF, indicator, ROOT, days, "true", {})  # what `coverage` and `trend` choose from
        for part, day in itertools.product((Part.NUMERATOR, Part.DENOMINATOR, Part.GAP), days if indicator.id.startswith("REHAB-") else ()):
            found += await items(connection, CHIEF, indicator, ROOT, part, day, 100)
    for month, area in itertools.product(months, ("220000", "220102")):
        found += await towns_of(connection, area, date(2026, month + 1, 2))
    return found


async def steps(register: Register) -> dict[str, int]:
    """The secret that the attacker does not know: from how many on a cell is rounded up, seen by trying."""
    sql = f"SELECT c, {rounded('0', 'c')} AS nothing, (SELECT min(n) FROM generate_series(1, 5) n WHERE {rounded('n', 'c')} = 5) AS up"
    rows = await register.connection.execute(text(f"{sql} FROM unnest(CAST(:cells AS text[])) c"), {"cells": list(CELLS)})
    found = {row.c: row.up for row in rows if row.nothing == 0}
    assert set(found) == set(CELLS)
    return found


def twin(number: int, up: int, *, large_too: bool) -> int:
    """As many as the figure says: none or five instead of one to nine."""
    figure = (number + 5 - up) // 5 * 5
    return figure if large_too or figure < 10 else number


@st.composite
def worlds(draw: st.DrawFn, most: int) -> Counts:
    found: Counts = {}
    for month, cell in itertools.product((2, 3, 4), CELLS):
        whole = draw(st.one_of(st.integers(0, 9), st.integers(0, most)))
        found[month, cell] = [whole, draw(st.integers(0, whole)), draw(st.integers(0, whole))]
    return found


@settings(max_examples=6)
@given(world=worlds(110))
def test_a_world_without_small_cells_answers_the_same(runner: asyncio.Runner, register: Register, world: Counts) -> None:
    """So no answers, however they are put together, tell a cell of one to four from none or five: also not where a number decides."""
    _compare_with_twin(runner, register, world, large_too=False)


@settings(max_examples=4)
@given(world=worlds(13))
def test_those_without_service_are_no_small_cell_either(runner: asyncio.Runner, register: Register, world: Counts) -> None:
    """Where no number decides, every cell and what is left of it may be a multiple of five."""
    whole = {key: numbers for key, numbers in world.items() if key[1] not in VILLAGES}
    _compare_with_twin(runner, register, whole, large_too=True)


def _compare_with_twin(runner: asyncio.Runner, register: Register, world: Counts, *, large_too: bool) -> None:
    async def body() -> tuple[list[Any], list[Any]]:
        up = await steps(register)
        other = {key: [twin(number, up[key[1]], large_too=large_too) for number in numbers] for key, numbers in world.items()}
        assert not any(1 <= number <= 4 for numbers in other.values() for number in numbers)
        answers = []
        for each in (world, other):
            await put_months(register, each)
            answers.append(await everything(register, (2, 3, 4)))
        return answers[0], answers[1]

    own, others = runner.run(body())
    assert own == others
    assert len(own) > 100


@settings(max_examples=6)
@given(added=st.lists(st.fixed_dictionaries({cell: st.integers(0, 3) for cell in TOWNSHIPS}), min_size=4, max_size=4))
@example(added=[dict.fromkeys(TOWNSHIPS, 1)] * 4)  # 5, 0, 5, 0 would be 1, 2, 3, 4
def test_solving_all_answers_pins_no_cell_of_one_to_four(runner: asyncio.Runner, register: Register, added: list[dict[str, int]]) -> None:
    """Patients only come; the attacker knows that, knows how we round, and asks each month, each area and each circle."""
    months = [{cell: sum(each[cell] for each in added[: at + 1]) for cell in TOWNSHIPS} for at in range(4)]

    async def body() -> list[dict[str, int | None]]:
        await put_months(register, {(at + 1, cell): [count, 0, 0] for at, month in enumerate(months) for cell, count in month.items()})
        answers = []
        for at in range(4):
            shown: dict[str, int | None] = await published(register, date(2026, at + 2, 1) - timedelta(days=1))
            towns = await towns_of(register.connection, ROOT, date(2026, at + 2, 2))  # circles, being functions of these, say no more
            answers.append(shown | {town.code: town.persons for town in towns})
        return answers

    attack = Attack(runner.run(body()))
    for at, cell in itertools.product(range(4), TOWNSHIPS):
        if 1 <= months[at][cell] <= 4:
            assert attack.possible(at, cell, 0, 0) or attack.possible(at, cell, 5, 100), (at, cell, months)


class Attack:
    """Integer programming over what is published: two unknowns for each month and township, the count and its figure in fives."""

    def __init__(self, answers: Sequence[dict[str, int | None]]) -> None:
        self.size = len(answers) * len(TOWNSHIPS) * 2
        self.rows: list[tuple[Any, float, float]] = []
        for at, shown in enumerate(answers):
            for cell in TOWNSHIPS:
                self._say({(at, cell, 1): 5, (at, cell, 0): -1}, -4, 4)
                if at:
                    self._say({(at, cell, 0): 1, (at - 1, cell, 0): -1}, 0, np.inf)
            for code, figure in shown.items():
                parts = {(at, cell, 1): 5 for cell in TOWNSHIPS if code in chain(cell)}
                if parts:
                    self._say(parts, 0 if figure is None else figure, 9 if figure is None else figure)

    def _say(self, terms: dict[tuple[int, str, int], int], low: float, high: float) -> None:
        row = np.zeros(self.size)
        for (at, cell, which), factor in terms.items():
            row[self._at(at, cell, which)] = factor
        self.rows.append((row, low, high))

    def _at(self, at: int, cell: str, which: int) -> int:
        return (at * len(TOWNSHIPS) + TOWNSHIPS.index(cell)) * 2 + which

    def possible(self, at: int, cell: str, low: int, high: int) -> bool:
        """Whether there may be that many."""
        lower, upper = np.zeros(self.size), np.full(self.size, 200.0)
        lower[self._at(at, cell, 0)], upper[self._at(at, cell, 0)] = low, high
        matrix, lows, highs = zip(*self.rows, strict=True)
        constraints = LinearConstraint(np.array(matrix), np.array(lows), np.array(highs))
        found = milp(np.zeros(self.size), constraints=constraints, integrality=np.ones(self.size), bounds=Bounds(lower, upper))
        return bool(found.success)


def test_one_more_is_the_same_figure_or_five_more(runner: asyncio.Runner, register: Register) -> None:
    """Never less, or the order of figures would tell how many came."""

    async def body() -> list[int]:
        seen = []
        for count in range(12, 34):
            await put(register, {"220102001": count})
            found = await published(register)
            assert found["220102001"] == found["220102"] == found[ROOT]  # the same persons, the same figure
            seen.append(found["220102001"] or 0)
        return seen

    figures = runner.run(body())
    assert {after - before for before, after in itertools.pairwise(figures)} == {0, 5}


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
    """Somebody who is there from the 15th on shows at the end of the month, whatever day is asked; nobody knows of days to come."""

    async def body() -> list[dict[str, int | None]]:
        await put(register, {"220102001": 60}, first=date(2026, 1, 15))
        seen = [await published(register, START + timedelta(days=days)) for days in (12, 14, 29, 30, 31, 57)]
        await put(register, {"220102001": 60}, first=date(2026, 6, 1))
        return seen + [await published(register, date(year, 6, 30)) for year in (2026, 2099)]

    found = [shown["220102001"] for shown in runner.run(body())]
    assert found == [None, None, None, 60, 60, 60, None, None]
    assert month_end(date(2024, 2, 29)) == date(2024, 2, 29)
    assert month_end(date(2024, 3, 1)) == date(2024, 2, 29)
    assert [settled(date(2030, 1, 1), date(2024, 2, day)) for day in (1, 29)] == [date(2024, 1, 31)] * 2  # the day itself is not over


def test_who_is_entered_today_changes_no_past_until_the_month_is_over(runner: asyncio.Runner, register: Register) -> None:
    async def body() -> list[Any]:
        everybody, seen = [f"019aa000-0000-7000-8000-000000{number:06d}" for number in range(1, 41)], []
        sql = """INSERT INTO patient (id, name, area_code, revision, deleted, created_at, updated_at, scopes)
          SELECT CAST(p AS uuid), '患者', '220102001', 1, false, :at, :at, '{220102001}' FROM unnest(CAST(:ids AS text[])) p"""
        for ids, at in ((everybody[:20], datetime(2020, 1, 1, tzinfo=UTC)), (everybody[20:], datetime(2026, 6, 14, tzinfo=UTC))):
            await register.connection.execute(text(sql), {"ids": ids, "at": at})
        await put(register, {"220102001": 40})
        for today in (TODAY, date(2026, 7, 1)):
            await register.connection.execute(text("UPDATE indicator_state SET day = :today"), {"today": today})
            town = next(town for town in await towns_of(register.connection, "220000", today) if town.code == "220102001")
            seen.append(((await published(register, date(2025, 12, 31)))["220102001"], town.persons))
        await register.connection.execute(text("UPDATE indicator_state SET day = :today"), {"today": TODAY})
        await register.connection.execute(text("DELETE FROM patient"))
        return seen

    assert runner.run(body()) == [(20, 20), (40, 40)]


def test_who_was_visited_is_unknown_before_the_register_began(runner: asyncio.Runner, register: Register) -> None:
    """Of that time each person's last visit alone is known: two visited in May and one in June would be five from June to April."""

    async def body() -> tuple[list[Any], list[Any], str]:
        sql = """INSERT INTO patient (id, name, area_code, diagnosed_on, followed_up_on, revision, deleted, created_at, updated_at, scopes)
          SELECT CAST(format('019aa000-0000-7000-8000-%s', lpad(n::text, 12, '0')) AS uuid), '患者', '220102001', '2020-01-01',
                 '2026-01-01', 1, false, '2026-05-10', '2026-05-10', '{220102001}' FROM generate_series(1, 40) n"""
        await register.connection.execute(text("DELETE FROM indicator_state"))  # counted when asked
        await register.connection.execute(text(sql))
        days = [Day(month_end(date(2026, month, 28)) if month < 4 else date(2026, month, 30)) for month in (2, 3, 4, 5)]
        visited, patients = (catalogue().indicators[name] for name in ("PATIENT-FOLLOWED-UP", "PATIENTS"))
        shown = [await counting.trend(register.connection, CHIEF, each, "220102001", days) for each in (visited, patients)]
        try:
            code = str(await items(register.connection, CDC, visited, ROOT, Part.GAP, days[0], 10))
        except Refused as refused:
            code = refused.problems[0].code
        await register.connection.execute(text("DELETE FROM patient"))
        await register.connection.execute(
            text("INSERT INTO indicator_state VALUES (1, '', 0, :today, 'kept by this test')"), {"today": TODAY}
        )
        return *([(value.numerator, value.denominator, value.suppressed) for value in each] for each in shown), code  # type: ignore[return-value]

    unknown, known = (None, None, False), (40, 40, False)
    assert runner.run(body()) == ([unknown, unknown, known, known], [(40, None, False)] * 4, "DAY_UNKNOWN")
    assert [known_from(date(2026, month, day)) for month, day in ((5, 31), (6, 1))] == [date(2026, 4, 30), date(2026, 5, 31)]


def test_a_place_without_a_point_tells_of_nobody_alone(runner: asyncio.Runner, register: Register) -> None:
    """Patients of whom no township is known stand at their county's: it is in the demand with five or not at all."""

    async def body() -> list[list[int]]:
        up = (await steps(register))["220102"]
        seen = []
        for count in (up - 1, up):
            await put(register, {"220102": count})
            seen.append([town.persons for town in await towns_of(register.connection, "220000", TODAY) if not town.layer])
        return seen

    assert runner.run(body()) == [[], [5]]


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


def test_a_small_cell_decides_by_its_figure(runner: asyncio.Runner, register: Register) -> None:
    """Or "a hundred and one village is 97" would be "the other one is 3 or more"."""

    async def body() -> tuple[int, Any]:
        figure = twin(3, (await steps(register))[VILLAGES[1]], large_too=True)
        await put(register, {VILLAGES[0]: 97 if figure == 0 else 96, VILLAGES[1]: 3})
        return figure, (await register.asked("REHAB-STATIONS", Level.TOWNSHIP, Day(START)))["220102001"].denominator

    figure, needing = runner.run(body())
    assert (figure, needing) in ((0, 0), (5, 1))


def test_no_record_that_supervisors_read_leads_to_patients() -> None:
    """Neither by a relation nor by a filter, an order or a count over one; nor does a record of later issues that names patients."""
    registry = load()
    closed = {record.name for record in registry.values() if not any(record.may(role, Verb.READ) for role in (Role.ADMIN, Role.SUPERVISOR))}
    naming = {record.name for record in registry.values() if any(column.ref == "patient" for column in record.columns)}
    assert {"patient"} | naming <= closed
    printed = build_schema((ROOT_FOLDER / "schema" / "schema.graphql").read_text("utf-8"))
    for name, kind in printed.type_map.items():
        if isinstance(kind, GraphQLObjectType | GraphQLInputObjectType) and not name.startswith(("Patient", "Query", "Mutation")):
            assert not [field for field, each in kind.fields.items() if get_named_type(each.type).name.startswith("Patient")], name


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
