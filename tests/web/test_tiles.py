"""Tiles and coverage as programs ask for them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from api.bench.mvt import layers
from geo import points
from tests.web.conftest import World

pytestmark = pytest.mark.asyncio(loop_scope="session")
TILE = "/tiles/areas/6/54/23"  # holds the small world
COVERAGE = """query($indicator: ID!, $area: ID!, $asOf: Date) {
  coverage(indicator: $indicator, area: $area, level: COUNTY, asOf: $asOf) { area { code } numerator denominator value target gap } }"""


async def get(world: World, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=world.address) as client:
        return await client.get(path, headers=headers)


async def test_tiles_are_for_signed_in_people(world: World) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await get(world, TILE, **headers)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["extensions"]["code"] in ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_tile_comes_compressed_once_and_then_as_not_modified(world: World) -> None:
    bearer = {"Authorization": f"Bearer {await world.token()}"}
    first = await get(world, TILE, **bearer)
    assert first.status_code == 200
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["cache-control"].startswith("private")
    assert b"220102" in first.content
    again = await get(world, TILE, **bearer, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = await get(world, TILE, **bearer, **{"Accept-Encoding": "identity"})
    assert (plain.content, plain.headers.get("content-encoding")) == (first.content, None)


@pytest.mark.parametrize(
    ("path", "status"), [("6/0/0", 204), ("6/64/0", 404), ("23/0/0", 404), ("6/x/0", 404), ("6/-1/0", 404), ("99999/0/0", 404)]
)
async def test_only_tiles_that_exist_are_drawn(world: World, path: str, status: int) -> None:
    answer = await get(world, f"/tiles/areas/{path}", Authorization=f"Bearer {await world.token()}")
    assert answer.status_code == status


async def test_coverage_has_target_and_gap_and_no_data_is_null(world: World) -> None:
    answer = await world.ask(COVERAGE, await world.token(), indicator="COORDINATOR-TOWNSHIPS", area="220200")
    assert answer["data"]["coverage"] == [
        {"area": {"code": "220202"}, "numerator": 3, "denominator": 5, "value": 0.6, "target": 1.0, "gap": 0.4},
        {"area": {"code": "220203"}, "numerator": 0, "denominator": 0, "value": None, "target": 1.0, "gap": None},
    ]


async def test_coverage_is_counted_as_of_the_day(world: World) -> None:
    answer = await world.ask(COVERAGE, await world.token(), indicator="COORDINATOR-TOWNSHIPS", area="220100", asOf="2019-06-01")
    assert [value["numerator"] for value in answer["data"]["coverage"]] == [4, 2]  # 220103003 was still in office


@pytest.mark.parametrize(
    ("username", "variables", "code"),
    [
        ("boss", {"indicator": "IND-99", "area": "220000"}, "INDICATOR_UNKNOWN"),
        ("boss", {"indicator": "COORDINATOR-TOWNSHIPS", "area": "210000"}, "AREA_OUT_OF_SCOPE"),
        ("city", {"indicator": "COORDINATOR-TOWNSHIPS", "area": "220000"}, "AREA_OUT_OF_SCOPE"),
        ("boss", {"indicator": "COORDINATOR-TOWNSHIPS", "area": "999999"}, "AREA_UNKNOWN"),
        ("boss", {"indicator": "COORDINATOR-TOWNSHIPS", "area": "220000", "asOf": "yesterday"}, "DATE_INVALID"),
    ],
)
async def test_coverage_refuses_with_a_code(world: World, username: str, variables: dict[str, str], code: str) -> None:
    answer = await world.ask(COVERAGE, await world.token(username), **variables)
    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == code


async def test_coverage_and_areas_are_for_signed_in_people(world: World) -> None:
    for query in ('{ area(code: "220000") { name } }', '{ areas(parent: "220000", level: COUNTY) { code } }'):
        assert (await world.ask(query))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    answer = await world.ask(COVERAGE, indicator="COORDINATOR-TOWNSHIPS", area="220000")
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def features(world: World, path: str, username: str = "boss") -> list[dict[str, Any]]:
    answer = await get(world, f"/tiles/{path}", Authorization=f"Bearer {await world.token(username)}")
    assert answer.status_code in (200, 204), answer.text
    return [feature.properties for layer in layers(answer.content).values() for feature in layer]


async def test_values_of_an_indicator_stand_in_the_tile_of_those_who_may_see_them(world: World) -> None:
    everything = await features(world, "areas/6/54/23?indicator=COORDINATOR-TOWNSHIPS&level=county")
    by_code = {each["code"]: each for each in everything}
    assert set(by_code) == {"220102", "220103", "220202", "220203"}
    assert by_code["220202"] == {
        "code": "220202", "name": "昌邑区", "level": "county", "value": 0.6, "numerator": 3, "denominator": 5, "target": 1.0, "gap": 0.4
    }  # fmt: skip
    assert "value" not in by_code["220203"]  # no data is not 0 %
    assert {each["code"] for each in await features(world, "areas/6/54/23?indicator=COORDINATOR-TOWNSHIPS", "city")} == {"220102", "220103"}


async def test_coordinators_and_gaps_are_counted_within_the_readers_rights(world: World) -> None:
    assert sum(each["count"] for each in await features(world, "coordinators/6/54/23")) == 9
    assert sum(each["count"] for each in await features(world, "coordinators/6/54/23", "city")) == 6
    missing = [each for each in await features(world, "gaps/6/54/23") if each["reason"] == "NO_COORDINATOR"]
    assert {each["code"]: each["count"] for each in missing} == {"220103": 3, "220202": 2}
    assert {each["code"] for each in await features(world, "gaps/6/54/23", "city")} == {"220103"}


SAVE = """mutation($id: ID!, $area: ID!) { saveEnterprise(input: {id: $id, name: "图上一厂", areaCode: $area, status: OPERATING,
  location: {lon: 124.5, lat: 43.5, datum: "WGS84", accuracy: 5, provider: "gps", takenAt: "2026-01-01T00:00:00+00:00"}}) { id } }"""


async def test_an_enterprise_comes_onto_the_map_when_it_is_written_and_leaves_with_its_county(world: World) -> None:
    far = "enterprises/6/54/23"
    near = "enterprises/13/{}/{}".format(*(spot >> 17 for spot in points.world(124.5, 43.5)))
    bearer = {"Authorization": f"Bearer {await world.token('city')}"}
    before = (await get(world, f"/tiles/{far}", **bearer)).headers["etag"]
    written = {"id": str(uuid.uuid4()), "area": "220102001"}
    assert "errors" not in await world.ask(SAVE, await world.token(), **written)
    assert await eventually(world, far, "city", [{"count": 1}])
    shown = {"id": written["id"], "name": "图上一厂", "status": "OPERATING", "count": 1}
    assert await features(world, near, "city") == [shown]
    after = await get(world, f"/tiles/{far}", **bearer)
    assert (before != after.headers["etag"], after.headers["cache-control"]) == (True, "private, no-cache")
    assert (await get(world, f"/tiles/{far}", **bearer, **{"If-None-Match": after.headers["etag"]})).status_code == 304
    assert "errors" not in await world.ask(SAVE, await world.token(), **{**written, "area": "220202001"})
    assert await eventually(world, far, "city", [])
    assert await features(world, near, "city") == []
    assert await features(world, near) == [shown]


async def eventually(world: World, path: str, username: str, expected: list[dict[str, Any]]) -> bool:
    for _ in range(600):
        if await features(world, path, username) == expected:
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("patients/6/54/23", 404, "LAYER_UNKNOWN"),
        ("areas/6/54/23?indicator=IND-99", 404, "INDICATOR_UNKNOWN"),
        ("areas/6/54/23?indicator=COORDINATOR-TOWNSHIPS&level=village", 400, "LEVEL_INVALID"),
        ("areas/6/54/23?indicator=COORDINATOR-TOWNSHIPS&asOf=soon", 400, "DATE_INVALID"),
        ("areas/6/54/23?indicator=COORDINATOR-TOWNSHIPS&period=5", 400, "PERIOD_INVALID"),
        ("enterprises/3/9/0", 404, "TILE_UNKNOWN"),
    ],
)
async def test_what_cannot_be_drawn_is_refused_with_a_code(world: World, path: str, status: int, code: str) -> None:
    answer = await get(world, f"/tiles/{path}", Authorization=f"Bearer {await world.token()}")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)
