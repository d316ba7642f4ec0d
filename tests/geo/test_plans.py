"""Access and planning runs as programs ask for them, over the whole schema, with real workers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from api import planning
from api.planning import Runner
from schema.actor import Role
from tests.spine.spine_world import ELSEWHERE, INSIDE, OUTSIDE, World, code, levelled, new_id, person, sample

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHIEF, CDC = person(Role.SUPERVISOR, "220000"), person(Role.CDC, "220000")
COUNTY_CHIEF, OTHER_CHIEF = person(Role.SUPERVISOR, INSIDE), person(Role.SUPERVISOR, "110000")
POINTS = {"220102001": (125.30, 43.85), "220102002": (125.60, 43.90), INSIDE: (125.35, 43.86), "220103001": (126.40, 44.40)}
PATIENTS = {"220102001": 23, "220102002": 3, "220103001": 41}
ACCESS = """query($area: ID!, $measure: AccessMeasure!, $limit: Float, $nearest: Int = 1) {
  access(area: $area, measure: $measure, limit: $limit, nearest: $nearest) {
    asOf unit travel sites patients share unplaced
    townships { area { code } patients value suppressed placed nearest { name cost } } } }"""
PLAN = "id kind state progress message result parameters inputsDigest versions area { code name } userId endedAt"
START = f"""mutation($kind: PlanKind!, $area: ID!, $parameters: PlanParameters!) {{
  startPlan(kind: $kind, area: $area, parameters: $parameters) {{ {PLAN} }} }}"""
FIND = f"query($id: ID!) {{ plan(id: $id) {{ {PLAN} }} }}"
CANCEL = f"mutation($id: ID!) {{ cancelPlan(id: $id) {{ {PLAN} }} }}"
SLOW = (sys.executable, "-c", "import sys, time; sys.stdin.readline(); time.sleep(60)")
DYING = (sys.executable, "-c", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with levelled(cluster_url, template, tmp_path_factory.mktemp("plans"), "plans") as made:
        for area, (lon, lat) in POINTS.items():
            await made.execute("UPDATE area SET point = ST_SetSRID(ST_MakePoint($2, $3), 4326) WHERE code = $1", area, lon, lat)
        registry = made.registry["patient"]
        people = [
            (None, sample(registry, area_code=area, diagnosed_on="2020-01-01")) for area, count in PATIENTS.items() for _ in range(count)
        ]
        assert await made.push(CDC, "patient", *people) == []
        station = {"lon": 125.62, "lat": 43.91, "datum": "WGS84"}
        await made.put(
            CHIEF, "rehab_site", name="一号站", kind="STATION", status="OPEN", area_code="220102002", location=station, capacity=50
        )
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BEAT_SECONDS", 0.1)


async def ask(world: World, who: Any, query: str, **variables: Any) -> Any:
    answer = await world.ask(who, query, variables)
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


async def start(world: World, who: Any = CHIEF, kind: str = "COVERING", area: str = "220100", **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = await ask(world, who, START, kind=kind, area=area, parameters=parameters)
    return found


def runner(world: World, worker: tuple[str, ...] = planning.WORKER) -> Runner:
    return Runner(world.database.engine, world.settings.data, worker)


async def state_of(world: World, run_id: str) -> str:
    return str((await world.rows("SELECT state FROM planning_run WHERE id::text = $1", run_id))[0][0])


async def taken(world: World, run_id: str) -> None:
    while await state_of(world, run_id) != "RUNNING":  # noqa: ASYNC110 - the state is in the database
        await asyncio.sleep(0.02)


async def test_access_is_by_township_with_persons_rounded_and_few_hidden(world: World) -> None:
    found = await ask(world, CHIEF, ACCESS, area="220100", measure="WITHIN_KM", limit=30.0)
    towns = {each["area"]["code"]: each for each in found["townships"]}
    assert set(towns) == set(PATIENTS)
    assert (found["asOf"], found["unit"], found["sites"], found["unplaced"]) == ("2026-10-31", "KM", 1, 0)
    assert towns["220102001"]["patients"] in (20, 25)
    assert towns["220103001"]["patients"] in (40, 45)
    assert towns["220102002"]["patients"] is None
    assert [towns[area]["value"] for area in sorted(towns)] == [1.0, 1.0, 0.0]
    national = await ask(world, CHIEF, 'query { coverage(indicator: "PATIENTS", area: "220000", level: CITY) { area { code } numerator } }')
    assert found["patients"] == national[0]["numerator"]
    assert found["share"] == pytest.approx((found["patients"] - towns["220103001"]["patients"]) / found["patients"])


async def test_a_county_says_what_access_of_it_alone_says_and_townships_where_they_stand(world: World) -> None:
    query = """query($area: ID!) { access(area: $area, measure: WITHIN_KM, limit: 30) {
      patients share counties { area patients share } townships { area { code } placed point } } }"""
    whole = await ask(world, CHIEF, query, area="220100")
    for county in whole["counties"]:
        alone = await ask(world, CHIEF, query, area=county["area"])
        assert (county["patients"], county["share"]) == (alone["patients"], alone["share"])
    assert [county["area"] for county in whole["counties"]] == [INSIDE, "220103"]
    assert {each["area"]["code"]: each["point"] for each in whole["townships"]} == {
        **{area: list(POINTS[area]) for area in ("220102001", "220102002", "220103001")}
    }


async def test_the_nearest_site_is_named_with_its_distance(world: World) -> None:
    found = await ask(world, CHIEF, ACCESS, area=INSIDE, measure="NEAREST", nearest=3)
    near = {each["area"]["code"]: each["nearest"] for each in found["townships"]}
    assert [each["name"] for each in near["220102002"]] == ["一号站"]
    assert near["220102002"][0]["cost"] == pytest.approx(1.957, abs=0.01)
    expected = await world.rows("SELECT ST_Distance('POINT(125.3 43.85)'::geography, 'POINT(125.62 43.91)'::geography) / 1000")
    assert near["220102001"][0]["cost"] == pytest.approx(expected[0][0], rel=1e-5)


async def test_minutes_are_estimated_with_a_stated_detour_where_no_roads_are_loaded(world: World) -> None:
    found = await ask(world, CHIEF, ACCESS, area=INSIDE, measure="WITHIN_MINUTES", limit=10.0)
    assert (found["unit"], "绕行系数 1.4" in found["travel"]) == ("MINUTES", True)
    assert {each["area"]["code"]: each["value"] for each in found["townships"]} == {"220102001": 0.0, "220102002": 1.0}


@pytest.mark.parametrize("measure", ["TWO_STEP", "ENHANCED", "THREE_STEP"])
async def test_a_catchment_of_too_few_says_nothing(world: World, measure: str) -> None:
    wide = {
        each["area"]["code"]: each for each in (await ask(world, CHIEF, ACCESS, area="220100", measure=measure, limit=40.0))["townships"]
    }
    assert wide["220102001"]["value"] > 0
    assert (wide["220103001"]["value"], wide["220103001"]["suppressed"]) == (0.0, False)
    close = {
        each["area"]["code"]: each for each in (await ask(world, CHIEF, ACCESS, area="220100", measure=measure, limit=5.0))["townships"]
    }
    assert (close["220102002"]["value"], close["220102002"]["suppressed"]) == (None, True)


async def test_a_covering_plan_runs_in_the_background_and_keeps_inputs_and_result(world: World) -> None:
    begun = await start(world, number=1, limitKm=30.0)
    assert (begun["state"], begun["result"], begun["area"]["code"]) == ("QUEUED", None, "220100")
    assert await runner(world).step()
    found = await ask(world, CHIEF, FIND, id=begun["id"])
    result = found["result"]
    assert (found["state"], found["progress"], found["message"]) == ("DONE", 1.0, "")
    assert [each["id"] for each in result["chosen"]] == ["220103001"]
    assert (result["proven"], result["gap"], result["reachedAfter"]) == (True, 0.0, result["patients"])
    assert result["reachedBefore"] == result["patients"] - result["chosen"][0]["reached"]
    assert {each["area"]: each["patients"] for each in result["areas"]}["220102002"] is None
    assert found["parameters"]["limit_km"] == 30.0
    assert len(found["inputsDigest"]) == 64
    assert found["versions"]["asOf"] == "2026-10-31"
    again = await start(world, number=1, limitKm=30.0)
    assert again["inputsDigest"] == found["inputsDigest"]
    await ask(world, CHIEF, CANCEL, id=again["id"])
    audited = await world.rows("SELECT detail::text FROM audit_entry WHERE kind = 'PLAN_STARTED' ORDER BY id")
    assert begun["id"] in audited[0][0]


async def test_no_plan_tells_a_count_of_persons_under_ten(world: World) -> None:
    begun = await start(world, kind="MEDIAN", area="220100", number=2, keepSites=False)
    assert await runner(world).step()
    result = (await ask(world, CHIEF, FIND, id=begun["id"]))["result"]
    told = [each["patients"] for each in result["areas"]] + [each["reached"] for each in result["chosen"]]
    assert all(count is None or (count >= 10 and count % 5 == 0) for count in told)
    assert result["meanAfter"] == pytest.approx(result["meanBound"])
    kept = await world.rows("SELECT inputs->'demand'->'persons' FROM planning_run WHERE id::text = $1", begun["id"])
    assert all(count % 5 == 0 for count in json.loads(kept[0][0]))


async def test_a_route_visits_what_fits_and_names_the_rest(world: World) -> None:
    ids = []
    for number, lon in enumerate((125.31, 125.35, 125.33, 126.9)):
        place = {"lon": lon, "lat": 43.85, "datum": "WGS84"}
        ids.append((await world.put(CHIEF, "enterprise", name=f"企业{number}", area_code="220102001", location=place))["id"])
    begun = await start(
        world, COUNTY_CHIEF, "ROUTE", INSIDE, start=[125.30, 43.85], enterprises=ids, visitMinutes=60.0, dayMinutes=300.0, closed=False
    )
    assert await runner(world).step()
    result = (await ask(world, COUNTY_CHIEF, FIND, id=begun["id"]))["result"]
    assert [each["name"] for each in result["stops"]] == ["企业0", "企业2", "企业1"]
    assert [(each["name"], each["why"]) for each in result["leftOut"]] == [("企业3", "TOO_FAR")]
    assert result["endsAt"] == pytest.approx(180 + result["travelMinutes"], abs=0.05)
    refused = await world.ask(
        COUNTY_CHIEF, START, {"kind": "ROUTE", "area": INSIDE, "parameters": {"start": [125.3, 43.8], "enterprises": [new_id()]}}
    )
    assert code(refused) == "PLAN_INVALID"


async def test_a_cancelled_run_is_killed_at_once_and_one_that_waits_never_runs(world: World) -> None:
    running, waiting = await start(world), await start(world)
    working = asyncio.create_task(runner(world, SLOW).step())
    await taken(world, running["id"])
    began = time.monotonic()
    assert (await ask(world, CHIEF, CANCEL, id=running["id"]))["state"] == "CANCELLED"
    assert (await ask(world, CHIEF, CANCEL, id=waiting["id"]))["state"] == "CANCELLED"
    assert await working
    assert time.monotonic() - began < 15
    assert not await runner(world, SLOW).step()
    assert {await state_of(world, each["id"]) for each in (running, waiting)} == {"CANCELLED"}


async def test_a_worker_that_dies_fails_its_run_with_the_reason(world: World) -> None:
    begun = await start(world)
    assert await runner(world, DYING).step()
    found = await ask(world, CHIEF, FIND, id=begun["id"])
    assert (found["state"], found["result"]) == ("FAILED", None)
    assert "SIGKILL" in found["message"]


async def test_the_run_of_a_dead_node_is_taken_up_once_and_then_fails(world: World) -> None:
    first, second = await start(world, limitKm=30.0), await start(world)
    lapsed = (
        "UPDATE planning_run SET state = 'RUNNING', runner = 'dead', attempts = $2, lease_until = now() - interval '1 s'"
        " WHERE id::text = $1"
    )
    await world.execute(lapsed, first["id"], 1)
    await world.execute(lapsed, second["id"], 2)
    assert await runner(world).step()
    assert await state_of(world, first["id"]) == "DONE"
    assert await state_of(world, second["id"]) == "FAILED"
    assert not await runner(world).step()


async def test_a_node_that_lost_its_run_writes_nothing_over_the_other(world: World) -> None:
    begun = await start(world)
    slow = runner(world, SLOW)
    working = asyncio.create_task(slow.step())
    await taken(world, begun["id"])
    await world.execute("UPDATE planning_run SET runner = 'other' WHERE id::text = $1", begun["id"])
    assert await working
    rows = await world.rows("SELECT state, runner FROM planning_run WHERE id::text = $1", begun["id"])
    assert tuple(rows[0]) == ("RUNNING", "other")
    await ask(world, CHIEF, CANCEL, id=begun["id"])


async def test_a_node_that_is_stopped_gives_its_run_back(world: World) -> None:
    begun = await start(world)
    working = asyncio.create_task(runner(world, SLOW).run())
    await taken(world, begun["id"])
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await state_of(world, begun["id"]) == "QUEUED"
    await ask(world, CHIEF, CANCEL, id=begun["id"])


async def test_refusals_change_nothing(world: World) -> None:
    begun = await start(world)
    audited = "SELECT count(*) FROM audit_entry WHERE kind LIKE 'PLAN%'"
    before = await world.fingerprint("planning_run"), await world.rows(audited)
    inspector = person(Role.INSPECTOR, "220000")
    order = {"kind": "COVERING", "area": OUTSIDE, "parameters": {"number": 1}}
    refusals = [
        (None, START, order, "UNAUTHENTICATED"),
        (inspector, START, order, "ROLE_FORBIDDEN"),
        (COUNTY_CHIEF, START, order, "OUT_OF_SCOPE"),
        (CHIEF, START, order | {"area": ELSEWHERE}, "OUT_OF_SCOPE"),
        (CHIEF, START, order | {"area": "229999"}, "AREA_UNKNOWN"),
        (CHIEF, START, order | {"parameters": {"number": 0}}, "PLAN_INVALID"),
        (CHIEF, START, order | {"parameters": {"seconds": 601}}, "PLAN_INVALID"),
        (CHIEF, START, order | {"parameters": {"candidates": ["220102001"]}}, "PLAN_INVALID"),
        (CHIEF, START, order | {"parameters": {"limitKm": 5, "limitMinutes": 5}}, "PLAN_INVALID"),
        (CHIEF, START, order | {"parameters": {"limitKm": -5}}, "LIMIT_INVALID"),
        (CHIEF, START, order | {"kind": "ROUTE"}, "PLAN_INVALID"),
        (OTHER_CHIEF, CANCEL, {"id": begun["id"]}, "PLAN_UNKNOWN"),
        (OTHER_CHIEF, FIND, {"id": begun["id"]}, "PLAN_UNKNOWN"),
        (inspector, CANCEL, {"id": begun["id"]}, "ROLE_FORBIDDEN"),
        (CHIEF, CANCEL, {"id": "x"}, "PLAN_UNKNOWN"),
        (COUNTY_CHIEF, ACCESS, {"area": OUTSIDE, "measure": "NEAREST"}, "OUT_OF_SCOPE"),
        (inspector, ACCESS, {"area": INSIDE, "measure": "NEAREST"}, "ROLE_FORBIDDEN"),
        (CHIEF, ACCESS, {"area": INSIDE, "measure": "NEAREST", "limit": -1.0}, "LIMIT_INVALID"),
    ]
    for who, query, variables, refusal in refusals:
        assert code(await world.ask(who, query, variables)) == refusal, (query, variables)
    assert (await world.fingerprint("planning_run"), await world.rows(audited)) == before
    await ask(world, CHIEF, CANCEL, id=begun["id"])


async def test_one_person_may_have_so_many_runs_open(world: World) -> None:
    begun = [await start(world, COUNTY_CHIEF, area=INSIDE) for _ in range(planning.MOST_OPEN)]
    order = {"kind": "COVERING", "area": INSIDE, "parameters": {}}
    assert code(await world.ask(COUNTY_CHIEF, START, order)) == "PLAN_LIMIT"
    page = await ask(world, COUNTY_CHIEF, f'query {{ plans(area: "{INSIDE}", first: 3) {{ plans {{ id result }} endCursor }} }}')
    assert [each["id"] for each in page["plans"]] == [each["id"] for each in begun[:1:-1]]
    rest = await ask(
        world, COUNTY_CHIEF, f'query {{ plans(area: "{INSIDE}", first: 2, after: "{page["endCursor"]}") {{ plans {{ id }} }} }}'
    )
    assert [each["id"] for each in rest["plans"]] == [each["id"] for each in begun[1::-1]]
    for each in begun:
        await ask(world, COUNTY_CHIEF, CANCEL, id=each["id"])
