import random
from datetime import date
from typing import Any

import pytest
import shapely
from sqlalchemy.ext.asyncio import AsyncConnection

from api.bench.mvt import layers
from geo.area_tiles import step
from geo.coverage import AreaValue
from geo.tiles import area_layer, area_tile, areas_version, valued_tile
from schema.areas import Level
from schema.problems import Refused


@pytest.fixture
async def reads(areas: AsyncConnection) -> Any:
    return (await areas.get_raw_connection()).driver_connection


async def test_a_tile_holds_province_city_and_county_with_code_and_name(reads: Any) -> None:
    tile = await area_tile(reads, 8, 217, 93)  # Changchun
    for expected in (b"province", b"city", b"county", b"code", b"name", b"220102", "南关区".encode()):
        assert expected in tile


async def test_far_away_counties_are_left_out_and_the_sea_is_empty(reads: Any) -> None:
    country = await area_tile(reads, 1, 1, 0)
    assert "吉林省".encode() in country
    assert b"county" not in country
    assert await area_tile(reads, 6, 0, 40) == b""


@pytest.mark.parametrize("zoom", [3, 5, 7])
async def test_tiles_stay_small(reads: Any, zoom: int) -> None:
    x, y = int(217 / 2 ** (8 - zoom)), int(93 / 2 ** (8 - zoom))
    assert 1_000 < len(await area_tile(reads, zoom, x, y)) < 250_000


@pytest.mark.parametrize("tile", [(-1, 0, 0), (3, 8, 0), (3, 0, 8), (23, 0, 0)])
async def test_a_tile_that_does_not_exist_is_refused(reads: Any, tile: tuple[int, int, int]) -> None:
    with pytest.raises(Refused, match="瓦片"):
        await area_tile(reads, *tile)


async def test_the_version_is_stable(reads: Any) -> None:
    assert await areas_version(reads) == await areas_version(reads) != "none"


ASKED = """SELECT s.code, ST_AsBinary(ST_AsMVTGeom(s.geom, ST_TileEnvelope($3, $4, $5), 4096, 64, true)) AS wkb FROM area_shape s
 WHERE s.layer = $1 AND s.step = $2 AND s.geom && ST_TileEnvelope($3, $4, $5, margin => 64.0 / 4096)"""


@pytest.mark.parametrize("seed", range(12))
async def test_outlines_are_those_that_postgis_would_cut(reads: Any, seed: int) -> None:
    chance = random.Random(seed)
    z, level = chance.choice([3, 4, 6, 8, 9, 11]), chance.choice([Level.PROVINCE, Level.CITY, Level.COUNTY])
    x, y = int((chance.uniform(100, 130) + 180) / 360 * 2**z), int(chance.uniform(0.36, 0.44) * 2**z)
    drawn = {feature.properties["code"]: feature for feature in layers(await area_layer(reads, level, z, x, y)).get(level.value, [])}
    for row in await reads.fetch(ASKED, level.value, step(z), z, x, y):
        expected = shapely.from_wkb(row["wkb"]) if row["wkb"] else shapely.Polygon()
        found = drawn[row["code"]].area() if row["code"] in drawn else 0.0
        assert abs(found - expected.area) <= expected.length + 4, row["code"]
        drawn.pop(row["code"], None)
    assert not drawn


@pytest.mark.parametrize(("z", "x", "y"), [(5, 27, 11), (9, 434, 187)])  # cut beforehand, and as it is asked for
async def test_values_stand_beside_the_same_outlines_for_those_who_have_some(reads: Any, z: int, x: int, y: int) -> None:
    plain = {feature.properties["code"]: feature for feature in layers(await area_layer(reads, Level.COUNTY, z, x, y))["county"]}
    values = {code: AreaValue(code, "", Level.COUNTY, date(2026, 1, 1), 1, 4, False, None) for code in sorted(plain)[::2]}
    valued = layers(await valued_tile(reads, Level.COUNTY, values, z, x, y))["county"]
    assert {each.properties["code"]: each.area() for each in valued} == {code: plain[code].area() for code in values}
    assert {each.properties["value"] for each in valued} == {0.25}
    assert await valued_tile(reads, Level.COUNTY, {}, z, x, y) == b""
