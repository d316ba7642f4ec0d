"""What each device last wrote: the base of its next push when it never got the answer (design/sync.md, Shadow). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schema.base import SYSTEM_COLUMNS, Document
from sync.merge import Change, Edit, rebase

_OWNED = frozenset(column.name for column in SYSTEM_COLUMNS if column.name != "deleted")


class Shadow(NamedTuple):
    """The last push of a device: its counter, and the revision that came of it (None: nothing was accepted).

    Without `document` it was taken whole: it is the master at that revision, and the history says what that was.
    """

    counter: int
    revision: int | None
    document: Document | None

    def older_than(self, master: Document | None) -> bool:
        """Whether the history is needed to know what was written."""
        return self.document is None and self.revision is not None and master is not None and self.revision < master["revision"]


def rebased(edit: Edit, shadow: Shadow, master: Document | None, changes: Sequence[Change]) -> Edit:
    """The edit on what its device last wrote; `changes` are those of the master since then, oldest first."""
    document = shadow.document
    if document is None and shadow.revision is not None and master is not None:
        document = _undone(master, changes)
    return rebase(edit, document, shadow.revision)


def _undone(master: Document, changes: Sequence[Change]) -> Document:
    document = dict(master)
    for change in reversed(changes):
        document.update({name: old for name, (old, _) in (change.changes or {}).items()})
    return document


def taken_whole(document: Document, master: Document) -> bool:
    """Whether the master is exactly what the device wrote, so that only the revision need be kept."""
    return all(master.get(name) == value for name, value in document.items() if name not in _OWNED)
