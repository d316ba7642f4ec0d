from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import islice

import orjson
import pytest

from api.demo_data import BLOCK, TODAY, CountyRow, Demo, Township, TownshipRow, arrange, credit_code, enterprise_id
from api.demo_words import INDUSTRIES
from geo.coordinates import to_wgs84
from schema import registry
from schema.base import Document, Kind
from schema.catalogue import factors
from schema.identifiers import credit_code_fault, organisation_check, resident_id_fault
from schema.values import canonical_document

COUNTIES = {"220102": 125.0, "220103": 126.0, "220581": 127.0, "222401": 128.0}  # code -> west edge of a square of half a degree
SOUTH, SIDE, INSIDE = 43.0, 0.5, 0.005


def spots(west: float) -> list[tuple[float, float]]:
    steps = [INSIDE + (SIDE - 2 * INSIDE) * step / 9 for step in range(10)]
    return [(west + east, SOUTH + north) for east in steps for north in steps]


def province() -> tuple[Township, ...]:
    counties = [CountyRow(code, f"{code}县", spots(west)) for code, west in COUNTIES.items()]
    rows = [TownshipRow(f"{code}{number:03d}", f"第{number}镇", code, None) for code in COUNTIES for number in range(100, 112)]
    return arrange(counties, rows)


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo(7, province())


@pytest.fixture(scope="module")
def documents(demo: Demo) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = defaultdict(list)
    for name, batch in [*demo.people(), *(each for block in demo.blocks(3000) for each in demo.block(block, 3000))]:
        found[name] += batch
    return found


def bytes_of(demo: Demo, enterprises: int) -> bytes:
    return orjson.dumps([list(demo.people()), [demo.block(block, enterprises) for block in demo.blocks(enterprises)]])


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert bytes_of(Demo(7, province()), 1500) == bytes_of(Demo(7, province()), 1500)
    assert bytes_of(Demo(7, province()), 500) != bytes_of(Demo(8, province()), 500)


def test_a_larger_province_begins_with_the_smaller_one(demo: Demo) -> None:
    small, large = demo.block(0, 300), demo.block(0, BLOCK)
    assert dict(small)["enterprise"] == dict(large)["enterprise"][:300]
    assert demo.block(1, 1001)[0][1] == demo.block(1, 5000)[0][1][:1]


def test_a_block_can_be_made_by_itself(demo: Demo) -> None:
    alone = Demo(7, province()).block(2, 3000)
    list(islice((demo.block(block, 3000) for block in range(2)), 2))
    assert demo.block(2, 3000) == alone
    assert alone[0][1][0]["id"] == enterprise_id(7, 2 * BLOCK)


def test_every_document_is_complete_and_canonical(documents: dict[str, list[Document]]) -> None:
    for name, batch in documents.items():
        record = registry.load()[name]
        expected = {column.name for column in (*record.columns, record.all_columns[0])}
        for document in batch:
            assert set(document) == expected
            assert canonical_document(record, document) == (document, [])


def test_every_document_keeps_the_rules_of_its_record(documents: dict[str, list[Document]]) -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    for name, batch in documents.items():
        for document in batch:
            assert [problem for rule in registry.load()[name].rules for problem in rule(document, None, at)] == []
            assert all(document[column.name] is not None for column in registry.load()[name].columns if column.required)


def test_ids_are_distinct_version_7_and_grow_with_the_enterprise(documents: dict[str, list[Document]]) -> None:
    ids = [document["id"] for batch in documents.values() for document in batch]
    assert len(set(ids)) == len(ids)
    assert {(each[14], each[19] in "89ab") for each in ids} == {("7", True)}
    enterprises = [document["id"] for document in documents["enterprise"]]
    assert enterprises == sorted(enterprises)


def test_every_reference_is_there(documents: dict[str, list[Document]]) -> None:
    ids = {name: {document["id"] for document in batch} for name, batch in documents.items()}
    for name, batch in documents.items():
        for column in registry.load()[name].columns:
            if column.kind is Kind.REF:
                assert {document[column.name] for document in batch} - {None} <= ids[column.ref], (name, column.name)


def test_all_records_have_documents(documents: dict[str, list[Document]]) -> None:
    assert set(documents) == set(registry.load()) - {"sync_conflict"}
    assert all(documents.values())


def test_everything_is_marked_as_invented(documents: dict[str, list[Document]]) -> None:
    assert all(document["name"].startswith("演示") and document["source"] == "DEMO" for document in documents["enterprise"])
    for name in ("coordinator", "rehab_site", "patient"):
        assert all(document["demo"] is True and document["name"].startswith("演示") for document in documents[name])
    phones = [document[key] for batch in documents.values() for document in batch for key in ("phone", "contact_phone") if key in document]
    assert all(phone.startswith("000-") for phone in phones)


def test_credit_codes_are_valid_inside_and_out_and_distinct(documents: dict[str, list[Document]]) -> None:
    codes = [document["credit_code"] for document in documents["enterprise"]]
    assert len(set(codes)) == len(codes) == 3000
    assert [code for code in codes if credit_code_fault(code) or organisation_check(code[8:16]) != code[16]] == []
    assert {code[8:10] for code in codes} == {"XX"}


@pytest.mark.parametrize("number", [0, 1, 29790, 29791, 31**6 - 1])
def test_credit_codes_hold_at_the_edges(number: int) -> None:
    code = credit_code("220102", number)
    assert (credit_code_fault(code), code[16]) == ("", organisation_check(code[8:16]))


def test_resident_numbers_are_valid_and_of_no_division(documents: dict[str, list[Document]]) -> None:
    residents = [document["id_number"] for document in documents["patient"] if document["id_kind"] == "RESIDENT"]
    assert len(residents) > 100
    assert [number for number in residents if resident_id_fault(number) or not number.startswith("999999")] == []


def test_enterprises_stand_in_their_county_whatever_the_datum(documents: dict[str, list[Document]]) -> None:
    datums: Counter[str] = Counter()
    for document in documents["enterprise"]:
        place = document["location"]
        lon, lat = to_wgs84(place["lon"], place["lat"], place["datum"])
        west = COUNTIES[document["area_code"][:6]]
        assert west < lon < west + SIDE
        assert SOUTH < lat < SOUTH + SIDE
        datums[place["datum"]] += 1
    assert set(datums) == {"WGS84", "CGCS2000", "GCJ02"}
    assert datums["WGS84"] > datums["GCJ02"] > 300


def test_every_township_has_enterprises_and_changchun_has_more(documents: dict[str, list[Document]]) -> None:
    per_township = Counter(document["area_code"] for document in documents["enterprise"])
    assert set(per_township) == {township.code for township in province()}
    per_county = Counter(code[:6] for code in per_township.elements())
    assert per_county["220102"] > 2 * per_county["220581"]


@pytest.mark.parametrize("county", COUNTIES)
def test_every_county_has_townships_with_and_without_coordinator(demo: Demo, documents: dict[str, list[Document]], county: str) -> None:
    active = {document["area_code"] for document in documents["coordinator"] if document["status"] == "ACTIVE"}
    own = {township.code for township in demo.townships if township.county == county}
    assert len(own & active) > len(own - active) > 0
    assert {township.code for township in demo.covered(county)} == own & active


def test_two_coordinators_can_sign_in_each_in_a_county_of_their_own(demo: Demo, documents: dict[str, list[Document]]) -> None:
    signing_in = {document["username"]: document for document in documents["coordinator"] if document["username"]}
    assert {name: document["area_code"][:6] for name, document in signing_in.items()} == {
        "coordinator1": "220102",
        "coordinator2": "220103",
    }
    for name, document in signing_in.items():
        assert (demo.coordinator_of(name).code, document["status"]) == (document["area_code"], "ACTIVE")


def test_patrols_are_made_by_the_township_coordinator(documents: dict[str, list[Document]]) -> None:
    township = {document["id"]: document["area_code"] for name in ("enterprise", "coordinator") for document in documents[name]}
    active = {document["id"] for document in documents["coordinator"] if document["status"] == "ACTIVE"}
    for patrol in documents["patrol"]:
        assert township[patrol["enterprise_id"]] == township[patrol["coordinator_id"]]
        assert patrol["coordinator_id"] in active


def test_some_townships_with_100_patients_have_no_open_station(documents: dict[str, list[Document]]) -> None:
    patients = Counter(document["area_code"] for document in documents["patient"])
    burdened = {code for code, count in patients.items() if count >= 100}
    stations = {site["area_code"] for site in documents["rehab_site"] if (site["kind"], site["status"]) == ("STATION", "OPEN")}
    assert len(burdened - stations) >= 3
    assert len(burdened & stations) >= 3


def test_stations_that_are_named_exist(demo: Demo, documents: dict[str, list[Document]]) -> None:
    sites = {site["id"]: site for site in documents["rehab_site"]}
    for township in demo.stations():
        site = sites[demo.site_id(township)]
        assert (site["area_code"], site["kind"], site["status"]) == (township.code, "STATION", "OPEN")


def test_hazards_are_in_the_catalogue_and_exposures_are_of_the_enterprise(documents: dict[str, list[Document]]) -> None:
    known = set(factors(TODAY))
    assert {hazard for industry in INDUSTRIES for hazard in industry.hazards} <= known
    hazards = {document["id"]: document["hazards"] for document in documents["enterprise"]}
    owner = {document["id"]: document["enterprise_id"] for document in documents["workplace"]}
    for exposure in documents["exposure"]:
        assert exposure["factor_code"] in hazards[owner[exposure["workplace_id"]]]
        assert (exposure["points_exceeded"] or 0) <= (exposure["points_tested"] or 0)


def test_townships_share_their_countys_spots(demo: Demo) -> None:
    for county, west in COUNTIES.items():
        shared = [spot for township in demo.townships if township.county == county for spot in township.spots]
        assert sorted(shared) == sorted(spots(west))


def test_a_township_with_a_point_gets_the_spots_around_it() -> None:
    rows = [TownshipRow("220102100", "甲镇", "220102", (125.0, 43.0)), TownshipRow("220102101", "乙镇", "220102", None)]
    near, far = arrange([CountyRow("220102", "某县", spots(125.0))], rows)
    assert (125.0 + INSIDE, 43.0 + INSIDE) in near.spots
    assert (125.0 + SIDE - INSIDE, 43.0 + SIDE - INSIDE) in far.spots


def test_a_county_without_boundary_has_enterprises_without_position() -> None:
    places = arrange([CountyRow("500157", "某县", [])], [TownshipRow("500157100", "甲镇", "500157", None)])
    assert all(document["location"] is None for document in Demo(1, places).block(0, 20)[0][1])


def test_no_townships_is_said_plainly() -> None:
    with pytest.raises(ValueError, match="行政区划"):
        Demo(1, ())
