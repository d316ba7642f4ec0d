"""The GraphQL schema of a registry: accounts, coverage and every record, in one piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import strawberry

from api.accounts_graphql import AccountMutation, AccountQuery
from api.context import RequestContext
from api.graphql.passthrough import PassthroughExecutor
from api.graphql.resolvers import Resolvers
from api.graphql.types import CONFIG, Family
from schema import tables
from schema.registry import Registry, load

Info = strawberry.Info[RequestContext, None]


async def wake(info: Info) -> AsyncGenerator[str, None]:
    actor, hub = info.context.signed_in(), info.context.hub
    assert hub is not None  # a socket is served by a running app
    subscription = hub.subscribe(actor.scopes)
    info.context.listening.append(subscription)
    try:
        async for word in subscription:
            yield word
    finally:
        info.context.listening.remove(subscription)
        subscription.close()


@strawberry.type
class Subscription:
    wake: AsyncGenerator[str, None] = strawberry.subscription(
        resolver=wake, description='Yields "RESYNC" when there is something to pull; one for all records.'
    )


def build_schema(
    registry: Registry | None = None, *, queries: tuple[type, ...] = (), mutations: tuple[type, ...] = ()
) -> strawberry.Schema:
    """Everything that can be asked. `queries` and `mutations` are further mixins, written by hand in api/actions."""
    registry = registry or load()
    family = Family(registry)
    resolvers = [Resolvers(types, registry) for types in family.of.values()]
    for record in registry.values():
        tables.table(record)
    query = _merged("Query", (AccountQuery, *queries), [each.queries() for each in resolvers])
    mutation = _merged("Mutation", (AccountMutation, *mutations), [each.mutations() for each in resolvers])
    return strawberry.Schema(query, mutation, Subscription, config=CONFIG, execution_context_class=PassthroughExecutor)


def _merged(name: str, mixins: tuple[type, ...], fields: list[dict[str, Any]]) -> Any:
    body = {key: field for each in fields for key, field in each.items()}
    return strawberry.type(type(name, mixins, {**body, "__module__": __name__, "__annotations__": {}}), name=name)
