"""Indicators as programs ask for them, over the whole schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from geo import indicators
from geo.indicators import today
from schema.actor import Role
from schema.indicators import catalogue
from tests.spine.spine_world import ELSEWHERE, INSIDE, NOW, World, code, levelled, person

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHIEF = person(Role.SUPERVISOR, "220000")
VALUE = "area { code name } numerator denominator value target gap met suppressed provenance targetSource"
COVERAGE = f"""query($i: ID!, $area: ID!, $level: AreaLevel!, $period: String, $asOf: Date) {{
  coverage(indicator: $i, area: $area, level: $level, period: $period, asOf: $asOf) {{ {VALUE} }} }}"""
RECORDS = """query($i: ID!, $part: IndicatorPart!, $first: Int!, $after: String) {
  coverageRecords(indicator: $i, area: "220102", part: $part, first: $first, after: $after) {
    records { record id label area } endCursor } }"""


TREND = """query($i: ID!, $asOf: Date) { trend(indicator: $i, area: "220100", count: 60, length: YEAR, asOf: $asOf) { asOf } }"""
_RETIRED = """
INSERT INTO area (code, name, full_name, level, tree, valid_from, valid_to, chain, layers, source)
VALUES ('220199', '旧区', '', 'county', 'division', '1990-01-01', '2026-03-01', '{220199,220100,220000}', '{county}', 'test')"""
_FOLLOWED = 'INSERT INTO area_succession (old_code, new_code, "on", kind, source) VALUES (:old, :new, :on, :kind, :kind)'
_NEXT = {"kind": "test", "old": "220199", "new": "220103", "on": date(2026, 3, 1)}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with levelled(cluster_url, template, tmp_path_factory.mktemp("coverage"), "coverage") as made:
        for number in range(5):
            declared = "2020-06-01" if number < 3 else None
            values = {"area_code": "220102001", "status": "OPERATING", "hazards": ["DUST-SILICA"], "declared_on": declared}
            await made.put(CHIEF, "enterprise", name=f"企业{number}", **values)
        await follow(made)
        yield made


async def follow(world: World) -> None:
    await world.drain()
    more = True
    while more:
        async with world.database.engine.begin() as connection:
            more = await indicators.step(connection, today(NOW))


async def ask(world: World, **variables: Any) -> dict[str, Any]:
    answer = await world.ask(CHIEF, COVERAGE, {"i": "IND-01", "area": "220100", "level": "COUNTY", **variables})
    assert "errors" not in answer, answer
    return {value["area"]["code"]: value for value in answer["data"]["coverage"]}


async def test_a_value_comes_with_target_gap_and_provenance(world: World) -> None:
    found = await ask(world)
    inside = found[INSIDE]
    assert (inside["numerator"], inside["denominator"], inside["value"], inside["suppressed"]) == (3, 5, 0.6, False)
    assert (inside["target"], inside["gap"], inside["met"]) == (1.0, 0.4, False)
    assert inside["targetSource"].startswith("220000 2021 年：≥ 1；S1")
    assert inside["provenance"].startswith("IND-01 v1, ")
    assert inside["provenance"].endswith(", 2026-11-22")
    assert (found["220103"]["value"], found["220103"]["gap"], found["220103"]["met"]) == (None, None, None)


async def test_a_change_is_in_the_values_after_one_step(world: World) -> None:
    made = await world.put(CHIEF, "enterprise", name="新", area_code="220103001", status="OPERATING", hazards=["DUST-SILICA"])
    await follow(world)
    assert (await ask(world))["220103"]["value"] == 0
    await world.save(CHIEF, "enterprise", id=made["id"], declared_on="2026-01-01")
    await follow(world)
    assert (await ask(world))["220103"]["value"] == 1
    await world.save(CHIEF, "enterprise", id=made["id"], status="CLOSED")
    await follow(world)
    assert (await ask(world))["220103"]["value"] is None


async def test_a_period_ends_the_counting_on_its_last_day(world: World) -> None:
    for period, numerator in (("2020Q1", 0), ("2020-06", 3), ("2019", 0), ("2026", 3)):
        assert (await ask(world, period=period))[INSIDE]["numerator"] == numerator


async def test_a_trend_has_one_value_for_each_period(world: World) -> None:
    query = 'query($p: [String!]) { trend(indicator: "IND-01", area: "220102", periods: $p) { period asOf value { numerator target } } }'
    found = (await world.ask(CHIEF, query, {"p": ["2019", "2020", "2026"]}))["data"]["trend"]
    assert [(each["period"], each["asOf"], each["value"]["numerator"]) for each in found] == [
        ("2019", "2019-12-31", 0),
        ("2020", "2020-12-31", 3),
        ("2026", "2026-11-22", 3),
    ]
    found = (await world.ask(CHIEF, query))["data"]["trend"]
    assert [each["period"] for each in found][::11] == ["2025-12", "2026-11"]
    assert code(await world.ask(CHIEF, query, {"p": ["2019", "2020-01"]})) == "PERIOD_INVALID"


async def test_a_ranking_leaves_out_areas_without_data(world: World) -> None:
    query = '{ ranking(indicator: "IND-01", area: "220000", level: TOWNSHIP) { rank value { area { code } value } } }'
    found = (await world.ask(CHIEF, query))["data"]["ranking"]
    assert [(each["rank"], each["value"]["area"]["code"]) for each in found] == [(1, "220102001")]


async def test_the_records_of_each_part_come_in_pages(world: World) -> None:
    seen: list[str] = []
    after = None
    while True:
        page = (await world.ask(CHIEF, RECORDS, {"i": "IND-01", "part": "DENOMINATOR", "first": 2, "after": after}))["data"][
            "coverageRecords"
        ]
        seen += [each["label"] for each in page["records"]]
        after = page["endCursor"]
        if after is None:
            break
    assert sorted(seen) == [f"企业{number}" for number in range(5)]
    gap = (await world.ask(CHIEF, RECORDS, {"i": "IND-01", "part": "GAP", "first": 50}))["data"]["coverageRecords"]
    assert sorted(each["label"] for each in gap["records"]) == ["企业3", "企业4"]
    towns = (await world.ask(CHIEF, RECORDS, {"i": "COORDINATOR-TOWNSHIPS", "part": "GAP", "first": 50}))["data"]["coverageRecords"]
    assert [(each["record"], each["id"]) for each in towns["records"]] == [("area/township", "220102001"), ("area/township", "220102002")]


async def test_a_supervisor_sets_a_target_in_scope_and_the_audit_has_it(world: World) -> None:
    query = """mutation($area: ID!, $value: Float!) { setIndicatorTarget(indicator: "IND-04", area: $area, year: 2026, value: $value,
      source: "测试") { area op value } }"""
    for value in (0.5, 0.7):
        answer = await world.ask(CHIEF, query, {"area": INSIDE, "value": value})
        assert answer["data"]["setIndicatorTarget"] == {"area": INSIDE, "op": ">=", "value": value}
    assert (await ask(world, i="IND-04", level="TOWNSHIP"))["220102001"]["target"] == 0.7
    assert (await ask(world, i="IND-04"))["220103"]["target"] is None
    before = await world.rows("SELECT detail::text FROM audit_entry WHERE kind = 'TARGET_SET' ORDER BY id")
    assert len(before) == 2
    assert '"before": [">=", 0.5, "测试"]' in before[1][0]
    inspector = person(Role.INSPECTOR, "220000")
    assert code(await world.ask(inspector, query, {"area": INSIDE, "value": 1.0})) == "ROLE_FORBIDDEN"
    assert code(await world.ask(CHIEF, query, {"area": ELSEWHERE, "value": 1.0})) == "OUT_OF_SCOPE"
    assert code(await world.ask(CHIEF, query, {"area": INSIDE, "value": -1.0})) == "TARGET_INVALID"
    assert await world.rows("SELECT detail::text FROM audit_entry WHERE kind = 'TARGET_SET' ORDER BY id") == before


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"i": "IND-99"}, "INDICATOR_UNKNOWN"),
        ({"i": "IND-05a"}, "INDICATOR_AWAITED"),
        ({"area": ELSEWHERE}, "AREA_OUT_OF_SCOPE"),
        ({"area": "229999"}, "AREA_UNKNOWN"),
        ({"period": "2020Q5"}, "PERIOD_INVALID"),
        ({"asOf": "yesterday"}, "DATE_INVALID"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_a_code(world: World, variables: dict[str, str], refusal: str) -> None:
    answer = await world.ask(CHIEF, COVERAGE, {"i": "IND-01", "area": "220100", "level": "COUNTY", **variables})
    assert code(answer) == refusal


@pytest.mark.parametrize("on", ["0001-01-01", "1999-12-31", "9999-12-31"])
async def test_no_day_is_too_far_to_be_asked(world: World, on: str) -> None:
    for indicator in catalogue().indicators.values():
        if not indicator.waits:
            found = await ask(world, i=indicator.id, asOf=on)
            assert all(value["provenance"].endswith(f", {on}") or catalogue().personal(indicator) for value in found.values())
            trend = await world.ask(CHIEF, TREND, {"i": indicator.id, "asOf": on})
            assert "errors" not in trend, trend
            assert len(trend["data"]["trend"]) == (1 if on < "0002" else 60)


async def test_a_retired_code_says_what_to_ask_instead(world: World) -> None:
    variables = {"i": "IND-01", "area": "220199", "level": "COUNTY"}
    async with world.database.engine.begin() as connection:
        await connection.execute(text(_RETIRED))
        await connection.execute(text(_FOLLOWED), _NEXT)
    [error] = (await world.ask(CHIEF, COVERAGE, variables))["errors"]
    assert error["extensions"]["code"] == "AREA_RETIRED"
    assert all(part in error["message"] for part in ("2026-03-01", "220103"))
    assert set(await ask(world, **variables, asOf="2026-02-28")) == {"220199"}


async def test_the_list_of_indicators_says_what_can_be_counted(world: World) -> None:
    query = "{ indicators { id label unit formula formulaVersion source countable waitsFor personal periodic } }"
    found = {each["id"]: each for each in (await world.ask(CHIEF, query))["data"]["indicators"]}
    assert set(found) == set(catalogue().indicators)
    assert found["IND-01"]["formula"] == "已申报职业病危害项目的用人单位 ÷ 存在职业病危害因素的用人单位"
    assert (found["IND-05a"]["countable"], found["IND-05a"]["waitsFor"]) == (False, ["worker", "health_exam"])
    assert (found["PATIENTS"]["personal"], found["PATROLLED"]["periodic"], found["IND-04"]["periodic"]) == (True, True, False)
    assert {f"IND-{number:02}" for number in range(1, 27)} <= {name[:6] for name in found}
