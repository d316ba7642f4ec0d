from math import cos, hypot, nan, radians

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.coordinates import CHINA_BOX, Datum, from_wgs84, many_to_wgs84, to_wgs84
from schema.problems import Refused

MILLIMETRE = 0.001
west, south, east, north = CHINA_BOX
# A margin of 0.05 degrees: at the very edge the shifted point leaves the box and is refused.
longitudes = st.floats(west + 0.05, east - 0.05)
latitudes = st.floats(south + 0.05, north - 0.05)
shifted = st.sampled_from([Datum.GCJ02, Datum.BD09])


def metres(first: tuple[float, float], second: tuple[float, float]) -> float:
    return hypot((first[0] - second[0]) * 111_320 * cos(radians(first[1])), (first[1] - second[1]) * 110_950)


@given(longitudes, latitudes, shifted)
def test_a_round_trip_through_any_datum_moves_less_than_a_millimetre(lon: float, lat: float, datum: Datum) -> None:
    assert metres(to_wgs84(*from_wgs84(lon, lat, datum), datum), (lon, lat)) < MILLIMETRE
    assert metres(from_wgs84(*to_wgs84(lon, lat, datum), datum), (lon, lat)) < MILLIMETRE


@given(st.floats(-180, 180), st.floats(-90, 90), st.sampled_from([Datum.WGS84, Datum.CGCS2000]))
def test_the_national_datum_is_left_as_it_is(lon: float, lat: float, datum: Datum) -> None:
    assert to_wgs84(lon, lat, datum) == from_wgs84(lon, lat, datum) == (lon, lat)


@pytest.mark.parametrize(
    ("lon", "lat", "gcj02", "bd09"),
    # Domain facts, section i: Changchun, Meihekou, Yanji, Ziyang; computed there with an independent implementation.
    [(125.3235, 43.8171, 586, 1384), (125.7128, 42.5392, 558, 1368), (129.5089, 42.8912, 627, 1436), (104.6276, 30.1289, 392, 931)],
)
def test_offsets_have_the_known_size(lon: float, lat: float, gcj02: float, bd09: float) -> None:
    assert metres(from_wgs84(lon, lat, Datum.GCJ02), (lon, lat)) == pytest.approx(gcj02, rel=0.02)
    assert metres(from_wgs84(lon, lat, Datum.BD09), (lon, lat)) == pytest.approx(bd09, rel=0.02)


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
@pytest.mark.parametrize("position", [(0.0, 51.5), (139.7, 35.7), (116.4, -39.9), (39.9, 116.4 - 90)])
def test_a_chinese_datum_outside_china_is_refused(datum: Datum, position: tuple[float, float]) -> None:
    for convert in (to_wgs84, from_wgs84):
        with pytest.raises(Refused) as refused:
            convert(*position, datum)
        assert refused.value.problems[0].code == "DATUM_OUTSIDE_CHINA"


@pytest.mark.parametrize("position", [(181.0, 0.0), (0.0, 90.1), (43.8, 125.3), (nan, 1.0), (float("inf"), 1.0)])
def test_an_impossible_position_is_refused(position: tuple[float, float]) -> None:
    with pytest.raises(Refused) as refused:
        to_wgs84(*position, Datum.WGS84)
    assert refused.value.problems[0].code == "POSITION_IMPOSSIBLE"


def test_an_unknown_datum_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        to_wgs84(125.3, 43.8, "NAD27")
    assert refused.value.problems[0].code == "DATUM_UNKNOWN"


def test_a_batch_equals_its_members() -> None:
    positions = [(125.3, 43.8), (104.6, 30.1)]
    assert many_to_wgs84(positions, "GCJ02") == [to_wgs84(*position, "GCJ02") for position in positions]
