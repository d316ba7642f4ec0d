"""Who works where, from when until when. A grant begins and ends by itself: terminals are woken, pull what is new, drop the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import tell
from api.accounts import audit
from api.authority import LENT_TO, require_area, require_chief, require_over
from schema.actor import Actor, Role
from schema.problems import Problem, Refused

PERIOD = Problem("PERIOD_INVALID", "结束时间应晚于开始时间，并在现在之后", "to")
ROLE = Problem("ROLE_FORBIDDEN", "该角色的辖区由管理员授予", "userId")
UNKNOWN = Problem("GRANT_UNKNOWN", "没有这项授权，或已经结束", "id")


@dataclass(frozen=True)
class Grant:
    """`valid_to` is the first moment without it; None: no end."""

    id: int
    user_id: str
    scope: str
    valid_from: datetime
    valid_to: datetime | None
    granted_by: str | None


async def grant(
    connection: AsyncConnection, actor: Actor, user_id: str, area: str, start: datetime | None, end: datetime | None, now: datetime
) -> Grant:
    """Lets a person work in `area`. A supervisor lends own areas, to officers from anywhere. Raises Refused."""
    await require_area(connection, actor, area)
    role = await connection.scalar(_ROLE, {"user": user_id})
    if role is None:
        raise Refused(Problem("USER_UNKNOWN", "没有这个人员", "userId"))
    if actor.role is not Role.ADMIN and role not in LENT_TO:
        raise Refused(ROLE)
    start = start or now
    if end is not None and end <= max(start, now):
        raise Refused(PERIOD)
    values = {"user": user_id, "scope": area, "start": start, "end": end, "by": actor.user_id}
    made = Grant(await connection.scalar(_GRANT, values), user_id, area, start, end, actor.user_id)
    await _note(connection, actor, "GRANT", made, now)
    return made


async def revoke(connection: AsyncConnection, actor: Actor, grant_id: int, now: datetime) -> None:
    """Ends a grant now. Raises Refused: GRANT_UNKNOWN, OUT_OF_SCOPE, ROLE_FORBIDDEN."""
    require_chief(actor)
    row = (await connection.execute(_LOCK, {"id": grant_id, "now": now})).first()
    if row is None:
        raise Refused(UNKNOWN)
    found = Grant(*row)
    await require_area(connection, actor, found.scope)
    role = await connection.scalar(_ROLE, {"user": found.user_id})
    if actor.role is not Role.ADMIN and role not in LENT_TO:
        raise Refused(ROLE)
    await connection.execute(_END, {"id": grant_id, "now": now})
    await _note(connection, actor, "GRANT_REVOKED", found, now)


async def grants_of(connection: AsyncConnection, actor: Actor, user_id: str) -> Sequence[Grant]:
    """All grants of a person, past ones too, newest first; one's own or those of whom one is over. Raises Refused."""
    if user_id != actor.user_id:
        await require_over(connection, actor, user_id)
    return [Grant(*row) for row in await connection.execute(_LIST, {"user": user_id})]


async def _note(connection: AsyncConnection, actor: Actor, kind: str, made: Grant, now: datetime) -> None:
    detail = {"user": made.user_id, "from": made.valid_from.isoformat(), "to": made.valid_to and made.valid_to.isoformat()}
    await audit(connection, now, kind, user_id=actor.user_id, device_id=actor.device_id, area=made.scope, detail=detail)
    await tell(connection, made.user_id)


_COLUMNS = "g.id, g.user_id::text, g.scope, g.valid_from, g.valid_to, g.granted_by::text"
_ROLE = text("SELECT role FROM user_account WHERE id::text = :user AND active")
_GRANT = text(
    """INSERT INTO user_grant (user_id, scope, valid_from, valid_to, granted_by)
    VALUES (:user, :scope, :start, :end, :by) RETURNING id"""
)
_LOCK = text(f"SELECT {_COLUMNS} FROM user_grant g WHERE g.id = :id AND (g.valid_to IS NULL OR g.valid_to > :now) FOR UPDATE")
_END = text("UPDATE user_grant SET valid_from = least(valid_from, CAST(:now AS timestamptz)), valid_to = :now WHERE id = :id")
_LIST = text(f"SELECT {_COLUMNS} FROM user_grant g WHERE g.user_id::text = :user ORDER BY g.valid_from DESC, g.id DESC")
