"""Points on the map: what is kept is what a count of everything gives, and each reader's tiles hold all of theirs and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from api import cluster
from api.bench.mvt import Feature, layers
from api.settings import engine_url
from geo import point_tiles, points
from geo.place_tiles import coordinators, figure_tile, gaps
from geo.point_tiles import LAYERS, cover, point_tile
from schema.actor import Actor, Role
from schema.areas import Level
from schema.problems import Refused
from tests.geo.counting_world import AREAS, PLACES, Register, chain, draw

Run = Callable[[Callable[[Register], Awaitable[None]]], None]
SITES = LAYERS["sites"]
ENTERPRISES = LAYERS["enterprises"]
READERS = [
    ("220000", "110000"),
    ("220000",),
    ("220100",),
    ("220102",),
    ("220102001", "110101"),
    ("J220001", "220103"),
    ("J220001", "220100"),
]


@pytest.fixture(scope="module")
def run(cluster_url: str, template: str) -> Iterator[Run]:
    """Runs a coroutine with an empty register in a transaction that is rolled back."""
    name = f"test_{os.getpid()}_points"
    with asyncio.Runner() as runner:
        engine = create_async_engine(engine_url(runner.run(cluster.create_database(cluster_url, name, template))))

        async def within(body: Callable[[Register], Awaitable[None]]) -> None:
            async with engine.connect() as connection:
                await connection.begin()
                await draw(connection)
                await connection.execute(
                    text("UPDATE area SET point = ST_SetSRID(ST_MakePoint(125.3, 43.8), 4326) WHERE code LIKE '2201%'")
                )
                await body(Register(connection))
                await connection.rollback()

        yield lambda body: runner.run(within(body))
        runner.run(engine.dispose())
        runner.run(cluster.drop_database(cluster_url, name))


def position(lon: float, lat: float) -> dict[str, Any]:
    return {
        "lon": lon, "lat": lat, "datum": "WGS84", "accuracy": 5, "provider": "gps", "taken_at": "2026-01-01T00:00:00+00:00"
    }  # fmt: skip


SPOTS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from([125.0, 125.00001, 125.3, 116.4]), st.sampled_from([43.8, 43.80001, 40.0])),
    st.tuples(st.floats(-180, 180), st.floats(-90, 90)),
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["enterprise", "enterprise", "enterprise", "rehab_site", "settle"]),
        st.integers(0, 5),
        st.sampled_from(PLACES),
        SPOTS,
        st.sampled_from([False, False, False, True]),
    ),
    max_size=14,
)


MANY = text("""INSERT INTO map_point SELECT 'enterprise', gen_random_uuid(), n << 20, n, n, '220102001', '220102', '220000'
  FROM generate_series(1, 2000) n""")


async def carry_out(register: Register, edits: list[Any]) -> None:
    for record, number, place, spot, deleted in edits:
        if record == "settle":
            await settle(register)
            continue
        more = {"kind": "STATION"} if record == "rehab_site" else {}
        where = position(*spot) if spot else None
        await register.put(record, number, area_code=place, name=f"甲{number}", location=where, deleted=deleted, **more)
    await settle(register)


async def settle(register: Register) -> None:
    await register.settle(step=False)
    while await points.step(register.connection, batch=2):
        pass


async def kept(register: Register) -> tuple[list[str], list[str]]:
    found = await register.connection.execute(text("SELECT * FROM map_point"))
    cells = await register.connection.execute(text("SELECT record, zoom, scope, quad, n, sum_x, sum_y FROM map_cell WHERE n <> 0"))
    return sorted(map(str, found)), sorted(map(str, cells))


async def raw(register: Register) -> Any:
    return (await register.connection.get_raw_connection()).driver_connection


def placed(register: Register, record: str, scopes: tuple[str, ...]) -> set[str]:
    """Documents with a place that a reader of `scopes` may see."""
    return {
        row["id"] for row in register.all(record, date.max) if row["location"] and not set(scopes).isdisjoint(chain(row["area_code"])[:-1])
    }


async def whole(register: Register, layer: point_tiles.PointLayer, scopes: tuple[str, ...], z: int) -> list[Feature]:
    """All features of a zoom, of the tiles in which there are points, each asked once."""
    actor = Actor("u", "reader", Role.SUPERVISOR, scopes)
    reads = await raw(register)
    held = await cover(reads, actor)
    found = (await register.connection.execute(text("SELECT DISTINCT x, y FROM map_point WHERE record = :r"), {"r": layer.record})).all()
    tiles = {(x >> points.WORLD - z, y >> points.WORLD - z) for x, y in found}
    answers = [layers(await point_tile(reads, actor, layer, held, z, x, y)) for x, y in sorted(tiles)]
    return [feature for answer in answers for feature in answer.get(layer.name, [])]


@settings(max_examples=12)
@given(EDITS)
def test_following_the_feed_keeps_what_placing_everything_gives(run: Run, edits: list[Any]) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)  # of nothing, so that all that follows is followed
        await carry_out(register, edits)
        followed = await kept(register)
        await points.recompute(register.connection)
        assert followed == await kept(register)

    run(body)


@settings(max_examples=8)
@given(EDITS)
def test_every_reader_finds_all_and_nothing_else(run: Run, edits: list[Any]) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)
        await carry_out(register, edits)
        for scopes in READERS:
            expected = placed(register, "enterprise", scopes)
            for z in (0, 7, 10, 11):
                clusters = await whole(register, ENTERPRISES, scopes, z)
                assert sum(each.properties["count"] for each in clusters) == len(expected)
                assert all(set(each.properties) == {"count"} for each in clusters)
            near = await whole(register, ENTERPRISES, scopes, 13)
            assert {each.properties["id"] for each in near} == expected
            assert len(near) == len(expected)
            assert {each.properties["id"] for each in await whole(register, SITES, scopes, 3)} == placed(register, "rehab_site", scopes)

    run(body)


def test_where_there_are_too_many_a_near_tile_clusters_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)
        spots = [(125.0 + number / 1e4, 43.8) for number in range(4)]
        await carry_out(register, [("enterprise", number, "220102001", spot, False) for number, spot in enumerate(spots)])
        monkeypatch.setattr(point_tiles, "MOST", 3)
        point_tiles._points.cache_clear()
        (cluster_,) = await whole(register, ENTERPRISES, ("220000",), 12)
        assert cluster_.properties == {"count": 4}
        assert {each.properties.get("name") for each in await whole(register, ENTERPRISES, ("220000",), 22)} == {"甲0", "甲1", "甲2", "甲3"}
        point_tiles._points.cache_clear()

    run(body)


class Planned:
    """Reads that note by statement what the planner expects of it."""

    def __init__(self, reads: Any) -> None:
        self.reads = reads
        self.costs: dict[str, set[str]] = {}

    async def fetch(self, sql: str, *values: Any) -> Any:
        return await self.reads.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        plan = await self.reads.fetch(f"EXPLAIN {sql}", *values)
        self.costs.setdefault(sql, set()).add(plan[0][0])
        return await self.reads.fetchrow(sql, *values)


def test_the_plan_of_a_tile_is_the_same_for_all_readers_and_tiles_so_that_it_can_be_kept(run: Run) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)
        await register.connection.execute(MANY)
        await register.connection.execute(text("ANALYZE map_point"))
        planned = Planned(await raw(register))
        for scopes in READERS:
            actor = Actor("u", "reader", Role.SUPERVISOR, scopes)
            held = await cover(planned, actor)
            for place in ((0, 0, 0), (4, 9, 9), (11, 0, 0), (11, 9, 9), (12, 0, 0), (22, 9, 9)):
                await point_tile(planned, actor, ENTERPRISES, held, *place)
        assert len(planned.costs) == 3  # far, counted, near
        assert all(len(costs) == 1 for costs in planned.costs.values())

    run(body)


def test_an_enterprise_account_sees_itself_alone(run: Run) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)
        await carry_out(register, [("enterprise", number, "220102001", (125.0, 43.8), False) for number in range(3)])
        own = register.ids["enterprise", 1]
        for z in (5, 14):
            (only,) = await whole(register, ENTERPRISES, (f"enterprise:{own}",), z)
            assert only.properties["count"] == 1
            assert only.properties.get("id") == (own if z == 14 else None)

    run(body)


def test_what_was_withdrawn_is_not_drawn_even_before_the_pyramid_follows(run: Run) -> None:
    async def body(register: Register) -> None:
        await points.recompute(register.connection)
        await carry_out(register, [("enterprise", 0, "220102001", (125.0, 43.8), False)])
        await register.put("enterprise", 0, area_code="220103001")
        assert await whole(register, ENTERPRISES, ("220102",), 14) == []

    run(body)


def test_coordinators_are_counted_without_names_and_gaps_named_with_reasons(run: Run) -> None:
    async def body(register: Register) -> None:
        for number, (place, status) in enumerate([("220102001", "ACTIVE"), ("220102001", "ACTIVE"), ("220103001", "SUSPENDED")]):
            await register.put("coordinator", number, area_code=place, name="乙", status=status)
        actor = Actor("u", "reader", Role.SUPERVISOR, ("220000",))
        figures = await coordinators(register.connection, actor, Level.TOWNSHIP, register.day)
        assert [(each.code, each.count, each.near) for each in figures] == [("220102001", 2, None)]
        x, y = figures[0].x >> points.WORLD - 9, figures[0].y >> points.WORLD - 9
        (drawn,) = layers(await figure_tile(register.connection, "coordinators", figures, 9, x, y))["coordinators"]
        assert drawn.properties == {"code": "220102001", "name": "虚构220102001", "level": "township", "count": 2}
        missing = await gaps(register.connection, actor, Level.TOWNSHIP, register.day)
        lacking = {code for code, row in AREAS.items() if row[0] == "township" and code.startswith("22")} - {"220102001"}
        assert {each.code for each in missing if each.reason == "NO_COORDINATOR"} == lacking
        by_county = await gaps(register.connection, actor, Level.COUNTY, register.day)
        assert Counter({each.code: each.count for each in by_county}) == Counter(code[:6] for code in lacking)
        with pytest.raises(Refused):
            await coordinators(register.connection, Actor("u", "r", Role.ENTERPRISE, ("enterprise:x",)), Level.TOWNSHIP, register.day)

    run(body)
