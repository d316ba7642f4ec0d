"""What every terminal of the fuzzer was told to write, kept by the one who told it. Pure: no session, no clock.

Values of text fields, set members and list items are made once each, so that wherever one turns up its author is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DESK = "fuzz-desk"
EVERYTHING = 1 << 30  # "seen" of who writes on the server itself
NEVER = -1000  # before the first step


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


@dataclass(frozen=True)
class Fault:
    """A promise that was broken, about a document."""

    sentence: str
    doc_id: str
    column: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """Somebody settled a conflict. `sure`: the server said so; without it the answer was lost."""

    step: int
    conflict_id: str
    doc_id: str
    column: str
    take: str
    username: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """A restore at `step` to the backup of step `since`, which held what each device had sent up to `held` (by device)."""

    since: int
    step: int
    held: Mapping[str, int]


@dataclass
class Journal:
    """All writes in the order in which they were made."""

    entries: list[Entry] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    seen_conflicts: dict[str, int] = field(default_factory=dict)  # id of each that somebody has looked at, and the step
    sent: dict[str, int] = field(default_factory=dict)  # by device: the step up to which everything is on the server
    locked: dict[str, bool] = field(default_factory=dict)  # devices that were revoked; False where the answer was lost
    too_late: list[Entry] = field(default_factory=list)  # written on a device that had been revoked
    loss: Loss | None = None
    numbers: dict[str, str] = field(default_factory=dict)  # document number -> the device that has it
    _by_document: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_document[entry.doc_id].append(entry)

    def certain(self, entry: Entry) -> bool:
        """Whether it must be on the server or in a conflict: a locked device can't send any more, a restore takes back what came later."""
        if entry.device in self.locked and entry.step > self.sent.get(entry.device, NEVER):
            return False
        return not self.undone(entry.step, entry.device)

    def undone(self, step: int, device: str) -> bool:
        """Whether a restore may have taken it back."""
        return self.loss is not None and self.loss.held.get(device, NEVER) < step <= self.loss.step

    def forgotten(self, step: int) -> bool:
        """Whether what was done on the server itself then went with a restore."""
        return self.loss is not None and self.loss.since < step <= self.loss.step

    def ghost(self, doc_id: str) -> bool:
        """Whether the document was made before a restore, which may have taken it: it may stay on terminals, and come back."""
        return any(entry.kind is Kind.INSERT and self.undone(entry.step, entry.device) for entry in self._by_document.get(doc_id, ()))

    def decided(self, doc_id: str, column: str) -> list[Decision]:
        return [each for each in self.decisions if (each.doc_id, each.column) == (doc_id, column)]

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
