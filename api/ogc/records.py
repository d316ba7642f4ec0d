"""Records with a place as layers: the columns that their declaration names, as far as the reader's role sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from api.graphql.names import camel, plural
from api.graphql.select import Parameters, Reader, condition, expression, readable
from api.ogc.asked import Asked, Span, invalid
from api.ogc.layers import AREA_SCHEMA, Page, Schema, Source, feature
from schema.actor import Role
from schema.base import Column, Kind, Record, Verb
from schema.registry import Registry
from schema.values import canonical

PATIENCE = 4  # times as many rows are looked through as would do if the places were mixed
MOST = 5000  # features of a page; about 1 kB each
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FIRST = "00000000-0000-0000-0000-000000000000"
_PLACED = b'"type":"Point"'  # as ST_AsGeoJSON writes it; in a text the quotes would be escaped
_TYPES: Mapping[Kind, Schema] = {
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.INTEGER: {"type": "integer"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.TIMESTAMP: {"type": "string", "format": "date-time"},
    Kind.TAGS: {"type": "array", "items": {"type": "string"}},
    Kind.AREA: AREA_SCHEMA,
}
_FILTERED = (Kind.TEXT, Kind.ENUM, Kind.BOOLEAN, Kind.INTEGER, Kind.DATE, Kind.AREA, Kind.TAGS)

# How many rows there are, and which share of them is in a box, by the planner's statistics; 0 where there are none.
_SHARE = """
SELECT greatest(c.reltuples, 0) AS rows,
       CASE WHEN EXISTS (SELECT FROM pg_stats s WHERE s.tablename = c.relname AND s.attname = '{column}') THEN {share} ELSE 0 END AS share
  FROM pg_class c WHERE c.oid = '{table}'::regclass"""


@dataclass(frozen=True, eq=False)
class RecordLayer:
    """A record for a role."""

    record: Record
    role: Role
    registry: Registry

    most = MOST
    geometry = "Point"
    chosen = ()

    @property
    def id(self) -> str:
        return plural(self.record)

    @property
    def title(self) -> str:
        return self.record.label

    @property
    def description(self) -> str:
        return f"{self.record.label}：您有权查看的全部记录；无位置的几何为空。datetime 按更新时间筛选。"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Declared for map programs, and not hidden from the role."""
        named = [self.record.by_name[name] for name in self.record.layer]
        return (*(column for column in named if _sees(self.role, column)), self.record.by_name["updated_at"])

    @property
    def place(self) -> str:
        """SQL of the point."""
        return f't."{self.record.place}_wgs84"'

    @cached_property
    def filters(self) -> Mapping[str, Schema]:
        found = {camel(column.name): column for column in self.columns if column.kind in _FILTERED}
        return {name: _schema(column)["items"] if column.kind is Kind.TAGS else _schema(column) for name, column in found.items()}

    @cached_property
    def properties(self) -> Mapping[str, Schema]:
        return {camel(column.name): _schema(column) for column in self.columns}

    async def page(self, source: Source, asked: Asked) -> Page:
        """By id. Of a crowded box the rows that come next are looked through, since all of it would have to be sorted for each page."""
        most = await self._worth_walking(source, asked)
        found = (await self._page(source, asked, most) if most else None) or await self._page(source, asked)
        assert found is not None  # only a walk may end without
        if not (asked.glance and found.after):
            return found.counted(asked)
        shown = found if _PLACED in found.features else await self._with_a_place(source, asked) or found
        return replace(shown, matched=await self._matched(source, asked))

    async def _with_a_place(self, source: Source, asked: Asked) -> Page | None:
        """The same page with a row that has a place instead of its last: or map programs open the layer without geometries."""
        parameters, conditions = self._asked(source, asked)
        where = " AND ".join([*conditions, f"{self.place} IS NOT NULL"])
        sql = f"SELECT t.id::text, convert_to({self._feature()}, 'UTF8') FROM {self.record.name} t WHERE {where} LIMIT 1"
        row = await source.database.pool.fetchrow(sql, *parameters.values)
        if row is None:
            return None
        before = await self._page(source, replace(asked, limit=asked.limit - 1)) if asked.limit > 1 else None
        features = b",".join([*([before.features] if before else []), row[1]])
        return Page(features, asked.limit, f"{before.after if before else _FIRST}~{row[0]}")

    async def _matched(self, source: Source, asked: Asked) -> int:
        parameters, conditions = self._asked(source, asked)
        sql = f"SELECT count(*) FROM {self.record.name} t WHERE {' AND '.join(conditions)}"
        return int(await source.database.pool.fetchval(sql, *parameters.values))

    async def _worth_walking(self, source: Source, asked: Asked) -> int:
        """Among how many of the next rows a page should be found, if that is less than the box is thought to hold; 0: sort those in it."""
        if asked.box is None or not any(scope.endswith("0000") for scope in source.actor.scopes):
            return 0  # who may read less than a province will not find it among what comes next
        column = f"{self.record.place}_wgs84"
        sql = _SHARE.format(column=column, share=asked.box.share(column), table=self.record.name)
        rows, share = await source.database.pool.fetchrow(sql)
        return int(min(rows * share, PATIENCE * asked.limit / share)) if rows * share * share > asked.limit else 0

    async def _page(self, source: Source, asked: Asked, walk: int = 0) -> Page | None:
        """`walk`: among as many rows that come next; None if it is not full then, and there are more."""
        parameters, conditions = self._asked(source, asked)
        after, _, shown_before = _place_in_list(asked.after or _FIRST).partition("~")
        further = f"t.id > {parameters.bind(after)}::text::uuid"
        if shown_before:
            further += f" AND t.id <> {parameters.bind(shown_before)}::text::uuid"
        rows = f"(SELECT * FROM {self.record.name} t WHERE {further} ORDER BY t.id LIMIT {walk})" if walk else self.record.name
        chosen = f"SELECT t.* FROM {rows} t WHERE {further} AND {' AND '.join(conditions)} ORDER BY t.id LIMIT {asked.limit + 1}"
        sql = (
            f"WITH page AS MATERIALIZED ({chosen}), shown AS (SELECT t.* FROM page t ORDER BY t.id LIMIT {asked.limit})"
            f" SELECT coalesce(convert_to(string_agg({self._feature()}, ',' ORDER BY t.id), 'UTF8'), ''), count(*),"
            f" (SELECT id::text FROM shown ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM page) FROM shown t"
        )
        body, shown, last, found = await source.database.pool.fetchrow(sql, *parameters.values)
        last = f"{last}~{shown_before}" if shown_before else last
        return None if walk and found <= asked.limit else Page(body, shown, last if found > shown else None)

    async def one(self, source: Source, feature_id: str, own: Mapping[str, str]) -> bytes | None:
        if not _ID.fullmatch(feature_id.lower()):
            return None
        parameters, conditions = self._start(source)
        conditions.append(f"t.id = {parameters.bind(feature_id.lower())}::text::uuid")
        sql = f"SELECT convert_to({self._feature()}, 'UTF8') FROM {self.record.name} t WHERE {' AND '.join(conditions)}"
        found: bytes | None = await source.database.pool.fetchval(sql, *parameters.values)
        return found

    def _asked(self, source: Source, asked: Asked) -> tuple[Parameters, list[str]]:
        """What every page of it must meet."""
        parameters, conditions = self._start(source)
        conditions.append(condition(_reader(source, self.registry), self.record, self._where(asked), parameters))
        if asked.box:
            conditions.append(asked.box.condition(self.place))
        if asked.span:
            conditions += _updated(asked.span, parameters)
        return parameters, conditions

    def _start(self, source: Source) -> tuple[Parameters, list[str]]:
        """Parameters, the reader's scopes first, and the conditions that every read starts with."""
        parameters = Parameters()
        parameters.bind(list(source.actor.scopes))
        return parameters, [readable(_reader(source, self.registry), self.record), "NOT t.deleted"]

    def _feature(self) -> str:
        shown = ", ".join(f'{expression(column, "t")} AS "{camel(column.name)}"' for column in self.columns)
        return feature("t.id", f"ST_AsGeoJSON({self.place}, 7)::json", f"(SELECT row_to_json(v) FROM (SELECT {shown}) v)")

    def _where(self, asked: Asked) -> dict[str, Any]:
        by_name = {camel(column.name): column for column in self.columns}
        where: dict[str, Any] = {by_name[name].name: _test(name, by_name[name], text) for name, text in asked.own.items()}
        return where | ({"within": asked.within} if asked.within else {})


def layer_of(record: Record, role: Role, registry: Registry) -> RecordLayer | None:
    """The record as a layer; None for one that is none, or that the role may not read."""
    offered = record.layer and record.place and record.may(role, Verb.READ) and _sees(role, record.by_name[record.place])
    return RecordLayer(record, role, registry) if offered else None


def _reader(source: Source, registry: Registry) -> Reader:
    return Reader(source.actor, registry, "$1::text[]")


def _sees(role: Role, column: Column) -> bool:
    return column.readers is None or role in column.readers


def _schema(column: Column) -> dict[str, Any]:
    choice = {"enum": [value for value, _ in column.choice.members]} if column.choice else {}
    return {**_TYPES.get(column.kind, {"type": "string"}), **choice, "title": column.label}


def _test(name: str, column: Column, text: str) -> dict[str, Any]:
    """Raises Refused PARAMETER_INVALID for a value that the column can't have."""
    try:
        value: Any = text
        if column.kind is Kind.INTEGER:
            value = int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else text
        if column.kind is Kind.BOOLEAN:
            value = {"true": True, "false": False}.get(text, text)
        if column.kind is Kind.TAGS:
            return {"has": canonical(column, [text])[0]}
        return {"eq": canonical(column, value)}
    except (ValueError, IndexError) as error:
        raise invalid(name, f"{column.label}（{name}）{error}") from None


def _updated(span: Span, parameters: Parameters) -> list[str]:
    ends = ((">=", span.first), ("<=", span.last))
    return [f"t.updated_at {sign} {parameters.bind(at)}" for sign, at in ends if at is not None]


def _place_in_list(text: str) -> str:
    if not all(map(_ID.fullmatch, text.split("~", 1))):
        raise invalid("after", "after 不是本列表给出的；请从第一页重新读取。")
    return text
