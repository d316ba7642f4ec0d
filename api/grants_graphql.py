"""Grants in GraphQL."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import Info

from api import grants
from api.accounts_graphql import moment
from api.context import RequestContext
from api.graphql.types import DateTime
from schema import values
from schema.problems import Problem, Refused

ContextInfo = Info[RequestContext, None]
Start = Annotated[DateTime | None, strawberry.argument(name="from", description="Now, if left out.")]
End = Annotated[DateTime | None, strawberry.argument(name="to", description="First moment without it; no end, if left out.")]


@strawberry.type(description="An area in which a person works for a time.")
class Grant:
    id: strawberry.ID
    user_id: strawberry.ID
    area: strawberry.ID
    valid_from: datetime
    valid_to: datetime | None
    granted_by: strawberry.ID | None


async def list_grants(info: ContextInfo, user_id: strawberry.ID) -> list[Grant]:
    async with info.context.database.engine.connect() as connection:
        return [_grant(found) for found in await grants.grants_of(connection, info.context.signed_in(), user_id)]


async def grant_scope(info: ContextInfo, user_id: strawberry.ID, area: strawberry.ID, start: Start = None, end: End = None) -> Grant:
    context = info.context
    actor = context.signed_in()
    begin, finish = moment(start, "from"), moment(end, "to")
    async with context.database.engine.begin() as connection:
        made = await grants.grant(connection, actor, user_id, area_code(area), begin, finish, context.now)
    context.accounts.forget(user_id)  # here at once; other nodes hear of it
    return _grant(made)


async def revoke_grant(info: ContextInfo, id: strawberry.ID) -> bool:  # noqa: A002
    context = info.context
    actor = context.signed_in()
    if not id.isascii() or not id.isdigit() or len(id) > 18:
        raise Refused(grants.UNKNOWN)
    async with context.database.engine.begin() as connection:
        await grants.revoke(connection, actor, int(id), context.now)
    context.accounts.forget(None)
    return True


def area_code(text: str) -> str:
    try:
        return values.area_code(text)
    except ValueError:
        raise Refused(Problem("AREA_UNKNOWN", "没有这个区划代码", "area")) from None


def _grant(found: grants.Grant) -> Grant:
    granted_by = strawberry.ID(found.granted_by) if found.granted_by else None
    return Grant(
        id=strawberry.ID(str(found.id)),
        user_id=strawberry.ID(found.user_id),
        area=strawberry.ID(found.scope),
        valid_from=found.valid_from,
        valid_to=found.valid_to,
        granted_by=granted_by,
    )


@strawberry.type
class GrantQuery:
    grants: list[Grant] = strawberry.field(resolver=list_grants, description="All grants of a person, past ones too.")


@strawberry.type
class GrantMutation:
    grant_scope: Grant = strawberry.mutation(resolver=grant_scope, description="Lets a person work in an area for a time.")
    revoke_grant: bool = strawberry.mutation(resolver=revoke_grant, description="Ends a grant now.")
