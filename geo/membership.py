"""Who looks after what beside the division tree: a jurisdiction gains, loses or borrows an area, and the chains follow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo.versions import rechain
from schema.areas import Tree
from schema.problems import Problem, Refused

PERIOD = Problem("PERIOD_INVALID", "结束日期应晚于开始日期", "until")
MEMBER = Problem("MEMBERSHIP_EXISTS", "该区划在此期间已由该管辖区管辖", "area")
NO_MEMBER = Problem("MEMBERSHIP_UNKNOWN", "该区划不由该管辖区管辖", "area")
LATER = Problem("MEMBERSHIP_LATER", "日期应为今天或以前：将来的归属请在生效之日登记", "since")
_KEPT = "members"
"""Name in `area_source` of the day whose memberships the chains hold."""


@dataclass(frozen=True)
class Membership:
    """`valid_to` is the first day without it; None: no end. `note` says on what paper it stands."""

    jurisdiction: str
    area: str
    valid_from: date
    valid_to: date | None
    note: str


_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('zhijian areas'))")
_TREE_OF = text("SELECT tree FROM area WHERE code = :code AND valid_to IS NULL")
_OPEN = text("""
SELECT jurisdiction_code, area_code, valid_from, valid_to, note FROM jurisdiction_member
 WHERE jurisdiction_code = :jurisdiction AND area_code = :area AND (valid_to IS NULL OR valid_to > :since)""")
_GAIN = text("""
INSERT INTO jurisdiction_member (jurisdiction_code, area_code, valid_from, valid_to, note)
VALUES (:jurisdiction, :area, :since, :until, :note)
ON CONFLICT (jurisdiction_code, area_code, valid_from) DO UPDATE SET valid_to = excluded.valid_to, note = excluded.note""")
_LOSE = text("""
UPDATE jurisdiction_member SET valid_to = :since
 WHERE jurisdiction_code = :jurisdiction AND area_code = :area AND (valid_to IS NULL OR valid_to > :since)""")
_BEGUN_OR_ENDED = text("""
SELECT s.version::date FROM area_source s WHERE s.name = :name AND s.version::date < current_date AND EXISTS (
  SELECT FROM jurisdiction_member m WHERE (m.valid_from > s.version::date AND m.valid_from <= current_date)
     OR (m.valid_to > s.version::date AND m.valid_to <= current_date))""")
_NOTE = text("""
INSERT INTO area_source (name, version)
SELECT :name, current_date::text WHERE NOT EXISTS (SELECT FROM area_source WHERE name = :name AND version = current_date::text)
ON CONFLICT (name) DO UPDATE SET version = current_date::text""")
_LIST = text("""
SELECT jurisdiction_code, area_code, valid_from, valid_to, note FROM jurisdiction_member
 WHERE jurisdiction_code = :jurisdiction ORDER BY valid_from, area_code""")


async def gain(
    connection: AsyncConnection, jurisdiction: str, area: str, since: date, until: date | None, note: str, today: date
) -> tuple[Membership, int]:
    """Lets `jurisdiction` look after `area` and all below it; with `until`, as a loan. The membership, and how many chains changed.

    Raises Refused: AREA_UNKNOWN, PERIOD_INVALID, MEMBERSHIP_EXISTS, MEMBERSHIP_LATER, MEMBERSHIP_CIRCULAR.
    """
    await connection.execute(_LOCK)
    await _must_be(connection, jurisdiction, Tree.JURISDICTION, "jurisdiction")
    await _must_be(connection, area, None, "area")
    if since > today:
        raise Refused(LATER)
    if until is not None and until <= max(since, today):
        raise Refused(PERIOD)
    made = Membership(jurisdiction, area, since, until, note)
    if (await connection.execute(_OPEN, {"jurisdiction": jurisdiction, "area": area, "since": since})).first():
        raise Refused(MEMBER)
    await connection.execute(_GAIN, {"jurisdiction": jurisdiction, "area": area, "since": since, "until": until, "note": note})
    return made, await _follow(connection, today)


async def lose(connection: AsyncConnection, jurisdiction: str, area: str, today: date) -> tuple[Membership, int]:
    """Ends the membership today. Raises Refused MEMBERSHIP_UNKNOWN."""
    await connection.execute(_LOCK)
    row = (await connection.execute(_OPEN, {"jurisdiction": jurisdiction, "area": area, "since": today})).first()
    if row is None:
        raise Refused(NO_MEMBER)
    await connection.execute(_LOSE, {"jurisdiction": jurisdiction, "area": area, "since": today})
    return Membership(row[0], row[1], row[2], today, row[4]), await _follow(connection, today)


async def members(connection: AsyncConnection, jurisdiction: str) -> list[Membership]:
    """All memberships that a jurisdiction has or had, oldest first."""
    return [Membership(*row) for row in await connection.execute(_LIST, {"jurisdiction": jurisdiction})]


async def keep_memberships(connection: AsyncConnection) -> None:
    """Once a day: write the chains anew if a membership began or ended since they were written."""
    if await connection.scalar(_BEGUN_OR_ENDED, {"name": _KEPT}) is not None:
        await connection.execute(_LOCK)
        await rechain(connection, await _today(connection))
    await connection.execute(_NOTE, {"name": _KEPT})


async def _follow(connection: AsyncConnection, today: date) -> int:
    changed = await rechain(connection, today)
    await connection.execute(_NOTE, {"name": _KEPT})
    return len(changed)


async def _today(connection: AsyncConnection) -> date:
    found: date = await connection.scalar(text("SELECT current_date"))
    return found


async def _must_be(connection: AsyncConnection, code: str, tree: Tree | None, field: str) -> None:
    found = await connection.scalar(_TREE_OF, {"code": code})
    if found is None or (tree is not None and found != tree):
        raise Refused(Problem("AREA_UNKNOWN", f"没有代码为 {code} 的{'管辖区' if tree else '区划'}", field))
