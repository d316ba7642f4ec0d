"""What must hold when the dust has settled: nothing lost, nothing doubled, nobody in conflict with himself. Pure.

A journal of what was written, the server's facts, and the sentences about what doesn't fit. Scopes are compared elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from api.fuzz_facts import Document, Facts, Write, whole
from api.fuzz_journal import DESK, EVERYTHING, Entry, Fault, Journal, Kind
from api.fuzz_steps import COUNTERS, OFFICERS_TEXTS, TEXTS
from sync.lineage import REVISIONS

UNIQUE: Mapping[str, frozenset[str]] = {
    record: frozenset(
        {
            *columns,
            *(() if record not in OFFICERS_TEXTS else (OFFICERS_TEXTS[record],)),
            *(("credit_code",) if record == "enterprise" else ("document_number",) if record == "inspection" else ()),
        }
    )
    for record, columns in TEXTS.items()
}
"""Fields each of whose values has one author."""

CONTESTS = frozenset({"lost_later_edit", "overwrote_theirs", "manual_review", "record_deleted", "deleted_over_edit", "move_refused"})
"""Conflicts between two; alone nobody can have them, for the fuzzer makes no move that is not allowed."""

RIVALRIES = frozenset({"lost_later_edit", "overwrote_theirs", "manual_review"})
"""Those in which the server's value is another's."""

REFUSALS = frozenset({"frozen", "not_writable", "delete_refused"})
REFUSED_ROWS = frozenset({"NOT_IN_SCOPE", "OUT_OF_SCOPE", "CREDIT_CODE_INVALID", "TWO_OFFICERS_REQUIRED"})
"""What a person of the fuzzer may be told; any other code is a fault of ours."""


def judge(journal: Journal, facts: Facts) -> list[Fault]:
    """Everything that is wrong; empty is the bar."""
    return [fault for check in CHECKS for fault in check(journal, facts)]


# ---- nothing is lost


def _documents(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for entry in journal.every(Kind.INSERT):
        refused = any(whole(row) for row in facts.kept(entry.doc_id, entry.device))
        if not journal.certain(entry):
            continue
        if entry.doc_id not in facts.documents and not refused and not journal.of(entry.doc_id, "", entry.device)[1:]:
            yield Fault("a new document is neither on the server nor refused", entry.doc_id, step=entry.step)


def _last_values(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for entry in journal.last_sets():
        if entry.doc_id in facts.documents and journal.certain(entry) and (sentence := _fate(journal, facts, entry)):
            yield Fault(sentence, entry.doc_id, entry.column, entry.step)


def _fate(journal: Journal, facts: Facts, entry: Entry) -> str:
    """What is wrong with what became of somebody's last value of a field; "" if nothing is."""
    if facts.documents[entry.doc_id].get(entry.column) == entry.value or facts.keeps(entry.doc_id, entry.device, entry.column, entry.value):
        return ""
    writes = facts.writes(entry.doc_id, entry.column)
    accepted = _accepted(writes, entry)
    if accepted is None:
        return f"{entry.device}'s last value {entry.value!r} is neither on the server nor kept as a conflict"
    after = next(write for write in writes if write.revision > accepted.revision)
    if _had_seen(journal, entry, accepted, after) or facts.keeps_loser(entry.doc_id, entry.column, entry.value):
        return ""
    return f"{entry.device}'s value {entry.value!r} was overwritten by {after.device} with {after.value!r}, unseen and without a conflict"


def _accepted(writes: list[Write], entry: Entry) -> Write | None:
    """The change that took it. A state or an area may have been set by another to the same value meanwhile."""
    same = [write for write in writes if write.value == entry.value]
    own = [write for write in same if write.device == entry.device]
    found = own or [write for write in same if write.revision > entry.seen]
    return found[-1] if found else None


def _had_seen(journal: Journal, entry: Entry, accepted: Write, after: Write) -> bool:
    if after.device == DESK:
        return True
    if entry.column == "state":  # by declared moves alone, each allowed on the state before
        return True
    writers = journal.of(entry.doc_id, entry.column, after.device)
    return any(other.value == after.value and other.seen >= accepted.revision for other in writers)


def _elements(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for entry in journal.every(Kind.ADD, Kind.APPEND):
        if entry.doc_id not in facts.documents:
            continue
        present = _count(facts.documents[entry.doc_id].get(entry.column), entry.value)
        discarded = [
            each for each in journal.of(entry.doc_id, entry.column) if each.kind is Kind.DISCARD and each.value in (entry.value, None)
        ]
        if (
            present == 0
            and journal.certain(entry)
            and not discarded
            and not facts.keeps(entry.doc_id, entry.device, entry.column, entry.value)
        ):
            yield Fault(f"{entry.value!r}, added by {entry.device}, is gone", entry.doc_id, entry.column, entry.step)
        if present > 1:
            yield Fault(f"{entry.value!r} is there {present} times", entry.doc_id, entry.column, entry.step)


def _discards(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for entry in journal.every(Kind.DISCARD):
        if entry.value is None or entry.doc_id not in facts.documents or not journal.certain(entry):
            continue
        refused = any(whole(row) or row["field"] == entry.column for row in facts.kept(entry.doc_id, entry.device))
        if _count(facts.documents[entry.doc_id].get(entry.column), entry.value) and not refused:
            yield Fault(f"{entry.value!r}, removed by {entry.device}, is back", entry.doc_id, entry.column, entry.step)


def _count(held: list[object] | None, value: object) -> int:
    return sum(each == value or (isinstance(each, dict) and each.get("id") == value) for each in held or ())


def _counters(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for doc_id, document in facts.documents.items():
        for column in [COUNTERS[facts.records[doc_id]]] if facts.records[doc_id] in COUNTERS else ():
            counted = [entry for entry in journal.of(doc_id, column) if entry.kind is Kind.COUNT]
            total, found = sum(entry.value for entry in counted), document[column] or 0
            unsure = {row["device_id"] for row in facts.kept(doc_id) if whole(row) or row["field"] == column}
            least = sum(entry.value for entry in counted if entry.device not in unsure and journal.certain(entry))
            if not least <= found <= total:
                yield Fault(f"counted {least} to {total}, found {found}", doc_id, column)


def _removals(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for doc_id, document in facts.documents.items():
        removals = [entry for entry in journal.of(doc_id) if entry.kind is Kind.REMOVE]
        removers = {entry.device for entry in removals if entry.stamp and journal.certain(entry)}
        if journal.decided(doc_id, "deleted"):
            continue
        if document["deleted"] and not removals:
            yield Fault("deleted, though nobody removed it", doc_id)
        refused = {row["device_id"] for row in facts.kept(doc_id) if row["code"] == "delete_refused" or whole(row)}
        if not document["deleted"] and removers - refused:
            yield Fault(f"still there, though {sorted(removers - refused)} removed it", doc_id)


# ---- nobody fights himself, nobody speaks for another


def _echoes(journal: Journal, facts: Facts) -> Iterator[Fault]:
    """A device is the author of what the server took from it."""
    for doc_id, record in facts.records.items():
        for column in UNIQUE[record]:
            writes = facts.writes(doc_id, column)
            if journal.ghost(doc_id) and writes and writes[0].revision > REVISIONS:
                writes = writes[1:]  # made again whole after a restore, by whoever edited it
            for write in writes:
                if write.value is not None and write.device != DESK and not _wrote(journal, doc_id, column, write.device, write.value):
                    yield Fault(f"{write.device} set {write.value!r} at revision {write.revision}, which it never wrote", doc_id, column)


def _wrote(journal: Journal, doc_id: str, column: str, device: str, value: object) -> bool:
    return any(entry.value == value for entry in journal.of(doc_id, column, device))


def _relapses(journal: Journal, facts: Facts) -> Iterator[Fault]:
    """A value that was replaced never comes back by itself."""
    for doc_id, record in facts.records.items():
        for column in UNIQUE[record]:
            values = Counter(write.value for write in facts.writes(doc_id, column) if write.value is not None)
            values.subtract(entry.value for entry in journal.of(doc_id, column) if entry.seen == EVERYTHING)  # decided
            yield from (Fault(f"{value!r} was set {count} times too often", doc_id, column) for value, count in values.items() if count > 1)


def _conflicts(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for doc_id, rows in facts.conflicts.items():
        for row in rows:
            sentence = _row_fault(journal, doc_id, row) if whole(row) else _field_fault(journal, facts, doc_id, row)
            if sentence:
                yield Fault(f"{row['code']} of {row['device_id']}: {sentence}", doc_id, row["field"] or "")


def _field_fault(journal: Journal, facts: Facts, doc_id: str, row: Document) -> str:
    column, device, record = row["field"], row["device_id"], row["record"]
    if row["code"] == "lost_in_restore":  # whoever still has a value may report it, also another's
        return "" if journal.loss else "nothing was restored"
    issued = {"server_owned"} if column == "issued_at" and journal.ghost(doc_id) else set()  # before a restore, and made again whole
    if row["code"] not in CONTESTS | REFUSALS | issued:
        return "nothing that anybody did can lead to this"
    if row["code"] in CONTESTS and not journal.devices(doc_id, None if column == "deleted" else column) - {device}:
        return "nobody else touched it"
    if column in UNIQUE.get(record, ()):
        if row["mine"] is not None and not _wrote(journal, doc_id, column, device, row["mine"]):
            return f"it never wrote {row['mine']!r}"
        if row["code"] in RIVALRIES and row["theirs"] is not None:
            return _rivalry_fault(journal, facts, doc_id, row)
    return ""


def _rivalry_fault(journal: Journal, facts: Facts, doc_id: str, row: Document) -> str:
    """A rival is another device, and what it wrote had not been seen. A person with two devices may meet himself."""
    column, device, theirs = row["field"], row["device_id"], row["theirs"]
    adopted = any(entry.value == theirs and entry.seen == EVERYTHING for entry in journal.of(doc_id, column))
    if _wrote(journal, doc_id, column, device, theirs) and not adopted and not journal.ghost(doc_id):
        return f"it wrote {theirs!r} itself"
    seen = max((entry.seen for entry in journal.of(doc_id, column, device) if entry.value == row["mine"]), default=0)
    written = max((write.revision for write in facts.writes(doc_id, column) if write.value == theirs), default=seen + 1)
    if journal.loss is None and written <= seen < EVERYTHING:
        return f"it had seen {theirs!r}, of revision {written}, when it wrote {row['mine']!r}"
    return ""


def _row_fault(journal: Journal, doc_id: str, row: Document) -> str:
    stamp = (whole(row) or {}).get("stamp")
    if row["code"] not in REFUSED_ROWS:
        return "nothing that anybody did can lead to this"
    if row["device_id"] == DESK:
        return ""
    reporter = row["device_id"] if journal.loss is None else None  # after a restore one tells what anybody had written
    removed = any(entry.kind is Kind.REMOVE for entry in journal.of(doc_id, None, row["device_id"]))
    if not removed and not any(entry.stamp == stamp for entry in journal.of(doc_id, None, reporter)):
        return f"a document with stamp {stamp!r} was sent that nobody wrote there"
    return ""


# ---- nothing is doubled


def _doubled(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for doc_id, changes in facts.changes.items():
        if sum(change["kind"] == "CREATE" for change in changes) > 1:
            yield Fault("made twice", doc_id)
        if doc_id in facts.documents and not _in_sequence([change["revision"] for change in changes]):
            yield Fault("the revisions of its history have holes or repeats", doc_id)
    for doc_id, rows in facts.conflicts.items():
        said = Counter((row["device_id"], row["code"], row["field"], repr(row["mine"]), repr(row["theirs"])) for row in rows)
        for (device, code, column, *values), count in said.items():
            wishes = sum(entry.kind is Kind.REMOVE for entry in journal.of(doc_id, None, device)) if column == "deleted" else 1
            if count > max(1, wishes):  # who removes it, gets it back and removes it again has wished twice
                yield Fault(f"said {count} times: {(device, code, column, *values)}", doc_id, column or "")


def _in_sequence(revisions: list[int]) -> bool:
    """One after the other, in each epoch from its first on."""
    pairs = zip([0, *revisions], revisions, strict=False)
    return all(after == before + 1 or (after > before and after % REVISIONS == 1) for before, after in pairs)


# ---- what people decide


def _settled(journal: Journal, facts: Facts) -> Iterator[Fault]:
    """Nothing leaves the inbox without a name and a time, and by nobody's hand but that of who decided."""
    for doc_id, rows in facts.conflicts.items():
        for row in rows:
            sentence = _settlement_fault(journal, facts, row)
            if sentence:
                yield Fault(f"{row['code']} of {row['device_id']}: {sentence}", doc_id, row["field"] or "")
    there = {row["id"] for rows in facts.conflicts.values() for row in rows}
    for conflict_id, step in journal.seen_conflicts.items():
        if conflict_id not in there and (journal.loss is None or step <= journal.loss.since):
            yield Fault(f"conflict {conflict_id} has left the inbox", "", step=step)


def _settlement_fault(journal: Journal, facts: Facts, row: Document) -> str:
    said = (row["resolution"], row["resolved_by"], row["resolved_at"])
    if row["deleted"] or (any(said) and not all(said)):
        return f"it left the inbox as {said}"
    made = [each for each in journal.decisions if each.conflict_id == row["id"]]
    if any(said) and not any((each.take, each.username) == said[:2] for each in made):
        return f"settled as {said}, which nobody did"
    if facts.settlements.get(row["id"], 0) != bool(any(said)):
        return f"the audit has {facts.settlements.get(row['id'], 0)} entries of its settlement"
    if not any(said) and any(each.sure and not journal.forgotten(each.step) for each in made):
        return "it is open, although the server said that it was settled"
    return ""


def _adopted(journal: Journal, facts: Facts) -> Iterator[Fault]:
    """What a person has decided was written, or stood already."""
    for each in journal.decisions:
        if not each.sure or journal.forgotten(each.step) or each.doc_id not in facts.documents or each.column in ("", "deleted"):
            continue
        if each.take == "THEIRS":
            continue
        chosen = next(entry.value for entry in journal.of(each.doc_id, each.column) if (entry.step, entry.seen) == (each.step, EVERYTHING))
        if all(write.value != chosen for write in facts.writes(each.doc_id, each.column)):
            yield Fault(f"{each.username} decided for {chosen!r}, which was never written", each.doc_id, each.column, each.step)


# ---- locked devices, document numbers


def _locked(journal: Journal, facts: Facts) -> Iterator[Fault]:
    for device, sure in journal.locked.items():
        if sure and device not in facts.locked:
            yield Fault(f"{device} was locked and is not", "")
    for entry in journal.too_late:
        kept = facts.keeps(entry.doc_id, entry.device, entry.column, entry.value)
        if kept or any(write.value == entry.value for write in facts.writes(entry.doc_id, entry.column)):
            yield Fault(f"{entry.value!r} of {entry.device} was taken after that was locked", entry.doc_id, entry.column, entry.step)


def _numbers(journal: Journal, facts: Facts) -> Iterator[Fault]:
    """A number is handed out once, and one document has it."""
    for before, after in pairwise(sorted(facts.blocks, key=lambda block: (block.series, block.first))):
        if before.series == after.series and after.first <= before.last:
            yield Fault(f"{before.series}: {before.device} and {after.device} both have {after.first}", "")
    bearers: dict[str, str] = {}
    for doc_id, document in facts.documents.items():
        number = document.get("document_number")
        if number is None:
            continue
        if number in bearers:
            yield Fault(f"{number} is the number of {bearers[number]} too", doc_id, "document_number")
        if facts.used.get(number) != doc_id:
            yield Fault(f"{number} is not known to be its number", doc_id, "document_number")
        bearers[number] = doc_id


CHECKS: tuple[Callable[[Journal, Facts], Iterator[Fault]], ...] = (
    _documents,
    _last_values,
    _elements,
    _discards,
    _counters,
    _removals,
    _echoes,
    _relapses,
    _conflicts,
    _doubled,
    _settled,
    _adopted,
    _locked,
    _numbers,
)
