"""A position is flagged, never changed: where it lies beside what its record declares. Equal to Shapely on random small worlds."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry.base import BaseGeometry
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api.settings import engine_url
from geo.coordinates import from_wgs84, to_wgs84
from geo.locate import locate
from geo.placing import Check, Claim, Verdict, judge
from tests.geo.place_world import BEGINNING, country, empty, outlines

TREE = {"220000": "000000", "220100": "220000", "220200": "220000"} | {
    code: f"{code[:4]}00" for code in ("220101", "220102", "220103", "220201", "220202")
}
WEST, SOUTH = 125.0, 43.0


def claim(lon: float, lat: float, area: str, datum: str = "WGS84", accuracy: float | None = None) -> Claim:
    return Claim({"lon": lon, "lat": lat, "datum": datum, "accuracy": accuracy}, *to_wgs84(lon, lat, datum), area)


@pytest.fixture
async def two(connection: AsyncConnection) -> AsyncConnection:
    """220101 and 220102 side by side, one degree each, with their border at 126."""
    await empty(connection)
    await country(connection, TREE, BEGINNING)
    await outlines(connection, {"220101": shapely.box(125, 43, 126, 44), "220102": shapely.box(126, 43, 127, 44)}, BEGINNING)
    return connection


async def one(connection: AsyncConnection, *given: Any, **more: Any) -> Verdict:
    return (await judge(connection, [claim(*given, **more)]))[0]


async def test_a_position_in_its_declared_county_is_fine(two: AsyncConnection) -> None:
    assert await one(two, 125.5, 43.5, "220101") == Verdict(Check.OK, "220101")
    assert await one(two, 125.5, 43.5, "220100") == Verdict(Check.OK, "220101")  # declared no finer than the city


async def test_a_position_elsewhere_is_flagged_with_where_it_is(two: AsyncConnection) -> None:
    assert await one(two, 126.5, 43.5, "220101", accuracy=30.0) == Verdict(Check.OUTSIDE, "220102")
    assert await one(two, 10.0, 50.0, "220101") == Verdict(Check.OUTSIDE, None)


@pytest.mark.parametrize(
    ("metres", "accuracy", "check"), [(20, 30, "NEAR_BORDER"), (40, 30, "OK"), (-20, 30, "NEAR_BORDER"), (-40, 30, "OUTSIDE")]
)
async def test_within_the_devices_accuracy_of_a_border_it_is_uncertain(
    two: AsyncConnection, metres: float, accuracy: float, check: str
) -> None:
    west = metres / 81_400  # a degree of longitude at 43 degrees north
    found = await one(two, 126 - west, 43.0003, "220101", accuracy=float(accuracy))
    assert (found.check, found.datum) == (check, None) or (check == "OUTSIDE" and found.check == Check.OTHER_DATUM)
    assert found.area == ("220101" if metres > 0 else "220102")


async def test_on_the_border_itself_it_is_uncertain_and_in_the_smaller_code(two: AsyncConnection) -> None:
    assert await one(two, 126.0, 43.5, "220102") == Verdict(Check.NEAR_BORDER, "220101")


@pytest.mark.parametrize(
    ("real", "label", "said"), [("GCJ02", "WGS84", "GCJ02"), ("BD09", "CGCS2000", "BD09"), ("WGS84", "GCJ02", "WGS84")]
)
async def test_a_mislabelled_position_says_which_datum_it_fits(two: AsyncConnection, real: str, label: str, said: str) -> None:
    for at in ((125.9985, 43.5), (125.0015, 43.5), (125.5, 43.9985), (125.5, 43.0015), (125.9945, 43.5)):
        sent = from_wgs84(*at, real)
        found = await one(two, *sent, "220101", datum=label)
        inside = shapely.box(125, 43, 126, 44).intersects(shapely.Point(to_wgs84(*sent, label)))
        fitting = [
            datum
            for datum in ("WGS84", "GCJ02", "BD09")
            if datum != ("WGS84" if label == "CGCS2000" else label)
            and 125 < to_wgs84(*sent, datum)[0] < 126
            and 43 < to_wgs84(*sent, datum)[1] < 44
        ]
        assert said in fitting
        assert found.check == (Check.OK if inside else Check.OTHER_DATUM)
        assert found.datum == (None if inside else fitting[0])


async def test_without_an_outline_nothing_is_said(two: AsyncConnection) -> None:
    assert await one(two, 125.5, 43.5, "220103") == Verdict(Check.UNCHECKED, "220101")
    assert await one(two, 125.5, 43.5, "000000") == Verdict(Check.UNCHECKED, "220101")


# --- random worlds ------------------------------------------------------------------------------------------------------

CELLS = [(column, row) for column in range(4) for row in range(4)]
CODES = ("220101", "220102", "220103", "220201", "220202")
STEP = 0.125  # exact in binary, so that a border is the same number here and there


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, BaseGeometry], dict[str, BaseGeometry], list[tuple[float, float]], list[str]]:
    """Two states of a country on a grid: counties of any cells, so with islands and holes; and positions, many on borders."""
    states = []
    for _ in range(2):
        owners = draw(st.lists(st.sampled_from([*CODES, ""]), min_size=len(CELLS), max_size=len(CELLS)))
        states.append({code: shape for code in CODES if not (shape := _union(code, owners)).is_empty})
    eighths = st.integers(-1, 33).map(lambda number: number * STEP / 8)
    spots = draw(st.lists(st.tuples(eighths, eighths), min_size=1, max_size=25))
    declared = [draw(st.sampled_from([*CODES, "220100", "220200", "220000"])) for _ in spots]
    return states[0], states[1], [(WEST + x, SOUTH + y) for x, y in spots], declared


def _union(code: str, owners: list[str]) -> BaseGeometry:
    cells = [
        shapely.box(x * STEP, y * STEP, (x + 1) * STEP, (y + 1) * STEP)
        for (x, y), owner in zip(CELLS, owners, strict=True)
        if owner == code
    ]
    return affinity.translate(shapely.union_all(cells), WEST, SOUTH)


def by_shapely(world: dict[str, BaseGeometry], lon: float, lat: float, area: str) -> tuple[str, str | None]:
    """The verdict, but for other datums, by looking at every county."""
    touched = [code for code, shape in world.items() if shape.intersects(shapely.Point(lon, lat))]
    home = [code for code in world if area in (code, f"{code[:4]}00", "220000")]
    own = [code for code in touched if code in home]
    check = "UNCHECKED" if not home else "OUTSIDE" if not own else "OK" if own == touched else "NEAR_BORDER"
    return check, min(touched, default=None)


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_verdicts_and_places_are_those_that_shapely_finds(shared_database_url: str, world: Any) -> None:
    asyncio.run(_compare(shared_database_url, *world))


async def _compare(url: str, before: Any, after: Any, spots: list[tuple[float, float]], declared: list[str]) -> None:
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.begin()
        await empty(connection)
        await country(connection, TREE, BEGINNING)
        await outlines(connection, before, BEGINNING)
        await outlines(connection, {code: after.get(code, shapely.MultiPolygon()) for code in {*before, *after}}, date(2020, 1, 1))
        found = await judge(connection, [claim(*spot, area) for spot, area in zip(spots, declared, strict=True)])
        for spot, area, verdict in zip(spots, declared, found, strict=True):
            check, place = by_shapely(after, *spot, area)
            seen = Check.OUTSIDE if verdict.check is Check.OTHER_DATUM else verdict.check
            assert (seen, verdict.area) == (check, place), (spot, area)
        for spot in spots[:6]:
            # An area whose first known outline is newer than the day is where that outline is, unless another was there.
            newer = {code: shape for code, shape in after.items() if code not in before}
            past = by_shapely(before, *spot, "220000")[1] or by_shapely(newer, *spot, "220000")[1]
            for on, place in ((date(2010, 1, 1), past), (date(2021, 1, 1), by_shapely(after, *spot, "220000")[1])):
                chain = await locate(connection, *spot, on=on)
                assert (chain[-1].code if chain else None) == place, (spot, on)
        await connection.rollback()
    await engine.dispose()
