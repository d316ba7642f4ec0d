"""An administrator's own outlines: checked as a whole, dated, and the past stays."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import pytest
import shapely
from pyogrio.raw import write  # type: ignore[import-untyped]  # ships no types
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.bench.mvt import layers
from geo import points
from geo.coordinates import Datum, from_wgs84
from geo.importing import Finding, bring_in, check, read_file
from geo.locate import locate
from geo.tiles import area_layer
from schema.areas import Level
from schema.problems import Refused
from tests.geo.place_world import BEGINNING, country, empty, outlines

TREE = {"220000": "000000", "220100": "220000", "220101": "220100", "220102": "220100", "220101001": "220101", "220101002": "220101"}
LEFT, RIGHT = shapely.box(125, 43, 126, 44), shapely.box(126, 43, 127, 44)
NEW_LEFT, NEW_RIGHT = shapely.box(125, 43, 126.25, 44), shapely.box(126.25, 43, 127, 44)
ON = date(2026, 6, 1)


@pytest.fixture
async def two(connection: AsyncConnection) -> AsyncConnection:
    await empty(connection)
    await country(connection, TREE, BEGINNING)
    await outlines(connection, {"220101": LEFT, "220102": RIGHT}, BEGINNING)
    await connection.execute(text("UPDATE area SET point = ST_SetSRID(ST_MakePoint(125.1, 43.5), 4326) WHERE code = '220101001'"))
    await connection.execute(text("UPDATE area SET point = ST_SetSRID(ST_MakePoint(126.2, 43.5), 4326) WHERE code = '220101002'"))
    await connection.execute(text("DELETE FROM area_job"))
    return connection


def geojson(folder: Path, shapes: dict[str, BaseGeometry], field: str = "code") -> Path:
    features = [
        {"type": "Feature", "properties": {field: code, "name": f"县{code}"}, "geometry": shape.__geo_interface__}
        for code, shape in shapes.items()
    ]
    path = folder / "areas.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


async def examined(connection: AsyncConnection, path: Path, **more: Any) -> tuple[list[Any], list[Finding]]:
    found, findings, epsg = read_file(path, "code", **more)
    found, others = await check(connection, found, epsg)
    return found, [*findings, *others]


async def county(connection: AsyncConnection, lon: float, on: date) -> str:
    return next(area.code for area in await locate(connection, lon, 43.25, on=on) if area.level == "county")


async def far_map(connection: AsyncConnection) -> set[str]:
    """The counties in the tile of zoom 7 around 126.125 43.25."""
    x, y = (spot >> points.WORLD - 7 for spot in points.world(126.125, 43.25))
    tile = await area_layer((await connection.get_raw_connection()).driver_connection, Level.COUNTY, 7, x, y)  # type: ignore[arg-type]
    return {feature.properties["code"] for feature in layers(tile).get("county", [])}


async def test_new_outlines_hold_from_their_day_on_and_a_second_time_changes_nothing(two: AsyncConnection, tmp_path: Path) -> None:
    found, findings = await examined(two, geojson(tmp_path, {"220101": NEW_LEFT, "220102": NEW_RIGHT}), name_field="name")
    assert findings == []
    assert set(await bring_in(two, found, "own.geojson", ON)) == {"220101", "220102"}
    assert await county(two, 126.125, date(2026, 5, 31)) == "220102"
    assert await county(two, 126.125, ON) == "220101"
    assert (await two.execute(text("SELECT kind FROM area_job"))).scalars().all() == ["places"]
    cells = (await two.execute(text("SELECT code FROM area WHERE derived ORDER BY code"))).scalars().all()
    assert cells == ["220101001", "220101002"]
    chain = await locate(two, 126.125, 43.25, on=ON)
    assert [(area.code, area.derived) for area in chain] == [("220000", False), ("220100", False), ("220101", False), ("220101002", True)]
    assert await far_map(two) == {"220101", "220102"}
    assert await bring_in(two, found, "own.geojson", date(2026, 7, 1)) == ()


@pytest.mark.parametrize("name", ["areas.gpkg", "areas.shp"])
async def test_other_formats_and_projections_are_read(two: AsyncConnection, tmp_path: Path, name: str) -> None:
    metres = [
        shapely.from_wkb(
            await two.scalar(text("SELECT ST_AsBinary(ST_Transform(ST_GeomFromWKB(:g, 4326), 4526))"), {"g": shapely.to_wkb(shape)})
        )
        for shape in (LEFT, RIGHT)
    ]
    codes = numpy.array(["220101", "220102"], dtype=object)
    write(
        tmp_path / name,
        numpy.array([shapely.to_wkb(each) for each in metres], dtype=object),
        [codes],
        ["code"],
        geometry_type="Polygon",
        crs="EPSG:4526",
    )
    found, findings = await examined(two, tmp_path / name)
    assert findings == []
    assert [each.code for each in found] == ["220101", "220102"]
    assert all(shapely.symmetric_difference(each.geometry, shape).area < 1e-6 for each, shape in zip(found, (LEFT, RIGHT), strict=True))


async def test_what_is_wrong_with_a_file_is_said_before_anything_changes(two: AsyncConnection, tmp_path: Path) -> None:
    bow = shapely.Polygon([(125, 43), (126, 44), (126, 43), (125, 44)])
    _, findings = await examined(
        two, geojson(tmp_path, {"220101": shapely.box(125, 43, 126.5, 44), "220102": RIGHT, "229999": bow, "12": LEFT})
    )
    said = {(finding.kind, finding.code): finding.error for finding in findings}
    assert said == {("OVERLAP", "220101"): True, ("UNKNOWN", "229999"): True, ("INVALID", "229999"): False, ("CODE", "12"): True}


async def test_outlines_in_another_datum_are_noticed_and_read_as_told(two: AsyncConnection, tmp_path: Path) -> None:
    def shift(shape: BaseGeometry) -> BaseGeometry:
        return shapely.transform(
            shapely.segmentize(shape, 0.1), lambda degrees: numpy.array([from_wgs84(lon, lat, Datum.GCJ02) for lon, lat in degrees])
        )

    path = geojson(tmp_path, {"220101": shift(LEFT), "220102": shift(RIGHT)})
    _, findings = await examined(two, path)
    assert [(finding.kind, finding.error) for finding in findings] == [("DATUM", True)] * 2
    found, findings = await examined(two, path, datum=Datum.GCJ02)
    assert findings == []
    assert shapely.symmetric_difference(found[0].geometry, LEFT).area < 1e-9


async def test_an_unknown_field_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="没有字段 gb"):
        read_file(geojson(tmp_path, {"220101": LEFT}), "gb")
    with pytest.raises(Refused, match="无法读取"):
        read_file(tmp_path / "none.gpkg", "code")
