"""What a request for features asks for, read from its query parameters. Pure: values in, values out.

A parameter that is not known or does not fit is refused by name, as OGC API - Features wants; nothing is guessed or left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schema.indicators import ZONE
from schema.problems import Problem, Refused
from schema.values import area_code

DEFAULT_LIMIT = 100
GLANCE = 10
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


@dataclass(frozen=True)
class Box:
    """Degrees, WGS 84, borders included; `west` > `east` goes over the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def condition(self, geometry: str) -> str:
        """SQL for touching the box. It holds the numbers themselves: only then does the planner know how much is in the box."""
        # && drops most rows at a hundredth of the price, and finds the others by an index.
        return "(" + " OR ".join(f"({geometry} && {each} AND ST_Intersects({geometry}, {each}))" for each in self._envelopes()) + ")"

    def share(self, column: str) -> str:
        """SQL of the share of the rows of table `c.oid` that is in the box, as far as the planner knows."""
        return "(" + " + ".join(f"_postgis_selectivity(c.oid::regclass, '{column}', {each})" for each in self._envelopes()) + ")"

    def _envelopes(self) -> list[str]:
        spans = [(self.west, self.east)] if self.west <= self.east else [(self.west, 180.0), (-180.0, self.east)]
        return [self._envelope(west, east) for west, east in spans]

    def _envelope(self, west: float, east: float) -> str:
        """Of a diagonal, since a box may be as narrow as a line: ST_MakeEnvelope would make a polygon that is none."""
        ends = [f"ST_Point({float(x)!r}::float8, {float(y)!r}::float8, 4326)" for x, y in ((west, self.south), (east, self.north))]
        return f"ST_Envelope(ST_MakeLine({ends[0]}, {ends[1]}))"


@dataclass(frozen=True)
class Span:
    """From `first` to `last`, both included; None is open."""

    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Asked:
    """A page of features. `own` are the layer's own parameters as they came.

    glance  a few from the beginning, by which map programs learn the columns and the kind of geometry, and how many there are
    """

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    box: Box | None = None
    span: Span | None = None
    within: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    glance: bool = False


def invalid(name: str, message: str) -> Refused:
    return Refused(Problem("PARAMETER_INVALID", message, name))


def asked(given: Sequence[tuple[str, str]], most: int, own: Sequence[str]) -> Asked:
    """The request in its query parameters; `own` are the further ones of the layer. Raises Refused PARAMETER_…"""
    values = single(given, ["f", "limit", "after", "bbox", "datetime", "within", *own])
    number = limit(values.get("limit"), most)
    return Asked(
        limit=number,
        after=values.get("after"),
        box=box(values["bbox"]) if "bbox" in values else None,
        span=span(values["datetime"]) if "datetime" in values else None,
        within=area(values["within"]) if "within" in values else None,
        own={name: values[name] for name in own if name in values},
        glance="after" not in values and number <= GLANCE,
    )


def single(given: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """The parameters by name. Raises Refused for one that is not known, comes twice, or can't be stored."""
    found: dict[str, str] = {}
    for name, value in given:
        if name not in known:
            raise Refused(Problem("PARAMETER_UNKNOWN", f"没有参数 {name!r}；可用的有：{'、'.join(known)}。", name))
        if name in found:
            raise invalid(name, f"参数 {name} 只能出现一次。")
        if "\0" in value:
            raise invalid(name, f"参数 {name} 含有不能使用的字符。")
        found[name] = value
    if found.get("f", "json") not in ("json", "geojson"):
        raise invalid("f", "参数 f 只能是 json。")
    return found


def limit(text: str | None, most: int) -> int:
    """More than `most` is `most`, as the standard says."""
    if text is None:
        return min(DEFAULT_LIMIT, most)
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise invalid("limit", f"limit 应为 1 到 {most} 的整数，收到 {text!r}。")
    return min(int(text), most)


def box(text: str) -> Box:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 6:  # heights are taken and mean nothing here
        numbers = [*numbers[:2], *numbers[3:5]]
    return box_of(numbers, text)


def box_of(numbers: Sequence[float], shown: Any = None) -> Box:
    """Raises Refused unless they are a box in degrees."""
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise invalid("bbox", f"bbox 应为 最小经度,最小纬度,最大经度,最大纬度（WGS 84），收到 {shown or list(numbers)!r}。")
    west, south, east, north = numbers
    if max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
        raise invalid("bbox", "bbox 的经度应在 -180 与 180 之间，纬度在 -90 与 90 之间；先经度，后纬度。")
    if south > north:
        raise invalid("bbox", "bbox 的最小纬度大于最大纬度。")
    return Box(west, south, east, north)


def span(text: str) -> Span:
    """An instant, a day (of China), or two of these with / between, `..` for an open end."""
    parts = text.split("/")
    if len(parts) > 2 or (len(parts) == 1 and text in ("", "..")):
        raise _not_a_time(text)
    first, last = (_open(part) for part in (parts[0], parts[-1]))
    found = Span(first and first[0], last and last[1])
    if found.first and found.last and found.first > found.last:
        raise invalid("datetime", "datetime 的起始晚于结束。")
    return found


def _open(text: str) -> tuple[datetime, datetime] | None:
    return None if text in ("", "..") else _moment(text)


def _moment(text: str) -> tuple[datetime, datetime]:
    """First and last moment of what is named; years beyond all records count as the last that may have some."""
    try:
        if _DAY.fullmatch(text):
            day = min(max(date.fromisoformat(text), FIRST_DAY), LAST_DAY)
            start = datetime.combine(day, time(), ZoneInfo(ZONE)).astimezone(UTC)
            return start, start + timedelta(days=1) - timedelta(microseconds=1)
        if _INSTANT.fullmatch(text):
            at = datetime.fromisoformat(text.upper())
            at = at.replace(year=min(max(at.year, FIRST_DAY.year), LAST_DAY.year)).astimezone(UTC)
            return at, at
    except ValueError:
        pass
    raise _not_a_time(text)


def _not_a_time(text: str) -> Refused:
    form = "2026-11-22T03:00:00Z、2026-11-22，或以 / 隔开的起止（.. 表示不限）"
    return invalid("datetime", f"datetime 应写作 {form}，收到 {text!r}。")


def area(text: str, name: str = "within") -> str:
    try:
        return area_code(text)
    except ValueError as error:
        raise invalid(name, f"{name} {error}。") from None
