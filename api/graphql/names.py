"""How a declared name reads in GraphQL. Pure."""

from __future__ import annotations

from functools import cache

from schema.base import Record


@cache
def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def plural(record: Record) -> str:
    """The list query's name: the declared plural, else the usual English one."""
    if record.plural:
        return camel(record.plural)
    name = camel(record.name)
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("s") else f"{name}s"


def relation(column_name: str) -> str:
    """The object that a reference leads to: `enterprise_id` -> `enterprise`, `area_code` -> `area`."""
    return camel(column_name.removesuffix("_id").removesuffix("_code"))
