"""Read tokens in GraphQL."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Info

from api import read_tokens
from api.context import RequestContext

ContextInfo = Info[RequestContext, None]


@strawberry.type(
    description="A token with which a program such as QGIS reads at /ogc and /tiles what its maker may read; it changes nothing."
)
class ReadToken:
    id: strawberry.ID
    user_id: strawberry.ID
    name: str = strawberry.field(description="What it is for.")
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = strawberry.field(description="To the hour.")
    revoked_at: datetime | None


@strawberry.type(description="A token that was just made.")
class NewReadToken:
    token: str = strawberry.field(description="Told this once: send it as `Authorization: Bearer TOKEN`.")
    read_token: ReadToken


async def list_read_tokens(info: ContextInfo, user_id: strawberry.ID | None = None) -> list[ReadToken]:
    actor = info.context.signed_in()
    async with info.context.database.engine.connect() as connection:
        return [_shown(found) for found in await read_tokens.tokens_of(connection, actor, user_id)]


async def create_read_token(info: ContextInfo, name: str, days: int = 90) -> NewReadToken:
    actor = info.context.signed_in()
    async with info.context.database.engine.begin() as connection:
        made, secret = await read_tokens.create(connection, actor, name, days, info.context.now)
    return NewReadToken(token=secret, read_token=_shown(made))


async def revoke_read_token(info: ContextInfo, id: strawberry.ID) -> bool:  # noqa: A002
    actor = info.context.signed_in()
    async with info.context.database.engine.begin() as connection:
        await read_tokens.revoke(connection, actor, id, info.context.now)
    return True


def _shown(found: read_tokens.ReadToken) -> ReadToken:
    return ReadToken(**{**vars(found), "id": strawberry.ID(found.id), "user_id": strawberry.ID(found.user_id)})


@strawberry.type
class ReadTokenQuery:
    read_tokens: list[ReadToken] = strawberry.field(
        resolver=list_read_tokens, description="One's own read tokens, or, for those who are over somebody, that person's; ended ones too."
    )


@strawberry.type
class ReadTokenMutation:
    create_read_token: NewReadToken = strawberry.mutation(
        resolver=create_read_token, description="A token for a program that only reads (QGIS at /ogc); good for `days`, 366 at most."
    )
    revoke_read_token: bool = strawberry.mutation(resolver=revoke_read_token, description="Ends a read token now.")
