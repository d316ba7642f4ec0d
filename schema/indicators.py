"""The vocabulary in which an indicator is declared. Pure data.

A module of `schema/records/` declares beside its `RECORD` what of it counts, as `MEASURES`, and the indicators made of measures, as
`INDICATORS`; those of records that do not exist yet stand in `schema/indicators_awaited.py`. See geo/README.md for what is made of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache, cached_property
from types import MappingProxyType

import schema.records
from schema.areas import Level
from schema.catalogue import Confidence
from schema.thresholds import threshold

ZONE = "Asia/Shanghai"
"""Days are China's: an inspection at 20:00 UTC belongs to the next day."""


def day(timestamp: str) -> str:
    """SQL of the day of a timestamp."""
    return f"({timestamp} AT TIME ZONE '{ZONE}')::date"


class Period(StrEnum):
    """For how long an event counts."""

    YEAR = "Y"
    QUARTER = "Q"
    MONTH = "M"


@dataclass(frozen=True)
class Measure:
    """Rows of a record that count, each from one day to another.

    Conditions are SQL over `t`, the row as it stood, and `p`, the row of its `scope.parent`. What the row doesn't date holds from the day
    on which it was changed until the day of the next change; the first version is taken to have been so before.

    holds         whether it counts
    since, until  first day on which it does, first on which it no longer does; "" or null: no bound
    on            instead of these: the day of an event, which counts from then to the end of its month, quarter, year
    unit          a REF column: what counts is what it names, once however many rows there are
    amount        how much a row counts: an integer, 1 unless declared; not together with `unit`
    personal      counts persons: published by geo/disclosure.py alone
    kept          whether values are kept up; a small register is counted when asked
    """

    name: str
    record: str
    label: str
    holds: str = "true"
    since: str = ""
    until: str = ""
    on: str = ""
    unit: str = ""
    amount: str = ""
    personal: bool = False
    kept: bool = True


@dataclass(frozen=True)
class Bound:
    """An area has at least `least` of a measure; a text names a threshold, `fewer` turns it round."""

    measure: str
    least: int | str = 1
    fewer: bool = False

    def number(self, on: date) -> int:
        return self.least if isinstance(self.least, int) else threshold(self.least, on).value


@dataclass(frozen=True)
class Areas:
    """Counts areas of a level instead of records: those that meet every bound."""

    level: Level
    bounds: tuple[Bound, ...] = ()
    label: str = ""


Side = str | Areas
"""What is counted: a measure by its name, or areas."""


@dataclass(frozen=True)
class Indicator:
    """A share, a ratio or (without denominator) a number, for any area.

    unit     "%" for a share of 0 to 1, else what one is counted in
    scope    who is meant; the same name with another scope is another indicator
    version  of the formula: it grows when the meaning of past values changes
    source   seed and words, or what else it comes from
    waits    records that must come first; the declaration says what will be counted
    """

    id: str
    label: str
    numerator: Side = ""
    denominator: Side = ""
    unit: str = "%"
    scope: str = ""
    version: int = 1
    source: str = ""
    confidence: Confidence = Confidence.LIKELY
    note: str = ""
    waits: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.numerator, self.denominator

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The measures that it needs, in order of name."""
        bounds = [bound.measure for side in self.sides if isinstance(side, Areas) for bound in side.bounds]
        return tuple(sorted({*bounds, *(side for side in self.sides if isinstance(side, str) and side)}))


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All measures and indicators by name, in order of name."""

    measures: Mapping[str, Measure]
    indicators: Mapping[str, Indicator]

    def personal(self, indicator: Indicator) -> bool:
        """Whether persons are behind it: it is then published as of whole months only."""
        return any(self.measures[name].personal for name in indicator.measures)

    def periodic(self, indicator: Indicator) -> bool:
        """Whether it counts events of a period."""
        return any(self.measures[name].on for name in indicator.measures)

    def of_record(self, name: str) -> tuple[Measure, ...]:
        return tuple(measure for measure in self.measures.values() if measure.record == name)


@cache
def catalogue() -> Catalogue:
    """What this release declares."""
    names = [f"schema.records.{module.name}" for module in pkgutil.iter_modules(schema.records.__path__)]
    modules = [importlib.import_module(name) for name in [*names, "schema.indicators_awaited"]]
    return catalogue_of(
        [measure for module in modules for measure in getattr(module, "MEASURES", ())],
        [indicator for module in modules for indicator in getattr(module, "INDICATORS", ())],
    )


def catalogue_of(measures: list[Measure], indicators: list[Indicator]) -> Catalogue:
    """Raises ValueError for a name that is declared twice or missing."""
    by_name = {measure.name: measure for measure in sorted(measures, key=lambda each: each.name)}
    by_id = {indicator.id: indicator for indicator in sorted(indicators, key=lambda each: each.id)}
    missing = {name for indicator in indicators for name in indicator.measures} - set(by_name)
    if missing or len(by_name) < len(measures) or len(by_id) < len(indicators):
        raise ValueError(f"measures or indicators are declared twice, or missing: {sorted(missing)}")
    return Catalogue(MappingProxyType(by_name), MappingProxyType(by_id))
