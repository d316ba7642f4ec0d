"""OGC API - Features and Tiles: what a map program sees with a user's token, and what it never sees."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette

from api.accounts import create_user
from api.app import build
from api.bench.mvt import layers
from api.ogc.asked import Asked, Box
from api.ogc.layers import Page, Source
from api.ogc.records import layer_of
from api.settings import Settings, engine_url
from geo.indicators import today
from schema.actor import Actor, Role
from schema.registry import load
from sync.identity import uuid7
from tests.geo.counting_world import Register, draw
from tests.serving import client, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "right horse"
PEOPLE = {
    "boss": (Role.SUPERVISOR, ["220000"]),
    "ins": (Role.INSPECTOR, ["220102"]),
    "other": (Role.INSPECTOR, ["220103"]),
    "cdc": (Role.CDC, ["220000"]),
    "expert": (Role.EXPERT, ["220102"]),
}
# Boxes of degrees: 220102 and 220103 lie side by side, their border is at 125.5.
OUTLINES = {
    "220000": (125.0, 43.0, 126.0, 44.0),
    "220100": (125.0, 43.0, 126.0, 44.0),
    "220102": (125.0, 43.0, 125.5, 44.0),
    "220103": (125.5, 43.0, 126.0, 44.0),
    "220102001": (125.0, 43.0, 125.5, 43.5),
}
PLACES = {1: (125.1, 43.1), 2: (125.2, 43.2), 3: (125.5, 43.5), 4: (125.3, 43.3), 5: (125.7, 43.7), 6: None}
LOGIN = "mutation($n: String!, $p: String!, $d: ID!) { login(username: $n, password: $p, device: {id: $d}) { accessToken } }"
_PATIENTS = """INSERT INTO indicator_fact
  SELECT 'patient', gen_random_uuid(), NULL, area, '2019-01-01', 'infinity', 1
    FROM (VALUES ('220102001', 3), ('220103001', 40)) v(area, n), generate_series(1, n)"""
CREATE = "mutation($name: String!, $days: Int!) { createReadToken(name: $name, days: $days) { token readToken { id name expiresAt } } }"


@dataclass
class World:
    app: Starlette
    http: httpx.AsyncClient
    url: str
    tokens: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, who: str = "boss", **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {await self.token(who)}", **headers})

    async def items(self, path: str, who: str = "boss") -> list[dict[str, Any]]:
        """The features of one page."""
        answer = await self.get(f"/ogc/collections/{path}", who)
        assert answer.status_code == 200, answer.text
        features: list[dict[str, Any]] = answer.json()["features"]
        return features

    async def names(self, path: str, who: str = "boss") -> set[str]:
        return {feature["properties"]["name"] for feature in await self.items(path, who)}

    async def ask(self, query: str, who: str = "boss", token: str = "", **variables: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token or await self.token(who)}"}
        answer: dict[str, Any] = (await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)).json()
        return answer

    async def token(self, who: str) -> str:
        if who not in self.tokens:
            body = {"query": LOGIN, "variables": {"n": who, "p": PASSWORD, "d": f"device-{who}"}}
            self.tokens[who] = (await self.http.post("/graphql", json=body)).json()["data"]["login"]["accessToken"]
        return self.tokens[who]

    async def read_token(self, who: str = "boss", days: int = 30) -> tuple[str, str]:
        """Its id and its secret."""
        made = (await self.ask(CREATE, who, name="QGIS", days=days))["data"]["createReadToken"]
        return made["readToken"]["id"], made["token"]

    async def rows(self, sql: str) -> list[Any]:
        return list(await self.app.state.database.pool.fetch(sql))

    async def execute(self, sql: str) -> None:
        await self.app.state.database.pool.execute(sql)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    await fill(module_database_url)
    app = build(Settings(database_url=module_database_url, data=tmp_path_factory.mktemp("ogc")), parts=())
    async with listening(app) as (address, _), client(address) as http:
        yield World(app, http, address)


async def fill(url: str) -> None:
    engine = create_async_engine(engine_url(url))
    async with engine.begin() as connection:
        await draw(connection)
        await connection.execute(
            text(
                "INSERT INTO area_boundary (code, valid_from, source, vintage, provenance, geom)"
                " VALUES (:code, '1980-01-01', 'test', '', :how, ST_Multi(ST_MakeEnvelope(:w, :s, :e, :n, 4326)))"
            ),
            [
                {"code": code, "w": w, "s": s, "e": e, "n": n, "how": "derived" if len(code) == 9 else "official"}
                for code, (w, s, e, n) in OUTLINES.items()
            ],
        )
        for name, (role, grants) in PEOPLE.items():
            await create_user(connection, name, PASSWORD, role, grants)
        register = Register(connection, today(datetime.now(UTC)))
        for number, place in PLACES.items():
            position = place and {"lon": place[0], "lat": place[1], "datum": "WGS84"}
            area = "220103001" if number == 5 else "220102001"
            assert await register.put(
                "enterprise", number, name=f"企业{number}", area_code=area, location=position, status="OPERATING", size="SMALL",
                hazards=["DUST-SILICA"], declared_on="2020-06-01" if number < 3 else None, contact_name="联系人",
                contact_phone="13800138000", employees=10 * number,
            )  # fmt: skip
        await register.settle()
        await connection.execute(text(_PATIENTS))
    await engine.dispose()


def geojson(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Its features, if it is a collection by RFC 7946 and by OGC API - Features, in CRS 84."""
    assert document["type"] == "FeatureCollection"
    assert document["numberReturned"] == len(document["features"])
    for each in document["links"]:
        assert {"href", "rel", "type"} <= set(each)
    for feature in document["features"]:
        assert (feature["type"], type(feature["properties"])) == ("Feature", dict)
        assert isinstance(feature["id"], str)
        for lon, lat in corners(feature["geometry"]):
            assert 72 < lon < 138
            assert 0 < lat < 56
    found: list[dict[str, Any]] = document["features"]
    return found


def corners(geometry: dict[str, Any] | None) -> list[list[float]]:
    if geometry is None:
        return []
    assert geometry["type"] in ("Point", "MultiPolygon")
    if geometry["type"] == "Point":
        return [geometry["coordinates"]]
    return [corner for polygon in geometry["coordinates"] for ring in polygon for corner in ring]


def next_link(document: dict[str, Any]) -> str | None:
    return next((each["href"] for each in document["links"] if each["rel"] == "next"), None)


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and parameter of a problem that says in words what to do."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["detail"] == body["description"] != ""
    return answer.status_code, body["code"], body.get("parameter", "")


# --- what the service says of itself ----------------------------------------------------------------------------------------


async def test_from_the_landing_page_every_link_leads_where_it_says(world: World) -> None:
    landing = (await world.get("/ogc")).json()
    relations = {each["rel"]: each["href"] for each in landing["links"]}
    assert {"self", "service-desc", "conformance", "data"} <= set(relations)
    collections = (await world.get(relations["data"])).json()["collections"]
    few = {each["id"]: each for each in collections if each["id"] in ("enterprises", "areas-county", "coverage-county-IND-01")}
    assert len(few) == 3
    assert {each["id"] for each in collections} >= {"rehabSites", "institutions", "areas-township", "coverage-township-IND-04"}
    for each in [*landing["links"], *(one for found in few.values() for one in found["links"])]:
        answer = await world.get(each["href"], Accept=each["type"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, each["type"]), each
    for name, found in few.items():
        assert found["extent"]["spatial"]["crs"] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
        assert (await world.get(f"/ogc/collections/{name}")).json() == found
    conforms = (await world.get(relations["conformance"])).json()["conformsTo"]
    parts = ("core", "geojson", "oas30")
    assert {f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{part}" for part in parts} <= set(conforms)


async def test_the_definition_is_openapi_and_names_every_parameter(world: World) -> None:
    definition = (await world.get("/ogc/api")).json()
    assert definition["openapi"].startswith("3.0.")
    assert set(definition["info"]) >= {"title", "version"}
    for path, operations in definition["paths"].items():
        given = operations["get"]["parameters"]
        assert path.startswith("/")
        assert len({(each["name"], each["in"]) for each in given}) == len(given)
        assert {each["name"] for each in given if each["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
        assert all(each["schema"] and (each["required"] or each["in"] == "query") for each in given)
        responses = operations["get"]["responses"]
        assert responses["200"]["description"]
        assert responses["default"]["$ref"] == "#/components/responses/problem"
    for each in (await world.get("/ogc/collections")).json()["collections"]:
        parameters = definition["paths"][f"/collections/{each['id']}/items"]["get"]["parameters"]
        named = {parameter["name"]: parameter for parameter in parameters}
        assert {"limit", "bbox", "datetime"} <= set(named)
        assert (named["bbox"]["style"], named["bbox"]["explode"]) == ("form", False)
        assert named["limit"]["schema"]["maximum"] >= 500


async def test_features_have_the_properties_that_their_schema_names(world: World) -> None:
    for name in ("enterprises", "areas-county", "coverage-county-IND-01"):
        described = (await world.get(f"/ogc/collections/{name}/schema")).json()["properties"]
        features = await world.items(f"{name}/items")
        assert features
        assert {"geometry", *features[0]["properties"]} == set(described)
        queryable = (await world.get(f"/ogc/collections/{name}/queryables")).json()
        assert queryable["additionalProperties"] is False


LAYERS = ("areas", "enterprises", "sites", "coordinators", "gaps")


@pytest.mark.parametrize(("who", "hidden"), [("boss", set()), ("expert", set(LAYERS[1:]))])
async def test_the_tilesets_listed_are_those_whose_tiles_the_reader_gets(world: World, who: str, hidden: set[str]) -> None:
    listed = {each["links"][0]["href"].rpartition("/")[2]: each for each in (await world.get("/ogc/tiles", who)).json()["tilesets"]}
    got = {name: (await world.get(f"/tiles/{name}/6/54/23", who)).status_code for name in LAYERS}
    assert {name for name in LAYERS if name in listed} == {name for name, status in got.items() if status in (200, 204)}
    assert {name for name in LAYERS if name not in listed} == {name for name, status in got.items() if status == 403} == hidden
    for name in hidden:
        assert (await world.get(f"/ogc/tiles/{name}", who)).status_code == 404


async def test_a_tileset_leads_to_tiles_that_are_served(world: World) -> None:
    listed = (await world.get("/ogc/tiles")).json()["tilesets"]
    names = {each["links"][0]["href"].rpartition("/")[2] for each in listed}
    assert {*LAYERS, "coverage-county-COORDINATOR-TOWNSHIPS"} <= names
    _, secret = await world.read_token()
    for each in listed[:6]:
        assert each["tileMatrixSetURI"].endswith("/WebMercatorQuad")
        described = (await world.get(next(one["href"] for one in each["links"] if one["rel"] == "self"))).json()
        (tiles,) = (one for one in described["links"] if one["rel"] == "item")
        assert tiles["templated"] is True
        place = tiles["href"].replace("{tileMatrix}", "6").replace("{tileCol}", "54").replace("{tileRow}", "23")
        answer = await world.http.get(place, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code in (200, 204)
        assert set(layers(answer.content)) <= {one["id"] for one in described["layers"]}
    matrices = (await world.get("/ogc/tileMatrixSets/WebMercatorQuad")).json()["tileMatrices"]
    assert [matrix["matrixWidth"] for matrix in matrices[:3]] == [1, 2, 4]
    assert matrices[0]["scaleDenominator"] == pytest.approx(559082264.0287178)


# --- who sees what ----------------------------------------------------------------------------------------------------------


async def test_rows_out_of_scope_never_appear(world: World) -> None:
    assert await world.names("enterprises/items") == {f"企业{number}" for number in PLACES}
    assert await world.names("enterprises/items", "ins") == {"企业1", "企业2", "企业3", "企业4", "企业6"}
    assert await world.names("enterprises/items", "other") == {"企业5"}
    assert await world.names("enterprises/items?name=企业1", "other") == set()
    assert await world.names("enterprises/items?within=220102", "other") == set()
    hidden = next(feature["id"] for feature in await world.items("enterprises/items") if feature["properties"]["name"] == "企业1")
    assert refused(await world.get(f"/ogc/collections/enterprises/items/{hidden}", "other"))[:2] == (404, "FEATURE_UNKNOWN")
    found = (await world.get(f"/ogc/collections/enterprises/items/{hidden}", "ins")).json()
    assert (found["id"], found["geometry"]) == (hidden, {"type": "Point", "coordinates": [125.1, 43.1]})
    covered = await world.items("coverage-county-IND-01/items", "other")
    assert [feature["id"] for feature in covered] == ["220103"]
    assert (await world.get("/ogc/collections/coverage-county-IND-01/items/220102", "other")).status_code == 404


async def test_no_layer_and_no_column_tells_of_a_person(world: World) -> None:
    for who in PEOPLE:
        names = {each["id"] for each in (await world.get("/ogc/collections", who)).json()["collections"]}
        assert {name for name in names if not name.startswith(("areas-", "coverage-"))} <= {"enterprises", "rehabSites", "institutions"}
        for name in ("patients", "coordinators", "inspections", "patrols", "users"):
            assert refused(await world.get(f"/ogc/collections/{name}/items", who))[:2] == (404, "COLLECTION_UNKNOWN")
    body = (await world.get("/ogc/collections/enterprises/items")).text
    assert "企业1" in body
    assert "联系人" not in body
    assert "13800138000" not in body
    assert refused(await world.get("/ogc/collections/enterprises/items?contactPhone=13800138000"))[1] == "PARAMETER_UNKNOWN"


async def test_a_role_without_the_right_has_no_layer(world: World) -> None:
    names = {each["id"] for each in (await world.get("/ogc/collections", "expert")).json()["collections"]}
    assert names == {name for name in names if name.startswith("areas-")}
    assert (await world.get("/ogc/collections/enterprises/items", "expert")).status_code == 404
    assert (await world.get("/ogc/collections/coverage-county-PATIENTS/items", "ins")).status_code == 404


async def test_a_masked_column_is_neither_shown_nor_asked(world: World) -> None:
    record = load()["enterprise"]
    supervisors = frozenset({Role.SUPERVISOR})
    columns = tuple(replace(each, readers=supervisors) if each.name == "employees" else each for each in record.columns)
    masked = replace(record, columns=columns)
    for role, seen in ((Role.SUPERVISOR, True), (Role.INSPECTOR, False)):
        layer = layer_of(masked, role, load())
        assert layer
        assert ("employees" in layer.filters, "employees" in layer.properties) == (seen, seen)
        actor = Actor("00000000-0000-7000-8000-000000000001", "somebody", role, ("220102",))
        page = await layer.page(Source(world.app.state.database, actor, datetime.now(UTC)), Asked(limit=1))
        assert (b'"employees"' in page.features) is seen
    hidden_place = tuple(replace(each, readers=supervisors) if each.name == "location" else each for each in record.columns)
    assert layer_of(replace(record, columns=hidden_place), Role.INSPECTOR, load()) is None


# --- what is asked ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bbox", "numbers"),
    [
        ("125.1,43.1,125.2,43.2", {1, 2}),  # both points lie in the corners
        ("125.10000001,43.0,125.19999999,44.0", set()),
        ("125.5,43.5,125.5,43.5", {3}),
        ("125,43,0,125.3,44,100", {1, 2, 4}),
        ("130,43,125.15,44", {1}),  # over the antimeridian
        ("-180,-90,180,90", {1, 2, 3, 4, 5}),  # without a place, nothing is inside
    ],
)
async def test_a_box_has_its_borders(world: World, bbox: str, numbers: set[int]) -> None:
    assert await world.names(f"enterprises/items?bbox={bbox}") == {f"企业{number}" for number in numbers}


async def test_areas_that_touch_the_box_are_in_it(world: World) -> None:
    async def codes(path: str, bbox: str) -> list[str]:
        return [feature["id"] for feature in await world.items(f"{path}?bbox={bbox}")]

    for path in ("areas-county/items", "coverage-county-IND-01/items"):
        assert await codes(path, "125.1,43.1,125.2,43.2") == ["220102"]
        assert await codes(path, "125.5,43.1,125.5,43.2") == ["220102", "220103"]
        assert await codes(path, "125.500001,43.1,125.6,43.2") == ["220103"]
        assert await codes(path, "100,30,101,31") == []


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("name=企业1", {1}),
        ("employees=20&size=SMALL", {2}),
        ("size=LARGE", set()),
        ("hazards=DUST-SILICA&areaCode=220103001", {5}),
        ("declaredOn=2020-06-01", {1, 2}),
        ("within=220103", {5}),
        ("within=220000", {1, 2, 3, 4, 5, 6}),
        ("datetime=2000-01-01/..", {1, 2, 3, 4, 5, 6}),
        ("datetime=../2000-01-01T00:00:00Z", set()),
        ("datetime=2000-01-01", set()),
    ],
)
async def test_properties_areas_and_times_select(world: World, query: str, numbers: set[int]) -> None:
    assert await world.names(f"enterprises/items?{query}") == {f"企业{number}" for number in numbers}


async def test_areas_are_those_of_the_day_and_say_when_derived(world: World) -> None:
    async def codes(query: str) -> list[str]:
        return [feature["id"] for feature in geojson((await world.get(f"/ogc/collections/areas-township/items{query}")).json())]

    assert await codes("") == ["220102001", "110101001", "220102002", "220103001"]  # what can be drawn comes first, see below
    assert await codes("?datetime=2020-01-01&within=220103") == ["220103001", "220103009"]
    assert await codes("?datetime=2020-01-01T00:00:00Z/2030-01-01T00:00:00Z&within=220103") == ["220103001", "220103009"]
    derived = {each["id"]: each["properties"]["derived"] for each in await world.items("areas-township/items")}
    assert (derived["220102001"], derived["220103001"]) == (True, False)
    one = (await world.get("/ogc/collections/areas-county/items/220102")).json()
    assert (one["properties"]["name"], len(corners(one["geometry"]))) == ("虚构220102", 5)


async def test_pages_are_complete_without_doubles_while_others_write(world: World) -> None:
    seen: list[str] = []
    url: str | None = "/ogc/collections/enterprises/items?limit=2&status=OPERATING"
    while url:
        document = (await world.get(url)).json()
        seen += [feature["id"] for feature in geojson(document)]
        before = str(uuid7(datetime(2020, 1, 1, tzinfo=UTC)))
        for row_id in (before, str(uuid7(datetime.now(UTC)))):
            values = {"id": row_id, "name": "新", "areaCode": "220102002", "status": "OPERATING"}
            saved = await world.ask("mutation($i: EnterpriseInput!) { saveEnterprise(input: $i) { id } }", i=values)
            assert "errors" not in saved, saved
        url = next_link(document) if len(seen) < 40 else None
        assert url is None or "status=OPERATING" in url
    assert len(seen) == len(set(seen)) >= 6
    first = {row["id"] for row in await world.rows("SELECT id::text FROM enterprise WHERE name LIKE '企业%'")}
    assert first <= set(seen)
    await world.execute("UPDATE enterprise SET deleted = true WHERE name = '新'")


async def test_pages_of_areas_go_on_by_code(world: World) -> None:
    for path in ("areas-township/items", "coverage-township-ENT-COUNT/items"):
        seen: list[str] = []
        url: str | None = f"/ogc/collections/{path}?limit=1"
        while url:
            document = (await world.get(url)).json()
            seen += [feature["id"] for feature in document["features"]]
            url = next_link(document)
        assert seen == [feature["id"] for feature in await world.items(path)]
        assert len(seen) >= 3


async def test_layers_begin_with_what_can_be_drawn(world: World) -> None:
    """QGIS 3.22 looks at the first ten features and opens a layer without geometries if none of them has one."""
    for path in ("areas-township/items", "coverage-township-ENT-COUNT/items"):
        first, *others = await world.items(path)
        assert (first["id"], first["geometry"]["type"]) == ("220102001", "MultiPolygon")
        assert [each["geometry"] for each in others] == [None] * len(others)


async def test_a_glance_shows_a_place_if_there_is_one_and_pages_go_on_without_doubles(world: World) -> None:
    """A register often begins with what nobody has located yet."""
    ids = [f"00000000-0000-7000-8000-{number:012d}" for number in range(3)]
    await world.execute(
        "INSERT INTO enterprise (id, name, area_code, status, revision, deleted, created_at, updated_at, scopes)"
        f" SELECT id, '早', '220103001', 'OPERATING', 1, false, now(), now(), '{{220000}}' FROM unnest('{{{','.join(ids)}}}'::uuid[]) id"
    )
    everything = {each["id"] for each in await world.items("enterprises/items")}
    try:
        for limit in (1, 2, 3):
            first, seen, url = "", [], f"/ogc/collections/enterprises/items?limit={limit}"
            while url:
                document = (await world.get(url)).json()
                first = first or document["features"][-1]["geometry"]["type"]
                seen += [each["id"] for each in geojson(document)]
                url = next_link(document) or ""
            assert (first, len(seen), set(seen)) == ("Point", len(everything), everything)
        assert [each["geometry"] for each in await world.items("enterprises/items?limit=2&name=早")] == [None, None]
    finally:
        await world.execute("DELETE FROM enterprise WHERE name = '早'")


async def test_a_glance_and_a_whole_say_how_many_there_are(world: World) -> None:
    """QGIS shows 0 features where `numberMatched` is missing from its first request, of ten."""

    async def matched(query: str) -> int | None:
        answer = (await world.get(f"/ogc/collections/{query}")).json()
        geojson(answer)
        found: int | None = answer.get("numberMatched")
        return found

    assert await matched("enterprises/items?limit=2") == len(PLACES)
    assert await matched("enterprises/items") == len(PLACES)
    assert await matched("enterprises/items?limit=1&bbox=125.1,43.1,125.2,43.2") == 2
    assert await matched("areas-township/items?limit=1&within=220102") == 2
    assert await matched("coverage-county-IND-01/items?limit=1") == 2
    assert await matched("areas-county/items?bbox=125.1,43.1,125.2,43.2") == 1
    last = (await world.items("enterprises/items?limit=5"))[-1]["id"]
    assert await matched(f"enterprises/items?after={last}") is None


MANY = """INSERT INTO enterprise (id, name, area_code, status, location_wgs84, revision, deleted, created_at, updated_at, scopes)
  SELECT CAST(format('019bb000-0000-7000-8000-%s', lpad(n::text, 12, '0')) AS uuid), 'x', '110101001', 'OPERATING',
         CASE WHEN n % 9 > 0 THEN ST_SetSRID(ST_MakePoint(n / 45, n % 7), 4326) END,
         1, n % 11 = 0, now(), now(), CASE WHEN n % 5 = 0 THEN '{}'::text[] ELSE '{110000}' END
    FROM generate_series(1, 400) n"""
IN_BOX = """SELECT id::text FROM enterprise WHERE NOT deleted AND scopes && '{110000}' AND ST_X(location_wgs84) BETWEEN $1 AND $2
  AND ST_Y(location_wgs84) BETWEEN $3 AND $4 ORDER BY id"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(world: World) -> AsyncIterator[Source]:
    """They come in the order of their places, as when a register is filled area by area: what comes next may be far away."""
    await world.execute(MANY)
    await world.execute("ANALYZE enterprise")
    actor = Actor("00000000-0000-7000-8000-000000000002", "many", Role.SUPERVISOR, ("110000",))
    yield Source(world.app.state.database, actor, datetime.now(UTC))
    await world.execute("DELETE FROM enterprise WHERE name = 'x'")


@settings(max_examples=25)
@given(west=st.integers(0, 9), width=st.integers(0, 9), south=st.integers(0, 7), height=st.integers(0, 7), limit=st.integers(1, 30))
async def test_pages_of_any_box_have_each_feature_once(many: Source, west: int, width: int, south: int, height: int, limit: int) -> None:
    layer, box = layer_of(load()["enterprise"], Role.SUPERVISOR, load()), Box(west, south, west + width, south + height)
    assert layer
    seen: list[str] = []
    page: Page | None = None
    while page is None or page.after:
        page = await layer.page(many, Asked(limit=limit, after=page.after if page else None, box=box))
        assert page.count == limit or not page.after
        seen += [each["id"] for each in json.loads(b"[%b]" % page.features)]
    expected = await many.database.pool.fetch(IN_BOX, *(float(each) for each in (west, west + width, south, south + height)))
    assert seen == [row["id"] for row in expected]


async def test_a_crowded_box_is_walked_and_a_small_one_is_not(many: Source) -> None:
    layer = layer_of(load()["enterprise"], Role.SUPERVISOR, load())
    assert layer

    async def rows(*numbers: float, who: Source = many, limit: int = 20) -> int:
        return await layer._worth_walking(who, Asked(limit=limit, box=Box(*numbers)))

    assert 80 <= await rows(0, 0, 9, 9) < 200
    assert await rows(0, 0, 1, 1) == await rows(0, 0, 9, 9, limit=5000) == 0
    county = replace(many, actor=replace(many.actor, scopes=("110101",)))
    assert await rows(0, 0, 9, 9, who=county) == 0


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("enterprises/items?limit=0", "limit"),
        ("enterprises/items?limit=many", "limit"),
        ("enterprises/items?limit=1&limit=2", "limit"),
        ("enterprises/items?bbox=1,2,3", "bbox"),
        ("enterprises/items?bbox=a,b,c,d", "bbox"),
        ("enterprises/items?bbox=nan,1,2,3", "bbox"),
        ("enterprises/items?bbox=43.1,125.1,43.2,125.2", "bbox"),  # lat before lon
        ("enterprises/items?bbox=1,3,2,1", "bbox"),
        ("enterprises/items?datetime=yesterday", "datetime"),
        ("enterprises/items?datetime=", "datetime"),
        ("enterprises/items?datetime=2020-13-01T00:00:00Z", "datetime"),
        ("enterprises/items?datetime=2021-01-01/2020-01-01", "datetime"),
        ("enterprises/items?within=abc", "within"),
        ("enterprises/items?after=abc", "after"),
        ("enterprises/items?size=HUGE", "size"),
        ("enterprises/items?employees=ten", "employees"),
        ("enterprises/items?keyIndustry=maybe", "keyIndustry"),
        ("enterprises/items?name=%00", "name"),
        ("enterprises/items?f=xml", "f"),
        ("areas-county/items?after=x", "after"),
        ("coverage-county-IND-01/items?period=2020-13", "period"),
        ("coverage-county-IND-01/items?asOf=today", "asOf"),
        ("coverage-county-IND-01/items?asOf=2020-01-01&datetime=2020-01-01", "datetime"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name_and_nothing_is_read(world: World, path: str, parameter: str) -> None:
    before = await world.rows("SELECT count(*) FROM audit_entry WHERE kind = 'EXPORT'")
    assert refused(await world.get(f"/ogc/collections/{path}")) == (400, "PARAMETER_INVALID", parameter)
    same_audit = await world.rows("SELECT count(*) FROM audit_entry WHERE kind = 'EXPORT'")
    assert before == same_audit


async def test_unknown_parameters_addresses_formats_and_methods_are_refused(world: World) -> None:
    for path in ("?x=1", "/collections?x=1", "/collections/enterprises/items?bbox-crs=x", "/collections/areas-county/items/220102?limit=1"):
        assert refused(await world.get(f"/ogc{path}"))[:2] == (400, "PARAMETER_UNKNOWN"), path
    for path in ("/nothing", "/collections/x", "/collections/x/items", "/collections/enterprises/items/1", "/tiles/x", "/api/x"):
        assert refused(await world.get(f"/ogc{path}"))[0] == 404, path
    assert refused(await world.get("/ogc", Accept="text/html"))[:2] == (406, "NOT_ACCEPTABLE")
    browser = await world.get("/ogc", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (browser.status_code, browser.headers["content-type"]) == (200, "application/json")
    written = await world.http.post(
        "/ogc/collections/enterprises/items", json={}, headers={"Authorization": f"Bearer {await world.token('boss')}"}
    )
    assert refused(written)[:2] == (405, "METHOD_NOT_ALLOWED")
    assert written.headers["allow"] == "GET, HEAD"
    assert len(await world.items("enterprises/items?limit=999999999")) >= 6  # more than the most is the most


async def test_answers_are_compressed_and_not_sent_twice(world: World) -> None:
    path = "/ogc/collections/enterprises/items"
    packed = await world.get(path, **{"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    plain = await world.get(path, **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == packed.json()
    assert (plain.headers["etag"], plain.headers["cache-control"]) == (packed.headers["etag"], "private, no-cache")
    again = await world.get(path, **{"If-None-Match": f'"x", {plain.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await world.get(path, "other", **{"If-None-Match": plain.headers["etag"]})).status_code == 200
    await world.execute("UPDATE enterprise SET address = '改' WHERE name = '企业1'")
    assert (await world.get(path, **{"If-None-Match": plain.headers["etag"]})).status_code == 200


# --- coverage ---------------------------------------------------------------------------------------------------------------


async def test_coverage_has_value_target_gap_and_no_data_is_null(world: World) -> None:
    found = {each["id"]: each["properties"] for each in await world.items("coverage-county-IND-01/items")}
    inside = found["220102"]
    assert (inside["numerator"], inside["denominator"], inside["value"], inside["suppressed"]) == (2, 5, 0.4, False)
    assert inside["gap"] == pytest.approx(inside["target"] - 0.4)
    assert (found["220103"]["denominator"], found["220103"]["value"]) == (1, 0.0)
    empty = next(each for each in await world.items("coverage-township-IND-01/items") if each["id"] == "220102002")["properties"]
    assert (empty["denominator"], empty["value"], empty["gap"]) == (0, None, None)
    for query in ("asOf=2019-01-01", "period=2018", "datetime=2019-01-01", "datetime=2000-01-01T00:00:00Z/2019-01-01T00:00:00Z"):
        past = {each["id"]: each["properties"] for each in await world.items(f"coverage-county-IND-01/items?{query}")}
        assert past["220102"]["numerator"] == 0, query
    one = (await world.get("/ogc/collections/coverage-county-IND-01/items/220102?asOf=2019-01-01")).json()["properties"]
    assert (one["numerator"], one["asOf"]) == (0, "2019-01-01")


async def test_few_persons_stay_suppressed(world: World) -> None:
    for who in ("boss", "cdc"):
        found = {each["id"]: each["properties"] for each in await world.items("coverage-county-PATIENTS/items", who)}
        assert (found["220102"]["numerator"], found["220102"]["value"], found["220102"]["suppressed"]) == (None, None, True)
        assert (found["220103"]["numerator"], found["220103"]["suppressed"]) == (40, False)
        one = (await world.get("/ogc/collections/coverage-county-PATIENTS/items/220102", who)).json()["properties"]
        assert (one["numerator"], one["suppressed"]) == (None, True)


# --- tokens and traces ------------------------------------------------------------------------------------------------------


async def test_a_read_token_reads_and_changes_nothing(world: World) -> None:
    _, secret = await world.read_token("ins")
    bearer = {"Authorization": f"Bearer {secret}"}
    answer = await world.http.get("/ogc/collections/enterprises/items", headers=bearer)
    assert len(geojson(answer.json())) == 5
    before = await world.rows("SELECT count(*) FROM sync_change")
    tried = await world.ask('mutation { createReadToken(name: "x", days: 1) { token } }', token=secret)
    assert tried["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"
    kept = await world.rows("SELECT count(*) FROM sync_change")
    assert kept == before
    (stored,) = await world.rows("SELECT octet_length(hash) AS size, t::text AS row FROM read_token t ORDER BY created_at DESC LIMIT 1")
    assert stored["size"] == 32
    assert secret not in stored["row"]
    detail = await world.rows("SELECT string_agg(detail::text, '') AS all FROM audit_entry")
    assert secret not in detail[0]["all"]


async def test_a_read_token_is_a_password_too(world: World) -> None:
    """QGIS before 3.24 knows no header of one's own, but user and password; an access token is no password."""
    _, secret = await world.read_token("ins")
    for path in ("/ogc/collections/enterprises/items", "/tiles/areas/6/54/23"):
        assert (await world.http.get(path, auth=("anybody", secret))).status_code in (200, 204)
        for password in (await world.token("ins"), "zjr_x", PASSWORD, ""):
            assert (await world.http.get(path, auth=("ins", password))).status_code == 401
    answer = await world.http.get("/ogc/collections/enterprises/items", auth=("", secret))
    assert len(geojson(answer.json())) == 5


async def test_a_revoked_token_is_refused_and_nothing_is_read(world: World) -> None:
    token_id, secret = await world.read_token("other")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert (await world.http.get("/ogc", headers=bearer)).status_code == 200
    revoke = "mutation($id: ID!) { revokeReadToken(id: $id) }"
    stranger = await world.ask(revoke, "ins", id=token_id)
    assert stranger["errors"][0]["extensions"]["code"] == "READ_TOKEN_UNKNOWN"
    assert (await world.http.get("/ogc", headers=bearer)).status_code == 200
    assert (await world.ask(revoke, "boss", id=token_id))["data"] == {"revokeReadToken": True}  # is over the person
    before = await world.rows("SELECT count(*) FROM audit_entry")
    for path in ("/ogc", "/ogc/collections/enterprises/items"):
        answer = await world.http.get(path, headers=bearer)
        assert refused(answer)[:2] == (401, "READ_TOKEN_INVALID")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "企业" not in answer.text
    assert before == await world.rows("SELECT count(*) FROM audit_entry")
    listed = (await world.ask("{ readTokens { id revokedAt lastUsedAt } }", "other"))["data"]["readTokens"]
    assert [each["id"] for each in listed if each["revokedAt"] and each["lastUsedAt"]] == [token_id]
    again = await world.ask(revoke, "other", id=token_id)
    assert again["errors"][0]["extensions"]["code"] == "READ_TOKEN_UNKNOWN"


async def test_a_token_ends_with_its_time_its_device_and_its_account(world: World) -> None:
    _, secret = await world.read_token("cdc")
    bearer = {"Authorization": f"Bearer {secret}"}
    user = "(SELECT id FROM user_account WHERE username = 'cdc')"
    for table, where, ended, good, code in (
        ("read_token", f"user_id = {user}", "expires_at = now()", "expires_at = now() + interval '1 day'", "READ_TOKEN_EXPIRED"),
        ("device", "id = 'device-cdc'", "revoked_at = now()", "revoked_at = NULL", "READ_TOKEN_INVALID"),
        ("user_account", "username = 'cdc'", "active = false", "active = true", "READ_TOKEN_INVALID"),
    ):
        await world.execute(f"UPDATE {table} SET {ended} WHERE {where}")
        assert refused(await world.http.get("/ogc", headers=bearer))[:2] == (401, code)
        await world.execute(f"UPDATE {table} SET {good} WHERE {where}")
        assert (await world.http.get("/ogc", headers=bearer)).status_code == 200


async def test_a_token_reads_what_its_maker_may_read_now(world: World) -> None:
    _, secret = await world.read_token("other")
    bearer = {"Authorization": f"Bearer {secret}"}
    grant = "UPDATE user_grant SET scope = '{}' WHERE user_id = (SELECT id FROM user_account WHERE username = 'other')"
    await world.execute(grant.format("220102"))
    found = (await world.http.get("/ogc/collections/enterprises/items", headers=bearer)).json()
    await world.execute(grant.format("220103"))
    assert {feature["properties"]["name"] for feature in found["features"]} == {"企业1", "企业2", "企业3", "企业4", "企业6"}


@pytest.mark.parametrize(
    ("name", "days", "field"), [("", 1, "name"), (" ", 1, "name"), ("x" * 101, 1, "name"), ("x", 0, "days"), ("x", 367, "days")]
)
async def test_a_token_needs_a_purpose_and_an_end(world: World, name: str, days: int, field: str) -> None:
    before = await world.rows("SELECT count(*) FROM read_token")
    answer = await world.ask(CREATE, name=name, days=days)
    assert (answer["errors"][0]["extensions"]["code"], answer["errors"][0]["extensions"]["field"]) == ("VALUE_INVALID", field)
    assert before == await world.rows("SELECT count(*) FROM read_token")


async def test_who_is_not_signed_in_sees_nothing(world: World) -> None:
    for headers in ({}, {"Authorization": "Bearer zjr_x"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
        for path in ("", "/conformance", "/api", "/collections", "/collections/enterprises/items", "/nothing"):
            answer = await world.http.get(f"/ogc{path}", headers=headers)
            assert refused(answer)[0] == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_each_export_stands_in_the_audit_without_personal_data(world: World) -> None:
    exports = "SELECT user_id::text AS who, detail FROM audit_entry WHERE kind = 'EXPORT' ORDER BY id"
    before = len(await world.rows(exports))
    token_id, secret = await world.read_token()
    await world.http.get("/ogc/collections/enterprises/items?name=企业1&limit=1", headers={"Authorization": f"Bearer {secret}"})
    await world.get("/ogc/collections/enterprises")
    added = (await world.rows(exports))[before:]
    (me,) = await world.rows("SELECT id::text FROM user_account WHERE username = 'boss'")
    assert [(row["who"], json.loads(row["detail"])) for row in added] == [
        (me["id"], {"collection": "enterprises", "parameters": ["limit", "name"], "token": token_id})
    ]


# --- the same over GraphQL, and with the program that people use --------------------------------------------------------------


async def test_small_sets_come_as_geojson_over_graphql(world: World) -> None:
    query = (
        "query($c: ID!, $w: ID, $b: [Float!], $n: Int, $a: String) { features(collection: $c, within: $w, bbox: $b, first: $n, after: $a) }"
    )
    found = (await world.ask(query, c="enterprises", b=[125.1, 43.1, 125.2, 43.2]))["data"]["features"]
    assert {feature["properties"]["name"] for feature in geojson(found)} == {"企业1", "企业2"}
    assert geojson((await world.ask(query, "other", c="enterprises", w="220102"))["data"]["features"]) == []
    first = geojson((await world.ask(query, c="enterprises", n=4))["data"]["features"])
    rest = geojson((await world.ask(query, c="enterprises", n=4, a=first[-1]["id"]))["data"]["features"])
    assert len({feature["id"] for feature in first + rest}) == 6
    for variables, code in (
        ({"c": "patients"}, "COLLECTION_UNKNOWN"),
        ({"c": "enterprises", "n": 1001}, "PARAMETER_INVALID"),
        ({"c": "enterprises", "b": [1, 2]}, "PARAMETER_INVALID"),
        ({"c": "enterprises", "w": "x"}, "PARAMETER_INVALID"),
    ):
        assert (await world.ask(query, **variables))["errors"][0]["extensions"]["code"] == code


GDAL = """
import json, sys, pyogrio, shapely
url, token, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
pyogrio.set_gdal_config_options({"GDAL_HTTP_AUTH": "BEARER", "GDAL_HTTP_BEARER": token})
for layer, choices in wanted:
    if "bbox" in choices:
        choices["bbox"] = tuple(choices["bbox"])
    meta, _, outlines, columns = pyogrio.raw.read("OAPIF:" + url, layer=layer, **choices)
    shapes = [shapely.from_wkb(each).wkt if each else None for each in outlines]
    named = {name: [str(value) for value in column] for name, column in zip(meta["fields"], columns)}
    print(json.dumps({"crs": meta["crs"], "kind": meta["geometry_type"], "shapes": shapes, "columns": named}))
"""


async def test_gdal_reads_with_a_token_as_qgis_does(world: World) -> None:
    _, secret = await world.read_token()
    wanted: list[Any] = [
        ("enterprises", {"PAGE_SIZE": "2"}),
        ("enterprises", {"where": "name = '企业3'"}),
        ("enterprises", {"bbox": [125.0, 43.0, 125.25, 43.25]}),
        ("coverage-county-IND-01", {}),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GDAL, f"{world.url}/ogc", secret, json.dumps(wanted), stdout=PIPE, stderr=PIPE
    )  # apart, since GDAL waits for our answers without letting us run
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    everything, one, boxed, covered = map(json.loads, out.splitlines())
    assert sorted(everything["columns"]["name"]) == [f"企业{number}" for number in PLACES]
    assert everything["kind"] == "Point"
    pages = await world.rows("SELECT detail->>'parameters' AS named FROM audit_entry WHERE kind = 'EXPORT' ORDER BY id DESC LIMIT 20")
    assert any("after" in row["named"] and "bbox" not in row["named"] for row in pages)  # it went on by our links
    assert (one["columns"]["name"], one["shapes"]) == (["企业3"], ["POINT (125.5 43.5)"])
    assert sorted(boxed["columns"]["name"]) == ["企业1", "企业2"]
    assert (covered["columns"]["code"], covered["columns"]["value"]) == (["220102", "220103"], ["0.4", "0.0"])
    assert covered["shapes"][0].startswith("MULTIPOLYGON")
