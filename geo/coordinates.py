"""Datums of Chinese positions, both ways. Pure: no session, no clock.

GCJ-02 and BD-09 are public approximations of unpublished transformations: exact among themselves, about 3 m off the
official encryption on the mean (domain facts, section i). No claim better than 5 m, never for boundary disputes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import atan2, cos, hypot, isfinite, pi, radians, sin, sqrt

from schema.problems import Problem, Refused

Position = tuple[float, float]
"""lon, lat in degrees."""


class Datum(StrEnum):
    WGS84 = "WGS84"  # GPS and BeiDou chips
    CGCS2000 = "CGCS2000"  # the legal national datum; equal to WGS 84 within 1 m, below any phone's accuracy
    GCJ02 = "GCJ02"  # 高德, 腾讯, 微信
    BD09 = "BD09"  # 百度, degrees (bd09ll)


# Krasovsky 1940 as the public GCJ-02 formula uses it, and the box in which it is applied.
SEMI_MAJOR_AXIS = 6378245.0
ECCENTRICITY_SQUARED = 0.00669342162296594323
CHINA_BOX = (72.004, 0.8293, 137.8347, 55.8271)
# 1, 2, 3 rounds leave 2 m, 1 cm, 0.01 mm (measured, geo/README.md); 1e-13 degrees is 10 nm.
ROUNDS = 20
CONVERGED = 1e-13
X_PI = pi * 3000.0 / 180.0


def to_wgs84(lon: float, lat: float, datum: Datum | str) -> Position:
    """The WGS 84 position of a point received in `datum`.

    Raises Refused: DATUM_UNKNOWN, POSITION_IMPOSSIBLE, and DATUM_OUTSIDE_CHINA for GCJ-02 or BD-09 outside the box.
    """
    return _convert(lon, lat, datum, _TO_WGS84)


def from_wgs84(lon: float, lat: float, datum: Datum | str) -> Position:
    """What a device on `datum` shows at a WGS 84 position; refuses like `to_wgs84`."""
    return _convert(lon, lat, datum, _FROM_WGS84)


def many_to_wgs84(positions: Iterable[Position], datum: Datum | str) -> list[Position]:
    """`to_wgs84` for each; one bad position refuses the lot."""
    return [to_wgs84(lon, lat, datum) for lon, lat in positions]


def in_china_box(lon: float, lat: float) -> bool:
    """Whether the public GCJ-02 formula is applied here; a box, not the border."""
    west, south, east, north = CHINA_BOX
    return west <= lon <= east and south <= lat <= north


def _convert(lon: float, lat: float, datum: Datum | str, table: Mapping[Datum, Callable[[float, float], Position]]) -> Position:
    known = _datum(datum)
    _check(lon, lat)
    if known not in table:
        return lon, lat
    if not in_china_box(lon, lat):
        raise Refused(Problem("DATUM_OUTSIDE_CHINA", f"{known.value} 只用于中国境内，该坐标不在其范围内。请改用 WGS84。", "position"))
    return table[known](lon, lat)


def _datum(datum: Datum | str) -> Datum:
    try:
        return Datum(datum)
    except ValueError:
        raise Refused(Problem("DATUM_UNKNOWN", f"坐标系 {datum} 未知，可用：{'、'.join(Datum)}。", "position")) from None


def _check(lon: float, lat: float) -> None:
    if not (isfinite(lon) and isfinite(lat) and -180 <= lon <= 180 and -90 <= lat <= 90):
        raise Refused(Problem("POSITION_IMPOSSIBLE", "经度须在 -180 到 180 之间，纬度须在 -90 到 90 之间（经度在前）。", "position"))


def _wgs84_to_gcj02(lon: float, lat: float) -> Position:
    east, north = _gcj02_offset(lon, lat)
    return lon + east, lat + north


def _gcj02_offset(lon: float, lat: float) -> Position:
    x, y = lon - 105.0, lat - 35.0
    waves = (20.0 * sin(6.0 * x * pi) + 20.0 * sin(2.0 * x * pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + waves
    north += (20.0 * sin(y * pi) + 40.0 * sin(y / 3.0 * pi)) * 2.0 / 3.0
    north += (160.0 * sin(y / 12.0 * pi) + 320.0 * sin(y * pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + waves
    east += (20.0 * sin(x * pi) + 40.0 * sin(x / 3.0 * pi)) * 2.0 / 3.0
    east += (150.0 * sin(x / 12.0 * pi) + 300.0 * sin(x / 30.0 * pi)) * 2.0 / 3.0
    return _metres_to_degrees(east, north, lat)


def _metres_to_degrees(east: float, north: float, lat: float) -> Position:
    magic = 1.0 - ECCENTRICITY_SQUARED * sin(radians(lat)) ** 2
    meridian = SEMI_MAJOR_AXIS * (1.0 - ECCENTRICITY_SQUARED) / (magic * sqrt(magic))
    parallel = SEMI_MAJOR_AXIS / sqrt(magic) * cos(radians(lat))
    return east * 180.0 / (parallel * pi), north * 180.0 / (meridian * pi)


def _gcj02_to_bd09(lon: float, lat: float) -> Position:
    radius = hypot(lon, lat) + 0.00002 * sin(lat * X_PI)
    angle = atan2(lat, lon) + 0.000003 * cos(lon * X_PI)
    return radius * cos(angle) + 0.0065, radius * sin(angle) + 0.006


def _wgs84_to_bd09(lon: float, lat: float) -> Position:
    return _gcj02_to_bd09(*_wgs84_to_gcj02(lon, lat))


def _inverse(forward: Callable[[float, float], Position]) -> Callable[[float, float], Position]:
    """The inverse of a small, smooth shift by fixed-point iteration."""

    def backward(lon: float, lat: float) -> Position:
        guess_lon, guess_lat = lon, lat
        for _ in range(ROUNDS):
            seen_lon, seen_lat = forward(guess_lon, guess_lat)
            east, north = lon - seen_lon, lat - seen_lat
            guess_lon, guess_lat = guess_lon + east, guess_lat + north
            if abs(east) < CONVERGED and abs(north) < CONVERGED:
                break
        return guess_lon, guess_lat

    return backward


# WGS 84 and CGCS2000 are absent: nothing is done to them.
_FROM_WGS84 = {Datum.GCJ02: _wgs84_to_gcj02, Datum.BD09: _wgs84_to_bd09}
_TO_WGS84 = {datum: _inverse(forward) for datum, forward in _FROM_WGS84.items()}
