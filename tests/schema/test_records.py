from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from schema import registry
from schema.actor import Role
from schema.base import Document, Kind, Policy, Record, Verb
from schema.problems import Problem

AT = datetime(2026, 11, 22, tzinfo=UTC)
RECORDS = registry.load()


@pytest.fixture(params=list(RECORDS))
def record(request: pytest.FixtureRequest) -> Record:
    return RECORDS[request.param]


def blank(name: str, **values: object) -> Document:
    return {**dict.fromkeys(RECORDS[name].by_name), **values}


def codes(name: str, after: Document, before: Document | None = None) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in problems(name, after, before)]


def problems(name: str, after: Document, before: Document | None) -> Iterator[Problem]:
    for rule in RECORDS[name].rules:
        yield from rule(after, before, AT)


# --- every declaration ------------------------------------------------------------------------------------------------


def test_declared_once_under_its_own_name(record: Record) -> None:
    assert len(record.by_name) == len(record.all_columns)
    assert RECORDS[record.name] is record


def test_everything_has_a_chinese_label(record: Record) -> None:
    labels = [record.label, *(column.label for column in record.all_columns)]
    assert [label for label in labels if not any("\u4e00" <= character <= "\u9fff" for character in label)] == []


def test_what_a_column_refers_to_exists(record: Record) -> None:
    for column in record.columns:
        assert (column.kind is Kind.REF) >= bool(column.ref)
        assert not column.ref or column.ref in RECORDS
        assert (column.kind is Kind.ENUM) == (column.choice is not None)
        assert (column.merge is Policy.MOVES) == (column.moves is not None)


def test_scope_names_columns_of_the_right_kind(record: Record) -> None:
    scope = record.scope
    assert bool(scope.area) + bool(scope.parent) + bool(scope.keys) >= 1
    assert not scope.area or record.by_name[scope.area].kind is Kind.AREA
    assert not scope.parent or record.by_name[scope.parent].ref
    assert set(scope.keys.values()) <= set(record.by_name)


def test_policies_fit_their_kinds(record: Record) -> None:
    fitting = {Policy.UNION: {Kind.TAGS}, Policy.COUNTER: {Kind.INTEGER}, Policy.APPEND: {Kind.ITEMS}, Policy.MOVES: {Kind.ENUM}}
    for column in record.columns:
        assert column.kind in fitting.get(column.merge, {column.kind}), column.name


def test_defaults_and_moves_are_members(record: Record) -> None:
    for column in record.columns:
        if column.choice is None:
            continue
        assert column.default is None or column.default in column.choice.values
        if column.moves:
            states = {state for move in column.moves.allowed for state in move} | column.moves.initial
            assert states <= column.choice.values
            assert column.default in column.moves.initial


def test_frozen_columns_say_when(record: Record) -> None:
    frozen = [column.name for column in record.columns if column.merge is Policy.FROZEN]
    assert not frozen or record.frozen_when is not None
    if record.frozen_when:
        name, states = record.frozen_when
        choice = record.by_name[name].choice
        assert choice is not None
        assert states <= choice.values


def test_a_place_is_a_position(record: Record) -> None:
    assert not record.place or record.by_name[record.place].kind is Kind.POSITION


def test_whoever_writes_may_read(record: Record) -> None:
    for role, verbs in record.access.items():
        assert Verb.READ in verbs, role


def test_coordinators_have_no_enforcement_power() -> None:
    for name in ("inspection", "patient", "sync_conflict"):
        assert not RECORDS[name].may(Role.COORDINATOR, Verb.CREATE | Verb.UPDATE)
    patrol = RECORDS["patrol"].by_name["state"].moves
    assert patrol is not None
    assert all(Role.COORDINATOR not in roles for roles in patrol.allowed.values())


def test_patients_are_for_cdc_and_rehabilitation_alone() -> None:
    patient = RECORDS["patient"]
    assert set(patient.access) == {Role.CDC, Role.REHAB}
    assert not any(column.kind in (Kind.POSITION, Kind.POINT) for column in patient.all_columns)


# --- rules of one record ----------------------------------------------------------------------------------------------

GOOD, BAD = "91350100M000100Y43", "91350100M000100Y44"


def test_a_wrong_credit_code_is_refused() -> None:
    assert codes("enterprise", blank("enterprise", credit_code=BAD)) == [("CREDIT_CODE_INVALID", "credit_code")]
    assert codes("enterprise", blank("enterprise", credit_code=GOOD)) == []
    assert codes("enterprise", blank("enterprise")) == []


def test_a_wrong_credit_code_that_was_there_before_stops_nobody() -> None:
    before = blank("enterprise", credit_code=BAD)
    assert codes("enterprise", {**before, "remark": "x"}, before) == []
    assert codes("enterprise", before, blank("enterprise", credit_code=GOOD)) == [("CREDIT_CODE_INVALID", "credit_code")]


@pytest.mark.parametrize(
    ("employees", "contract", "exposed", "fine"),
    [(10, None, 10, True), (10, None, 11, False), (10, 1, 11, True), (10, 1, 12, False), (None, None, 5, True), (10, 5, None, True)],
)
def test_no_more_exposed_than_workers(employees: int | None, contract: int | None, exposed: int | None, fine: bool) -> None:
    after = blank("enterprise", employees=employees, contract_workers=contract, exposed_workers=exposed)
    assert codes("enterprise", after) == ([] if fine else [("EXPOSED_EXCEEDS_WORKERS", "exposed_workers")])


@pytest.mark.parametrize(
    ("state", "officers", "fine"),
    [("SIGNED", ["a", "b"], True), ("SIGNED", ["a"], False), ("SIGNED", [], False), ("SIGNED", None, False), ("DRAFT", None, True)],
)
def test_a_signed_inspection_has_two_officers(state: str, officers: list[str] | None, fine: bool) -> None:
    after = blank("inspection", state=state, officers=officers)
    assert codes("inspection", after) == ([] if fine else [("TWO_OFFICERS_REQUIRED", "officers")])


def test_a_finding_of_an_inspection_has_a_deadline() -> None:
    assert codes("finding", blank("finding", source="INSPECTION")) == [("DEADLINE_REQUIRED", "deadline_on")]
    assert codes("finding", blank("finding", source="INSPECTION", deadline_on="2026-12-01")) == []
    assert codes("finding", blank("finding", source="PATROL")) == []


def test_a_coordinator_who_left_has_the_date() -> None:
    assert codes("coordinator", blank("coordinator", status="ENDED")) == [("END_DATE_REQUIRED", "ended_on")]
    assert codes("coordinator", blank("coordinator", status="ENDED", ended_on="2026-01-01")) == []
    early = blank("coordinator", status="ACTIVE", appointed_on="2026-01-02", ended_on="2026-01-01")
    assert codes("coordinator", early) == [("END_BEFORE_START", "ended_on")]


def test_a_wrong_resident_number_is_refused() -> None:
    wrong = blank("patient", id_kind="RESIDENT", id_number="110105194912310021")
    assert codes("patient", wrong) == [("RESIDENT_ID_INVALID", "id_number")]
    assert codes("patient", wrong, wrong) == []
    assert codes("patient", {**wrong, "id_kind": "PASSPORT"}) == []
    assert codes("patient", blank("patient", id_kind="RESIDENT", id_number="11010519491231002X")) == []
