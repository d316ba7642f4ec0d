"""Areas of a level as a layer, and the values of an indicator for them. Outlines are public to whoever is signed in, values are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Any

import orjson

from api.graphql.select import Parameters
from api.ogc.asked import FIRST_DAY, LAST_DAY, Asked, Box, Span, invalid
from api.ogc.asked import area as area_of
from api.ogc.layers import AREA_SCHEMA, Page, Schema, Source, feature
from geo import coverage as counting
from geo import periods
from geo.areas import areas_on
from geo.coverage import AreaValue, Day
from geo.indicators import engine, today
from schema.actor import Actor
from schema.areas import ROOT, Level
from schema.indicators import Indicator
from schema.problems import Refused

MOST = 500  # outlines of a page; a county's is 6 kB, some are 100 kB
NAMES = {
    Level.PROVINCE: "省级",
    Level.CITY: "地级",
    Level.COUNTY: "县级",
    Level.TOWNSHIP: "乡级",
    Level.JURISDICTION: "管委会、功能区",
}
COUNTED = (Level.PROVINCE, Level.CITY, Level.COUNTY, Level.TOWNSHIP)
PERIOD = "^[0-9]{4}(Q[1-4]|-(0[1-9]|1[0-2]))?$"

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_DAY: Schema = {"type": "string", "format": "date"}
_AREA: Mapping[str, Schema] = {
    "code": {**AREA_SCHEMA, "title": "区划代码"},
    "name": {**_TEXT, "title": "名称"},
    "level": {**_TEXT, "title": "级别", "enum": [level.value for level in Level]},
    "derived": {"type": "boolean", "title": "界线为推算，非实测"},
}
# The outline of the day, or else the newest there is: old codes may have none of their time.
_OUTLINE = """LEFT JOIN LATERAL (SELECT b.geom, b.provenance FROM area_boundary b WHERE b.code = a.code
  ORDER BY (b.valid_from <= {on}::date AND (b.valid_to IS NULL OR b.valid_to > {on}::date)) DESC, b.valid_from DESC LIMIT 1) o ON true"""
# Areas without any outline come last: map programs take a layer that begins with ten of them for one without geometries.
_BARE = "NOT EXISTS (SELECT FROM area_boundary x WHERE x.code = {})"
_DERIVED = "coalesce(o.provenance = 'derived', false)"


@dataclass(frozen=True)
class AreaLayer:
    """The areas of a level."""

    level: Level

    most = MOST
    geometry = "MultiPolygon"
    filters = MappingProxyType({"code": AREA_SCHEMA, "name": _TEXT})
    chosen = ()

    @property
    def id(self) -> str:
        return f"areas-{self.level.value}"

    @property
    def title(self) -> str:
        return f"{NAMES[self.level]}区划"

    @property
    def description(self) -> str:
        return f"{self.title}，今日在用者；datetime 取当时在用者。derived 为真者界线为推算。界线：天地图。"

    @property
    def properties(self) -> Mapping[str, Schema]:
        more = {"fullName": {**_TEXT, "title": "全称"}, "parentCode": {**AREA_SCHEMA, "title": "上级"}}
        return {**_AREA, **more, "validFrom": {**_DAY, "title": "启用"}, "validTo": {**_DAY, "title": "停用"}}

    async def page(self, source: Source, asked: Asked) -> Page:
        parameters = Parameters()
        first, last = _days(asked.span, today(source.now))
        used = f"a.valid_from <= {parameters.bind(last)}::date AND (a.valid_to IS NULL OR a.valid_to > {parameters.bind(first)}::date)"
        conditions = [used, *(f"a.{name} = {parameters.bind(text)}::text" for name, text in asked.own.items())]
        if asked.after:
            after = f"{parameters.bind(area_of(asked.after, 'after'))}::text"
            conditions.append(f'({_BARE.format("a.code")}, a.code COLLATE "C") > ({_BARE.format(after)}, {after})')
        if asked.within:
            conditions.append(f"a.chain @> ARRAY[{parameters.bind(asked.within)}::text]")
        states = areas_on("a", last if asked.span else None)
        matched = await self._matched(source, states, conditions, parameters) if asked.glance and not asked.box else None
        found = await self._rows(source, states, conditions, parameters, asked.box, last, asked.limit + 1)
        shown = found[: asked.limit]
        page = Page(b",".join(row[1] for row in shown), len(shown), shown[-1][0] if len(found) > len(shown) else None)
        return page.counted(asked) if matched is None else replace(page, matched=matched)

    async def _matched(self, source: Source, states: str, conditions: Sequence[str], parameters: Parameters) -> int:
        where = " AND ".join([f"a.layers @> ARRAY['{self.level.value}']", *conditions])
        sql = f"SELECT count(DISTINCT a.code) FROM {states} WHERE {where}"
        return int(await source.database.pool.fetchval(sql, *parameters.values))

    async def one(self, source: Source, feature_id: str, own: Mapping[str, str]) -> bytes | None:
        parameters = Parameters()
        conditions = [f"a.code = {parameters.bind(feature_id)}::text"]
        found = await self._rows(source, "area a", conditions, parameters, None, today(source.now), 1)
        return found[0][1] if found else None

    async def _rows(
        self, source: Source, states: str, conditions: Sequence[str], parameters: Parameters, box: Box | None, on: date, limit: int
    ) -> list[Any]:
        """(code, feature) in order. Of several states of a code in the time asked for, the last."""
        outline = _OUTLINE.format(on=parameters.bind(on))
        where = " AND ".join([f"a.layers @> ARRAY[{parameters.bind(self.level.value)}::text]", *conditions, *_touching(box)])
        page = (
            f'SELECT DISTINCT ON (bare, a.code COLLATE "C") a.*, {_BARE.format("a.code")} AS bare FROM {states} {outline if box else ""}'
            f' WHERE {where} ORDER BY bare, a.code COLLATE "C", a.valid_from DESC LIMIT {limit}'
        )
        shown = (
            f"""SELECT a.code, a.name, a.level, {_DERIVED} AS derived, a.full_name AS "fullName", a.parent_code AS "parentCode","""
            ' a.valid_from AS "validFrom", a.valid_to AS "validTo"'
        )
        body = feature("a.code", "ST_AsGeoJSON(o.geom, 6)::json", f"(SELECT row_to_json(v) FROM ({shown}) v)")
        sql = f"SELECT a.code, convert_to({body}, 'UTF8') FROM ({page}) a {outline} ORDER BY a.bare, a.code COLLATE \"C\""
        return list(await source.database.pool.fetch(sql, *parameters.values))


@dataclass(frozen=True)
class CoverageLayer:
    """The values of an indicator for the areas of a level."""

    level: Level
    indicator: Indicator

    most = MOST
    geometry = "MultiPolygon"
    filters = MappingProxyType({"period": {**_TEXT, "pattern": PERIOD, "title": "周期"}, "asOf": {**_DAY, "title": "截止日"}})
    chosen = ("period", "asOf")

    @property
    def id(self) -> str:
        return f"coverage-{self.level.value}-{self.indicator.id}"

    @property
    def title(self) -> str:
        return f"{self.indicator.id} {self.indicator.label}（{NAMES[self.level]}）"

    @property
    def description(self) -> str:
        counted = f"范围：{self.indicator.scope}。" if self.indicator.scope else ""
        return f"{self.indicator.label}，按{NAMES[self.level]}区划。{counted}无分母者值为空，不是 0；人数过少者 suppressed 为真。"

    @property
    def properties(self) -> Mapping[str, Schema]:
        return {
            **_AREA,
            "indicator": {**_TEXT, "title": "指标"},
            "asOf": {**_DAY, "title": "截止日"},
            "numerator": {"type": "integer", "title": "分子"},
            "denominator": {"type": "integer", "title": "分母"},
            "value": {**_NUMBER, "title": "值"},
            "target": {**_NUMBER, "title": "目标"},
            "gap": {**_NUMBER, "title": "差距"},
            "met": {"type": "boolean", "title": "达标"},
            "suppressed": {"type": "boolean", "title": "人数过少，不公布"},
        }

    async def page(self, source: Source, asked: Asked) -> Page:
        values = await self._values(source, asked.within or ROOT, self._day(source, asked.own, asked.span))
        by_code = {value.code: value for value in values}
        codes = await _in_order(source, by_code, area_of(asked.after, "after") if asked.after else None)
        found = await _outlines(source, codes, asked.box, values[0].on if values else None, asked.limit + 1)
        shown = found[: asked.limit]
        features = b",".join(_valued(self.indicator, by_code[row[0]], row) for row in shown)
        matched = None if asked.box or asked.after else len(by_code)
        return Page(features, len(shown), shown[-1][0] if len(found) > len(shown) else None, matched).counted(asked)

    async def one(self, source: Source, feature_id: str, own: Mapping[str, str]) -> bytes | None:
        values = await self._values(source, feature_id, self._day(source, own, None))
        value = next((value for value in values if value.code == feature_id), None)
        if value is None:
            return None
        rows = await _outlines(source, [value.code], None, value.on, 1)
        return _valued(self.indicator, value, rows[0])

    async def _values(self, source: Source, area: str, day: Day) -> list[AreaValue]:
        async with source.database.engine.connect() as connection:
            return await counting.coverage(connection, source.actor, self.indicator, area, self.level, day)

    def _day(self, source: Source, own: Mapping[str, str], span: Span | None) -> Day:
        """`datetime` is another way to say asOf: the last day that it names."""
        if span is not None and "asOf" in own:
            raise invalid("datetime", "datetime 与 asOf 只能用一个。")
        now = today(source.now)
        on = _day(own["asOf"]) if "asOf" in own else _days(span, now)[1]
        if "period" not in own:
            return Day(min(on, now) if span else on)
        length = periods.parse(own["period"])
        if length is None:
            raise invalid("period", f"period 应写作 2020、2020Q3 或 2020-07，收到 {own['period']!r}。")
        return Day(min(length.last, on), length.length)


def coverage_layers(actor: Actor) -> list[CoverageLayer]:
    """Those that can be counted and that the actor's role may see."""
    made = engine()
    return [CoverageLayer(level, each) for each in made.declared.indicators.values() if _may_see(actor, each) for level in COUNTED]


def _may_see(actor: Actor, indicator: Indicator) -> bool:
    try:
        counting.require_reader(engine(), actor, indicator)
    except Refused:
        return False
    return True


def _touching(box: Box | None) -> list[str]:
    """Conditions for the outline `o` of area `a`; the first lets the index of all outlines choose."""
    if box is None:
        return []
    some = f"a.code IN (SELECT b.code FROM area_boundary b WHERE {box.condition('b.geom')})"
    return [some, box.condition("o.geom")]


async def _in_order(source: Source, codes: Iterable[str], after: str | None) -> list[str]:
    """Those behind `after`."""
    sql = f"SELECT c FROM unnest($1::text[]) c WHERE {_BARE.format('c')}"
    bare = {row[0] for row in await source.database.pool.fetch(sql, [*codes, *([after] if after else [])])}
    places = sorted((code in bare, code) for code in codes)
    return [code for no_outline, code in places if after is None or (no_outline, code) > (after in bare, after)]


async def _outlines(source: Source, codes: Sequence[str], box: Box | None, on: date | None, limit: int) -> list[Any]:
    """(code, outline as GeoJSON, derived), in the order of `codes`; with a box those that touch it."""
    parameters = Parameters()
    listed, day = parameters.bind(list(codes if box else codes[:limit])), parameters.bind(on)
    where = " AND ".join(_touching(box)) or "true"
    sql = f"""
SELECT p.code, convert_to(ST_AsGeoJSON(p.geom, 6), 'UTF8'), p.derived FROM (
  SELECT a.code, a.at, o.geom, {_DERIVED} AS derived FROM unnest({listed}::text[]) WITH ORDINALITY a(code, at) {_OUTLINE.format(on=day)}
   WHERE {where} ORDER BY a.at LIMIT {limit}) p ORDER BY p.at"""
    return list(await source.database.pool.fetch(sql, *parameters.values))


def _valued(indicator: Indicator, value: AreaValue, row: Any) -> bytes:
    properties = {
        "code": value.code,
        "name": value.name,
        "level": value.level.value,
        "derived": row[2],
        "indicator": indicator.id,
        "asOf": value.on,
        "numerator": value.numerator,
        "denominator": value.denominator,
        "value": value.value,
        "target": value.target.value if value.target else None,
        "gap": value.gap,
        "met": value.met,
        "suppressed": value.suppressed,
    }
    outline = orjson.Fragment(row[1]) if row[1] else None
    return orjson.dumps({"type": "Feature", "id": value.code, "geometry": outline, "properties": properties})


def _day(text: str) -> date:
    try:
        return min(max(date.fromisoformat(text), FIRST_DAY), LAST_DAY)
    except ValueError:
        raise invalid("asOf", f"asOf 应写作 YYYY-MM-DD，收到 {text!r}。") from None


def _days(span: Span | None, now: date) -> tuple[date, date]:
    """First and last day, in China; today where nothing is said."""
    if span is None:
        return now, now
    return (today(span.first) if span.first else FIRST_DAY, today(span.last) if span.last else now)
