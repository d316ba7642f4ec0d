"""When areas change their place in the tree, records, feed and terminals follow, and the past stays what it was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import date

import pytest
import pytest_asyncio

from api import cluster
from geo.areas import area_detail, areas_below
from schema.actor import Role
from schema.areas import Level
from sync import rescoping
from tests.geo.place_world import BEGINNING, country, empty
from tests.spine.spine_world import World, code, opened, person, sample, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")
BEFORE = {
    "220000": "000000",
    "220100": "220000",
    "220200": "220000",
    "220102": "220100",
    "220103": "220100",
    "220102001": "220102",
    "220103001": "220103",
    "J220001": "220000",
}
AFTER = BEFORE | {"220102": "220200"}
MOVED_ON = date(2026, 11, 1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    name = f"test_{os.getpid()}_following"
    url = await cluster.create_database(cluster_url, name, template)
    async with opened(url, tmp_path_factory.mktemp("following")) as made:
        yield made
    await cluster.drop_database(cluster_url, name)


@pytest_asyncio.fixture(loop_scope="session")
async def anew(world: World) -> World:
    """The tree as it was before."""
    async with world.database.engine.begin() as connection:
        await empty(connection)
        await country(connection, BEFORE, BEGINNING)
    return world


async def follow(world: World) -> int:
    return await rescoping.run(world.database.engine, world.registry)


async def move(world: World) -> list[str]:
    async with world.database.engine.begin() as connection:
        return await country(connection, AFTER, MOVED_ON)


async def test_a_county_that_moves_takes_its_records_to_the_terminals_of_the_other_city(anew: World) -> None:
    world = anew
    old, new = person(Role.SUPERVISOR, "220100"), person(Role.SUPERVISOR, "220200")
    writer = person(Role.INSPECTOR, "220102")
    firm = await world.put(writer, "enterprise", area_code="220102001")
    place = await world.put(writer, "workplace", enterprise_id=firm["id"])
    other = await world.put(person(Role.INSPECTOR, "220103"), "enterprise", area_code="220103001")
    await world.drain()
    held, token = await world.pull(old, "enterprise")
    assert {each["id"] for each in held} >= {firm["id"], other["id"]}
    _, new_token = await world.pull(new, "enterprise")

    assert await move(world) == ["220102", "220102001"]
    assert await follow(world) == 1
    await world.drain()

    for name, each in (("enterprise", firm), ("workplace", place)):
        scopes = (await world.master(name, each["id"]))["scopes"]
        assert {"220102001", "220102", "220200", "220000", f"enterprise:{firm['id']}"} == set(scopes)
        now, left = await world.scopes_of(name, each["id"])
        assert now == set(scopes)
        assert left == {"220100"}
    assert (await world.master("enterprise", firm["id"]))["revision"] == firm["revision"]
    gone, _ = await world.pull(old, "enterprise", token=token)
    assert [(each["id"], each["deleted"]) for each in gone] == [(firm["id"], True)]
    come, _ = await world.pull(new, "enterprise", token=new_token)
    assert [(each["id"], each["deleted"]) for each in come] == [(firm["id"], False)]
    assert set(await world.pull_all(new, "workplace")) == {place["id"]}


async def test_the_past_keeps_its_tree(anew: World) -> None:
    await move(anew)
    async with anew.database.engine.connect() as connection:
        for on, city, other in ((date(2026, 10, 31), "220100", "220200"), (MOVED_ON, "220200", "220100")):
            detail = await area_detail(connection, "220102001", on)
            assert detail is not None
            assert [area.code for area in detail.ancestors] == ["220000", city, "220102"]
            assert "220102" in [area.code for area in await areas_below(connection, city, Level.COUNTY, on)]
            assert "220102" not in [area.code for area in await areas_below(connection, other, Level.COUNTY, on)]
        now = await area_detail(connection, "220102")
        assert now is not None
        assert (now.valid_from, [area.code for area in now.ancestors]) == (MOVED_ON, ["220000", "220200"])


async def test_a_second_run_does_nothing(anew: World) -> None:
    writer = person(Role.INSPECTOR, "220102")
    await anew.put(writer, "enterprise", area_code="220102")
    await move(anew)
    assert await follow(anew) >= 1
    before = await anew.fingerprint("enterprise", "area", "area_version")
    assert await follow(anew) == 0
    assert await move(anew) == []
    assert await follow(anew) == 0
    assert await anew.fingerprint("enterprise", "area", "area_version") == before


async def test_who_is_interrupted_goes_on_where_it_stopped(anew: World, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = person(Role.INSPECTOR, "220102")
    made = [await anew.put(writer, "enterprise", area_code=area) for area in ("220102", "220102001")]
    await move(anew)
    monkeypatch.setattr(rescoping, "_CODES", 1)
    async with anew.database.engine.begin() as connection:
        await rescoping.work(connection, anew.registry)
    assert await rescoping.waiting(anew.database.engine)
    await follow(anew)
    assert not await rescoping.waiting(anew.database.engine)
    for each in made:
        assert "220200" in (await anew.master("enterprise", each["id"]))["scopes"]


async def test_an_area_that_is_lent_is_seen_by_its_jurisdiction_until_it_is_given_back(anew: World) -> None:
    world = anew
    admin, zone = person(Role.ADMIN, "220000"), person(Role.INSPECTOR, "J220001")
    firm = await world.put(person(Role.INSPECTOR, "220102"), "enterprise", area_code="220102001")
    join = (
        'mutation { it: joinJurisdiction(jurisdiction: "J220001", area: "220102001", note: "托管协议", until: "2031-01-01") { validTo } }'
    )
    leave = 'mutation { it: leaveJurisdiction(jurisdiction: "J220001", area: "220102001") { area } }'

    assert code(await world.ask(person(Role.SUPERVISOR, "220000"), join)) == "FORBIDDEN"
    assert "errors" not in await world.ask(admin, join)
    assert code(await world.ask(admin, join)) == "MEMBERSHIP_EXISTS"
    await follow(world)
    await world.drain()
    assert firm["id"] in await world.pull_all(zone, "enterprise")
    assert "220100" in (await world.master("enterprise", firm["id"]))["scopes"]  # beside the tree, not in its place

    assert "errors" not in await world.ask(admin, leave)
    assert code(await world.ask(admin, leave)) == "MEMBERSHIP_UNKNOWN"
    await follow(world)
    await world.drain()
    assert await world.pull_all(zone, "enterprise") == {}


async def test_a_jurisdiction_below_itself_is_refused_and_nothing_changes(anew: World) -> None:
    before = await anew.fingerprint("area", "jurisdiction_member", "area_job")
    circle = 'mutation { joinJurisdiction(jurisdiction: "J220001", area: "220000", note: "") { area } }'
    assert code(await anew.ask(person(Role.ADMIN, "220000"), circle)) == "MEMBERSHIP_CIRCULAR"
    assert await anew.fingerprint("area", "jurisdiction_member", "area_job") == before


async def test_flags_come_with_the_record_and_are_nobodys_edit(anew: World) -> None:
    world, writer = anew, person(Role.INSPECTOR, "220102")
    await world.execute(
        "INSERT INTO area_piece (code, valid_from, geom) VALUES ('220102', '2000-01-01', ST_MakeEnvelope(125, 43, 126, 44, 4326)),"
        " ('220103', '2000-01-01', ST_MakeEnvelope(126, 43, 127, 44, 4326))"
    )
    spot = {"lon": 126.5, "lat": 43.5, "datum": "WGS84", "accuracy": 10}
    firm = await world.put(writer, "enterprise", area_code="220102", location=spot, place_check="OK")
    assert (firm["placeCheck"], firm["placeAreaCode"], firm["location"]["lon"]) == ("OUTSIDE", "220103", 126.5)
    query = "{ found: enterprises(filter: {placeCheck: {eq: OUTSIDE}}) { nodes { id placeCheck placeAreaCode } } }"
    answer = await world.ask(writer, query)
    assert answer["data"]["found"]["nodes"] == [{"id": firm["id"], "placeCheck": "OUTSIDE", "placeAreaCode": "220103"}]

    assert await world.push(writer, "enterprise", sent(firm, location=spot | {"lon": 125.5}, placeCheck="OTHER_DATUM")) == []
    moved = await world.master("enterprise", firm["id"])
    assert (moved["placeCheck"], moved["placeAreaCode"]) == ("OK", "220102")
    assert await world.push(writer, "enterprise", sent(moved, location=None)) == []
    bare = await world.master("enterprise", firm["id"])
    assert (bare["placeCheck"], bare["placeAreaCode"], bare["locationWgs84"]) == (None, None, None)

    outside = sample(world.registry["enterprise"], area_code="220102", location=spot | {"datum": "GCJ02", "lon": 2.35, "lat": 48.85})
    await world.push(writer, "enterprise", (None, outside))
    assert [conflict["code"] for conflict in await world.conflicts(outside["id"])] == ["DATUM_OUTSIDE_CHINA"]


async def test_new_outlines_check_every_position_anew_and_terminals_are_told(anew: World) -> None:
    world, writer = anew, person(Role.INSPECTOR, "220102")
    spot = {"lon": 126.5, "lat": 43.5, "datum": "WGS84", "accuracy": 10}
    firm = await world.put(writer, "enterprise", area_code="220102", location=spot)
    assert firm["placeCheck"] == "UNCHECKED"
    await world.drain()
    _, token = await world.pull(writer, "enterprise")
    await world.execute(
        "INSERT INTO area_piece (code, valid_from, geom) VALUES ('220102', '2000-01-01', ST_MakeEnvelope(126, 43, 127, 44, 4326))"
    )
    await world.execute("INSERT INTO area_job (kind) VALUES ('places')")
    assert await follow(world) >= 1
    await world.drain()
    page, _ = await world.pull(writer, "enterprise", token=token)
    assert [(each["id"], each["placeCheck"], each["revision"]) for each in page if each["id"] == firm["id"]] == [(firm["id"], "OK", 1)]
    assert await follow(world) == 0
