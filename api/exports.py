"""Coverage as a file: /export/coverage.xlsx, .geojson, and .json for what the page itself draws (picture, printed sheet).

What leaves is what `coverage` would answer the same person, and each file is an EXPORT in the audit before a byte of it goes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.accounts import Audit, audit
from api.context import NOBODY
from api.coverage_graphql import AreaValue, check_scope, find_day, find_indicator, formula, shown_value
from api.database import Database
from api.errors import as_error
from api.spreadsheet import workbook
from api.websocket import bearer
from geo import coverage as counting
from geo.areas import area_detail
from geo.coverage import Day, settled_day
from geo.export import Shape, shapes
from geo.indicators import engine, today
from schema.actor import Actor
from schema.areas import Level, Tree
from schema.indicators import Indicator
from schema.problems import Problem, Refused

CREDITS = "行政区划边界：天地图"
DRAWN_BY_THE_PAGE = frozenset({"png", "print"})
TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "geojson": "application/geo+json",
    "json": "application/json",
}
STATUS = {"UNAUTHENTICATED": 401, "TOKEN_EXPIRED": 401, "TOKEN_INVALID": 401, "AREA_UNKNOWN": 404, "INDICATOR_UNKNOWN": 404}
Choice = TypeVar("Choice", Level, Tree)
FORBIDDEN = frozenset({"AREA_OUT_OF_SCOPE", "FORBIDDEN"})


@dataclass(frozen=True)
class Asked:
    """What is to be exported, in the words of `coverage`.

    purpose  of a json: png or print
    compare  the period of a second map that is drawn beside
    """

    form: str
    purpose: str
    indicator: Indicator
    area: str
    level: Level
    tree: Tree | None
    period: str | None
    as_of: str | None
    compare: str | None
    day: Day

    @property
    def detail(self) -> dict[str, Any]:
        given = {"indicator": self.indicator.id, "level": self.level.name, "tree": self.tree and self.tree.name}
        days = {"period": self.period, "asOf": self.as_of, "compare": self.compare}
        return {"export": "coverage", "format": self.purpose or self.form, **given, **days}


@dataclass(frozen=True)
class Sheet:
    """A table of coverage with all that a reader needs to judge it."""

    title: str
    facts: list[tuple[str, str]]
    unit: str
    rows: list[AreaValue]


async def export(request: Request) -> Response:
    """The file, or the refusal as in GraphQL."""
    now, actor = datetime.now(UTC), None
    try:
        actor = await _signed_in(request, now)
        asked = _asked(request, now)
        return await _answer(request.app.state.database, actor, asked, now)
    except Refused as refused:
        problem = refused.problems[0]
        if actor is not None:
            await _note(request, actor, problem, now)
        return JSONResponse({"errors": [as_error(problem)]}, _status(problem))


async def _signed_in(request: Request, now: datetime) -> Actor:
    token = bearer(request.headers.get("authorization"))
    if token is None:
        raise Refused(NOBODY)
    found: Actor = (await request.app.state.accounts.authenticate(token, now)).actor
    return found


def _asked(request: Request, now: datetime) -> Asked:
    form, given = request.path_params["form"], request.query_params
    purpose = given.get("for", "")
    if form not in TYPES or (form == "json") != (purpose in DRAWN_BY_THE_PAGE):
        raise Refused(Problem("FORMAT_UNKNOWN", "可导出 xlsx、geojson，以及供本页绘图和打印的 json。", "format"))
    indicator, area = find_indicator(given.get("indicator", "")), given.get("area", "")
    level = _one_of(Level, given.get("level", ""), "level")
    tree = _one_of(Tree, given["tree"], "tree") if given.get("tree") else None
    period, as_of = given.get("period") or None, given.get("asOf") or None
    compare = given.get("compare") or None
    if compare:
        find_day(now, compare, as_of)
    return Asked(form, purpose, indicator, area, level, tree, period, as_of, compare, find_day(now, period, as_of))


def _one_of(choices: type[Choice], name: str, field: str) -> Choice:
    try:
        return choices[name.upper()]
    except KeyError:
        raise Refused(Problem("VALUE_INVALID", f"{field} 不能是 {name[:40]!r}。", field)) from None


async def _answer(database: Database, actor: Actor, asked: Asked, now: datetime) -> Response:
    async with database.engine.begin() as connection:
        await check_scope(connection, actor, asked.area)
        found = await counting.coverage(connection, actor, asked.indicator, asked.area, asked.level, asked.day, asked.tree)
        sheet = await _sheet(connection, asked, [shown_value(asked.indicator, row) for row in found], now)
        drawn = await shapes(connection, asked.level, [row.code for row in found]) if asked.form == "geojson" else {}
        detail = {**asked.detail, "rows": len(found)}
        await audit(connection, now, Audit.EXPORT, user_id=actor.user_id, device_id=actor.device_id, area=asked.area, detail=detail)
    body = await asyncio.to_thread(_body, asked.form, sheet, drawn)
    name = f"{sheet.title}-{asked.day.on}.{asked.form}"
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", "Cache-Control": "no-store"}
    return Response(body, media_type=TYPES[asked.form], headers=headers)


async def _sheet(connection: AsyncConnection, asked: Asked, rows: list[AreaValue], now: datetime) -> Sheet:
    place = await area_detail(connection, asked.area)
    assert place is not None  # check_scope has found it
    indicator, made = asked.indicator, engine()
    on = settled_day(made, indicator, asked.day, today(now)).on
    source = next((row.target_source for row in rows if row.target_source), None)
    facts = [
        ("指标", f"{indicator.id} {indicator.label}"),
        ("地区", f"{place.full_name}（{place.code}）"),
        ("期间", asked.period or "本年至今"),
        ("数据截至", on.isoformat()),
        ("口径", formula(made.declared, indicator) + (f"；{indicator.note}" if indicator.note else "")),
        ("目标依据", source or "无目标"),
        ("说明", "“无数据”指没有可统计的对象，不是 0%；“已隐藏”指人数过少，为保护个人不公布"),
        ("边界", CREDITS),
        ("导出时间", f"{now:%Y-%m-%d %H:%M} UTC"),
    ]
    return Sheet(f"{place.name}{indicator.label}", facts, indicator.unit, rows)


def _body(form: str, sheet: Sheet, drawn: dict[str, Shape]) -> bytes:
    if form == "xlsx":
        return workbook(sheet.title, sheet.facts, sheet.unit, [_row(row) for row in sheet.rows])
    if form == "geojson":
        return _collection(sheet, drawn)
    return orjson.dumps({"title": sheet.title, "facts": sheet.facts, "unit": sheet.unit, "rows": [_row(row) for row in sheet.rows]})


def _collection(sheet: Sheet, drawn: dict[str, Shape]) -> bytes:
    features = [_feature(row, drawn.get(row.area.code)) for row in sheet.rows]
    return orjson.dumps({"type": "FeatureCollection", "name": sheet.title, "metadata": dict(sheet.facts), "features": features})


def _feature(row: AreaValue, shape: Shape | None) -> dict[str, Any]:
    geometry = orjson.Fragment(shape.geometry) if shape else None
    properties = {**_row(row), "derived": shape is not None and shape.derived}
    return {"type": "Feature", "id": row.area.code, "geometry": geometry, "properties": properties}


def _row(row: AreaValue) -> dict[str, Any]:
    shown = ("numerator", "denominator", "value", "target", "gap", "met", "suppressed", "provenance")
    return {"code": row.area.code, "name": row.area.name, **{name: getattr(row, name) for name in shown}}


def _status(problem: Problem) -> int:
    return 403 if problem.code in FORBIDDEN else STATUS.get(problem.code, 400)


async def _note(request: Request, actor: Actor, problem: Problem, now: datetime) -> None:
    said = {"path": ["export", "coverage"], "codes": [problem.code], "fields": [problem.field]}
    address = request.client.host if request.client else ""
    detail = {"refused": [said], "address": address}
    async with request.app.state.database.engine.begin() as connection:
        await audit(connection, now, Audit.REFUSED, user_id=actor.user_id, device_id=actor.device_id, detail=detail)


async def desk(request: Request) -> Response:
    """What the page must know of this installation: the key of 天地图, if whoever runs it has one."""
    try:
        await _signed_in(request, datetime.now(UTC))
    except Refused as refused:
        return JSONResponse({"errors": [as_error(refused.problems[0])]}, 401)
    return JSONResponse({"tianditu": request.app.state.settings.tianditu_key or None}, headers={"Cache-Control": "no-store"})


routes = [
    Route("/export/coverage.{form}", export, methods=["GET"]),
    Route("/desk.json", desk, methods=["GET"]),
]
