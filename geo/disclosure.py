"""How counts of persons are published: so that no answer, and no difference of answers, says that there is one more or one less.

In each smallest area the count is rounded at random to one of the two nearest multiples of five; every other area, of whichever tree, is
the sum of these. So subtracting one answer from others leads back to a rounded count at most: an n of which only n ± 4 is known. The
chance is fixed by a secret and by who is counted: the same persons give the same figure however often and however they are asked for,
other persons an unrelated one, so that two figures may differ by 5 or not whether somebody came or not. What is below ten is not shown
at all, zero neither: "none yesterday, hidden today" would name a person. Only the ends of whole months are published: nobody can ask
before and after. After the cell-key method of the Australian Bureau of Statistics (Fraser and Wooton 2005), base 5; facts.md h asks for
cells under 5 to be hidden.
"""

from __future__ import annotations

from datetime import date, timedelta

BASE = 5
SHOWN_FROM = 10

PERSONS = "sum(hashtextextended({0}::text, 0) & 2147483647)"
"""SQL of who is in a group: equal for equal sets."""


def rounded(count: str, persons: str) -> str:
    """SQL of a count of persons as it may be added up: rounded up as often as its remainder says."""
    key = "(SELECT secret FROM indicator_secret)"
    digest = f"sha256({key} || convert_to({count} || '/' || {persons}, 'UTF8'))"
    chance = f"(get_byte({digest}, 0) * 256 + get_byte({digest}, 1)) % {BASE}"
    return f"({count} - {count} % {BASE} + CASE WHEN {count} % {BASE} > {chance} THEN {BASE} ELSE 0 END)"


def published(count: int) -> int | None:
    """A sum of rounded counts, if it may be shown."""
    return count if count >= SHOWN_FROM else None


def month_end(on: date) -> date:
    """The last day of the last whole month up to `on`; before the first one that there is, its first day."""
    first = on.replace(day=1)
    if on == date.max or (on + timedelta(days=1)).day == 1:
        return on
    return first if first == date.min else first - timedelta(days=1)
