"""Small sets of features as GeoJSON over GraphQL: the same layers and the same rules as at /ogc."""

from __future__ import annotations

from typing import cast

import orjson
import strawberry
from strawberry import Info

from api.context import RequestContext
from api.graphql.types import JSON
from api.ogc.asked import Asked, area, box_of, invalid
from api.ogc.catalogue import layer
from api.ogc.layers import Source
from api.ogc.service import feature_collection, note_export
from api.read_tokens import Reading

MOST = 1000
ContextInfo = Info[RequestContext, None]


async def features(
    info: ContextInfo,
    collection: strawberry.ID,
    within: strawberry.ID | None = None,
    bbox: list[float] | None = None,
    first: int = 100,
    after: str | None = None,
) -> JSON:
    """`bbox`: west, south, east, north. Page on with `after`: the id of the last feature, as long as a page is full."""
    context = info.context
    actor = context.signed_in()
    found = layer(actor, collection)
    most = min(MOST, found.most)
    if not 1 <= first <= most:
        raise invalid("first", f"first 应在 1 与 {most} 之间，收到 {first}。")
    given = {"within": within, "bbox": bbox, "after": after}
    asked = Asked(first, after, None if bbox is None else box_of(bbox), None, area(within) if within else None)
    page = await found.page(Source(context.database, actor, context.now), asked)
    await note_export(context.database, Reading(actor), context.now, found.id, [name for name, value in given.items() if value is not None])
    return cast(JSON, orjson.Fragment(feature_collection(page, [])))


@strawberry.type
class FeatureQuery:
    features: JSON = strawberry.field(resolver=features, description="A GeoJSON FeatureCollection of a layer of /ogc/collections.")
