"""What is aimed at: targets by area and year, which hold for every area below that has none of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from schema.areas import ROOT

OPS = ("<=", "=", ">=")


@dataclass(frozen=True)
class Target:
    """`value` is 0 to 1 for a share."""

    area: str
    indicator: str
    year: int
    op: str
    value: float
    scope: str
    source: str
    confidence: str

    def met(self, value: float) -> bool:
        # "=" stands in sources that leave out 以上; whoever has more has met it.
        return value <= self.value if self.op == "<=" else value >= self.value


_COLUMNS = "area, indicator, year, op, value, scope, source, confidence"
_OF = text(f"SELECT {_COLUMNS} FROM indicator_target WHERE indicator = :indicator ORDER BY area, year")
_SET = text(f"""
WITH before AS (SELECT op, value, source FROM indicator_target WHERE indicator = :indicator AND area = :area AND year = :year)
INSERT INTO indicator_target ({_COLUMNS}, set_by) VALUES (:area, :indicator, :year, :op, :value, :scope, :source, 'sure', :user)
ON CONFLICT (indicator, area, year) DO UPDATE SET op = excluded.op, value = excluded.value, scope = excluded.scope,
  source = excluded.source, confidence = excluded.confidence, set_by = excluded.set_by, set_at = clock_timestamp()
RETURNING (SELECT jsonb_build_array(op, value, source) FROM before)""")


async def targets_of(connection: AsyncConnection, indicator: str) -> dict[str, list[Target]]:
    """All targets of an indicator by area, in order of year."""
    found: dict[str, list[Target]] = {}
    for row in await connection.execute(_OF, {"indicator": indicator}):
        found.setdefault(row.area, []).append(_target(row))
    return found


def effective(targets: Mapping[str, Sequence[Target]], chain: Sequence[str], year: int) -> Target | None:
    """The nearest ancestor's: of the latest year up to `year`, else of the first that is to come."""
    own = next((targets[code] for code in chain if code in targets), None) or targets.get(ROOT)
    return next((target for target in reversed(own) if target.year <= year), own[0]) if own else None


async def set_target(connection: AsyncConnection, target: Target, user_id: str) -> Any:
    """Writes a target; what stood there before as [op, value, source], None if nothing did."""
    values = {name: getattr(target, name) for name in ("area", "indicator", "year", "op", "value", "scope", "source")}
    return await connection.scalar(_SET, {**values, "user": user_id})


def _target(row: Any) -> Target:
    return Target(row.area, row.indicator, row.year, row.op, float(row.value), row.scope, row.source, row.confidence)
