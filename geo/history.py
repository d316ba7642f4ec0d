"""Which codes were in use when, read from the events of the code history. Pure.

The source knows years, not days: a change is dated 31 December of its year. One row stands for a code, its latest use;
earlier uses of a code that was given out twice are in `area_succession` alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

from geo.sources import BEGINNING, Change
from schema.areas import ROOT, Level

# Kinds after which a code stands for something new. In the others an area that exists takes something in.
FOUNDING = frozenset({"同名改码", "新设", "码位改派", "撤县设市", "撤县设区", "撤地设市", "撤市设区", "撤旗设区"})
REUSED = "码位改派"


@dataclass(frozen=True)
class Retired:
    """A code that is no longer in use, with the name and the parent that it had last."""

    code: str
    name: str
    level: Level
    parent: str
    valid_from: date
    valid_to: date


def day(year: int) -> date:
    """The day by which a change of `year` counts."""
    return date(year, 12, 31)


def founded(changes: Iterable[Change]) -> dict[str, list[date]]:
    """When each code came to stand for something new, in order."""
    found: dict[str, set[date]] = defaultdict(set)
    for change in changes:
        if change.new_code and _founds(change):
            found[change.new_code].add(day(change.year))
    return {code: sorted(days) for code, days in found.items()}


def retired(changes: Iterable[Change], current: Collection[str]) -> list[Retired]:
    """Codes that the history ends and `current` no longer has."""
    known = list(changes)
    last = {change.old_code: change for change in sorted(known, key=lambda change: change.year) if _ends(change, current)}
    starts = founded(known)
    codes = set(current) | {code for code in last if code}
    return [_retired(code, change, starts.get(code, []), codes) for code, change in sorted(last.items()) if code]


def _founds(change: Change) -> bool:
    if change.filled_later or change.kind not in FOUNDING:
        return False
    return change.old_code != change.new_code or change.kind == REUSED


def _ends(change: Change, current: Collection[str]) -> bool:
    return change.old_code is not None and change.old_code != change.new_code and change.old_code not in current


def _retired(code: str, change: Change, starts: list[date], codes: Collection[str]) -> Retired:
    until = day(change.year)
    since = max((start for start in starts if start < until), default=min(BEGINNING, day(change.year - 1)))
    return Retired(code, change.old_name or code, change.level, _parent(code, change, codes), since, until)


def _parent(code: str, change: Change, codes: Collection[str]) -> str:
    """The nearest parent that has a row: the history's, else the city's by the digits, else the province's."""
    for candidate in (change.old_parent, f"{code[:4]}00", f"{code[:2]}0000"):
        # By depth, so that noise of the early years makes no cycle.
        if candidate and candidate in codes and _depth(candidate) < _depth(code):
            return candidate
    return ROOT


def _depth(code: str) -> int:
    return 1 if code.endswith("0000") else 2 if code.endswith("00") else 3
