"""Devices: enrolment by a one-time code, what they report, and how a lost one is locked and told to wipe itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import tell
from api.accounts import DEVICE_ID, DEVICE_INVALID, DeviceFacts, audit, register
from api.authority import IN_AREAS, require_chief, require_over
from api.settings import Settings
from schema.actor import Actor, Role
from schema.problems import Problem, Refused

CODE_LIFETIME = timedelta(hours=24)
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # nothing that is read wrong from a screen
_CODE_LENGTH = 12  # 59 bits

CODE_INVALID = Problem("ENROLMENT_CODE_INVALID", "注册码无效、已用过或已过期", "code")
DEVICE_UNKNOWN = Problem("DEVICE_UNKNOWN", "没有这台设备，或不在您的管辖范围内", "id")
REASON_MISSING = Problem("REASON_MISSING", "请写明原因", "reason")


@dataclass(frozen=True)
class Code:
    code: str
    expires_at: datetime


@dataclass(frozen=True)
class Report:
    """What a device says of itself while it works."""

    client_version: str | None
    offline_bytes: int | None
    unsent: int | None


@dataclass(frozen=True)
class State:
    """What a device must know: whether to wipe itself, and whether it is too old."""

    wipe: bool
    outdated: bool
    oldest_client: str
    keys_required: bool
    enrolled: bool


async def issue_code(connection: AsyncConnection, actor: Actor, user_id: str, now: datetime) -> Code:
    """A code with which one device of this person may register its key once. Raises Refused."""
    await require_over(connection, actor, user_id)
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
    expires = now + CODE_LIFETIME
    await connection.execute(_ISSUE, {"hash": _hash(code), "user": user_id, "by": actor.user_id, "expires": expires})
    await audit(connection, now, "DEVICE_CODE", user_id=actor.user_id, device_id=actor.device_id, detail={"user": user_id})
    return Code("-".join(code[at : at + 4] for at in range(0, _CODE_LENGTH, 4)), expires)


async def enrol(connection: AsyncConnection, code: str, device: DeviceFacts, thumbprint: str, now: datetime) -> None:
    """Binds a device to the key with `thumbprint`; what was open on it ends. Raises Refused."""
    if not DEVICE_ID.fullmatch(device.id):
        raise Refused(DEVICE_INVALID)
    found = (await connection.execute(_SPEND, {"hash": _hash(code), "now": now})).mappings().first()
    if found is None:
        raise Refused(CODE_INVALID)
    await register(connection, found["user_id"], device, now)
    values = {"id": device.id, "thumbprint": thumbprint, "now": now, "by": found["issued_by"]}
    await connection.execute(_BIND, values)
    await connection.execute(_END_FAMILIES, {"id": device.id, "now": now, "why": "ENROLLED"})
    await audit(connection, now, "DEVICE_ENROLLED", user_id=found["user_id"], device_id=device.id, detail={"key": thumbprint})
    await tell(connection, found["user_id"])


async def report(connection: AsyncConnection, actor: Actor, said: Report, now: datetime) -> None:
    values = {"id": actor.device_id, "version": said.client_version, "bytes": said.offline_bytes, "unsent": said.unsent, "now": now}
    await connection.execute(_REPORT, values)


async def state(connection: AsyncConnection, device_id: str, settings: Settings) -> State:
    """Raises Refused DEVICE_UNKNOWN."""
    found = (await connection.execute(_STATE, {"id": device_id})).mappings().first()
    if found is None:
        raise Refused(DEVICE_UNKNOWN)
    old = outdated(found["client_version"], settings.oldest_client)
    return State(found["revoked"], old, settings.oldest_client, settings.device_keys, found["enrolled"])


async def revoke(connection: AsyncConnection, actor: Actor, device_id: str, reason: str, now: datetime) -> None:
    """Locks a device: refused from its next request on, its sessions end, it is told to wipe itself. Raises Refused."""
    require_chief(actor)
    if not reason.strip():
        raise Refused(REASON_MISSING)
    owner = await connection.scalar(_OWNER, {"id": device_id})
    if owner is None:
        raise Refused(DEVICE_UNKNOWN)
    await require_over(connection, actor, owner)
    values = {"id": device_id, "now": now, "by": actor.user_id, "why": reason[:500].replace("\0", "")}
    await connection.execute(_REVOKE, values)
    await connection.execute(_END_FAMILIES, {"id": device_id, "now": now, "why": "DEVICE"})
    detail = {"device": device_id, "owner": owner, "reason": values["why"]}
    await audit(connection, now, "DEVICE_REVOKED", user_id=actor.user_id, device_id=actor.device_id, detail=detail)
    await tell(connection, owner)


async def thumbprint(connection: AsyncConnection, device_id: str) -> str | None:
    """Of a device's key; None where it has none."""
    found: str | None = await connection.scalar(_THUMBPRINT, {"id": device_id})
    return found


async def wiped(connection: AsyncConnection, device_id: str, now: datetime) -> bool:
    """A locked device says that it holds nothing any more."""
    done = await connection.execute(_WIPED, {"id": device_id, "now": now})
    if done.rowcount:
        await audit(connection, now, "DEVICE_WIPED", device_id=device_id)
    return bool(done.rowcount)


async def devices(connection: AsyncConnection, actor: Actor) -> Sequence[RowMapping]:
    """Devices of those over whom the actor is, and his own; those that were not seen for longest first."""
    values: dict[str, Any] = {"all": actor.role is Role.ADMIN, "chief": actor.role is Role.SUPERVISOR, "user": actor.user_id}
    return (await connection.execute(_LIST, {**values, "scopes": list(actor.scopes)})).mappings().all()


def outdated(version: str, oldest: str) -> bool:
    """Whether a client is older than the oldest allowed one; False where either says nothing."""
    return bool(version and oldest) and _numbers(version) < _numbers(oldest)


def _numbers(version: str) -> tuple[int, ...]:
    """1.10.0-beta -> (1, 10, 0): numbers by value; what is no number counts as 0."""
    name = version.rpartition(" ")[2].partition("-")[0].partition("+")[0]
    return tuple(int(part) if part.isascii() and part.isdigit() and len(part) < 10 else 0 for part in name.split("."))


def _hash(code: str) -> bytes:
    letters = "".join(code.upper().replace("-", "").split())
    return hashlib.sha256(f"enrol\n{letters}".encode()).digest()


_ISSUE = text("INSERT INTO device_code (hash, user_id, issued_by, expires_at) VALUES (:hash, :user, :by, :expires)")
_SPEND = text(
    """UPDATE device_code c SET used_at = :now FROM user_account u
    WHERE c.hash = :hash AND c.used_at IS NULL AND c.expires_at > :now AND u.id = c.user_id AND u.active
    RETURNING c.user_id::text, c.issued_by::text"""
)
_BIND = text("UPDATE device SET thumbprint = :thumbprint, enrolled_at = :now, enrolled_by = :by WHERE id = :id")
_END_FAMILIES = text("UPDATE auth_family SET revoked_at = :now, revoked_for = :why WHERE device_id = :id AND revoked_at IS NULL")
_REPORT = text(
    """UPDATE device SET client_version = coalesce(left(:version, 200), client_version), offline_bytes = coalesce(:bytes, offline_bytes),
      unsent = coalesce(:unsent, unsent), reported_at = :now WHERE id = :id"""
)
_STATE = text("SELECT revoked_at IS NOT NULL AS revoked, client_version, thumbprint IS NOT NULL AS enrolled FROM device WHERE id = :id")
_THUMBPRINT = text("SELECT thumbprint FROM device WHERE id = :id")
_OWNER = text("SELECT user_id::text FROM device WHERE id = :id")
_REVOKE = text("UPDATE device SET revoked_at = :now, revoked_by = :by, revoked_for = :why WHERE id = :id AND revoked_at IS NULL")
_WIPED = text("UPDATE device SET wiped_at = :now WHERE id = :id AND revoked_at IS NOT NULL AND wiped_at IS NULL")
_LIST = text(
    f"""SELECT d.*, u.username, u.display_name, greatest(0, h.pos - d.held_pos) AS lag FROM device d JOIN user_account u ON u.id = d.user_id
    LEFT JOIN sync_head h ON true
    WHERE :all OR u.id::text = :user OR (:chief AND u.role <> 'ADMIN' AND {IN_AREAS}) ORDER BY d.last_seen_at LIMIT 5000"""
)
