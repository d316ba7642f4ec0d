"""The other half of topic `geo`: indicators of an invented national register, beside the grouping that everyone writes.

Ours must say of each county what the grouping says, or the run fails: a fast wrong answer is none.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.bench.client import Client, body
from api.bench.field import COUNTY, OURS, Field, require
from api.bench.national import fill
from api.bench.report import Figure
from api.bench.stock import PUSH
from api.bench.terminals import signed_in
from api.database import SESSION
from api.settings import engine_url
from geo import indicators
from geo.indicators import engine, today
from schema.actor import Role
from schema.areas import ROOT

SHARE, COUNT = "IND-01", "ENT-COUNT"
TOWNSHIP = f"{COUNTY}001"
_QUERY = """query ($indicator: ID!, $area: ID!, $on: Date) {
  coverage(indicator: $indicator, area: $area, level: COUNTY, asOf: $on) { area { code name } numerator denominator value target gap } }"""
# Once the counties of the townships are known, which is more than most begin with.
_PLAIN = """
SELECT c.county, count(*) FILTER (WHERE e.declared_on <= current_date AND e.declaration_state IS DISTINCT FROM 'CANCELLED') AS top,
       count(*) AS whole
  FROM enterprise e JOIN bench_county c ON c.code = e.area_code
 WHERE NOT e.deleted AND e.status = 'OPERATING' AND cardinality(e.hazards) > 0 GROUP BY c.county"""
_COUNTIES = """
CREATE TEMPORARY TABLE bench_county AS SELECT t.code, u.code AS county FROM area t JOIN area u ON u.code = ANY(t.chain)
 WHERE u.layers @> ARRAY['county'] AND u.valid_to IS NULL"""


async def coverage(field: Field) -> list[Figure]:
    """Counting everything and one indicator anew; maps of the country by county, today and a year ago; one record's way to its values."""
    await fill(field.connection, field.sizes.register, lambda said: field.tell(f"geo: {said}"))
    await field.connection.execute(_COUNTIES)
    figures = [Figure("geo.indicators.enterprises", await field.count("SELECT count(*) FROM enterprise"), "enterprises")]
    figures += await _counted(field)
    [(_, token)] = await signed_in(field, Role.SUPERVISOR, ROOT, 1)
    async with Client(field.ports[OURS], token, encoding="gzip") as client:
        figures += await _maps(field, client)
        figures.append(await _followed(field, client))
    return figures


async def _counted(field: Field) -> list[Figure]:
    """Seconds to count everything anew, and one indicator, which is rolled back."""
    made, on = engine(), today(datetime.now(UTC))
    one = [made.declared.measures[name] for name in made.declared.indicators[SHARE].measures]
    opened = create_async_engine(
        engine_url(field.settings.database_url or ""), poolclass=NullPool, connect_args={"server_settings": SESSION}
    )
    async with opened.connect() as connection:
        field.tell("geo: counting one indicator anew")
        began = perf_counter()
        await indicators.draw(connection, one, made)
        alone = perf_counter() - began
        await connection.rollback()
        began = perf_counter()
        await indicators.recompute(connection, on, lambda what, done, total: _tell(field, what, done, total))
        every = perf_counter() - began
        await connection.commit()
        for table in ("indicator_curve", "indicator_count"):
            await connection.execute(text(f"ANALYZE {table}"))
        await connection.commit()
    await opened.dispose()
    plain = await _plain_seconds(field)
    return [
        Figure("geo.indicators.recompute", round(every, 2), "s, all of them and their past"),
        Figure("geo.indicators.recompute_one", round(alone, 2), "s", "GROUP BY, today alone", round(plain / alone, 3)),
    ]


def _tell(field: Field, what: str, done: int, total: int) -> None:
    field.tell(f"geo: counting {what}, {done} of {total}")


async def _plain_seconds(field: Field) -> float:
    times = []
    for _ in range(field.rounds):
        began = perf_counter()
        await field.connection.fetch(_PLAIN)
        times.append(perf_counter() - began)
    return statistics.median(times)


async def _maps(field: Field, client: Client) -> list[Figure]:
    field.tell("geo: maps of the country by county")
    plain = {row["county"]: (row["top"], row["whole"]) for row in await field.connection.fetch(_PLAIN)}
    ours = {value["area"]["code"]: (value["numerator"], value["denominator"]) for value in await _map(client, SHARE)}
    require({code: counts for code, counts in ours.items() if counts[1]} == plain, "the counts of a plain GROUP BY in every county")
    kept = [name for name in sorted(engine().declared.indicators) if _is_kept(name)]
    seconds = await _plain_seconds(field)
    warm = sorted([await _milliseconds(client, kept[at % len(kept)]) for at in range(-len(kept), field.sizes.alone)][len(kept) :])
    year_ago = (today(datetime.now(UTC)) - timedelta(days=365)).isoformat()
    past = sorted([await _milliseconds(client, (SHARE, COUNT)[at % 2], year_ago) for at in range(_few(field))])
    p50, p95 = warm[len(warm) // 2], warm[int(len(warm) * 0.95)]
    return [
        Figure("geo.indicators.counties", len(ours), "areas of a map"),
        Figure("geo.indicators.warm.p50", round(p50, 2), f"ms, {len(kept)} indicators in turn", "GROUP BY", round(seconds * 1000 / p50, 1)),
        Figure("geo.indicators.warm.p95", round(p95, 2), "ms", "GROUP BY", round(seconds * 1000 / p95, 1)),
        Figure("geo.indicators.past.p50", round(past[len(past) // 2], 2), "ms, as of a year ago"),
        Figure("geo.indicators.group_by", round(seconds * 1000, 2), "ms, one indicator, one day"),
    ]


def _few(field: Field) -> int:
    """As often is asked what takes long."""
    return max(2, field.sizes.alone // 20)


def _is_kept(name: str) -> bool:
    """Whether an indicator's values are kept up for everybody to read; persons are counted when asked."""
    declared = engine().declared
    indicator = declared.indicators[name]
    return not indicator.waits and all(declared.measures[each].kept and not declared.measures[each].personal for each in indicator.measures)


async def _map(client: Client, indicator: str, on: str | None = None, area: str = ROOT) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = (await client.ask(_QUERY, indicator=indicator, area=area, on=on))["coverage"]
    return found


async def _milliseconds(client: Client, indicator: str, on: str | None = None) -> float:
    asked = body(_QUERY, indicator=indicator, area=ROOT, on=on)
    began = perf_counter()
    await client.post(asked)
    return (perf_counter() - began) * 1000


async def _followed(field: Field, client: Client) -> Figure:
    """From the answer to a push until the county's count has grown."""
    field.tell("geo: one record's way to its values")
    await field.kept_up()
    times = []
    async with field.client(OURS) as terminal:
        for _ in range(_few(field)):
            before = (await _map(client, COUNT, area=COUNTY))[0]["numerator"]
            [document] = field.stock.take(1, TOWNSHIP)
            rows = field.stock.rows([{**document, "status": "OPERATING"}])  # closed ones are not counted
            answer = orjson.loads(await terminal.post(body(PUSH, rows=rows)))
            require(not answer.get("errors"), f"a push that is taken, not {answer}")
            began = perf_counter()
            while (await _map(client, COUNT, area=COUNTY))[0]["numerator"] == before:
                require(perf_counter() - began < 60, "a change to be counted within a minute")
                await asyncio.sleep(0.01)
            times.append(perf_counter() - began)
    return Figure("geo.indicators.followed.p50", round(statistics.median(times) * 1000, 2), "ms, from a push to the county's value")
