"""All declared records, found by walking `schema/records/`: adding a module there is all that it takes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property

import schema.records
from schema.base import Record


class Registry(Mapping[str, Record]):
    """Records by name, in order of name; `children` are the records that take their scopes from one."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = {record.name: record for record in sorted(records, key=lambda record: record.name)}

    def __getitem__(self, name: str) -> Record:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __hash__(self) -> int:
        return id(self)  # a Mapping compares by content; derived things are kept per registry

    def __len__(self) -> int:
        return len(self._records)

    @cached_property
    def children(self) -> Mapping[str, tuple[Record, ...]]:
        found: dict[str, list[Record]] = {name: [] for name in self._records}
        for record in self._records.values():
            if record.scope.parent:
                found[record.by_name[record.scope.parent].ref].append(record)
        return {name: tuple(children) for name, children in found.items()}

    def extended(self, *records: Record) -> Registry:
        return Registry([*self._records.values(), *records])


@cache
def load() -> Registry:
    """The records of this release."""
    modules = sorted(module.name for module in pkgutil.iter_modules(schema.records.__path__))
    return Registry(importlib.import_module(f"schema.records.{name}").RECORD for name in modules)
