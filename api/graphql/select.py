"""Selections, filters and orders compiled to SQL that builds the JSON in PostgreSQL. Column permissions are applied here.

A GraphQL name is `[_A-Za-z][_0-9A-Za-z]*`, so an alias needs no quoting beyond the quotes; it is at most 63 bytes (api.limits).
Values always travel as text parameters with a cast, so that asyncpg needs no Python types.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql.type import GraphQLObjectType

from api.graphql.names import camel, relation
from geo.scope import READABLE
from schema.actor import Actor
from schema.base import Column, Document, Kind, Record, Verb
from schema.problems import Problem, Refused
from schema.registry import Registry
from schema.values import area_code, canonical
from sync import inbox

SQL_TYPES = {
    Kind.ID: "uuid",
    Kind.REF: "uuid",
    Kind.INTEGER: "integer",
    Kind.DECIMAL: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamptz",
}


class Unselectable(Exception):  # noqa: N818 - a signal between two modules
    """A selection that SQL can't answer."""


@dataclass
class Parameters:
    """The parameters of one statement; `bind` gives the placeholder."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


@dataclass(frozen=True)
class Reader:
    """Who reads, and the placeholder of the reader's scopes in the statement."""

    actor: Actor
    registry: Registry
    scopes: str  # "$1"

    def sees(self, record: Record, column: Column) -> bool:
        return record.may(self.actor.role, Verb.READ) and (column.readers is None or self.actor.role in column.readers)


def expression(column: Column, alias: str) -> str:
    """The column as it stands in JSON."""
    name = f'{alias}."{column.name}"'
    if column.kind is Kind.DECIMAL:
        return f"{name}::text"
    if column.kind is Kind.POINT:
        return f"ST_AsGeoJSON({name}, 7)::json"
    return name


def shown(reader: Reader, record: Record, column: Column, alias: str) -> str:
    """The column as its reader may see it: the values of a conflict are as secret as the column that they are about."""
    if record.name == "sync_conflict" and column.name in inbox.VALUES:
        return inbox.masked(reader.actor.role, reader.registry, column.name, alias, reader.scopes)
    return expression(column, alias)


def readable(reader: Reader, record: Record, alias: str = "t") -> str:
    """The condition that every read of records starts with; the caller has checked the role's READ."""
    condition = READABLE.format(alias=alias, scopes=reader.scopes)
    if record.name != "sync_conflict":
        return condition
    return f"{condition} AND {inbox.visible(reader.actor.role, reader.registry, alias, reader.scopes)}"


def fields_of(record: Record) -> dict[str, Column]:
    return {camel(column.name): column for column in record.all_columns}


def columns(executor: Any, reader: Reader, record: Record, item_type: GraphQLObjectType, details: Any, alias: str = "t") -> str:
    """The selected fields of a record as a SELECT list with their response names.

    Raises Unselectable for a field that isn't derived from the declaration.
    """
    known = fields_of(record)
    relations = {relation(column.name): column for column in record.all_columns if column.kind in (Kind.REF, Kind.AREA)}
    parts = []
    for response_name, field_details in selected(executor, item_type, details).items():
        name = field_details[0].node.name.value
        if name == "__typename":
            part = f"'{item_type.name}'::text"
        elif name in known:
            part = shown(reader, record, known[name], alias) if reader.sees(record, known[name]) else "NULL"
        elif name in relations:
            part = _related(executor, reader, record, relations[name], item_type, name, field_details, alias)
        else:
            raise Unselectable(name)
        parts.append(f'{part} AS "{response_name}"')
    return ", ".join(parts)


def selected(executor: Any, object_type: GraphQLObjectType, details: Any) -> Mapping[str, Any]:
    """Response name -> field details, with aliases, fragments, @include, @skip and merged duplicates applied by graphql-core."""
    grouped, defer_usages, *_ = executor.collect_subfields(object_type, details)
    if defer_usages:
        raise Unselectable("@defer")
    return dict(grouped)


def _related(
    executor: Any, reader: Reader, record: Record, column: Column, parent: GraphQLObjectType, name: str, details: Any, alias: str
) -> str:
    if not reader.sees(record, column):
        return "NULL"
    target_type = parent.fields[name].type
    inner = f"{alias}_{column.name}"
    if column.kind is Kind.AREA:
        parts = [
            f'{inner}.{sub[0].node.name.value} AS "{key}"'
            if sub[0].node.name.value != "__typename"
            else f"'{target_type.name}'::text AS \"{key}\""
            for key, sub in selected(executor, target_type, details).items()
        ]
        rows = f"area {inner} CROSS JOIN LATERAL (SELECT {', '.join(parts)}) u"
        return f"(SELECT row_to_json(u) FROM {rows} WHERE {inner}.code = {alias}.{column.name})"
    target = reader.registry[column.ref]
    if not target.may(reader.actor.role, Verb.READ):
        return "NULL"
    chosen = columns(executor, reader, target, target_type, details, inner)
    readable = READABLE.format(alias=inner, scopes=reader.scopes)
    return (
        f"(SELECT row_to_json(u) FROM {target.name} {inner} CROSS JOIN LATERAL (SELECT {chosen}) u"
        f" WHERE {inner}.id = {alias}.{column.name} AND {readable} AND NOT {inner}.deleted)"
    )


def condition(reader: Reader, record: Record, where: Document | None, parameters: Parameters, alias: str = "t") -> str:
    """A filter as SQL. Raises Refused for a column that the reader may not see or a value that doesn't fit."""
    parts = [_clause(reader, record, name, test, parameters, alias) for name, test in (where or {}).items() if test is not None]
    return " AND ".join(parts) or "true"


def _clause(reader: Reader, record: Record, name: str, test: Any, parameters: Parameters, alias: str) -> str:
    if name in ("and_", "or_"):
        joined = f" {name[:-1].upper()} ".join(condition(reader, record, each, parameters, alias) for each in test)
        return f"({joined})" if joined else "true"
    if name == "not_":
        return f"NOT coalesce(({condition(reader, record, test, parameters, alias)}), false)"
    if name == "within":
        return f"{alias}.scopes @> ARRAY[{parameters.bind(_area(test))}::text]"
    column = record.by_name[name]
    _must_see(reader, record, column)
    tests = [_test(column, operator, value, parameters, alias) for operator, value in test.items() if value is not None]
    return " AND ".join(tests) or "true"


_COMPARE = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _test(column: Column, operator: str, value: Any, parameters: Parameters, alias: str) -> str:
    name = f'{alias}."{column.name}"'
    kind = SQL_TYPES.get(column.kind, "text")
    if operator == "is_null":
        return f"{name} IS {'' if value else 'NOT '}NULL"
    if operator == "has":
        return f"{name} @> ARRAY[{parameters.bind(_value(column, [value])[0])}::text]"
    if operator == "contains":
        return f"strpos(lower({name}), lower({parameters.bind(_value(column, value))}::text)) > 0"
    if operator == "starts_with":
        return f"starts_with({name}, {parameters.bind(_value(column, value))}::text)"
    if operator == "in_":
        return f"{name} = ANY({parameters.bind([str(_value(column, each)) for each in value])}::text[]::{kind}[])"
    placeholder = f"{parameters.bind(_as_text(_value(column, value)))}::text::{kind}"
    return f"{name} IS DISTINCT FROM {placeholder}" if operator == "ne" else f"{name} {_COMPARE[operator]} {placeholder}"


def _must_see(reader: Reader, record: Record, column: Column) -> None:
    if not reader.sees(record, column):
        raise Refused(Problem("FIELD_NOT_READABLE", f"您无权查看 {column.label}，不能据此筛选或排序", column.name))


def _value(column: Column, value: Any) -> Any:
    try:
        return canonical(column, value)
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"{column.label}（{column.name}）{error}", column.name)) from None


def _area(code: str) -> str:
    try:
        return area_code(code)
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"within {error}", "within")) from None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class OrderKey:
    column: Column
    descending: bool


def order_keys(reader: Reader, record: Record, order: Sequence[tuple[str, bool]]) -> tuple[OrderKey, ...]:
    """The asked order made total by id. Raises Refused for a column that the reader may not see."""
    keys = [OrderKey(record.by_name[name], descending) for name, descending in order if name != "id"]
    for key in keys:
        _must_see(reader, record, key.column)
    return (*keys, OrderKey(record.by_name["id"], descending=keys[-1].descending if keys else False))


def order_by(keys: Sequence[OrderKey], alias: str = "t") -> str:
    """NULLs last going up, first going down: the order in which `beyond` goes on."""
    return ", ".join(f'{alias}."{key.column.name}" {"DESC" if key.descending else "ASC"}' for key in keys)


def cursor(keys: Sequence[OrderKey], alias: str = "t") -> str:
    """SQL of an opaque cursor: the row's place in the order."""
    values = ", ".join(f'{alias}."{key.column.name}"::text' for key in keys)
    return f"translate(encode(convert_to(json_build_array({values})::text, 'UTF8'), 'base64'), E'\\n', '')"


def beyond(keys: Sequence[OrderKey], after: str, parameters: Parameters, alias: str = "t") -> str:
    """Rows after the cursor in the order. Raises Refused for a cursor that isn't ours."""
    values = _decode(after, keys)
    alternatives: list[str] = []
    equal: list[str] = []
    bound = ""
    for key, value in zip(keys, values, strict=True):
        name = f'{alias}."{key.column.name}"'
        if value is None:
            if key.descending:
                alternatives.append(" AND ".join([*equal, f"{name} IS NOT NULL"]))
            equal.append(f"{name} IS NULL")
            continue
        place = f"{parameters.bind(value)}::text::{SQL_TYPES.get(key.column.kind, 'text')}"
        further = (
            f"{name} < {place}"
            if key.descending
            else f"{name} > {place}"
            if _never_null(key.column)
            else f"({name} > {place} OR {name} IS NULL)"
        )
        if not alternatives and not equal and (key.descending or _never_null(key.column)):
            bound = f"{name} {'<' if key.descending else '>'}= {place} AND "  # the index starts here, not at the list's beginning
        alternatives.append(" AND ".join([*equal, further]))
        equal.append(f"{name} = {place}")
    return f"({bound}(" + " OR ".join(f"({alternative})" for alternative in alternatives) + "))" if alternatives else "false"


def _never_null(column: Column) -> bool:
    return column.required or column.name in ("revision", "created_at", "updated_at")


def _decode(after: str, keys: Sequence[OrderKey]) -> list[str | None]:
    try:
        values = orjson.loads(base64.b64decode(after, validate=True))
        if not isinstance(values, list) or len(values) != len(keys):
            raise ValueError
        return [_checked(key.column, value) for key, value in zip(keys, values, strict=True)]
    except (binascii.Error, ValueError):
        raise Refused(Problem("CURSOR_INVALID", "after 不是本列表在此排序下给出的游标；请从第一页重新读取", "after")) from None


_INTEGER = re.compile(r"-?[0-9]{1,10}")


def _checked(column: Column, value: Any) -> str | None:
    """A value of a cursor as PostgreSQL printed it. Raises ValueError for what it would not have printed, or could not read."""
    if value is None and column.kind is not Kind.ID:
        return None
    if not isinstance(value, str):
        raise ValueError
    if column.kind is Kind.TIMESTAMP and value[-3:-2] in ("+", "-"):
        canonical(column, value + ":00")
    elif column.kind is Kind.INTEGER:
        if not _INTEGER.fullmatch(value) or not -(2**31) <= int(value) < 2**31:
            raise ValueError
    elif column.kind is Kind.BOOLEAN and value in ("true", "false"):
        pass
    else:
        canonical(column, value)
    return value
