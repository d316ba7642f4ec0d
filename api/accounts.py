"""Log-in, refresh, log-out, and who stands behind an access token. All state lies in PostgreSQL; a node keeps a few seconds of cache.

A refresh token is used once. Used twice it is stolen, and its family (all that descends from one log-in) ends; except that the
answer may have been lost on a bad link: for `GRACE` the device may ask again while nobody has used the successor. A device that signs
with its key may ask again at any time: what is stolen from it works nowhere else, and it may lie switched off between answer and store.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import unicodedata
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import Database
from api.passwords import LONGEST, hash_password, matches
from api.proofs import Proof, Proofs
from api.settings import Settings
from api.tokens import Keys, Whose, issue, verify
from geo.scope import expand_grants
from schema.actor import Actor, Role
from schema.problems import Problem, Refused

GRACE = timedelta(minutes=2)  # a retry over a bad link
REFRESH_LIFETIME = timedelta(days=30)  # a terminal may lie in a drawer for a month
WINDOW = timedelta(minutes=15)
CACHE_SECONDS = 5.0  # how long a changed grant, a log-out or a revoked device may go unnoticed
CACHE_TOKENS = 4096
AREA_CODE = re.compile(r"\d{6}|\d{9}|\d{12}|J\w+")
DEVICE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
INBOX_ROLES = (Role.SUPERVISOR, Role.CDC)

LOGIN_FAILED = Problem("LOGIN_FAILED", "User name or password is wrong.")
TOO_MANY_ATTEMPTS = Problem("TOO_MANY_ATTEMPTS", "Too many failed attempts; try again in a quarter of an hour.")
DEMO_REFUSED = Problem("DEMO_ACCOUNT_REFUSED", "Demo accounts work only on the machine that serves them.")
DEVICE_TAKEN = Problem("DEVICE_TAKEN", "This device id belongs to somebody else; make a new one per person.", "device")
DEVICE_REVOKED = Problem("DEVICE_REVOKED", "This device has been locked; ask your administrator.", "device")
DEVICE_INVALID = Problem("DEVICE_INVALID", "A device id has 1 to 64 letters, digits, '.', '_' or '-'.", "device")
DEVICE_NOT_ENROLLED = Problem("DEVICE_NOT_ENROLLED", "This device has no key yet; ask for a code and enrol it.", "device")
DEVICE_OTHER_KEY = Problem("DEVICE_PROOF_INVALID", "The request is signed with another key than this device's.", "device")
REFRESH_INVALID = Problem("REFRESH_INVALID", "The session has ended; sign in again.")
REFRESH_REUSED = Problem("REFRESH_REUSED", "The refresh token was used before; sign in again.")
SESSION_ENDED = Problem("SESSION_ENDED", "The session has ended; sign in again.")


class Audit(StrEnum):
    LOGIN = "LOGIN"
    LOGIN_FAILED = "LOGIN_FAILED"
    LOGOUT = "LOGOUT"
    REFRESH_REUSED = "REFRESH_REUSED"
    REFUSED = "REFUSED"  # with `conflict` in the detail: of a pushed row, else of what the detail's path asked for
    EXPORT = "EXPORT"


@dataclass(frozen=True)
class Area:
    code: str
    name: str


@dataclass(frozen=True)
class Account:
    """A person as the person sees it."""

    id: str
    username: str
    role: Role
    display_name: str
    areas: tuple[Area, ...]


@dataclass(frozen=True)
class Session:
    access_token: str
    refresh_token: str
    expires_at: datetime  # of the access token
    account: Account


@dataclass(frozen=True)
class DeviceFacts:
    """What a device says of itself at log-in."""

    id: str
    name: str = ""
    platform: str = ""
    client_version: str = ""
    clock_at: datetime | None = None  # its clock, now


@dataclass(frozen=True)
class Authenticated:
    actor: Actor
    expires_at: float  # seconds since 1970
    thumbprint: str | None = None  # of the key that must sign its requests
    offset_ms: int = 0  # of the device's clock, as last measured
    changes_at: float | None = None  # when a grant begins or ends by itself


class Accounts:
    """The log-in of one installation."""

    def __init__(self, database: Database, keys: Keys, settings: Settings) -> None:
        self.database = database
        self.keys = keys
        self.demo_allowed = settings.on_loopback and not settings.production
        self.keys_required = settings.device_keys
        self.proofs = Proofs()
        self.known: OrderedDict[str, tuple[float, Authenticated]] = OrderedDict()
        self.doubts = 0  # how often something that is known was in doubt

    async def login(
        self, username: str, password: str, device: DeviceFacts, address: str, now: datetime, proof: Proof | None = None
    ) -> Session:
        """Raises Refused: LOGIN_FAILED, TOO_MANY_ATTEMPTS, DEMO_ACCOUNT_REFUSED, or a code that begins with DEVICE_."""
        if not DEVICE_ID.fullmatch(device.id):
            raise Refused(DEVICE_INVALID)
        name = clean_username(username)
        attempt = await self._count_attempt(name, address, now)
        found = await self._check_password(name, password, address, now)
        if found["demo"] and not self.demo_allowed:
            raise Refused(DEMO_REFUSED)
        async with self.database.engine.begin() as connection:
            await connection.execute(_FORGET, {"attempt": attempt, "key": _key(name, address)})
        return await self._open(found["id"], device, address, now, proof)

    async def _count_attempt(self, name: str, address: str, now: datetime) -> list[int]:
        """Counts before the password is looked at, so that a hundred guesses at once are a hundred guesses."""
        async with self.database.engine.begin() as connection:
            attempt = await _attempts(connection, name, address, now)
        if not attempt:
            raise Refused(TOO_MANY_ATTEMPTS)
        return attempt

    async def count_enrolment(self, address: str, now: datetime) -> list[int]:
        """Counts a code that is tried. Raises Refused TOO_MANY_ATTEMPTS."""
        return await self._count_attempt(f"enrolment from {network(address)}", address, now)

    @staticmethod
    async def forget_attempt(connection: AsyncConnection, attempt: list[int]) -> None:
        await connection.execute(_FORGET, {"attempt": attempt, "key": b""})

    async def _check_password(self, name: str, password: str, address: str, now: datetime) -> RowMapping:
        async with self.database.engine.connect() as connection:
            found = (await connection.execute(_FIND, {"name": name})).mappings().first()
        good = len(password) <= LONGEST and await matches(password, found["password_hash"] if found else None)
        if found is None or not good or not found["active"]:
            async with self.database.engine.begin() as connection:
                await audit(connection, now, Audit.LOGIN_FAILED, user_id=found["id"] if found else None, detail={"address": address})
            raise Refused(LOGIN_FAILED)
        return found

    async def _open(self, user_id: str, device: DeviceFacts, address: str, now: datetime, proof: Proof | None) -> Session:
        family = str(uuid.uuid4())
        async with self.database.engine.begin() as connection:
            self._prove(await register(connection, user_id, device, now), proof, None, now)
            await connection.execute(
                _FAMILY, {"id": family, "user": user_id, "device": device.id, "now": now, "end": now + REFRESH_LIFETIME}
            )
            refresh = await _new_refresh(connection, family, now)
            await audit(connection, now, Audit.LOGIN, user_id=user_id, device_id=device.id, detail={"address": address})
            return await self._session(connection, Whose(user_id, device.id, family), refresh, now)

    def _prove(self, thumbprint: str | None, proof: Proof | None, token: str | None, now: datetime) -> None:
        """Raises Refused unless a device that has a key has signed with it, and where keys are required has one."""
        if thumbprint is None and self.keys_required:
            raise Refused(DEVICE_NOT_ENROLLED)
        self.prove(thumbprint, proof, token, now)

    def prove(self, thumbprint: str | None, proof: Proof | None, token: str | None, now: datetime) -> None:
        """Raises Refused unless a device that has a key has signed with it."""
        if thumbprint is not None and self.proofs.thumbprint(proof, token, now) != thumbprint:
            raise Refused(DEVICE_OTHER_KEY)

    async def refresh(self, token: str, now: datetime, proof: Proof | None = None) -> Session:
        """A new session for a refresh token. Raises Refused: REFRESH_INVALID, REFRESH_REUSED, DEVICE_REVOKED, DEVICE_PROOF_…"""
        async with self.database.engine.begin() as connection:
            outcome = await self._rotate(connection, _digest(token), now, proof)
        if isinstance(outcome, Problem):
            raise Refused(outcome)
        return outcome

    async def _rotate(self, connection: AsyncConnection, digest: bytes, now: datetime, proof: Proof | None) -> Session | Problem:
        found = (await connection.execute(_LOCK_FAMILY, {"hash": digest})).mappings().first()
        if found is not None and found["revoked"]:
            return DEVICE_REVOKED
        if found is None or found["ended"] or found["expires_at"] <= now:
            return REFRESH_INVALID
        self._prove(found["thumbprint"], proof, None, now)
        used = (await connection.execute(_USE, {"hash": digest})).mappings().one()
        if used["used_at"] and not found["thumbprint"] and not _may_retry(used, now):
            await _end_family(connection, found["family_id"], "REUSE", now)
            await audit(connection, now, Audit.REFRESH_REUSED, user_id=found["user_id"], device_id=found["device_id"])
            return REFRESH_REUSED
        refresh = await _replace(connection, found["family_id"], digest, used["successor"], now)
        return await self._session(connection, Whose(found["user_id"], found["device_id"], found["family_id"]), refresh, now)

    async def _session(self, connection: AsyncConnection, whose: Whose, refresh: str, now: datetime) -> Session:
        access, ends = issue(self.keys, whose, now)
        return Session(access, refresh, ends, await account(connection, whose.user_id, now))

    async def logout(self, token: str, now: datetime) -> bool:
        """Ends the session behind an access token. Raises Refused for a bad token."""
        claims = verify(self.keys, token, now)
        self.known.pop(token, None)
        async with self.database.engine.begin() as connection:
            await _end_family(connection, claims.family_id, "LOGOUT", now)
            await audit(connection, now, Audit.LOGOUT, user_id=claims.user_id, device_id=claims.device_id)
        return True

    async def authenticate(self, token: str, now: datetime, proof: Proof | None = None, *, proven: bool = False) -> Authenticated:
        """Who stands behind an access token; `proven` for a connection that has shown its key before.

        Raises Refused: TOKEN_EXPIRED, TOKEN_INVALID, SESSION_ENDED, DEVICE_REVOKED, or a code that begins with DEVICE_PROOF_.
        """
        kept = self.known.get(token)
        fresh = kept and kept[0] > now.timestamp() and kept[1].expires_at > now.timestamp()
        who = kept[1] if kept and fresh else await self._identify(token, now)
        if not proven:
            self._prove(who.thumbprint, proof, token, now)
        return who

    async def _identify(self, token: str, now: datetime) -> Authenticated:
        claims, doubts = verify(self.keys, token, now), self.doubts
        async with self.database.engine.connect() as connection:
            found = (await connection.execute(_WHO, {"family": claims.family_id, "now": now})).mappings().first()
            if found is not None and found["device_revoked"]:
                raise Refused(DEVICE_REVOKED)
            if found is None or not found["good"] or found["user_id"] != claims.user_id:
                raise Refused(SESSION_ENDED)
            actor = await actor_of(connection, found)
        changes_at = found["changes_at"].timestamp() if found["changes_at"] else None
        who = Authenticated(actor, claims.expires_at, found["thumbprint"], found["clock_offset_ms"] or 0, changes_at)
        return self._keep(token, who, now) if doubts == self.doubts else who  # what was read before a doubt is not kept after it

    def forget(self, user_id: str | None) -> None:
        """Asks again about this person at the next request, or about everybody."""
        self.doubts += 1
        for token, (_, who) in list(self.known.items()):
            if user_id in (None, who.actor.user_id):
                del self.known[token]

    def _keep(self, token: str, who: Authenticated, now: datetime) -> Authenticated:
        self.known[token] = (min(now.timestamp() + CACHE_SECONDS, who.changes_at or float("inf")), who)
        self.known.move_to_end(token)
        if len(self.known) > CACHE_TOKENS:
            self.known.popitem(last=False)
        return who


async def authenticate(token: str, accounts: Accounts, now: datetime) -> Actor:
    """Raises Refused: TOKEN_EXPIRED, TOKEN_INVALID, SESSION_ENDED."""
    return (await accounts.authenticate(token, now)).actor


async def create_user(
    connection: AsyncConnection,
    username: str,
    password: str,
    role: Role,
    grants: Sequence[str],
    *,
    display_name: str = "",
    demo: bool = False,
) -> str:
    """A new account with the areas (and organisations) it works for; returns its id."""
    values = {"id": str(uuid.uuid4()), "name": clean_username(username), "role": role, "shown": display_name, "demo": demo}
    user_id: str = await connection.scalar(_CREATE, {**values, "hash": await hash_password(password)})
    await connection.execute(_GRANT, {"user": user_id, "scopes": list(grants)})
    return user_id


async def account(connection: AsyncConnection, user_id: str, now: datetime) -> Account:
    found = (await connection.execute(_ACCOUNT, {"user": user_id, "now": now})).mappings().one()
    areas = tuple(Area(code, name) for code, name in found["areas"])
    return Account(user_id, found["username"], Role(found["role"]), found["display_name"], areas)


async def audit(
    connection: AsyncConnection,
    now: datetime,
    kind: str,
    *,
    user_id: str | None = None,
    device_id: str | None = None,
    detail: dict[str, Any] | None = None,
    area: str | None = None,
) -> None:
    """One line in the audit; `detail` never holds a secret."""
    values = {"at": now, "kind": kind, "user": user_id, "device": device_id, "area": area}
    await connection.execute(_AUDIT, {**values, "detail": orjson.dumps(detail or {}).decode()})


def clean_username(username: str) -> str:
    """The form in which names are stored and compared; what PostgreSQL can't store becomes something nobody is called."""
    return unicodedata.normalize("NFKC", username[:200]).strip().casefold().replace("\0", "�")


async def actor_of(connection: AsyncConnection, found: RowMapping) -> Actor:
    """The actor of a row with user_id, username, role, device_id and GRANTED as scopes."""
    role = Role(found["role"])
    areas = await expand_grants(connection, [scope for scope in found["scopes"] if AREA_CODE.fullmatch(scope)])
    others = [scope for scope in found["scopes"] if not AREA_CODE.fullmatch(scope)]
    inbox = [f"inbox:{role}:{code}" for code in areas] if role in INBOX_ROLES else []
    scopes = dict.fromkeys((*areas, *others, f"user:{found['user_id']}", *inbox))
    return Actor(found["user_id"], found["username"], role, tuple(scopes), found["device_id"])


async def _attempts(connection: AsyncConnection, name: str, address: str, now: datetime) -> list[int]:
    """Counts one attempt by name and address, by address and by name; nothing if one of them has had enough."""
    limits = {_key(name, address): 5, _key("", address): 50, _key(name, ""): 50}
    for key in sorted(limits):
        await connection.execute(_SERIALISE, {"key": int.from_bytes(key[:8], signed=True)})
    await connection.execute(_EXPIRE, {"before": now - WINDOW})
    found = await connection.execute(_COUNT, {"keys": list(limits), "since": now - WINDOW})
    counts: dict[bytes, int] = {row[0]: row[1] for row in found}
    if any(counts.get(key, 0) >= limit for key, limit in limits.items()):
        return []
    return list(await connection.scalars(_ATTEMPT, {"keys": list(limits), "now": now}))


def _key(name: str, address: str) -> bytes:
    return hashlib.sha256(f"{name}\n{network(address)}".encode()).digest()


def network(address: str) -> str:
    """What counts as one address: an IPv6 host owns its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{parsed}/64", strict=False)) if parsed.version == 6 else str(parsed)


async def register(connection: AsyncConnection, user_id: str, device: DeviceFacts, now: datetime) -> str | None:
    """Keeps what a device says of itself; the thumbprint of its key. Raises Refused: DEVICE_TAKEN, DEVICE_REVOKED."""
    offset = int((now - device.clock_at).total_seconds() * 1000) if device.clock_at else None
    facts = {"name": device.name, "platform": device.platform, "version": device.client_version}
    cleaned = {key: value[:200].replace("\0", "") for key, value in facts.items()}
    values = {"id": device.id, "user": user_id, "offset": offset, "now": now, **cleaned}
    found = (await connection.execute(_REGISTER, values)).mappings().one()
    if found["user_id"] != user_id:
        raise Refused(DEVICE_TAKEN)
    if found["revoked_at"]:
        raise Refused(DEVICE_REVOKED)
    thumbprint: str | None = found["thumbprint"]
    return thumbprint


def _may_retry(used: RowMapping, now: datetime) -> bool:
    return bool(used["used_at"] + GRACE > now and used["successor"] and not used["successor_used"])


async def _replace(connection: AsyncConnection, family: str, digest: bytes, lost: bytes | None, now: datetime) -> str:
    """A successor for a token; the one that got lost on the way counts as used from now on."""
    refresh = await _new_refresh(connection, family, now)
    await connection.execute(_SPEND, {"hash": digest, "lost": lost, "now": now, "successor": _digest(refresh)})
    await connection.execute(_PROLONG, {"id": family, "end": now + REFRESH_LIFETIME})
    return refresh


async def _new_refresh(connection: AsyncConnection, family: str, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    await connection.execute(_REFRESH, {"hash": _digest(token), "family": family, "now": now})
    return token


async def _end_family(connection: AsyncConnection, family: str, reason: str, now: datetime) -> None:
    await connection.execute(_END, {"id": family, "reason": reason, "now": now})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_FIND = text("SELECT id::text, password_hash, active, demo FROM user_account WHERE username = :name")
_CREATE = text(
    """INSERT INTO user_account (id, username, password_hash, role, display_name, demo)
    VALUES (:id, :name, :hash, :role, :shown, :demo) RETURNING id::text"""
)
_GRANT = text("INSERT INTO user_grant (user_id, scope) SELECT :user, unnest(:scopes)").bindparams(bindparam("scopes", type_=ARRAY(TEXT)))
_SERIALISE = text("SELECT pg_advisory_xact_lock(:key)")
_EXPIRE = text("DELETE FROM login_failure WHERE id IN (SELECT id FROM login_failure WHERE at < :before LIMIT 100 FOR UPDATE SKIP LOCKED)")
_COUNT = text("SELECT key, count(*) FROM login_failure WHERE key = ANY(:keys) AND at > :since GROUP BY key")
_ATTEMPT = text("INSERT INTO login_failure (key, at) SELECT unnest(CAST(:keys AS bytea[])), :now RETURNING id")
_FORGET = text("DELETE FROM login_failure WHERE id = ANY(:attempt) OR key = :key")
_REGISTER = text(
    """INSERT INTO device AS d (id, user_id, name, platform, client_version, clock_offset_ms, clock_measured_at, last_seen_at)
    VALUES (:id, :user, :name, :platform, :version, :offset,
      CASE WHEN CAST(:offset AS bigint) IS NOT NULL THEN CAST(:now AS timestamptz) END, :now)
    ON CONFLICT (id) DO UPDATE SET (name, platform, client_version, clock_offset_ms, clock_measured_at, last_seen_at) =
      (SELECT n.name, n.platform, n.client_version, coalesce(n.clock_offset_ms, d.clock_offset_ms),
        coalesce(n.clock_measured_at, d.clock_measured_at), n.last_seen_at FROM (SELECT excluded.*) n)
    RETURNING user_id::text, revoked_at, thumbprint"""
)
_FAMILY = text("INSERT INTO auth_family (id, user_id, device_id, started_at, expires_at) VALUES (:id, :user, :device, :now, :end)")
_REFRESH = text("INSERT INTO refresh_token (hash, family_id, issued_at) VALUES (:hash, :family, :now)")
_LOCK_FAMILY = text(
    """SELECT f.id::text AS family_id, f.user_id::text, f.device_id, f.expires_at, d.thumbprint, d.revoked_at IS NOT NULL AS revoked,
      f.revoked_at IS NOT NULL OR NOT u.active AS ended
    FROM refresh_token t JOIN auth_family f ON f.id = t.family_id
    JOIN user_account u ON u.id = f.user_id JOIN device d ON d.id = f.device_id
    WHERE t.hash = :hash FOR UPDATE OF f"""
)
_USE = text(
    """SELECT t.used_at, t.successor, s.used_at IS NOT NULL AS successor_used
    FROM refresh_token t LEFT JOIN refresh_token s ON s.hash = t.successor WHERE t.hash = :hash"""
)
_SPEND = text(
    """WITH lost AS (UPDATE refresh_token SET used_at = :now WHERE hash = :lost)
    UPDATE refresh_token SET used_at = coalesce(used_at, :now), successor = :successor WHERE hash = :hash"""
)
_PROLONG = text("UPDATE auth_family SET expires_at = :end WHERE id = :id")
_END = text("UPDATE auth_family SET revoked_at = :now, revoked_for = :reason WHERE id = :id AND revoked_at IS NULL")
GRANTED = """coalesce((SELECT array_agg(g.scope ORDER BY g.scope) FROM user_grant g
        WHERE g.user_id = u.id AND g.valid_from <= :now AND (g.valid_to IS NULL OR g.valid_to > :now)), '{}')"""
"""What person `u` works for `:now`."""

_WHO = text(
    f"""SELECT u.id::text AS user_id, u.username, u.role, f.device_id, d.thumbprint, d.clock_offset_ms,
      d.revoked_at IS NOT NULL AS device_revoked, f.revoked_at IS NULL AND f.expires_at > :now AND u.active AS good,
      (SELECT min(turn) FROM user_grant g, LATERAL (VALUES (g.valid_from), (g.valid_to)) AS v(turn)
        WHERE g.user_id = u.id AND turn > :now) AS changes_at,
      {GRANTED} AS scopes
    FROM auth_family f JOIN user_account u ON u.id = f.user_id JOIN device d ON d.id = f.device_id
    WHERE f.id = :family"""
)
_ACCOUNT = text(
    """SELECT u.username, u.role, u.display_name,
      coalesce((SELECT array_agg(ARRAY[a.code, a.name] ORDER BY a.code) FROM area a WHERE a.code IN (SELECT g.scope FROM user_grant g
        WHERE g.user_id = u.id AND g.valid_from <= :now AND (g.valid_to IS NULL OR g.valid_to > :now))), '{}') AS areas
    FROM user_account u WHERE u.id = :user"""
)
_AUDIT = text(
    """INSERT INTO audit_entry (at, kind, user_id, device_id, area, detail)
    VALUES (:at, :kind, :user, :device, :area, CAST(:detail AS jsonb))"""
)
