"""How counts of persons are published: so that no answer, and no difference of two answers, says that there is one more or one less. Pure.

A count is rounded at random to one of the two nearest multiples of five, and shown from ten on. The chance is fixed by who is counted
(the sum of secret numbers of the persons): the same persons give the same figure whatever the question (no averaging), other persons an
unrelated one, so that the difference of two figures is 0 or 5 whether a person came or not. Zero is hidden like four: "none yesterday,
hidden today" would name a person. Days are whole months: nobody can ask before and after. Source: the cell-key method of the Australian
Bureau of Statistics (Fraser and Wooton 2005), base 5; facts.md h (cells under 5 are suppressed).
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta

BASE = 5
SHOWN_FROM = 10


def published(count: int, persons: int, secret: bytes) -> int | None:
    """A multiple of 5 near `count`, at least 10, or None: suppressed.

    persons  the sum of the hashes of who is counted: equal for equal sets, whatever was asked
    """
    below = count - count % BASE
    rounded = below + (BASE if count % BASE > _chance(count, persons, secret) else 0)
    return rounded if rounded >= SHOWN_FROM else None


def month_end(on: date) -> date:
    """The last day of the last whole month up to `on`."""
    return on if (on + timedelta(days=1)).day == 1 else on.replace(day=1) - timedelta(days=1)


def _chance(count: int, persons: int, secret: bytes) -> int:
    """0 to 4, evenly."""
    digest = hashlib.blake2b(f"{count}/{persons}".encode(), key=secret[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") % BASE
