"""Who looks after what beside the division tree, in GraphQL: an administrator's."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry import Info

from api.accounts import audit
from api.context import RequestContext
from api.grants_graphql import area_code
from api.graphql.types import Date
from api.locate_graphql import day
from geo import membership
from schema.actor import Actor, Role
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
ADMINISTRATORS = Problem("FORBIDDEN", "管辖关系由管理员维护")
Since = Annotated[Date | None, strawberry.argument(description="First day; today, if left out.")]
Until = Annotated[Date | None, strawberry.argument(description="First day without it, for an area that is lent; no end, if left out.")]


@strawberry.type(description="An area that a jurisdiction looks after beside the division tree.")
class Membership:
    jurisdiction: strawberry.ID
    area: strawberry.ID
    valid_from: Date
    valid_to: Date | None
    note: str


async def memberships(info: ContextInfo, jurisdiction: strawberry.ID) -> list[Membership]:
    info.context.signed_in()
    async with info.context.database.engine.connect() as connection:
        return [_membership(found) for found in await membership.members(connection, jurisdiction)]


async def join_jurisdiction(
    info: ContextInfo, jurisdiction: strawberry.ID, area: strawberry.ID, note: str, since: Since = None, until: Until = None
) -> Membership:
    context, actor, today = info.context, _administrator(info), info.context.now.date()
    async with context.database.engine.begin() as connection:
        made, changed = await membership.gain(connection, jurisdiction, area_code(area), day(since) or today, day(until), note[:500], today)
        await _note(connection, info, "MEMBERSHIP", actor, made, changed)
    return _membership(made)


async def leave_jurisdiction(info: ContextInfo, jurisdiction: strawberry.ID, area: strawberry.ID) -> Membership:
    context, actor = info.context, _administrator(info)
    async with context.database.engine.begin() as connection:
        ended, changed = await membership.lose(connection, jurisdiction, area_code(area), context.now.date())
        await _note(connection, info, "MEMBERSHIP_ENDED", actor, ended, changed)
    return _membership(ended)


def _administrator(info: ContextInfo) -> Actor:
    actor = info.context.signed_in()
    if actor.role is not Role.ADMIN:
        raise Refused(ADMINISTRATORS)
    return actor


async def _note(connection: AsyncConnection, info: ContextInfo, kind: str, actor: Actor, made: membership.Membership, changed: int) -> None:
    detail = {"jurisdiction": made.jurisdiction, "area": made.area, "from": _text(made.valid_from), "to": _text(made.valid_to)}
    who = {"user_id": actor.user_id, "device_id": actor.device_id}
    await audit(connection, info.context.now, kind, **who, area=made.area[:6], detail=detail | {"chains": changed, "note": made.note})


def _membership(found: membership.Membership) -> Membership:
    return Membership(
        jurisdiction=strawberry.ID(found.jurisdiction),
        area=strawberry.ID(found.area),
        valid_from=Date(found.valid_from.isoformat()),
        valid_to=None if found.valid_to is None else Date(found.valid_to.isoformat()),
        note=found.note,
    )


def _text(on: date | None) -> str | None:
    return None if on is None else on.isoformat()


@strawberry.type
class MembershipQuery:
    memberships: list[Membership] = strawberry.field(resolver=memberships, description="What a jurisdiction looks after or did.")


@strawberry.type
class MembershipMutation:
    join_jurisdiction: Membership = strawberry.mutation(
        resolver=join_jurisdiction, description="Lets a jurisdiction look after an area, or borrow it; its records follow within seconds."
    )
    leave_jurisdiction: Membership = strawberry.mutation(resolver=leave_jurisdiction, description="Ends that today.")
