"""How counts of persons are published: so that no answer, and no difference of answers, says that a cell has one to four.

In each smallest area the count goes to a multiple of five: down or up, by a secret step of the area's own, as often up as its remainder
says; every other area, of whichever tree, is the sum of these. The step is the same for all measures and days. So whatever is asked, the
same answers come from a world in which every small cell holds none, five or ten, and who subtracts ends there: of an n he knows n ± 4. More
persons never round to less: with a chance of its own for each group, a sequence of groups that only grow (who was diagnosed by then, who
is due by then) could show 5, 0, 5, 0, which is 1, 2, 3, 4 and nothing else. Where a number decides (a township has 100), small cells
count as rounded too.

What is below ten is not shown at all, zero neither: "none yesterday, hidden today" would name a person. Only the ends of whole months that
are past are published, and who was entered this month counts from the next on, for every day: nobody can ask before and after. A group that
people leave by themselves (who was visited within a year) is known only since there is a register: before, each person's last visit alone
would decide, and who comes and goes exactly a year later does not come and go in fives. After the Australian Bureau of Statistics (Fraser
and Wooton 2005), base 5; facts.md h asks for cells under 5 to be hidden.
"""

from __future__ import annotations

from datetime import date, timedelta

from schema.indicators import day

BASE = 5
SHOWN_FROM = 10


def rounded(count: str, area: str) -> str:
    """SQL of a count of persons in a smallest area as it may be added up."""
    digest = f"sha256((SELECT secret FROM indicator_secret) || convert_to({area}, 'UTF8'))"
    step = f"(get_byte({digest}, 0) * 256 + get_byte({digest}, 1)) % {BASE}"
    return f"({count} + {step} - ({count} + {step}) % {BASE})"


def decided(count: str, shown: str) -> str:
    """SQL of a count of persons in a smallest area as thresholds take it: the true one, unless it is small."""
    return f"CASE WHEN {shown} >= {SHOWN_FROM} THEN {count} ELSE {shown} END"


def entered(record: str, document: str, until: str) -> str:
    """SQL: the document was in the register on the day `until`, or came with the register's first ones."""
    late = f"{day('e.created_at')} > greatest({until}, {first_day(record)})"
    return f"NOT EXISTS (SELECT FROM {record} e WHERE e.id = {document} AND {late})"


def first_day(record: str) -> str:
    """SQL of the day on which the register began; null for an empty one."""
    return f"(SELECT {day('e.created_at')} FROM {record} e ORDER BY e.id LIMIT 1)"


def known_from(first: date) -> date:
    """The first day for which a group that people leave by themselves is published: the end of the month before the register began."""
    return month_end(first - timedelta(days=1))


def published(count: int) -> int | None:
    """A sum of rounded counts, if it may be shown."""
    return count if count >= SHOWN_FROM else None


def settled(on: date, today: date) -> date:
    """The day of which persons are published when `on` is asked."""
    return month_end(min(on, today - timedelta(days=1)))


def month_end(on: date) -> date:
    """The last day of the last whole month up to `on`; before the first one that there is, its first day."""
    first = on.replace(day=1)
    if on == date.max or (on + timedelta(days=1)).day == 1:
        return on
    return first if first == date.min else first - timedelta(days=1)
