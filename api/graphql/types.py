"""GraphQL types derived from a record: output, input, filter, order, page, connection.

Every output field but `id` and `deleted` is nullable: a document that left the reader's scope arrives as
`{id, deleted: true}` and a masked column as null.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NewType

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.types.lazy_type import LazyType

from api.graphql.names import camel, pascal, relation
from schema.areas import Level
from schema.base import Choice, Column, Kind, Record
from schema.registry import Registry
from schema.values import timestamp

Date = NewType("Date", str)
DateTime = NewType("DateTime", str)
Decimal = NewType("Decimal", str)
Position = NewType("Position", object)
Point = NewType("Point", object)
JSON = NewType("JSON", object)
# Before any module that names it, whichever is imported first.
strawberry.enum(Level, name="AreaLevel", description="How far down an area stands; also a layer of the map.")


def _as_it_is(value: Any) -> Any:
    return value


def _scalar(name: str, doc: str) -> Any:
    return strawberry.scalar(name=name, description=doc, serialize=_as_it_is, parse_value=_as_it_is)


def _moment(value: Any) -> str:
    return value if isinstance(value, str) else timestamp(value)


_DATE_TIME = strawberry.scalar(
    name="DateTime", description="ISO 8601 with offset; answered in UTC.", serialize=_moment, parse_value=_as_it_is
)
SCALARS: dict[object, Any] = {
    Date: _scalar("Date", "YYYY-MM-DD"),
    DateTime: _DATE_TIME,
    datetime: _DATE_TIME,
    Decimal: _scalar("Decimal", "A decimal number as a string."),
    Position: _scalar("Position", "As received: {lon, lat, datum: WGS84|CGCS2000|GCJ02|BD09, accuracy (metres), provider, taken_at}."),
    Point: _scalar("Point", "GeoJSON point, WGS 84, lon before lat; owned by the server."),
    JSON: _scalar("JSON", "Any JSON value."),
}
CONFIG = StrawberryConfig(auto_camel_case=True, scalar_map=SCALARS)


def list_of(hint: Any) -> Any:
    return types.GenericAlias(list, (hint,))  # a run-time type that mypy lets through


_PYTHON: dict[Kind, Any] = {
    Kind.ID: strawberry.ID,
    Kind.REF: strawberry.ID,
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.DECIMAL: Decimal,
    Kind.BOOLEAN: bool,
    Kind.DATE: Date,
    Kind.TIMESTAMP: DateTime,
    Kind.AREA: strawberry.ID,
    Kind.POSITION: Position,
    Kind.POINT: Point,
    Kind.TAGS: list_of(str),
    Kind.ITEMS: list_of(JSON),
    Kind.JSON: JSON,
}
_FILTERABLE = frozenset(
    {Kind.ID, Kind.REF, Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP, Kind.ENUM, Kind.AREA}
)
_ORDERED = frozenset({Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.TIMESTAMP, Kind.AREA})


def filterable(column: Column) -> bool:
    return column.kind in _FILTERABLE or column.kind is Kind.TAGS


def sortable(column: Column) -> bool:
    return column.kind in _ORDERED and column.name != "stamp"


@strawberry.type(description="An administrative area or jurisdiction, by name.")
class AreaName:
    code: strawberry.ID
    name: str
    derived: bool = strawberry.field(default=False, description="Whether its outline is derived from points and not surveyed.")


@strawberry.type(description="Where a pull goes on; opaque and signed.")
class Checkpoint:
    token: str


@strawberry.input
class CheckpointInput:
    token: str


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.enum
class Direction(enum.Enum):
    ASC = "ASC"
    DESC = "DESC"


def make(
    name: str, fields: Mapping[str, Any], *, is_input: bool = False, doc: str | None = None, docs: Mapping[str, str] | None = None
) -> Any:
    """A Strawberry type or input of the given annotations; an input's fields may be omitted unless their type is required."""
    body: dict[str, Any] = {"__annotations__": dict(fields), "__module__": __name__}
    if is_input:
        body |= {field: _omittable(field) for field, hint in fields.items() if _optional(hint)}
    body |= {field: strawberry.field(description=text) for field, text in (docs or {}).items()}
    cls = type(name, (), body)
    return (strawberry.input if is_input else strawberry.type)(cls, name=name, description=doc)


def _omittable(field: str) -> Any:
    if field.endswith("_"):  # a Python keyword
        return strawberry.field(name=field[:-1], default=strawberry.UNSET)
    return strawberry.UNSET


def _optional(hint: Any) -> bool:
    return type(None) in getattr(hint, "__args__", ())


@dataclass(frozen=True)
class RecordTypes:
    """The types of one record; `of` gives those of the records that it refers to."""

    record: Record
    family: Family

    @cached_property
    def output(self) -> Any:
        fields: dict[str, Any] = {}
        for column in self.record.all_columns:
            hint = self._hint(column)
            fields[column.name] = hint if column.name in ("id", "deleted") else hint | None
            if column.kind is Kind.AREA:
                fields[relation(column.name)] = AreaName | None
            if column.kind is Kind.REF and column.ref in self.family.registry:
                fields[relation(column.name)] = self.family.lazy(column.ref) | None
        docs = {column.name: _describe(column) for column in self.record.all_columns}
        return make(pascal(self.record.name), fields, doc=f"{self.record.label}：{self.record.doc}", docs=docs)

    @cached_property
    def input(self) -> Any:
        fields = {column.name: self._hint(column) | None for column in self.record.all_columns}
        return make(f"{pascal(self.record.name)}Input", {**fields, "id": strawberry.ID}, is_input=True)

    @cached_property
    def push_row(self) -> Any:
        fields = {"assumed_master_state": self.input | None, "new_document_state": self.input}
        return make(f"{pascal(self.record.name)}PushRow", fields, is_input=True)

    @cached_property
    def pull(self) -> Any:
        fields = {"documents": list_of(self.output), "checkpoint": Checkpoint}
        return make(f"{pascal(self.record.name)}Pull", fields)

    @cached_property
    def edge(self) -> Any:
        return make(f"{pascal(self.record.name)}Edge", {"cursor": str, "node": self.output})

    @cached_property
    def connection(self) -> Any:
        fields = {
            "edges": list_of(self.edge),
            "nodes": list_of(self.output),
            "page_info": PageInfo,
            "total_count": int,
        }
        return make(f"{pascal(self.record.name)}Connection", fields)

    @cached_property
    def filter(self) -> Any:
        fields: dict[str, Any] = {
            column.name: self.family.condition(self._hint(column), column) | None
            for column in self.record.all_columns
            if filterable(column)
        }
        fields["within"] = strawberry.ID | None
        lazy = self.family.lazy_filter(self.record.name)
        fields |= {"and_": list_of(lazy) | None, "or_": list_of(lazy) | None, "not_": lazy | None}
        return make(f"{pascal(self.record.name)}Filter", fields, is_input=True)

    @cached_property
    def order(self) -> Any:
        columns = [column for column in self.record.all_columns if sortable(column)]
        members = {camel(column.name): column.name for column in columns}
        field = strawberry.enum(enum.Enum(f"{pascal(self.record.name)}OrderField", members))  # type: ignore[call-overload]
        return make(f"{pascal(self.record.name)}Order", {"field": field, "direction": Direction | None}, is_input=True)

    def _hint(self, column: Column) -> Any:
        return self.family.choice(column.choice) if column.choice else _PYTHON[column.kind]


class Family:
    """All types of a registry; each is made once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.of = {name: RecordTypes(record, self) for name, record in registry.items()}
        self._choices: dict[str, Any] = {}
        self._conditions: dict[str, Any] = {}

    def lazy(self, name: str) -> Any:
        return _Lazy(lambda: self.of[name].output, pascal(name))

    def lazy_filter(self, name: str) -> Any:
        return _Lazy(lambda: self.of[name].filter, f"{pascal(name)}Filter")

    def choice(self, choice: Choice) -> Any:
        if choice.name not in self._choices:
            members = {value: strawberry.enum_value(value, description=label) for value, label in choice.members}
            self._choices[choice.name] = strawberry.enum(enum.Enum(choice.name, members))  # type: ignore[call-overload]
        return self._choices[choice.name]

    def condition(self, hint: Any, column: Column) -> Any:
        """The input of conditions on one kind of value, shared by all columns of that kind."""
        name = column.choice.name if column.choice else column.kind.name.capitalize()
        if name not in self._conditions:
            self._conditions[name] = make(f"{name}Condition", _operators(hint, column), is_input=True)
        return self._conditions[name]


def _describe(column: Column) -> str:
    unit = f"（{column.unit}）" if column.unit else ""
    return f"{column.label}{unit}。{column.doc}".rstrip("。")


def _operators(hint: Any, column: Column) -> dict[str, Any]:
    if column.kind is Kind.TAGS:
        return {"has": str | None, "is_null": bool | None}
    fields: dict[str, Any] = {"eq": hint | None, "ne": hint | None, "in_": list_of(hint) | None, "is_null": bool | None}
    if column.kind in _ORDERED:
        fields |= dict.fromkeys(("gt", "gte", "lt", "lte"), hint | None)
    if column.kind is Kind.TEXT:
        fields |= {"contains": str | None, "starts_with": str | None}
    return fields


class _Lazy(LazyType[Any, Any]):
    """A type that is made when the schema is built, so that records may refer to each other in a circle."""

    def __init__(self, find: Any, name: str) -> None:
        super().__init__(type_name=name, module=f"{__name__}:{id(find)}")  # equal lazies would share one cached Union
        object.__setattr__(self, "_find", find)

    def resolve_type(self) -> Any:
        return self._find()  # type: ignore[attr-defined]
