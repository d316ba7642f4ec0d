from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.areas import area_detail, areas_below
from geo.divisions import load_areas
from geo.sources import Boundary, boundaries
from schema.areas import ROOT, Level


async def test_all_areas_of_the_sources_are_loaded(areas: AsyncConnection) -> None:
    rows = await areas.execute(text("SELECT level, count(*) AS number FROM area WHERE valid_to IS NULL GROUP BY level"))
    # The Ministry's 33, 333, 2,845 and 38,723; beside them Taiwan, 20 + 18 districts there and in Hong Kong, 4 special places.
    expected = {"country": 1, "province": 34, "city": 333, "county": 2845 + 20 + 18 + 4, "township": 38_723, "jurisdiction": 6}
    assert {row.level: row.number for row in rows} == expected
    assert await areas.scalar(text("SELECT count(*) FROM area_succession")) == 5276


async def test_loading_again_changes_nothing(areas: AsyncConnection) -> None:
    counted = [await areas.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("area", "area_piece", "area_shape")]
    before = await areas.scalar(text("SELECT sum(xmin::text::bigint) FROM area"))
    again = await load_areas(areas)
    assert not again.loaded
    assert [again.areas, again.pieces, again.shapes] == counted
    assert await areas.scalar(text("SELECT sum(xmin::text::bigint) FROM area")) == before


def jilin() -> Iterator[Boundary]:
    return (found for found in boundaries() if found.code.startswith("22"))


async def test_another_version_replaces_what_was_loaded_with_boundaries_of_any_source(areas: AsyncConnection) -> None:
    await areas.execute(text("UPDATE area_source SET version = 'older'"))
    await areas.execute(text("UPDATE area SET name = 'wrong' WHERE code = '220000'"))
    again = await load_areas(areas, boundary_source=jilin)
    assert again.loaded
    # What a source does not mention stays as it is.
    assert again.boundaries == await areas.scalar(text("SELECT count(*) FROM area_boundary"))
    assert await areas.scalar(text("SELECT name FROM area WHERE code = '220000'")) == "吉林省"


async def test_every_chain_starts_with_itself_and_ends_with_a_province(areas: AsyncConnection) -> None:
    wrong = await areas.scalars(
        text(
            "SELECT a.code FROM area a LEFT JOIN area p ON p.code = a.chain[cardinality(a.chain)] AND p.level = 'province' "
            "WHERE a.code <> :root AND (a.chain[1] <> a.code OR p.code IS NULL)"
        ),
        {"root": ROOT},
    )
    assert wrong.all() == []


@pytest.mark.parametrize(
    ("old", "new", "year"), [("220381", "220184", 2020), ("120225", "120119", 2016), ("512081", "510185", 2016), ("500105", "500157", 2025)]
)
async def test_a_code_that_changed_keeps_its_row_and_names_its_follower(areas: AsyncConnection, old: str, new: str, year: int) -> None:
    before, after = await area_detail(areas, old), await area_detail(areas, new)
    assert before is not None
    assert after is not None
    assert (before.valid_to, after.valid_from, after.valid_to) == (date(year, 12, 31), date(year, 12, 31), None)
    followers = await areas.scalars(text("SELECT new_code FROM area_succession WHERE old_code = :old AND new_code <> :old"), {"old": old})
    assert new in followers.all()


async def test_changbaishan_holds_its_three_towns_beside_the_tree(areas: AsyncConnection) -> None:
    towns = await areas_below(areas, "J220001", Level.TOWNSHIP)
    assert [(town.code, town.name) for town in towns] == [("220621107", "东岗镇"), ("220621108", "漫江镇"), ("222426102", "二道白河镇")]
    by_statistical_code = await area_detail(areas, "222426120")
    assert by_statistical_code is not None
    assert (by_statistical_code.code, by_statistical_code.name) == ("J220002", "长白山保护开发区池北区")
    assert [area.code for area in by_statistical_code.ancestors] == ["220000", "J220001"]


@pytest.mark.parametrize(
    ("province", "level", "count"),
    [
        ("220000", Level.CITY, 9),
        ("220000", Level.COUNTY, 60),
        ("220000", Level.TOWNSHIP, 972),
        ("110000", Level.CITY, 1),
        ("440000", Level.CITY, 21),
        ("232700", Level.COUNTY, 3 + 22),
    ],
)
async def test_a_level_is_whole_on_a_ragged_tree(areas: AsyncConnection, province: str, level: Level, count: int) -> None:
    assert len(await areas_below(areas, province, level)) == count


@pytest.mark.parametrize("level", [Level.CITY, Level.COUNTY])
async def test_every_township_stands_below_exactly_one_area_of_a_level(areas: AsyncConnection, level: Level) -> None:
    wrong = await areas.scalars(
        text(
            "SELECT t.code FROM area t WHERE t.level = 'township' AND "
            "(SELECT count(*) FROM area g WHERE g.code = ANY(t.chain) AND :level = ANY(g.layers)) <> 1"
        ),
        {"level": level.value},
    )
    assert wrong.all() == []


async def test_only_the_declared_areas_are_without_a_boundary(areas: AsyncConnection) -> None:
    bare = await areas.scalars(
        text(
            "SELECT code FROM area a WHERE level IN ('province', 'city', 'county') AND valid_to IS NULL "
            "AND NOT EXISTS (SELECT FROM area_boundary b WHERE b.code = a.code) ORDER BY code"
        )
    )
    assert bare.all() == ["653228", "653229"]
    assert await areas.scalar(text("SELECT count(*) FROM area_boundary WHERE NOT ST_IsValid(geom)")) == 0
    derived = await areas.scalars(
        text("SELECT code FROM area_boundary JOIN area USING (code) WHERE provenance = 'derived' AND level <> 'township'")
    )
    assert derived.all() == ["500157"]


async def test_simplified_neighbours_share_their_edges(areas: AsyncConnection) -> None:
    overlap = await areas.scalar(
        text(
            "SELECT coalesce(max(ST_Area(ST_Intersection(a.geom, b.geom)) / least(ST_Area(a.geom), ST_Area(b.geom))), 0) "
            "FROM area_shape a JOIN area_shape b ON a.geom && b.geom AND a.code < b.code "
            "WHERE a.layer = 'county' AND b.layer = 'county' AND a.step = 5 AND b.step = 5 AND a.code LIKE '22%' AND b.code LIKE '22%'"
        )
    )
    assert overlap < 1e-9


async def test_townships_have_a_point_inside_their_county_where_geonames_knows_them(areas: AsyncConnection) -> None:
    known = await areas.scalar(text("SELECT count(*) FROM area WHERE level = 'township' AND point IS NOT NULL AND code LIKE '22%'"))
    assert known == 160
    outside = await areas.scalar(
        text(
            "SELECT count(*) FROM area t JOIN area_boundary b ON b.code = t.parent_code "
            "WHERE t.level = 'township' AND t.point IS NOT NULL AND NOT ST_Intersects(b.geom, t.point)"
        )
    )
    assert outside == 0
