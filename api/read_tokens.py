"""Read tokens: what a person gives to a program such as QGIS. Long-lived, revocable, and good for reading alone.

Whoever holds one reads what its maker may read at that moment. It is no access token: GraphQL does not know it, so nothing can be
changed with it. It is looked up at each request, so that a revoked one is refused at the next.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from api.accounts import DEMO_REFUSED, GRANTED, Accounts, actor_of, audit
from api.authority import require_over
from api.context import NOBODY
from api.proofs import Proof
from api.websocket import bearer
from schema.actor import Actor
from schema.problems import Problem, Refused

PREFIX = "zjr_"  # tells it from an access token, and a scanner of leaked secrets whose it is
MOST_DAYS = 366
MOST_TOKENS = 20
LONGEST_NAME = 100
USED_EVERY = timedelta(hours=1)  # how exactly last_used_at is kept

INVALID = Problem("READ_TOKEN_INVALID", "只读令牌无效、已撤销，或其账号、设备已停用；请登录后重新生成。")
EXPIRED = Problem("READ_TOKEN_EXPIRED", "只读令牌已过期；请登录后重新生成。")
UNKNOWN = Problem("READ_TOKEN_UNKNOWN", "没有这个只读令牌，或已撤销。", "id")

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class ReadToken:
    """A token as its maker sees it afterwards; the secret itself is kept nowhere."""

    id: str
    user_id: str
    name: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Reading:
    """Who reads; with which read token, or None for an access token."""

    actor: Actor
    token_id: str | None = None


async def create(connection: AsyncConnection, actor: Actor, name: str, days: int, now: datetime) -> tuple[ReadToken, str]:
    """A new token of the actor's, and its secret, which is told this once. Raises Refused."""
    name = name.strip().replace("\0", "")
    if not 1 <= len(name) <= LONGEST_NAME:
        raise Refused(Problem("VALUE_INVALID", f"请写明用途（name），不超过 {LONGEST_NAME} 字。", "name"))
    if not 1 <= days <= MOST_DAYS:
        raise Refused(Problem("VALUE_INVALID", f"有效期（days）应在 1 与 {MOST_DAYS} 天之间，收到 {days}。", "days"))
    await connection.execute(_LOCK_USER, {"user": actor.user_id})
    if await connection.scalar(_LIVE, {"user": actor.user_id, "now": now}) >= MOST_TOKENS:
        raise Refused(Problem("READ_TOKENS_TOO_MANY", f"最多保留 {MOST_TOKENS} 个有效的只读令牌；请先撤销不用的。", "name"))
    secret = PREFIX + secrets.token_urlsafe(32)
    made = ReadToken(str(uuid.uuid4()), actor.user_id, name, now, now + timedelta(days=days), None, None)
    values = {"id": made.id, "hash": _digest(secret), "user": actor.user_id, "device": actor.device_id, "name": name}
    await connection.execute(_CREATE, {**values, "now": now, "end": made.expires_at})
    await _note(connection, actor, "READ_TOKEN", made, now)
    return made, secret


async def revoke(connection: AsyncConnection, actor: Actor, token_id: str, now: datetime) -> None:
    """Ends a token now: one's own, or of somebody over whom one may decide. Raises Refused READ_TOKEN_UNKNOWN."""
    row = (await connection.execute(_LOCK, {"id": token_id})).first() if _ID.fullmatch(token_id) else None
    if row is None or row.revoked_at is not None:
        raise Refused(UNKNOWN)
    found = ReadToken(*row)
    if found.user_id != actor.user_id:
        await _require_over(connection, actor, found.user_id)
    await connection.execute(_REVOKE, {"id": token_id, "now": now, "by": actor.user_id})
    await _note(connection, actor, "READ_TOKEN_REVOKED", found, now)


async def _require_over(connection: AsyncConnection, actor: Actor, user_id: str) -> None:
    """Whoever may not decide hears the same as of a token that does not exist."""
    try:
        await require_over(connection, actor, user_id)
    except Refused:
        raise Refused(UNKNOWN) from None


async def tokens_of(connection: AsyncConnection, actor: Actor, user_id: str | None) -> Sequence[ReadToken]:
    """All tokens of a person, ended ones too, newest first; one's own or those of whom one is over. Raises Refused."""
    if user_id not in (None, actor.user_id):
        await require_over(connection, actor, user_id or "")
    return [ReadToken(*row) for row in await connection.execute(_LIST, {"user": user_id or actor.user_id})]


async def reading(request: Request) -> Reading:
    """Who asks for something to read, by access token or read token. Raises Refused: UNAUTHENTICATED, READ_TOKEN_…, TOKEN_…, DEVICE_…"""
    header = request.headers.get("authorization", "")
    token = bearer(header) or _password(header)
    if token is None:
        raise Refused(NOBODY)
    accounts: Accounts = request.app.state.accounts
    now = datetime.now(UTC)
    if token.startswith(PREFIX):
        return await _by_read_token(accounts, token, now)
    proof = Proof(request.headers.get("dpop"), request.method, request.url.path)
    return Reading((await accounts.authenticate(token, now, proof)).actor)


def _password(header: str) -> str | None:
    """A read token as the password of any user: what map programs can send that know no header of one's own (QGIS before 3.24)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        password = base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return None
    return password if password.startswith(PREFIX) else None


async def _by_read_token(accounts: Accounts, token: str, now: datetime) -> Reading:
    async with accounts.database.engine.begin() as connection:
        found = (await connection.execute(_WHO, {"hash": _digest(token), "now": now})).mappings().first()
        _require_good(accounts, found)
        assert found is not None
        if found["last_used_at"] is None or found["last_used_at"] < now - USED_EVERY:
            await connection.execute(_USED, {"id": found["token_id"], "now": now})
        return Reading(await actor_of(connection, found), found["token_id"])


def _require_good(accounts: Accounts, found: RowMapping | None) -> None:
    if found is None or not found["good"]:
        raise Refused(INVALID)
    if found["expired"]:
        raise Refused(EXPIRED)
    if found["demo"] and not accounts.demo_allowed:
        raise Refused(DEMO_REFUSED)


async def _note(connection: AsyncConnection, actor: Actor, kind: str, token: ReadToken, now: datetime) -> None:
    detail = {"token": token.id, "user": token.user_id, "to": token.expires_at.isoformat()}
    await audit(connection, now, kind, user_id=actor.user_id, device_id=actor.device_id, detail=detail)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


_COLUMNS = "t.id::text, t.user_id::text, t.name, t.created_at, t.expires_at, t.last_used_at, t.revoked_at"
_LOCK_USER = text("SELECT FROM user_account WHERE id = CAST(:user AS uuid) FOR NO KEY UPDATE")
_LIVE = text("SELECT count(*) FROM read_token WHERE user_id = CAST(:user AS uuid) AND revoked_at IS NULL AND expires_at > :now")
_CREATE = text(
    """INSERT INTO read_token (id, hash, user_id, device_id, name, created_at, expires_at)
    VALUES (:id, :hash, :user, :device, :name, :now, :end)"""
)
_LOCK = text(f"SELECT {_COLUMNS} FROM read_token t WHERE t.id = CAST(:id AS uuid) FOR UPDATE")
_REVOKE = text("UPDATE read_token SET revoked_at = :now, revoked_by = :by WHERE id = CAST(:id AS uuid)")
_LIST = text(f"SELECT {_COLUMNS} FROM read_token t WHERE t.user_id::text = :user ORDER BY t.created_at DESC, t.id")
_USED = text("UPDATE read_token SET last_used_at = :now WHERE id = CAST(:id AS uuid)")
_WHO = text(
    f"""SELECT t.id::text AS token_id, t.last_used_at, t.expires_at <= :now AS expired, u.id::text AS user_id, u.username, u.role,
      NULL AS device_id, u.demo, t.revoked_at IS NULL AND u.active AND d.revoked_at IS NULL AS good, {GRANTED} AS scopes
    FROM read_token t JOIN user_account u ON u.id = t.user_id LEFT JOIN device d ON d.id = t.device_id WHERE t.hash = :hash"""
)
