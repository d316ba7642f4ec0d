"""Document numbers in GraphQL."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import Info

from api.context import RequestContext
from api.grants_graphql import area_code
from sync import numbers
from sync.numbers import Fate

Numbers = Annotated[list[int], strawberry.argument(name="numbers")]
ContextInfo = Info[RequestContext, None]
strawberry.enum(Fate, name="NumberFate", description="Returned unused, or void.")


@strawberry.type(description="Numbers first to last, for one device; a document's number is prefix and six digits.")
class NumberBlock:
    id: strawberry.ID
    series: str
    area: strawberry.ID
    year: int
    first: int
    last: int
    prefix: str
    device_id: strawberry.ID
    reserved_at: datetime
    used: int
    settled: int = strawberry.field(description="Returned or void.")


async def list_blocks(info: ContextInfo) -> list[NumberBlock]:
    async with info.context.database.engine.connect() as connection:
        return [_block(row) for row in await numbers.blocks(connection, info.context.signed_in())]


async def reserve_numbers(info: ContextInfo, series: str, area: strawberry.ID, count: int) -> NumberBlock:
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        made = await numbers.reserve(connection, actor, series, area_code(area), count, context.moment)
    counts = {"used": 0, "settled": 0, "device_id": actor.device_id, "reserved_at": context.now}
    return _block({**vars(made), **counts})


async def settle_numbers(info: ContextInfo, block_id: strawberry.ID, wanted: Numbers, fate: Fate, reason: str) -> int:
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        return await numbers.settle(connection, actor, block_id, wanted, fate, reason, context.moment)


def _block(row: Any) -> NumberBlock:
    block = numbers.Block(row["id"], row["series"], row["area_code"], row["year"], row["first"], row["last"])
    return NumberBlock(
        id=strawberry.ID(block.id),
        series=block.series,
        area=strawberry.ID(block.area_code),
        year=block.year,
        first=block.first,
        last=block.last,
        prefix=block.prefix,
        device_id=strawberry.ID(row["device_id"]),
        reserved_at=row["reserved_at"],
        used=row["used"],
        settled=row["settled"],
    )


@strawberry.type
class NumberQuery:
    number_blocks: list[NumberBlock] = strawberry.field(resolver=list_blocks, description="Blocks of this device, or of a chief's areas.")


@strawberry.type
class NumberMutation:
    reserve_numbers: NumberBlock = strawberry.mutation(resolver=reserve_numbers, description="The next numbers, for this device.")
    settle_numbers: int = strawberry.mutation(resolver=settle_numbers, description="Returns or voids unused numbers, with a reason.")
