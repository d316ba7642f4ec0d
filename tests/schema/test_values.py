import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import registry
from schema.base import Choice, Column, Kind
from schema.values import area_code, canonical, canonical_document, timestamp

COLOUR = Choice("Colour", (("RED", "红"), ("BLUE", "蓝")))


def column(kind: Kind, **more: Any) -> Column:
    return Column("field", kind, "字段", **more)


def refused(kind: Kind, value: Any, **more: Any) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        canonical(column(kind, **more), value)
    return str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.POINT])


@given(kinds, json_values)
def test_any_value_is_canonical_or_refused_with_a_sentence(kind: Kind, value: Any) -> None:
    one = column(kind, choice=COLOUR)
    try:
        once = canonical(one, value)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - most values are refused, some are not
    else:
        assert canonical(one, once) == once
        json.dumps(once, allow_nan=False).encode()


def test_none_stays_none_for_every_kind() -> None:
    assert {canonical(column(kind), None) for kind in Kind} == {None}


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 28), timezones=st.timezones()))  # noqa: DTZ001
def test_the_same_moment_has_one_form(at: datetime) -> None:
    form = timestamp(at)
    assert datetime.fromisoformat(form) == at.astimezone(UTC)
    assert canonical(column(Kind.TIMESTAMP), at.isoformat()) == form
    assert not form.removesuffix("+00:00").endswith((".", "0")) or "." not in form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-11-22T03:10:55.532Z", "2026-11-22T03:10:55.532+00:00"),
        ("2026-11-22T11:10:55.500+08:00", "2026-11-22T03:10:55.5+00:00"),
        ("2026-11-22T03:10:55.000000+00:00", "2026-11-22T03:10:55+00:00"),
    ],
)
def test_timestamps_are_printed_as_postgresql_does(text: str, form: str) -> None:
    assert canonical(column(Kind.TIMESTAMP), text) == form


@pytest.mark.parametrize("value", ["2026-11-22T03:10:55", "yesterday", 5, "", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+08:00"])
def test_timestamps_without_zone_or_sense_are_refused(value: Any) -> None:
    assert "时区" in refused(Kind.TIMESTAMP, value)


@given(st.decimals(min_value=-(10**14), max_value=10**14, places=4))
def test_equal_decimals_have_one_form(number: Decimal) -> None:
    form = canonical(column(Kind.DECIMAL), str(number))
    assert Decimal(form) == number
    assert canonical(column(Kind.DECIMAL), f"{number:f}00" if "." in f"{number:f}" else f"{number:f}.00") == form
    assert "E" not in form


@pytest.mark.parametrize(("value", "form"), [("1.50", "1.5"), (1.5, "1.5"), ("1e2", "100"), (7, "7"), ("-0", "0"), ("0.000", "0")])
def test_decimals_lose_their_trailing_zeros(value: Any, form: str) -> None:
    assert canonical(column(Kind.DECIMAL), value) == form


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e15", "1e-13", True, "abc", [], ""])
def test_decimals_that_no_column_holds_are_refused(value: Any) -> None:
    refused(Kind.DECIMAL, value)


def test_decimals_keep_to_their_bounds() -> None:
    assert canonical(column(Kind.DECIMAL, minimum=0, maximum=80), "80") == "80"
    assert "0 与 80" in refused(Kind.DECIMAL, "80.1", minimum=0, maximum=80)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.5, True, "5", float("inf")])
def test_integers_beyond_32_bits_or_of_another_type_are_refused(value: Any) -> None:
    refused(Kind.INTEGER, value)


def test_integers_keep_to_their_bounds() -> None:
    assert canonical(column(Kind.INTEGER), 2**31 - 1) == 2**31 - 1
    assert canonical(column(Kind.INTEGER), 3.0) == 3
    assert "小于 0" in refused(Kind.INTEGER, -1, minimum=0)
    assert "大于 9" in refused(Kind.INTEGER, 10, maximum=9)


def test_text_is_limited_and_storable() -> None:
    assert canonical(column(Kind.TEXT, max_length=3), "职业病") == "职业病"
    assert "最多 3" in refused(Kind.TEXT, "职业病人", max_length=3)
    assert "不能保存" in refused(Kind.TEXT, "a\x00b")
    assert "不能保存" in refused(Kind.TEXT, "a\ud800")
    assert "文字" in refused(Kind.TEXT, 5)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("220102", "220102"),
        ("220102000", "220102"),
        ("220102000000", "220102"),
        ("220102001", "220102001"),
        ("220102001000", "220102001"),
        ("220102001005", "220102001005"),
        ("J22CBS", "J22CBS"),
    ],
)
def test_area_codes_have_one_form(text: str, code: str) -> None:
    assert area_code(text) == code
    assert canonical(column(Kind.AREA), text) == code


@pytest.mark.parametrize("text", ["", "22", "2201021", "22010２", "j22", "J", "220102 ", "２２０１０２"])
def test_other_area_codes_are_refused(text: str) -> None:
    refused(Kind.AREA, text)


def test_ids_are_lower_case_uuids() -> None:
    assert canonical(column(Kind.ID), "01A0F4C2-C400-7000-B8E5-746EB34CB920") == "01a0f4c2-c400-7000-b8e5-746eb34cb920"
    refused(Kind.ID, "01a0f4c2c4007000b8e5746eb34cb920")
    refused(Kind.REF, 5)


def test_dates_are_calendar_days() -> None:
    assert canonical(column(Kind.DATE), "2028-02-29") == "2028-02-29"
    for value in ("2026-02-29", "2026-1-1", "2026-01-01T00:00:00Z", 20260101):
        refused(Kind.DATE, value)


def test_enumerations_name_what_is_allowed() -> None:
    assert canonical(column(Kind.ENUM, choice=COLOUR), "RED") == "RED"
    assert "BLUE、RED" in refused(Kind.ENUM, "GREEN", choice=COLOUR)
    refused(Kind.ENUM, ["RED"], choice=COLOUR)


def test_tags_are_a_sorted_set() -> None:
    assert canonical(column(Kind.TAGS), ["b", "a", "b"]) == ["a", "b"]
    refused(Kind.TAGS, "ab")
    refused(Kind.TAGS, ["a", 1])
    refused(Kind.TAGS, [str(number) for number in range(501)])


def test_items_have_ids_of_their_own() -> None:
    assert canonical(column(Kind.ITEMS), [{"id": "b", "x": 1}, {"id": "a"}]) == [{"id": "b", "x": 1}, {"id": "a"}]
    bad: Any
    for bad in ([{"x": 1}], [{"id": "a"}, {"id": "a"}], [{"id": ""}], [{"id": 1}], ["a"], {}):
        refused(Kind.ITEMS, bad)


def test_json_has_a_depth_and_no_infinities() -> None:
    deep: Any = 1
    for _ in range(17):
        deep = [deep]
    assert "嵌套" in refused(Kind.JSON, deep)
    refused(Kind.JSON, {"x": float("nan")})
    assert canonical(column(Kind.JSON), {"x": [1, None, "字"]}) == {"x": [1, None, "字"]}


POSITION = {"lon": 125.3, "lat": 43.9, "datum": "GCJ02", "accuracy": 8, "provider": "gps", "taken_at": "2026-11-22T03:10:55+00:00"}


def test_a_position_is_kept_as_received() -> None:
    assert canonical(column(Kind.POSITION), POSITION) == POSITION
    assert canonical(column(Kind.POSITION), {"lon": 125.3, "lat": 43.9, "datum": "WGS84", "takenAt": "2026-11-22T11:10:55+08:00"}) == {
        "lon": 125.3,
        "lat": 43.9,
        "datum": "WGS84",
        "accuracy": None,
        "provider": None,
        "taken_at": "2026-11-22T03:10:55+00:00",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"datum": None},
        {"datum": "WGS-84"},
        {"lon": 181},
        {"lat": "43.9"},
        {"lat": 91},
        {"lon": True},
        {"accuracy": -1},
        {"lon": float("nan")},
    ],
)
def test_positions_without_datum_or_place_are_refused(change: dict[str, Any]) -> None:
    refused(Kind.POSITION, {**POSITION, **change})


def test_a_document_keeps_what_is_known_and_names_each_fault() -> None:
    record = registry.load()["enterprise"]
    document, problems = canonical_document(record, {"name": "演示", "employees": -1, "size": "HUGE", "unknown": 1, "remark": None})
    assert document == {"name": "演示", "remark": None}
    assert [(problem.code, problem.field) for problem in problems] == [("VALUE_INVALID", "employees"), ("VALUE_INVALID", "size")]
    assert "从业人数（employees）" in problems[0].message
