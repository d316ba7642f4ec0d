"""Access and planning in GraphQL: how well patients reach sites, where new ones should stand, a day's inspections in order.

The numbers are `geo.reach`'s and `geo.planning`'s. scipy is loaded by the first question, in a thread: who asks none needs none.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strawberry
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry import Info

from api import planning
from api.accounts import audit
from api.authority import require_area, require_chief
from api.context import RequestContext
from api.graphql.types import JSON, AreaName
from api.planning import Inputs
from geo.demand import ABOVE, NOWHERE, Site, Town, sites_of, stops_of, towns_of
from geo.disclosure import settled
from geo.indicators import today
from schema.actor import Actor
from schema.planning import AccessMeasure, PlanKind, PlanState, SiteKind
from schema.problems import Problem, Refused

if TYPE_CHECKING:
    from geo.reach import Access, TownValue

ContextInfo = Info[RequestContext, None]
strawberry.enum(PlanKind, description="Most patients in reach, least travel for all, or a day's inspections in order.")
strawberry.enum(PlanState, description="Where a planning run is.")
strawberry.enum(SiteKind, description="康复站, 康复点.")
strawberry.enum(AccessMeasure, description="In reach or not, the nearest, or floating catchments (2SFCA, enhanced, three-step).")
MOST_PAIRS = 5_000_000
MOST_STOPS = 60
MOST_SECONDS = 600
MOST_SITES = 500
KM, MINUTES = 20.0, 30.0  # reach where none is asked for: assumed
_FIXED_KM = frozenset({AccessMeasure.WITHIN_KM})
_FIXED_MINUTES = frozenset({AccessMeasure.WITHIN_MINUTES})


@dataclass(frozen=True)
class Question:
    """What access is computed from; `limit` in minutes if `in_minutes`, else in kilometres."""

    towns: Sequence[Town]
    sites: Sequence[Site]
    measure: AccessMeasure
    in_minutes: bool
    limit: float
    nearest: int
    data: Path


@strawberry.type(description="A site on the way from a township.")
class NearSite:
    id: strawberry.ID
    name: str
    cost: float = strawberry.field(description="Kilometres or minutes.")


@strawberry.type(description="How well one township reaches sites.")
class TownshipAccess:
    area: AreaName
    patients: int | None = strawberry.field(description="Rounded to multiples of 5; null under 10.")
    value: float | None = strawberry.field(
        description="Kilometres or minutes to the nearest; 1 or 0 for in reach or not; capacity per patient. Null: no way, or suppressed."
    )
    suppressed: bool = strawberry.field(description="Too few patients behind the value to publish.")
    placed: str = strawberry.field(description="At whose point the patients stand: own, enterprises (their middle), above, nowhere.")
    point: list[float] | None = strawberry.field(description="lon, lat of that point, WGS 84; null where it is not in the township.")
    nearest: list[NearSite]


@strawberry.type(description="Access of a county's patients: what `access` of that county says.")
class CountyAccess:
    area: strawberry.ID
    patients: int | None = strawberry.field(description="Rounded; null under 10.")
    share: float | None = strawberry.field(description="Of patients in reach; null without patients, with too few, or for other measures.")


@strawberry.type(description="Access to sites by township.")
class AccessAnswer:
    asked: strawberry.Private[Question]
    as_of: str = strawberry.field(description="The day for which patients are counted: the end of a month.")
    unit: str = strawberry.field(description="KM or MINUTES.")
    travel: str = strawberry.field(description="How distance or time was computed.")
    sites: int
    patients: int | None = strawberry.field(description="Rounded; null under 10.")
    share: float | None = strawberry.field(description="Of patients in reach; null without patients, with too few, or for other measures.")
    unplaced: int = strawberry.field(description="Townships without any point: in no share.")
    townships: list[TownshipAccess]

    @strawberry.field(description="By county, in order of code.")  # type: ignore[untyped-decorator]
    async def counties(self) -> list[CountyAccess]:
        return await asyncio.to_thread(_by_county, self.asked)


@strawberry.input(description="What a plan is asked for: reach for COVERING, `start` and `enterprises` for ROUTE.")
class PlanParameters:
    number: int = strawberry.field(default=1, description="New sites.")
    site_kind: SiteKind = SiteKind.STATION
    limit_km: float | None = None
    limit_minutes: float | None = None
    capacity: int | None = strawberry.field(default=None, description="Patients that a new site can take; null: any number.")
    keep_sites: bool = strawberry.field(default=True, description="Open sites stay and count.")
    candidates: list[strawberry.ID] | None = strawberry.field(default=None, description="Townships; all of the area if left out.")
    seconds: int = strawberry.field(default=60, description="For the proof; the best answer until then is given with its gap.")
    start: list[float] | None = strawberry.field(default=None, description="lon, lat, WGS 84.")
    end: list[float] | None = strawberry.field(default=None, description="lon, lat where the day ends; null: as `closed` says.")
    enterprises: list[strawberry.ID] | None = None
    visit_minutes: float = 60.0
    day_minutes: float = 480.0
    departure_minutes: float = strawberry.field(default=510.0, description="After midnight, by the team's clock: arrivals count from it.")
    severe_first: bool = strawberry.field(default=False, description="Where not all fit: as many of severe risk as can be, then others.")
    closed: bool = strawberry.field(default=True, description="Back to the start within the day.")


@strawberry.type(description="A planning run with its inputs and result.")
class Plan:
    id: strawberry.ID
    kind: PlanKind
    area: AreaName
    parameters: JSON
    inputs_digest: str = strawberry.field(description="SHA-256 of what is computed with: equal digests, equal problems.")
    versions: JSON = strawberry.field(description="As of which day, with which areas and roads.")
    state: PlanState
    progress: float
    message: str
    user_id: strawberry.ID
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    result: JSON | None = strawberry.field(description="Null until DONE, and in lists.")


@strawberry.type(description="A page of planning runs, newest first.")
class PlanPage:
    plans: list[Plan]
    end_cursor: str | None = strawberry.field(description="For `after` of the next page; null when this is the last.")


async def access(
    info: ContextInfo,
    area: strawberry.ID,
    measure: AccessMeasure,
    kind: SiteKind = SiteKind.STATION,
    limit: float | None = None,
    minutes: bool = False,
    nearest: int = 1,
) -> AccessAnswer:
    """`limit` in kilometres, or in minutes if `minutes` or the measure says so; 20 km or 30 minutes if left out."""
    context = info.context
    actor, on = context.signed_in(), today(context.now)
    in_minutes = measure in _FIXED_MINUTES or (minutes and measure not in _FIXED_KM)
    reach_limit = _positive(limit if limit is not None else MINUTES if in_minutes else KM, "limit")
    if not 1 <= nearest <= 20:
        raise Refused(Problem("LIMIT_INVALID", "nearest 应在 1 与 20 之间。", "nearest"))
    async with context.database.engine.connect() as connection:
        await require_area(connection, actor, area)
        towns, sites = await towns_of(connection, area, on), await sites_of(connection, actor, kind, on)
    _bounded(len(towns), len(sites))
    asked = Question(towns, sites, measure, in_minutes, reach_limit, nearest, context.settings.data)
    found = await asyncio.to_thread(_reach, asked)
    return AccessAnswer(
        asked=asked,
        as_of=settled(on, on).isoformat(),
        unit="MINUTES" if in_minutes else "KM",
        travel=found.said,
        sites=len(sites),
        patients=found.patients,
        share=found.share,
        unplaced=found.unplaced,
        townships=[_township(each) for each in found.towns],
    )


def _reach(given: Question) -> Access:
    from geo.reach import Asked, reach
    from geo.travel import Travel, Unit, load_roads

    asked = Asked(given.measure, Unit.MINUTES if given.in_minutes else Unit.KM, given.limit, given.nearest)
    return reach(given.towns, given.sites, asked, Travel(load_roads(given.data)))


def _by_county(asked: Question) -> list[CountyAccess]:
    grouped = ((county, list(towns)) for county, towns in groupby(asked.towns, lambda town: town.code[:6]))  # in order of code
    found = ((county, _reach(replace(asked, towns=towns))) for county, towns in grouped if any(town.layer for town in towns))
    return [CountyAccess(area=strawberry.ID(county), patients=each.patients, share=each.share) for county, each in found]


def _township(each: TownValue) -> TownshipAccess:
    return TownshipAccess(
        area=AreaName(code=strawberry.ID(each.town.code), name=each.town.name),
        patients=each.patients,
        value=each.value,
        suppressed=each.suppressed,
        placed=each.town.placed,
        point=_point(each.town),
        nearest=[NearSite(id=strawberry.ID(near.site.id), name=near.site.name, cost=near.cost) for near in each.nearest],
    )


def _point(town: Town) -> list[float] | None:
    return None if town.lon is None or town.lat is None or town.placed == ABOVE else [town.lon, town.lat]


async def start_plan(info: ContextInfo, kind: PlanKind, area: strawberry.ID, parameters: PlanParameters) -> Plan:
    context = info.context
    actor, on = context.signed_in(), today(context.now)
    _check(kind, parameters)
    digest = await asyncio.to_thread(_roads_digest, context.settings.data)
    async with context.database.engine.begin() as connection:
        await require_area(connection, actor, area)
        make = _route_inputs if kind is PlanKind.ROUTE else _siting_inputs
        inputs = await make(connection, actor, area, parameters, on)
        versions = {"asOf": settled(on, on).isoformat(), "areas": await _areas_version(connection), "roads": digest}
        made = Inputs(inputs | {"roads": digest} | _assumed(), versions)
        run_id = await planning.add(connection, actor, kind, area, _told(parameters), made, context.now)
        await _audit(connection, context, actor, "PLAN_STARTED", run_id, kind.value, area)
        return _plan(await planning.find(connection, actor, run_id))


async def plan(info: ContextInfo, id: strawberry.ID) -> Plan:  # noqa: A002
    actor = info.context.signed_in()
    require_chief(actor)
    async with info.context.database.engine.connect() as connection:
        return _plan(await planning.find(connection, actor, id))


async def plans(info: ContextInfo, area: strawberry.ID, first: int = 20, after: str | None = None) -> PlanPage:
    actor = info.context.signed_in()
    if not 1 <= first <= 100:
        raise Refused(Problem("LIMIT_INVALID", "first 应在 1 与 100 之间。", "first"))
    async with info.context.database.engine.connect() as connection:
        await require_area(connection, actor, area)
        rows = await planning.runs(connection, actor, area, first + 1, after)
    return PlanPage(plans=[_plan(row) for row in rows[:first]], end_cursor=rows[first - 1]["id"] if len(rows) > first else None)


async def cancel_plan(info: ContextInfo, id: strawberry.ID) -> Plan:  # noqa: A002
    """A run that has ended stays as it is."""
    context = info.context
    actor = context.signed_in()
    require_chief(actor)
    async with context.database.engine.begin() as connection:
        found = await planning.find(connection, actor, id)
        if await planning.cancel(connection, found["id"], context.now):
            await _audit(connection, context, actor, "PLAN_CANCELLED", found["id"], found["kind"], found["area"])
        return _plan(await planning.find(connection, actor, id))


async def _audit(connection: AsyncConnection, context: RequestContext, actor: Actor, what: str, run_id: str, kind: str, area: str) -> None:
    detail = {"plan": run_id, "kind": kind}
    await audit(connection, context.now, what, user_id=actor.user_id, device_id=actor.device_id, area=area, detail=detail)


# --- inputs -----------------------------------------------------------------------------------------------------------------


def _check(kind: PlanKind, given: PlanParameters) -> None:
    if kind is PlanKind.ROUTE:
        _check_route(given)
        return
    if not 1 <= given.number <= MOST_SITES:
        raise _invalid(f"新建数应在 1 与 {MOST_SITES} 之间。", "number")
    if not 1 <= given.seconds <= MOST_SECONDS:
        raise _invalid(f"时限应在 1 与 {MOST_SECONDS} 秒之间。", "seconds")
    if given.capacity is not None and not 1 <= given.capacity <= 1_000_000:
        raise _invalid("可服务人数应为正数。", "capacity")
    if given.limit_km is not None and given.limit_minutes is not None:
        raise _invalid("可达范围以公里或分钟之一表示。", "limitMinutes")
    for name, limit in (("limitKm", given.limit_km), ("limitMinutes", given.limit_minutes)):
        if limit is not None:
            _positive(limit, name)


def _check_route(given: PlanParameters) -> None:
    if given.start is None or not _is_place(given.start):
        raise _invalid("请给出起点的经度、纬度。", "start")
    if given.end is not None and not _is_place(given.end):
        raise _invalid("请给出终点的经度、纬度。", "end")
    if not given.enterprises or len(set(given.enterprises)) > MOST_STOPS:
        raise _invalid(f"请给出 1 至 {MOST_STOPS} 个用人单位。", "enterprises")
    if not (0 <= given.visit_minutes <= 1440 and 0 < given.day_minutes <= 1440):
        raise _invalid("每处停留和全天时间应在 0 与 1440 分钟之间。", "dayMinutes")
    if not 0 <= given.departure_minutes < 1440:
        raise _invalid("出发时刻应在一天之内。", "departureMinutes")


def _is_place(given: list[float]) -> bool:
    return len(given) == 2 and abs(given[0]) <= 180 and abs(given[1]) <= 90


def _invalid(sentence: str, field: str) -> Refused:
    return Refused(Problem("PLAN_INVALID", sentence, field))


def _positive(limit: float, field: str) -> float:
    if not (math.isfinite(limit) and 0 < limit <= 10_000):
        raise Refused(Problem("LIMIT_INVALID", "可达范围应为正数。", field))
    return limit


def _bounded(demands: int, places: int) -> None:
    if demands * places > MOST_PAIRS:
        raise Refused(Problem("PLAN_TOO_LARGE", f"{demands} 个乡镇 × {places} 个点过大，请缩小范围。", "area"))


async def _siting_inputs(connection: AsyncConnection, actor: Actor, area: str, given: PlanParameters, on: date) -> dict[str, Any]:
    towns = [town for town in await towns_of(connection, area, on) if town.placed != NOWHERE]
    sites = await sites_of(connection, actor, given.site_kind, on) if given.keep_sites else []
    wanted = None if given.candidates is None else set(given.candidates)
    candidates = [town for town in towns if town.layer and (wanted is None or town.code in wanted)]
    if not candidates or (wanted is not None and len(candidates) < len(wanted)):
        raise _invalid("备选乡镇不在该地区，或没有位置。", "candidates")
    _bounded(len(towns), len(candidates) + len(sites))
    limit = given.limit_minutes if given.limit_minutes is not None else given.limit_km
    return {
        "demand": _table(towns, ("code", "name", "lon", "lat", "placed", "persons", "layer")),
        "sites": _table(sites, ("id", "name", "lon", "lat")),
        "candidates": {"id": [town.code for town in candidates], **_table(candidates, ("name", "lon", "lat"))},
        "number": given.number,
        "unit": "MINUTES" if given.limit_minutes is not None else "KM",
        "limit": limit if limit is not None else KM,
        "capacity": given.capacity,
        "seconds": given.seconds,
    }


async def _route_inputs(connection: AsyncConnection, actor: Actor, area: str, given: PlanParameters, on: date) -> dict[str, Any]:
    ids = list(dict.fromkeys(given.enterprises or ()))
    stops = await stops_of(connection, actor, area, ids)
    if len(stops) < len(ids):
        raise _invalid(f"{len(ids) - len(stops)} 个用人单位没有位置，或不在该地区。", "enterprises")
    return {
        "stops": _table(stops, ("id", "name", "lon", "lat", "severe")),
        "start": given.start,
        "end": given.end,
        "visitMinutes": given.visit_minutes,
        "dayMinutes": given.day_minutes,
        "closed": given.closed or given.end is not None,
        "severeFirst": given.severe_first,
    }


def _table(rows: Sequence[Any], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


def _told(given: PlanParameters) -> dict[str, Any]:
    return {name: value for name, value in asdict(given).items() if value is not None}


def _assumed() -> dict[str, float]:
    from geo.access import DETOUR, KM_PER_HOUR

    return {"detour": DETOUR, "kmPerHour": KM_PER_HOUR}


def _roads_digest(data: Path) -> str | None:
    from geo.travel import load_roads

    roads = load_roads(data)
    return None if roads is None else roads.digest


async def _areas_version(connection: AsyncConnection) -> str:
    found = await connection.scalar(text("SELECT string_agg(name || ' ' || version, ', ' ORDER BY name) FROM area_source"))
    return found or ""


def _plan(row: RowMapping) -> Plan:
    return Plan(
        id=strawberry.ID(row["id"]),
        kind=PlanKind(row["kind"]),
        area=AreaName(code=strawberry.ID(row["area"]), name=row["area_name"] or row["area"]),
        parameters=JSON(json.loads(row["parameters"])),
        inputs_digest=row["inputs_digest"],
        versions=JSON(json.loads(row["versions"])),
        state=PlanState(row["state"]),
        progress=row["progress"],
        message=row["message"],
        user_id=strawberry.ID(row["user_id"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        result=None if row["result"] is None else JSON(json.loads(row["result"])),
    )


@strawberry.type
class PlanningQuery:
    access: AccessAnswer = strawberry.field(resolver=access, description="How well the patients of each township reach open sites.")
    plan: Plan = strawberry.field(resolver=plan, description="One planning run; refused with PLAN_UNKNOWN outside your areas.")
    plans: PlanPage = strawberry.field(resolver=plans, description="Planning runs of an area and below it, newest first.")


@strawberry.type
class PlanningMutation:
    start_plan: Plan = strawberry.mutation(
        resolver=start_plan, description="Computes in the background; ask `plan` for progress and result. Administrators and supervisors."
    )
    cancel_plan: Plan = strawberry.mutation(resolver=cancel_plan, description="Stops a run that waits or runs.")
