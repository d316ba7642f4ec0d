"""The vocabulary in which a record is declared. Pure data: no session, no clock.

A record is one module in `schema/records/` that ends in `RECORD = Record(...)`. Tables, GraphQL types, sync, permissions
and forms are derived from it; see schema/README.md for what each word means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from schema.actor import Role
from schema.kinds import Kind, Policy, Verb
from schema.problems import Problem

__all__ = ["PLACED", "SYSTEM_COLUMNS", "Choice", "Column", "Document", "Kind", "Moves", "Policy", "Record", "Rule", "Scope", "Verb"]

Document = dict[str, Any]
"""One record's values by column name, in JSON form (see `schema.values`)."""


@dataclass(frozen=True)
class Choice:
    """An enumeration: its GraphQL name and its members as (VALUE, Chinese label)."""

    name: str
    members: tuple[tuple[str, str], ...]

    @cached_property
    def values(self) -> frozenset[str]:
        return frozenset(value for value, _ in self.members)


@dataclass(frozen=True)
class Moves:
    """The allowed transitions of a MOVES column; a move names the roles that may make it."""

    initial: frozenset[str]
    allowed: Mapping[tuple[str, str], frozenset[Role]]


@dataclass(frozen=True)
class Column:
    """One column. `merge` stands beside what it protects; `writers`/`readers` narrow the record's access by role."""

    name: str
    kind: Kind
    label: str
    doc: str = ""
    unit: str = ""
    required: bool = False
    choice: Choice | None = None
    ref: str = ""  # record name, for REF
    merge: Policy = Policy.LATEST
    moves: Moves | None = None
    writers: frozenset[Role] | None = None  # None: whoever may write the record
    readers: frozenset[Role] | None = None  # None: whoever may read the record; others get null
    max_length: int = 200
    minimum: int | None = None
    maximum: int | None = None
    default: Any = None
    indexed: bool = False
    evidence: bool = False  # ITEMS that name files by sha256: {id, sha256, size, media_type, taken_at, position}


@dataclass(frozen=True)
class Scope:
    """Which areas, persons and organisations a row belongs to.

    `area`: an AREA column whose chain of areas (divisions and jurisdictions) the row belongs to.
    `parent`: a REF column whose row's scopes the row takes over.
    `keys`: prefix -> column; the row also belongs to `prefix:value`.
    """

    area: str = ""
    parent: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Document, Document | None, datetime], Iterator[Problem]]
"""(after, before, at) -> what is wrong. `before` is None for a new row."""


SYSTEM_COLUMNS = (
    Column("revision", Kind.INTEGER, "版本", "Grows by one with each accepted change.", merge=Policy.SERVER),
    Column("stamp", Kind.TEXT, "设备戳", "deviceId:counter[:ms], set by the client at each local write.", merge=Policy.SERVER),
    Column("deleted", Kind.BOOLEAN, "已删除", merge=Policy.SERVER),
    Column("created_at", Kind.TIMESTAMP, "建立时间", merge=Policy.SERVER),
    Column("updated_at", Kind.TIMESTAMP, "更新时间", merge=Policy.SERVER),
)

ISSUED_AT = Column(
    "issued_at", Kind.TIMESTAMP, "签发时间", "Set by the server once signed and all its evidence is here.", merge=Policy.SERVER
)


PLACE_CHECK = Choice(
    "PlaceCheck",
    (
        ("OK", "在申报的县（市、区）内"),
        ("OUTSIDE", "不在申报的县（市、区）内"),
        ("NEAR_BORDER", "距界线在定位精度以内，不能确定"),
        ("OTHER_DATUM", "按另一坐标系才在申报的县（市、区）内"),
        ("UNCHECKED", "没有可核对的界线"),
    ),
)
PLACE_DATUM = Choice("PlaceDatum", (("WGS84", "WGS 84"), ("GCJ02", "GCJ-02"), ("BD09", "BD-09")))
_PLACE_COLUMNS = (
    ("place_check", Kind.ENUM, "位置核对", "Whether the position fits the declared area; null without a position.", PLACE_CHECK),
    (
        "place_area_code",
        Kind.AREA,
        "位置所在区划",
        "The lowest area with an outline of its own, not a derived one, around the position.",
        None,
    ),
    ("place_datum", Kind.ENUM, "疑似坐标系", "OTHER_DATUM: the datum that the position would fit under.", PLACE_DATUM),
)
PLACED = frozenset(name for name, *_ in _PLACE_COLUMNS)
"""Columns that follow from a position and its declared area; the server's, and nobody's edit."""


@dataclass(frozen=True, eq=False)
class Record:
    """A register of the field (台账/个案): everything that is derived starts here."""

    name: str  # snake_case, singular; the table's name
    label: str
    doc: str
    columns: tuple[Column, ...]
    scope: Scope
    access: Mapping[Role, Verb]
    rules: tuple[Rule, ...] = ()
    travels: bool = True  # pull and push for terminals
    plural: str = ""  # GraphQL list query; default: name + s
    arbiters: frozenset[Role] = frozenset({Role.SUPERVISOR})  # who sees its conflicts in the inbox
    frozen_when: tuple[str, frozenset[str]] | None = None  # (column, states) in which FROZEN columns can't change
    numbered: str = ""  # TEXT column whose numbers come from blocks reserved for the device (sync/numbers.py)
    place: str = ""  # POSITION column that puts it on the map
    layer: tuple[str, ...] = ()  # columns that map programs get (/ogc); none that tells of a person; empty: no layer
    issued_when: tuple[str, frozenset[str]] | None = None  # (column, states) that make it a document; adds `issued_at`

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """id, the declared columns (each POSITION followed by its WGS 84 point), then the system's."""
        declared = [derived for column in self.columns for derived in _with_point(column)]
        issued = (ISSUED_AT,) if self.issued_when else ()
        return (Column("id", Kind.ID, "编号", required=True, merge=Policy.FROZEN), *declared, *self._placed, *issued, *SYSTEM_COLUMNS)

    @cached_property
    def _placed(self) -> tuple[Column, ...]:
        """What geometry says of the record's place, for those who may see the position."""
        readers = next((column.readers for column in self.columns if column.name == self.place), None)
        return tuple(
            Column(name, kind, label, doc, choice=choice, merge=Policy.SERVER, readers=readers)
            for name, kind, label, doc, choice in (_PLACE_COLUMNS if self.place else ())
        )

    @cached_property
    def derived(self) -> frozenset[str]:
        """Columns that the server works out: what a device sends for them is nobody's edit."""
        points = {column.name for column in self.all_columns if column.kind is Kind.POINT}
        return PLACED | points | {"id", *(column.name for column in SYSTEM_COLUMNS if column.name != "deleted")}

    @cached_property
    def edited(self) -> tuple[str, ...]:
        """Columns that people's edits are made of: all but those derived."""
        return tuple(column.name for column in self.all_columns if column.name not in self.derived)

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.all_columns}

    @cached_property
    def required(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.required)

    @cached_property
    def positions(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.kind is Kind.POSITION)

    @cached_property
    def evidence(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.evidence)

    def may(self, role: Role, verb: Verb) -> bool:
        return verb in self.access.get(role, Verb(0))


def _with_point(column: Column) -> tuple[Column, ...]:
    if column.kind is not Kind.POSITION:
        return (column,)
    point = Column(f"{column.name}_wgs84", Kind.POINT, f"{column.label}（WGS 84）", merge=Policy.SERVER, readers=column.readers)
    return (column, point)
