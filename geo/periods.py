"""Periods as people write them: 2020, 2020Q3, 2020-07. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from schema.indicators import Period

_FORM = re.compile(r"(\d{4})(?:Q([1-4])|-(0[1-9]|1[0-2]))?")
_MONTHS = {Period.YEAR: 12, Period.QUARTER: 3, Period.MONTH: 1}


@dataclass(frozen=True)
class Span:
    """A period with its first and last day."""

    name: str
    length: Period
    first: date
    last: date

    def before(self) -> Span:
        """The period of the same length that ends where this begins."""
        return around(self.first - timedelta(days=1), self.length)


def parse(text: str) -> Span | None:
    """The period that a text names; None if it names none."""
    found = _FORM.fullmatch(text)
    if not found or found[1] == "0000":
        return None
    year, quarter, month = int(found[1]), found[2], found[3]
    if quarter:
        return around(date(year, 3 * int(quarter), 1), Period.QUARTER)
    return around(date(year, int(month or 1), 1), Period.MONTH if month else Period.YEAR)


def around(day: date, length: Period) -> Span:
    """The period of a length in which a day lies."""
    months = _MONTHS[length]
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    after = first.year * 12 + first.month - 1 + months
    last = date(after // 12, after % 12 + 1, 1) - timedelta(days=1) if after // 12 <= date.max.year else date.max
    return Span(_name(first, length), length, first, last)


def latest(day: date, length: Period, count: int) -> list[Span]:
    """The last `count` periods up to the one of a day, oldest first; fewer where time begins."""
    found = [around(day, length)]
    while len(found) < count and found[-1].first > date.min:
        found.append(found[-1].before())
    return found[::-1]


def _name(first: date, length: Period) -> str:
    if length is Period.YEAR:
        return f"{first:%Y}"
    return f"{first.year}Q{first.month // 3 + 1}" if length is Period.QUARTER else f"{first:%Y-%m}"
