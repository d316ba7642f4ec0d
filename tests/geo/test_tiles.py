import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.tiles import area_tile, areas_version
from schema.problems import Refused


async def test_a_tile_holds_province_city_and_county_with_code_and_name(areas: AsyncConnection) -> None:
    tile = await area_tile(areas, 8, 217, 93)  # Changchun
    for expected in (b"province", b"city", b"county", b"code", b"name", b"220102", "南关区".encode()):
        assert expected in tile


async def test_far_away_counties_are_left_out_and_the_sea_is_empty(areas: AsyncConnection) -> None:
    country = await area_tile(areas, 1, 1, 0)
    assert "吉林省".encode() in country
    assert b"county" not in country
    assert await area_tile(areas, 6, 0, 40) == b""


@pytest.mark.parametrize("zoom", [3, 5, 7])
async def test_tiles_stay_small(areas: AsyncConnection, zoom: int) -> None:
    x, y = int(217 / 2 ** (8 - zoom)), int(93 / 2 ** (8 - zoom))
    assert 1_000 < len(await area_tile(areas, zoom, x, y)) < 250_000


@pytest.mark.parametrize("tile", [(-1, 0, 0), (3, 8, 0), (3, 0, 8), (23, 0, 0)])
async def test_a_tile_that_does_not_exist_is_refused(areas: AsyncConnection, tile: tuple[int, int, int]) -> None:
    with pytest.raises(Refused, match="瓦片"):
        await area_tile(areas, *tile)


async def test_the_version_is_stable(areas: AsyncConnection) -> None:
    assert await areas_version(areas) == await areas_version(areas) != "none"
