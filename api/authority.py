"""Over whom a person may decide: administrators over everybody, supervisors over those who work in their areas."""

from __future__ import annotations

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from schema.actor import Actor, Role
from schema.areas import ROOT
from schema.problems import Problem, Refused

FORBIDDEN = Problem("ROLE_FORBIDDEN", "只有管理员和主管可以办理")
USER_UNKNOWN = Problem("USER_UNKNOWN", "没有这个人员，或不在您的管辖范围内", "userId")
AREA_UNKNOWN = Problem("AREA_UNKNOWN", "没有这个区划代码", "area")
AREA_OUTSIDE = Problem("OUT_OF_SCOPE", "该区划不在您的管辖范围内", "area")
LENT_TO = frozenset({Role.INSPECTOR, Role.COORDINATOR, Role.CDC, Role.EXPERT})
"""To whom a supervisor may grant areas; the other roles are an administrator's to place."""


def require_chief(actor: Actor) -> None:
    if actor.role not in (Role.ADMIN, Role.SUPERVISOR):
        raise Refused(FORBIDDEN)


async def require_over(connection: AsyncConnection, actor: Actor, user_id: str) -> RowMapping:
    """The account of a person over whom `actor` may decide. Raises Refused: ROLE_FORBIDDEN, USER_UNKNOWN."""
    require_chief(actor)
    found = (await connection.execute(_OVER, {"user": user_id, "scopes": list(actor.scopes)})).mappings().first()
    if found is None or (actor.role is not Role.ADMIN and (not found["inside"] or found["role"] == Role.ADMIN)):
        raise Refused(USER_UNKNOWN)
    return found


async def require_area(connection: AsyncConnection, actor: Actor, area: str) -> None:
    """Raises Refused: ROLE_FORBIDDEN, AREA_UNKNOWN, OUT_OF_SCOPE."""
    require_chief(actor)
    chain = await connection.scalar(_CHAIN, {"code": area})
    if chain is None and not (area == ROOT and actor.role is Role.ADMIN):
        raise Refused(AREA_UNKNOWN)
    if actor.role is not Role.ADMIN and set(actor.scopes).isdisjoint(chain or ()):
        raise Refused(AREA_OUTSIDE)


IN_AREAS = """EXISTS (SELECT FROM user_grant g JOIN area a ON a.code = g.scope
  WHERE g.user_id = u.id AND a.chain && CAST(:scopes AS text[]) AND (g.valid_to IS NULL OR g.valid_to > now()))"""
"""Whether person `u` works, or will, in one of the areas `:scopes`."""

_OVER = text(f"SELECT u.id::text, u.role, {IN_AREAS} AS inside FROM user_account u WHERE u.id::text = :user")
_CHAIN = text("SELECT chain FROM area WHERE code = :code")
