"""The conflict inbox in GraphQL: listed by `syncConflicts`, settled here."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.types import JSON
from schema.problems import Problem, Refused
from schema.registry import load
from schema.values import canonical
from sync.resolve import Take, resolve

strawberry.enum(Take, name="Take", description="Whose value stands: the device's, the server's, or another.")


async def resolve_conflict(info: Info[RequestContext, None], id: strawberry.ID, take: Take, value: JSON | None = None) -> bool:  # noqa: A002
    """Writes the chosen value through the write path and closes the conflict with a name and a time."""
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        await resolve(connection, actor, _id(id), take, _plain(value), moment=context.moment, registry=load())
    return True


def _id(text: str) -> str:
    try:
        return str(canonical(load()["sync_conflict"].by_name["id"], text))
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"编号（id）{error}", "id")) from None


def _plain(value: Any) -> Any:
    return None if value is strawberry.UNSET else value


@strawberry.type
class ConflictMutation:
    resolve_conflict: bool = strawberry.mutation(resolver=resolve_conflict, description="Settles a conflict of the inbox.")
