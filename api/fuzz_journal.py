"""What every terminal of the fuzzer was told to write, kept by the one who told it. Pure: no session, no clock.

Values of text fields, set members and list items are made once each, so that wherever one turns up its author is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DESK = "fuzz-desk"


class Kind(StrEnum):
    INSERT = "insert"
    SET = "set"  # a plain value; a state too
    ADD = "add"  # one member of a set
    DISCARD = "discard"
    APPEND = "append"  # the id of an item
    COUNT = "count"
    REMOVE = "remove"  # the document


@dataclass(frozen=True, slots=True)
class Entry:
    """One local write.

    seen   revision of the server's document on which the author wrote: what he can have seen
    stamp  "" where the write may not have happened (the desk's, whose answer was lost)
    """

    step: int
    device: str
    record: str
    doc_id: str
    kind: Kind
    column: str
    value: Any
    seen: int
    stamp: str


Place = tuple[str, str]  # document, column


@dataclass
class Journal:
    """All writes in the order in which they were made."""

    entries: list[Entry] = field(default_factory=list)
    _by_document: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_document[entry.doc_id].append(entry)

    def of(self, doc_id: str, column: str | None = None, device: str | None = None) -> list[Entry]:
        """The writes of one document, oldest first; of one column or device if given."""
        found = self._by_document.get(doc_id, [])
        return [entry for entry in found if column in (None, entry.column) and device in (None, entry.device)]

    def last_sets(self) -> Iterator[Entry]:
        """The last plain value that each device gave each field."""
        last: dict[tuple[str, str, str], Entry] = {}
        for entry in self.entries:
            if entry.kind is Kind.SET and entry.stamp:
                last[entry.device, entry.doc_id, entry.column] = entry
        yield from last.values()

    def every(self, *kinds: Kind) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind in kinds]

    def devices(self, doc_id: str, column: str | None = None) -> set[str]:
        """Who touched it; a column is touched by the document's maker and remover too."""
        whole = (Kind.INSERT, Kind.REMOVE)
        return {entry.device for entry in self._by_document.get(doc_id, ()) if column in (None, entry.column) or entry.kind in whole}

    def ids(self, record: str) -> Sequence[str]:
        return [entry.doc_id for entry in self.entries if entry.kind is Kind.INSERT and entry.record == record]
