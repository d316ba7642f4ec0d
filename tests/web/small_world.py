"""A province of four square counties, with coordinators, patients and a station in some townships: small enough to count by hand."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import create_user
from geo.area_tiles import cut
from geo.gazetteer import STEPS
from schema.actor import Role

PASSWORD = "right horse"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    code: str
    name: str
    level: str
    chain: tuple[str, ...]
    box: Box | None = None
    point: tuple[float, float] | None = None


PROVINCE = Place("220000", "吉林省", "province", ("220000",), (124, 43, 128, 45))
NEIGHBOUR = Place("210000", "辽宁省", "province", ("210000",), (124, 41, 128, 43))
CITIES = [
    Place("220100", "长春市", "city", ("220100", "220000"), (124, 43, 126, 45)),
    Place("220200", "吉林市", "city", ("220200", "220000"), (126, 43, 128, 45)),
]
COUNTIES = [
    Place("220102", "南关区", "county", ("220102", "220100", "220000"), (124, 43, 126, 44)),
    Place("220103", "宽城区", "county", ("220103", "220100", "220000"), (124, 44, 126, 45)),
    Place("220202", "昌邑区", "county", ("220202", "220200", "220000"), (126, 43, 128, 44)),
    Place("220203", "龙潭区", "county", ("220203", "220200", "220000"), (126, 44, 128, 45)),  # without townships: no data
    Place("210102", "和平区", "county", ("210102", "210000"), (124, 41, 128, 43)),
]
TOWNSHIPS = [
    Place(f"{county.code}00{number}", f"{county.name[:-1]}{number}镇", "township", (f"{county.code}00{number}", *county.chain), point=point)
    for county, many in zip(COUNTIES, (4, 4, 5, 0, 2), strict=True)
    for number in range(1, many + 1)
    for point in [(county.box[0] + 0.3 * number, county.box[1] + 0.5) if county.box and number < 4 else None]
]
# (township, status, ended_on): only ACTIVE ones that have not ended count.
COORDINATORS = [
    *((f"22010200{number}", "ACTIVE", None) for number in (1, 2, 3, 4)),
    ("220102001", "ACTIVE", None),  # two in one township are one covered township
    ("220103001", "ACTIVE", None),
    ("220103002", "SUSPENDED", None),
    ("220103003", "ACTIVE", "2020-01-01"),
    *((f"22020200{number}", "ACTIVE", None) for number in (1, 2, 3)),
    ("210102001", "ACTIVE", None),
]
PATIENTS = {"220202001": 40, "220202003": 30}  # 48 km apart
STATION = (126.3, 43.5)  # in the first of both


async def fill(connection: AsyncConnection) -> None:
    """Areas, shapes, coordinators, patients, a station, and two supervisors: boss (220000) and city (220100)."""
    places = [PROVINCE, NEIGHBOUR, *CITIES, *COUNTIES, *TOWNSHIPS]
    await connection.execute(_AREA, [_area(place) for place in places])
    shapes = [
        {"layer": place.level, "step": step, "code": place.code, **_corners(place)} for place in places if place.box for step in STEPS
    ]
    await connection.execute(_SHAPE, shapes)
    await cut(connection)
    await connection.execute(text("INSERT INTO area_source (name, version) VALUES ('areas', 'small world')"))
    await connection.execute(_COORDINATOR, [_coordinator(*row) for row in COORDINATORS])
    await connection.execute(_PATIENT, [{"id": str(uuid.uuid4()), "area": area} for area, many in PATIENTS.items() for _ in range(many)])
    await connection.execute(_STATION, {"id": str(uuid.uuid4()), "area": "220202001", "lon": STATION[0], "lat": STATION[1]})
    await create_user(connection, "boss", PASSWORD, Role.SUPERVISOR, ["220000"])
    await create_user(connection, "city", PASSWORD, Role.SUPERVISOR, ["220100"])


_AREA = text("""
INSERT INTO area (code, name, full_name, level, tree, parent_code, valid_from, chain, layers, source, point, bounds)
VALUES (:code, :name, :name, :level, 'division', :parent, '1980-01-01', :chain, ARRAY[:level], 'test',
        ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), :bounds)""")
_SHAPE = text("""
INSERT INTO area_shape (layer, step, code, geom)
VALUES (:layer, :step, :code, ST_Multi(ST_Transform(ST_MakeEnvelope(:west, :south, :east, :north, 4326), 3857)))""")
_COORDINATOR = text("""
INSERT INTO coordinator (
  id, name, area_code, status, ended_on, revision, deleted, created_at, updated_at, scopes)
SELECT :id, '演示', a.code, :status, CAST(CAST(:ended AS text) AS date), 1, false, now(), now(), a.chain
FROM area a WHERE a.code = :township""")
_PATIENT = text("""
INSERT INTO patient (id, name, area_code, life, diagnosed_on, revision, deleted, created_at, updated_at, scopes)
SELECT :id, '演示', a.code, 'ALIVE', '2020-01-01', 1, false, now(), now(), a.chain FROM area a WHERE a.code = :area""")
_STATION = text("""
INSERT INTO rehab_site (id, name, kind, status, area_code, location_wgs84, revision, deleted, created_at, updated_at, scopes)
SELECT :id, '演示康复站', 'STATION', 'OPEN', a.code, ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), 1, false, now(), now(), a.chain
FROM area a WHERE a.code = :area""")


def _area(place: Place) -> dict[str, Any]:
    lon, lat = place.point or _middle(place.box) or (None, None)
    parent = place.chain[1] if len(place.chain) > 1 else "000000"
    bounds = list(place.box) if place.box else None
    names = {"code": place.code, "name": place.name, "level": place.level}
    return {**names, "parent": parent, "chain": list(place.chain), "lon": lon, "lat": lat, "bounds": bounds}


def _middle(box: Box | None) -> tuple[float, float] | None:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) if box else None


def _corners(place: Place) -> dict[str, float]:
    assert place.box
    return dict(zip(("west", "south", "east", "north"), place.box, strict=True))


def _coordinator(township: str, status: str, ended: str | None) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "township": township, "status": status, "ended": ended}
