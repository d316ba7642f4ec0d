import random
from datetime import date
from functools import cache

import pytest
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import sources
from geo.coordinates import Datum, from_wgs84
from geo.gazetteer import settled
from geo.locate import locate
from schema.areas import Level
from schema.problems import Refused


@cache
def jilin() -> dict[str, BaseGeometry]:
    counties = (found for found in settled(sources.boundaries()) if found.layer == Level.COUNTY and found.code.startswith("22"))
    return {county.code: county.geometry for county in counties}


def by_shapely(point: shapely.Point) -> str | None:
    return min((code for code, outline in jilin().items() if outline.intersects(point)), default=None)


async def county(connection: AsyncConnection, lon: float, lat: float) -> str | None:
    chain = await locate(connection, lon, lat)
    return next((area.code for area in chain if area.level == Level.COUNTY), None) if chain and chain[0].code == "220000" else None


async def test_a_point_is_where_shapely_says(areas: AsyncConnection) -> None:
    chance = random.Random(20261122)
    west, south, east, north = shapely.total_bounds(list(jilin().values()))
    for _ in range(300):
        lon, lat = chance.uniform(west, east), chance.uniform(south, north)
        assert await county(areas, lon, lat) == by_shapely(shapely.Point(lon, lat)), (lon, lat)


async def test_a_point_on_a_border_is_in_the_smallest_code(areas: AsyncConnection) -> None:
    chance = random.Random(20261122)
    corners = [point for outline in jilin().values() for point in chance.sample(list(shapely.get_coordinates(outline)), 4)]
    shared = 0
    for lon, lat in corners:
        holders = [code for code, outline in jilin().items() if outline.intersects(shapely.Point(lon, lat))]
        shared += len(holders) > 1
        found = [area for area in await locate(areas, lon, lat) if area.level == Level.COUNTY]
        # A county of another province with a smaller code (15..., 21...) may hold the point too.
        assert found[-1].code == min(holders) or (found[-1].code < min(holders) and not found[-1].code.startswith("22"))
    assert shared > 80


@pytest.mark.parametrize("datum", list(Datum))
async def test_every_datum_leads_to_the_same_county(areas: AsyncConnection, datum: Datum) -> None:
    # 300 m inside 南关区 of Changchun: a GCJ-02 position taken for WGS 84 would be in the next county.
    chain = await locate(areas, *from_wgs84(125.3235, 43.8171, datum), datum)
    assert [(area.code, area.name) for area in chain] == [("220000", "吉林省"), ("220100", "长春市"), ("220102", "南关区")]


async def test_a_code_is_answered_as_it_was_on_the_day(areas: AsyncConnection) -> None:
    assert [area.code for area in await locate(areas, 124.82, 43.50, on=date(2019, 6, 1))] == ["220000", "220300", "220381"]
    assert [area.code for area in await locate(areas, 124.82, 43.50, on=date(2021, 6, 1))] == ["220000", "220100", "220184"]
    assert [area.code for area in await locate(areas, 106.57, 29.60, on=date(2024, 6, 1))] == ["500000", "500105"]
    assert [area.code for area in await locate(areas, 106.57, 29.60)][:2] == ["500000", "500157"]


async def test_outside_china_there_is_no_area(areas: AsyncConnection) -> None:
    assert await locate(areas, 139.7, 35.7) == []
    with pytest.raises(Refused, match="GCJ02"):
        await locate(areas, 2.35, 48.85, "GCJ02")
