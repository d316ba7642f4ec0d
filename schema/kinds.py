"""The kinds of column, the policies of merge and the verbs of access. Pure data."""

from __future__ import annotations

from enum import Enum, Flag, StrEnum, auto


class Kind(Enum):
    """What a column holds; `schema.values` says its JSON form, `schema.tables` its SQL type."""

    ID = auto()
    TEXT = auto()
    INTEGER = auto()
    DECIMAL = auto()
    BOOLEAN = auto()
    DATE = auto()
    TIMESTAMP = auto()
    ENUM = auto()
    REF = auto()  # the id of another record
    AREA = auto()  # the code of an administrative area
    POSITION = auto()  # as received, with datum; a WGS 84 point column is derived beside it
    POINT = auto()  # normalised WGS 84 point, server-owned
    TAGS = auto()  # a set of strings
    ITEMS = auto()  # a list of objects, each with an `id`
    JSON = auto()


class Policy(StrEnum):
    """How two edits of one column are merged (design/sync.md)."""

    LATEST = "latest"
    SERVER = "server"
    UNION = "union"
    COUNTER = "counter"
    APPEND = "append"
    MOVES = "moves"
    FROZEN = "frozen"
    MANUAL = "manual"


class Verb(Flag):
    READ = auto()
    CREATE = auto()
    UPDATE = auto()
    DELETE = auto()
