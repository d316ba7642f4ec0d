"""What each device last wrote: the base of its next push when it never got the answer (design/sync.md, Shadow). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schema.base import Document, Record
from sync.merge import Change, Edit, rebase

_PLACE = frozenset({"revision"})


class Shadow(NamedTuple):
    """The last push of a device: its counter, and the revision that came of it (None: nothing was accepted).

    A `document` of nothing but the revision on which it was written was taken whole: the rest is the master at `revision`,
    and the history says what that was.
    """

    counter: int
    revision: int | None
    document: Document | None

    def older_than(self, master: Document | None) -> bool:
        """Whether the history is needed to know what was written."""
        return self.thin and self.revision is not None and master is not None and self.revision < master["revision"]

    @property
    def thin(self) -> bool:
        return self.document is not None and not self.document.keys() - _PLACE


def rebased(edit: Edit, shadow: Shadow, master: Document | None, changes: Sequence[Change]) -> Edit:
    """The edit on what its device last wrote; `changes` are those of the master since then, oldest first."""
    document = shadow.document
    if document is not None and shadow.thin:
        document = {**undone(master, changes), **document} if master is not None else None
    return rebase(edit, document, shadow.revision)


def undone(master: Document, changes: Sequence[Change]) -> Document:
    """The master as it was before the changes, which are its last ones, oldest first."""
    document = dict(master)
    for change in reversed(changes):
        document.update({name: old for name, (old, _) in (change.changes or {}).items()})
    return document


def thin(record: Record, document: Document, master: Document) -> Document:
    """What to keep of a document that a device wrote: the revision it stood on alone if the master is now exactly that document."""
    return {name: document[name] for name in _PLACE & document.keys()} if holds(record, master, document) else document


def holds(record: Record, master: Document, document: Document) -> bool:
    """Whether the master says all that people may write of a document in the same way; what the document omits is no difference."""
    if list(map(master.get, record.edited)) == list(map(document.get, record.edited)):  # nearly all, and four times as fast
        return True
    return all(document[name] == master.get(name) for name in record.edited if name in document)
