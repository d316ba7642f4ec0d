"""Coverage is what looking at every record and every outline gives: islands, holes, borders, changed trees, both trees. By Shapely."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import shapely
from hypothesis import Phase, given, settings
from shapely.geometry.base import BaseGeometry
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.settings import engine_url
from geo import indicators
from geo.chains import chains
from geo.coverage import AreaValue, Day
from schema.areas import ROOT, Level
from tests.geo.counting_world import START, Register
from tests.geo.place_world import BEGINNING, country, empty, level_of, outlines
from tests.geo.test_placing import CODES, TREE, worlds

MOVED_ON = date(2020, 1, 1)
BEFORE = TREE | {"J220001": "220000"}
AFTER = BEFORE | {"220103": "220200"}
MEMBERS, MEMBERS_AFTER = {"220102": ("J220001",)}, {"220102": ("J220001",), "220201": ("J220001",), "220103": ("J220001",)}
LEVELS = (Level.PROVINCE, Level.CITY, Level.COUNTY, Level.JURISDICTION)


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # shrinking would take minutes
@given(worlds())
def test_coverage_is_what_shapely_counts(shared_database_url: str, world: Any) -> None:
    asyncio.run(_compare(shared_database_url, *world))


async def _compare(url: str, before: Any, after: Any, spots: list[tuple[float, float]], declared: list[str]) -> None:
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.begin()
        await empty(connection)
        await country(connection, BEFORE, BEGINNING, MEMBERS)
        await outlines(connection, before, BEGINNING)
        await country(connection, AFTER, MOVED_ON, MEMBERS_AFTER)
        await outlines(connection, {code: after.get(code, shapely.MultiPolygon()) for code in {*before, *after}}, MOVED_ON)
        register = Register(connection)
        for number, (spot, area) in enumerate(zip(spots, declared, strict=True)):
            await _put(register, number, spot, area)
        await register.settle()
        placed = [_fits(after, spot, area) for spot, area in zip(spots, declared, strict=True)]
        await _agree(register, declared, declared, placed)
        moved = (spots[0][0] + 0.25, spots[0][1])
        assert await register.put("enterprise", 0, area_code=CODES[3], location=_position(moved))
        await register.settle()
        kept = await register.kept()
        placed[0] = _fits(after, moved, CODES[3])  # the verdict is today's for every day
        await _agree(register, [CODES[3], *declared[1:]], declared, placed)
        await indicators.recompute(connection, register.day)
        assert await register.kept() == kept
        await country(connection, AFTER, MOVED_ON, MEMBERS)  # a second change on the same day
        await register.settle()
        assert await register.asked("ENT-COUNT", Level.JURISDICTION, Day(START)) == await _anew(register)
        await connection.rollback()
    await engine.dispose()


async def _anew(register: Register) -> dict[str, AreaValue]:
    await indicators.recompute(register.connection, register.day)
    return await register.asked("ENT-COUNT", Level.JURISDICTION, Day(START))


async def _put(register: Register, number: int, spot: tuple[float, float], area: str) -> None:
    assert await register.put("enterprise", number, name="甲", area_code=area, status="OPERATING", location=_position(spot))


def _position(spot: tuple[float, float]) -> dict[str, Any]:
    return {"lon": spot[0], "lat": spot[1], "datum": "WGS84"}


def _fits(world: Mapping[str, BaseGeometry], spot: tuple[float, float], area: str) -> bool:
    """Whether a county of the declared area holds the position, by today's tree; what has no outline contradicts nothing."""
    lines = chains({ROOT: None, **AFTER}, MEMBERS_AFTER)
    home = [shape for code, shape in world.items() if area in lines[code]]
    return not home or any(shape.intersects(shapely.Point(spot)) for shape in home)


async def _agree(register: Register, now: Sequence[str], then: Sequence[str], placed: Sequence[bool]) -> None:
    for on, tree, members, declared in ((START, AFTER, MEMBERS_AFTER, now), (date(2019, 12, 31), BEFORE, MEMBERS, then)):
        lines = chains({ROOT: None, **tree}, members)
        for level in LEVELS:
            found = await register.asked("ENT-PLACED", level, Day(on))
            assert {code: (value.numerator, value.denominator) for code, value in found.items()} == {
                code: (
                    sum(fits for area, fits in zip(declared, placed, strict=True) if code in lines[area]),
                    sum(code in lines[area] for area in declared),
                )
                for code in tree
                if level_of(code) is level
            }, (on, level)
