"""Numbers that change with the law, as dated data: `schema/catalogue/thresholds.csv`. Pure once read."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from functools import cache

from schema.catalogue import FOLDER, Confidence


@dataclass(frozen=True)
class Threshold:
    """A number that holds from `valid_from` until the day before `valid_to`."""

    name: str
    value: int
    unit: str
    valid_from: date
    valid_to: date | None
    source: str
    confidence: Confidence


@cache
def thresholds() -> tuple[Threshold, ...]:
    """Every version, in the order of the file."""
    with (FOLDER / "thresholds.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_threshold(row) for row in csv.DictReader(file))


def threshold(name: str, on: date | None = None) -> Threshold:
    """The version that holds on a day; before the first there is only the first to go by, and None asks for the latest.

    Raises KeyError for a name that the file doesn't have.
    """
    known = [each for each in thresholds() if each.name == name]
    begun = [each for each in known if on is None or each.valid_from <= on]
    if not known:
        raise KeyError(name)
    return begun[-1] if begun else known[0]


def _threshold(row: dict[str, str]) -> Threshold:
    return Threshold(
        row["name"],
        int(row["value"]),
        row["unit"],
        date.fromisoformat(row["valid_from"]),
        date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
        row["source"],
        Confidence(row["confidence"]),
    )
