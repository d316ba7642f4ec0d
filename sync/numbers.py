"""Document numbers given out offline (文号): a device reserves a block before it leaves; each number is used, returned or voided, once.

A returned number is not handed out again: the device that had it may be wrong about not having used it. The gap has its reason.

A database that went back has forgotten blocks which stand on paper. So each series goes on `LOST` numbers further, and what lies between
belongs to nobody (device ""): whoever works there and comes with a document that bears such a number has it, the first who comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schema.actor import Actor, Role
from schema.base import Record
from schema.problems import Problem, Refused
from sync.identity import uuid7
from sync.moment import Moment
from sync.rows import Row

MOST: Final = 500  # numbers in one block
LARGEST: Final = 999_999
LOST: Final = 10_000
"""How many numbers of a series may have been handed out between a backup and the loss of what came after it."""
_SERIES: Final = re.compile(r"[A-Z]{2,12}")
_NUMBER: Final = re.compile(r"([A-Z]{2,12})-(\d{6}|\d{9})-(\d{4})-(\d{6})", re.ASCII)
_CHIEFS: Final = frozenset({Role.ADMIN, Role.SUPERVISOR})

NO_DEVICE = Problem("DEVICE_REQUIRED", "文号只能由设备预留")
BLOCK_UNKNOWN = Problem("BLOCK_UNKNOWN", "没有这个号段，或不归您处理", "blockId")
SETTLED = Problem("NUMBER_SETTLED", "其中有的文号不在这个号段内，或已使用、退回或作废", "numbers")
REASON_MISSING = Problem("REASON_MISSING", "请写明原因", "reason")
NOT_A_NUMBER = "NUMBER_INVALID"
NOT_RESERVED = "NUMBER_NOT_RESERVED"
TAKEN = "NUMBER_TAKEN"


class Fate(StrEnum):
    RETURNED = "RETURNED"
    VOID = "VOID"


@dataclass(frozen=True)
class Block:
    """Numbers `first` to `last` of a series; a document's number is `prefix` and six digits."""

    id: str
    series: str
    area_code: str
    year: int
    first: int
    last: int

    @property
    def prefix(self) -> str:
        return f"{self.series}-{self.area_code}-{self.year:04d}-"


async def reserve(connection: AsyncConnection, actor: Actor, series: str, area_code: str, count: int, moment: Moment) -> Block:
    """The next `count` numbers of a series of this year, for the actor's device alone. The caller commits. Raises Refused."""
    if actor.device_id is None:
        raise Refused(NO_DEVICE)
    if not _SERIES.fullmatch(series):
        raise Refused(Problem("SERIES_INVALID", "文号系列应为 2 至 12 个大写字母", "series"))
    if not 1 <= count <= MOST:
        raise Refused(Problem("COUNT_INVALID", f"一次可预留 1 至 {MOST} 个文号", "count"))
    await _require_area(connection, actor, area_code)
    key = {"series": series, "area": area_code, "year": moment.now.year}
    last: int = await connection.scalar(_ADVANCE, {**key, "count": count}) or 0
    if last > LARGEST:
        raise Refused(Problem("SERIES_EXHAUSTED", "本年度该系列文号已用完", "series"))
    block = Block(uuid7(moment.now), series, area_code, moment.now.year, last - count + 1, last)
    values = {**key, "id": block.id, "first": block.first, "last": last, "device": actor.device_id, "user": actor.user_id}
    await connection.execute(_RESERVE, {**values, "at": moment.now})
    return block


async def settle(
    connection: AsyncConnection, actor: Actor, block_id: str, numbers: Sequence[int], fate: Fate, reason: str, moment: Moment
) -> int:
    """Returns or voids unused numbers, all or none: of one's own device, or as a chief of the area. The caller commits. Raises Refused."""
    if not reason.strip():
        raise Refused(REASON_MISSING)
    block = (await connection.execute(_BLOCK, {"id": block_id, "scopes": list(actor.scopes)})).mappings().first()
    chief = block is not None and (actor.role is Role.ADMIN or (actor.role in _CHIEFS and block["inside"]))
    if block is None or not (chief or (actor.device_id is not None and block["device_id"] == actor.device_id)):
        raise Refused(BLOCK_UNKNOWN)
    wanted = sorted({number for number in numbers if block["first"] <= number <= block["last"]})
    values = {"id": block_id, "numbers": wanted, "fate": fate.value, "reason": reason[:500].replace("\0", ""), "user": actor.user_id}
    done = await connection.execute(_SETTLE, {**values, "at": moment.now})
    if done.rowcount != len(numbers):
        raise Refused(SETTLED)
    return done.rowcount


async def claim(connection: AsyncConnection, actor: Actor, record: Record, rows: Sequence[Row], moment: Moment) -> None:
    """Uses the numbers that rows of a device have set, and refuses rows whose number is not from a block of that device."""
    if not record.numbered or actor.device_id is None:
        return
    asked = {row.id: row for row in rows if record.numbered in row.changed and row.after and row.after[record.numbered] is not None}
    if not asked:
        return
    parsed = {row_id: _NUMBER.fullmatch(str(row.after and row.after[record.numbered])) for row_id, row in asked.items()}
    keys = {row_id: found.groups() for row_id, found in parsed.items() if found}
    owners = await _use(connection, actor, record, keys, moment)
    for row_id, row in asked.items():
        problem = _verdict(record, row_id, keys, owners)
        if problem:
            row.refuse(problem)


def _verdict(record: Record, row_id: str, keys: Mapping[str, tuple[str, ...]], owners: Mapping[str, str]) -> Problem | None:
    if row_id not in keys:
        return Problem(NOT_A_NUMBER, "文书编号格式不符：应为 系列-区划-年份-六位序号", record.numbered)
    owner = owners.get(row_id)
    if owner == row_id:
        return None
    if owner is None:
        return Problem(NOT_RESERVED, "该文书编号不在本设备预留的号段内", record.numbered)
    return Problem(TAKEN, "该文书编号已被使用、退回或作废", record.numbered)


async def _use(
    connection: AsyncConnection, actor: Actor, record: Record, keys: Mapping[str, tuple[str, ...]], moment: Moment
) -> dict[str, str]:
    """By document: whose the number is now ("" for a returned or void one); absent where the device has no such number."""
    if not keys:
        return {}
    series, areas, years, numbers = (list(part) for part in zip(*keys.values(), strict=True))
    asked = {"ids": list(keys), "series": series, "areas": areas, "years": [int(y) for y in years], "numbers": [int(n) for n in numbers]}
    who = {"device": actor.device_id, "user": actor.user_id, "record": record.name, "at": moment.now}
    await connection.execute(_CLAIM, {**asked, **who, "scopes": list(actor.scopes)})
    found = await connection.execute(_OWNERS, {**asked, "device": actor.device_id})
    return {row.id: row.owner for row in found}


async def forget(connection: Any) -> None:
    """On an asyncpg connection to a database that has lost what was handed out last: all of it stays its holders'."""
    async with connection.transaction():
        await connection.execute(_FORGET)


async def _require_area(connection: AsyncConnection, actor: Actor, area_code: str) -> None:
    chain = await connection.scalar(_CHAIN, {"code": area_code})
    if chain is None or len(area_code) not in (6, 9):
        raise Refused(Problem("AREA_UNKNOWN", "没有这个区划代码", "area"))
    if set(actor.scopes).isdisjoint(chain):
        raise Refused(Problem("OUT_OF_SCOPE", "该区划不在您的管辖范围内", "area"))


async def blocks(connection: AsyncConnection, actor: Actor) -> list[dict[str, Any]]:
    """Blocks of the actor's device, or of the areas of a chief, newest first, with what became of their numbers."""
    values = {"device": actor.device_id, "chief": actor.role in _CHIEFS, "all": actor.role is Role.ADMIN, "scopes": list(actor.scopes)}
    return [dict(row) for row in (await connection.execute(_BLOCKS, values)).mappings()]


_CHAIN = sa.text("SELECT chain FROM area WHERE code = :code")
_ADVANCE = sa.text(
    """INSERT INTO number_series AS s (series, area_code, year, last) VALUES (:series, :area, :year,
      :count + coalesce((SELECT max(b.last) FROM number_block b WHERE (b.series, b.area_code, b.year) = ('', '', :year)), 0))
    ON CONFLICT (series, area_code, year) DO UPDATE SET last = s.last + :count RETURNING last"""
)
# The last two are of the series that begin after the backup: nobody knows which were begun in what was lost.
_FORGET = f"""
WITH this AS (SELECT CAST(extract(year FROM now() AT TIME ZONE 'UTC') AS integer) AS year),
newest AS (SELECT coalesce(max(s.year), this.year) AS year FROM this LEFT JOIN number_series s ON true GROUP BY this.year),
gone AS (
  UPDATE number_series s SET last = least(s.last + {LOST}, {LARGEST}) FROM newest, number_series was
  WHERE s.year >= newest.year AND s.last < {LARGEST} AND (was.series, was.area_code, was.year) = (s.series, s.area_code, s.year)
  RETURNING s.series, s.area_code, s.year, was.last + 1 AS first, s.last
)
INSERT INTO number_block (id, series, area_code, year, first, last, device_id, user_id, reserved_at)
SELECT gen_random_uuid(), series, area_code, year, first, last, '', '00000000-0000-0000-0000-000000000000', now() FROM (
  SELECT * FROM gone
  UNION SELECT '', '', year, 1, {LOST} FROM newest UNION SELECT '', '', year, 1, {LOST} FROM this
) AS lost ON CONFLICT DO NOTHING"""
_RESERVE = sa.text(
    """INSERT INTO number_block (id, series, area_code, year, first, last, device_id, user_id, reserved_at)
    VALUES (:id, :series, :area, :year, :first, :last, :device, :user, :at)"""
)
_BLOCK = sa.text(
    """SELECT b.device_id, b.first, b.last, coalesce(a.chain && CAST(:scopes AS text[]), false) AS inside
    FROM number_block b LEFT JOIN area a ON a.code = b.area_code WHERE b.id::text = :id"""
)
_SETTLE = sa.text(
    """INSERT INTO number_fate (series, area_code, year, number, fate, reason, user_id, at)
    SELECT b.series, b.area_code, b.year, n, :fate, :reason, :user, :at
    FROM number_block b, unnest(CAST(:numbers AS integer[])) AS n WHERE b.id::text = :id ORDER BY n ON CONFLICT DO NOTHING"""
)
_ASKED = """unnest(CAST(:ids AS uuid[]), CAST(:series AS text[]), CAST(:areas AS text[]), CAST(:years AS integer[]),
  CAST(:numbers AS integer[])) AS k(id, series, area_code, year, number)"""
_OWN = """EXISTS (SELECT FROM number_block b WHERE b.device_id = :device AND b.series = k.series AND b.area_code = k.area_code
  AND b.year = k.year AND k.number BETWEEN b.first AND b.last)"""
_LOST = """EXISTS (SELECT FROM number_block b WHERE b.device_id = '' AND b.year = k.year AND k.number BETWEEN b.first AND b.last
    AND (b.series, b.area_code) IN ((k.series, k.area_code), ('', '')))
  AND NOT EXISTS (SELECT FROM number_block b WHERE b.device_id <> '' AND b.series = k.series AND b.area_code = k.area_code
    AND b.year = k.year AND k.number BETWEEN b.first AND b.last)
  AND EXISTS (SELECT FROM area a WHERE a.code = k.area_code AND a.chain && CAST(:scopes AS text[]))"""
_CLAIM = sa.text(
    f"""INSERT INTO number_fate (series, area_code, year, number, fate, record, doc_id, user_id, at)
    SELECT k.series, k.area_code, k.year, k.number, 'USED', :record, k.id, :user, :at FROM {_ASKED} WHERE {_OWN} OR ({_LOST})
    ORDER BY k.series, k.area_code, k.year, k.number, k.id ON CONFLICT DO NOTHING"""
)
# A document that comes back with its number after a restore may come from anybody who has it.
_OWNERS = sa.text(
    f"""SELECT k.id::text AS id, coalesce(f.doc_id::text, '') AS owner FROM {_ASKED}
    JOIN number_fate f ON f.series = k.series AND f.area_code = k.area_code AND f.year = k.year AND f.number = k.number
    WHERE f.doc_id = k.id OR {_OWN}"""
)
_BLOCKS = sa.text(
    """SELECT b.id::text, b.series, b.area_code, b.year, b.first, b.last, b.device_id, b.user_id::text, b.reserved_at,
      (SELECT count(*) FROM number_fate f WHERE f.series = b.series AND f.area_code = b.area_code AND f.year = b.year
        AND f.number BETWEEN b.first AND b.last AND f.fate = 'USED') AS used,
      (SELECT count(*) FROM number_fate f WHERE f.series = b.series AND f.area_code = b.area_code AND f.year = b.year
        AND f.number BETWEEN b.first AND b.last AND f.fate <> 'USED') AS settled
    FROM number_block b LEFT JOIN area a ON a.code = b.area_code
    WHERE b.device_id = :device OR :all OR (:chief AND a.chain && CAST(:scopes AS text[])) ORDER BY b.reserved_at DESC, b.id LIMIT 1000"""
)
