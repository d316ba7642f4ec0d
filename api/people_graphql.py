"""People in GraphQL: `users`, to find the person to whom a device, a grant or a document is given."""

from __future__ import annotations

import strawberry
from sqlalchemy import text
from strawberry import Info

from api.authority import IN_AREAS, require_chief
from api.context import RequestContext
from schema.actor import Role
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
MOST = 200

_USERS = text(
    f"""SELECT u.id::text AS id, u.username, u.display_name, u.role, u.active,
      (SELECT count(*) FROM device d WHERE d.user_id = u.id AND d.revoked_at IS NULL) AS devices
    FROM user_account u
    WHERE u.username > :after AND (:all OR (u.role <> 'ADMIN' AND {IN_AREAS}))
      AND strpos(lower(u.username || ' ' || u.display_name), lower(:search)) > 0 ORDER BY u.username LIMIT :most"""
)


@strawberry.type(description="A person with an account. devices: those in use.")
class Person:
    id: strawberry.ID
    username: str
    display_name: str
    role: Role
    active: bool
    devices: int


@strawberry.type
class PersonPage:
    nodes: list[Person]
    has_next_page: bool
    end_cursor: str | None


async def users(info: ContextInfo, search: str = "", first: int = 50, after: str = "") -> PersonPage:
    """In order of user name."""
    actor = info.context.signed_in()
    require_chief(actor)
    if not 1 <= first <= MOST:
        raise Refused(Problem("LIMIT_INVALID", f"first 应在 1 与 {MOST} 之间，收到 {first}", "first"))
    found = {"all": actor.role is Role.ADMIN, "scopes": list(actor.scopes), "after": _plain(after), "search": _plain(search)}
    async with info.context.database.engine.connect() as connection:
        rows = (await connection.execute(_USERS, {**found, "most": first + 1})).mappings().all()
    nodes = [Person(**{**row, "role": Role(row["role"])}) for row in rows[:first]]
    return PersonPage(nodes=nodes, has_next_page=len(rows) > first, end_cursor=nodes[-1].username if nodes else None)


def _plain(given: str) -> str:
    """What PostgreSQL can compare: no NUL, no half of a surrogate pair."""
    return given.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


@strawberry.type
class PeopleQuery:
    users: PersonPage = strawberry.field(
        resolver=users, description="People over whom an administrator or supervisor is; `search` looks in user names and names."
    )
