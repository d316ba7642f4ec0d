"""Log-in in GraphQL: two mixins that the schema merges into its Query and Mutation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import Info

from api import accounts
from api.context import RequestContext
from api.graphql.types import AreaName, DateTime
from schema.actor import Role
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
strawberry.enum(Role, name="Role", description="What a person may do.")


@strawberry.type(description="A signed-in person.")
class User:
    id: strawberry.ID
    username: str
    role: Role
    display_name: str
    areas: list[AreaName]


@strawberry.type(description="What a client keeps after log-in; expiresAt is the end of accessToken.")
class Session:
    access_token: str
    refresh_token: str
    expires_at: datetime
    user: User


@strawberry.input(description="The device that signs in: an id made once per installation and person, and what it says of itself.")
class DeviceInput:
    id: strawberry.ID
    name: str | None = None
    platform: str | None = None
    client_version: str | None = None
    clock_at: Annotated[DateTime | None, strawberry.argument(description="Its clock, now.")] = None


async def me(info: ContextInfo) -> User:
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.connect() as connection:
        return _user(await accounts.account(connection, actor.user_id, context.now))


async def login(info: ContextInfo, username: str, password: str, device: DeviceInput) -> Session:
    context = info.context
    found = await context.accounts.login(username, password, facts(device), context.address, context.now, context.proof)
    return _session(found)


async def refresh(info: ContextInfo, refresh_token: str) -> Session:
    return _session(await info.context.accounts.refresh(refresh_token, info.context.now, info.context.proof))


async def logout(info: ContextInfo) -> bool:
    info.context.signed_in()
    return await info.context.accounts.logout(info.context.token or "", info.context.now)


@strawberry.type
class AccountQuery:
    me: User = strawberry.field(resolver=me, description="Who is signed in.")


@strawberry.type
class AccountMutation:
    login: Session = strawberry.mutation(resolver=login, description="Signs a person in on a device.")
    refresh: Session = strawberry.mutation(resolver=refresh, description="A new session for a refresh token, which is used once.")
    logout: bool = strawberry.mutation(resolver=logout, description="Ends this session on every node.")


def facts(device: DeviceInput) -> accounts.DeviceFacts:
    """What a device says of itself. Raises Refused DATE_INVALID."""
    return accounts.DeviceFacts(
        device.id, device.name or "", device.platform or "", device.client_version or "", moment(device.clock_at, "clockAt")
    )


def moment(text: str | None, name: str) -> datetime | None:
    """Raises Refused DATE_INVALID for a time without its offset."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        at = None
    if text and (at is None or at.tzinfo is None):
        raise Refused(Problem("DATE_INVALID", f"{name} must be a time with its offset, ISO 8601.", name))
    return at


def _user(account: accounts.Account) -> User:
    areas = [AreaName(code=strawberry.ID(area.code), name=area.name) for area in account.areas]
    return User(id=strawberry.ID(account.id), username=account.username, role=account.role, display_name=account.display_name, areas=areas)


def _session(session: accounts.Session) -> Session:
    return Session(
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        expires_at=session.expires_at,
        user=_user(session.account),
    )
