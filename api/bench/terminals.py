"""Terminals that are signed in: a person, devices and sessions written as a log-in would, without the work of the password."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from api.bench.field import Field
from api.tokens import Keys, Whose, issue
from schema.actor import Role

_PERSON = """WITH person AS (
    INSERT INTO user_account (id, username, password_hash, role, display_name, active)
    VALUES (gen_random_uuid(), $1, 'none', $2, $1, true) RETURNING id),
  granted AS (INSERT INTO user_grant (user_id, scope) SELECT id, $4 FROM person),
  tool AS (INSERT INTO device (id, user_id) SELECT $1 || '-' || n, id FROM person, generate_series(1, $3::int) AS n RETURNING id, user_id)
  SELECT user_id::text, id AS device FROM tool"""
_FAMILIES = """INSERT INTO auth_family (id, user_id, device_id, started_at, expires_at)
  SELECT *, $4::timestamptz, $5::timestamptz FROM unnest($1::uuid[], $2::uuid[], $3::text[])"""


async def signed_in(field: Field, role: Role, scope: str, count: int) -> list[tuple[str, str]]:
    """Device and access token of `count` devices of one new person: what one of them holds may serve as what another holds."""
    keys = Keys(field.settings.data / "keys")
    keys.load()
    rows = await field.connection.fetch(_PERSON, f"bench-{uuid.uuid4().hex[:8]}", role.value, count, scope)
    now, families = datetime.now(UTC), [str(uuid.uuid4()) for _ in rows]
    people, devices = [row["user_id"] for row in rows], [row["device"] for row in rows]
    await field.connection.execute(_FAMILIES, families, people, devices, now, now + timedelta(days=1))
    whose = map(Whose, people, devices, families)
    return [(each.device_id, issue(keys, each, now)[0]) for each in whose]
