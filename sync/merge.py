"""Three-way merge of one document, field by field. Pure: no session, no clock.

The writer, for each pushed row: `rebase` on the shadow, ask `contested`, fetch the changes after the revision of the
`assumedMasterState` as it was sent only then, `field_writes`, `merge`, and keep `shadow_of` with the revision it wrote.
Documents are in canonical form (sorted TAGS, JSON values), so equality of values is equality of meaning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from schema.actor import Role
from schema.base import Column, Document, Kind, Policy, Record, Verb
from sync.stamp import LARGEST

UNKNOWN: Final = object()  # the base says nothing about this field; null would be a value


class Code(StrEnum):
    """Why a field was not simply taken."""

    LOST_LATER_EDIT = "lost_later_edit"  # the master's edit is the later one
    OVERWROTE_THEIRS = "overwrote_theirs"  # mine is the later one; the value it replaced is kept here
    SERVER_OWNED = "server_owned"
    NOT_WRITABLE = "not_writable"
    FROZEN = "frozen"
    MOVE_REFUSED = "move_refused"
    MANUAL_REVIEW = "manual_review"
    APPEND_ONLY = "append_only"  # an item was removed or rewritten
    BASE_UNKNOWN = "base_unknown"  # a counter without a base: a delta cannot be told
    RECORD_DELETED = "record_deleted"  # an edit of what somebody else deleted
    DELETE_REFUSED = "delete_refused"
    UNDELETE_REFUSED = "undelete_refused"
    DELETED_OVER_EDIT = "deleted_over_edit"  # the delete stands although its author had not seen the last edits
    LOST_IN_RESTORE = "lost_in_restore"  # the server had this value and went back to before it


@dataclass(frozen=True, slots=True)
class Change:
    """One accepted change of a document; `changes` is column -> (old, new), None for its creation."""

    revision: int
    device_id: str | None
    edited_ms: int
    changes: Mapping[str, Sequence[Any]] | None


@dataclass(frozen=True, slots=True)
class FieldWrite:
    """One change of one field on the server."""

    revision: int
    old: Any
    value: Any
    device_id: str | None
    edited_ms: int


History: TypeAlias = Mapping[str, Sequence[FieldWrite]]
"""A field's writes after the revision of the `assumedMasterState` as it was sent, newest last."""

NO_HISTORY: Final[History] = MappingProxyType({})
_UNRECORDED: Final = FieldWrite(0, None, None, None, LARGEST)  # who met a record that he thought new never overwrites it


@dataclass(frozen=True, slots=True)
class Edit:
    """What a device sent. A field omitted from `mine` is unchanged; `base` None means that it believes the record new."""

    base: Document | None
    mine: Document
    device_id: str | None
    edited_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One field that was not simply taken, with the values of all three sides."""

    column: str
    policy: Policy
    base: Any
    mine: Any
    theirs: Any
    kept: Literal["mine", "theirs"]
    code: Code


@dataclass(frozen=True, slots=True)
class Merged:
    """The state after the merge.

    document  complete; revision, stamp, times and derived points are left as they are in the master (absent for a new
              record) for the writer to set
    changed   columns whose value differs from the master's; every column for a new record
    """

    document: Document
    changed: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


class _Field(NamedTuple):
    name: str
    policy: Policy
    base: Any
    mine: Any
    theirs: Any
    rival: FieldWrite | None  # the last write of the field, if the device knows nothing of it and did not make it
    edit: Edit
    master: Document

    @property
    def both_changed(self) -> bool:
        return self.rival is not None and (self.base is UNKNOWN or self.theirs != self.base)


Decision: TypeAlias = tuple[Any, Outcome | None]
Step: TypeAlias = Callable[[_Field], Decision]
Freeze: TypeAlias = tuple[str, frozenset[str]] | None


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a role may move a state; None stands for "no state yet".

    reach  by any number of its moves: a terminal sends a day's moves of one record as one edit
    """

    direct: Mapping[str | None, frozenset[str]]
    reach: Mapping[str | None, frozenset[str]]
    first: str | None


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What `merge` needs to know of a record and a role, looked up once."""

    record: Record
    names: tuple[str, ...]
    plain: tuple[str, ...]  # equal values need no decision
    counters: tuple[str, ...]  # equal values do: both may have counted
    steps: Mapping[str, Step]
    policies: Mapping[str, Policy]
    defaults: Mapping[str, Any]  # of a new record
    preset: tuple[str, ...]  # columns whose default is not null
    guarded: Mapping[str, Code]  # columns that this role cannot set, and why
    routes: Mapping[str, Routes]
    may_delete: bool


# ---- the plan


_KINDS: Final = {Policy.UNION: Kind.TAGS, Policy.COUNTER: Kind.INTEGER, Policy.APPEND: Kind.ITEMS}
_PLANS: dict[tuple[int, Role], MergePlan] = {}


def plan_for(record: Record, role: Role) -> MergePlan:
    """The plan of `record` for `role`, made on first use. Raises ValueError for a policy that its column cannot have."""
    key = (id(record), role)  # the plan holds the record, so its id stays its own
    if key not in _PLANS:
        _PLANS[key] = _make_plan(record, role)
    return _PLANS[key]


def _make_plan(record: Record, role: Role) -> MergePlan:
    columns = [column for column in record.all_columns if column.name not in record.derived and column.name != "deleted"]
    guarded = {column.name: code for column in columns if (code := _guard(column, role))}
    routes = {column.name: _routes(column, role) for column in columns if column.merge is Policy.MOVES}
    counters = tuple(column.name for column in columns if column.merge is Policy.COUNTER and column.name not in guarded)
    defaults = {column.name: routes[column.name].first if column.name in routes else column.default for column in columns}
    return MergePlan(
        record=record,
        names=tuple(column.name for column in columns),
        plain=tuple(column.name for column in columns if column.name not in counters),
        counters=counters,
        steps={column.name: _step(column, role, routes.get(column.name), record.frozen_when) for column in columns},
        policies={column.name: column.merge for column in columns},
        defaults=defaults,
        preset=tuple(name for name, value in defaults.items() if value is not None),
        guarded=guarded,
        routes={name: found for name, found in routes.items() if name not in guarded},
        may_delete=record.may(role, Verb.DELETE),
    )


def _guard(column: Column, role: Role) -> Code | None:
    if column.merge is Policy.SERVER:
        return Code.SERVER_OWNED
    barred = _masked(column, role) or (column.writers is not None and role not in column.writers)
    return Code.NOT_WRITABLE if barred else None


def _masked(column: Column, role: Role) -> bool:
    return column.readers is not None and role not in column.readers


def _step(column: Column, role: Role, routes: Routes | None, freeze: Freeze) -> Step:
    if column.kind is not _KINDS.get(column.merge, column.kind):
        raise ValueError(f"{column.name}: {column.merge} does not fit {column.kind.name}")
    if _masked(column, role):
        return _keep_masked
    if code := _guard(column, role):
        return partial(_refuse, code)
    if routes is not None:
        return partial(_move, routes)
    return partial(_unless_frozen, freeze) if column.merge is Policy.FROZEN else _STEPS[column.merge]


def _routes(column: Column, role: Role) -> Routes:
    if column.moves is None:
        raise ValueError(f"{column.name}: {column.merge} needs its moves declared")
    direct: dict[str | None, set[str]] = defaultdict(set)
    for (source, target), roles in column.moves.allowed.items():
        if role in roles:
            direct[source].add(target)
    initial = column.moves.initial
    direct[None] = set(initial)
    first = column.default if column.default in initial else min(initial, default=None)
    frozen = {source: frozenset(targets) for source, targets in direct.items()}
    return Routes(frozen, {source: _reach(frozen, source) for source in frozen}, first)


def _reach(direct: Mapping[str | None, frozenset[str]], source: str | None) -> frozenset[str]:
    found: set[str] = set()
    ahead = set(direct[source])
    while ahead:
        found |= ahead
        ahead = {target for state in ahead for target in direct.get(state, ())} - found
    return frozenset(found)


# ---- one field that mine changed: what stands, and what has to be said about it


def _lost(field: _Field, code: Code) -> Decision:
    return field.theirs, _outcome(field, "theirs", code)


def _outcome(field: _Field, kept: Literal["mine", "theirs"], code: Code) -> Outcome:
    base = None if field.base is UNKNOWN else field.base
    return Outcome(field.name, field.policy, base, field.mine, field.theirs, kept, code)


def _refuse(code: Code, field: _Field) -> Decision:
    return _lost(field, code)


def _keep_masked(field: _Field) -> Decision:
    if field.mine is None:  # who may not read a field holds null for it
        return field.theirs, None
    return field.theirs, Outcome(field.name, field.policy, None, field.mine, None, "theirs", Code.NOT_WRITABLE)


def _latest(field: _Field) -> Decision:
    if not field.both_changed:
        return field.mine, None
    if not _is_later(field.edit, field.rival):
        return _lost(field, Code.LOST_LATER_EDIT)
    return field.mine, _outcome(field, "mine", Code.OVERWROTE_THEIRS)


def _is_later(edit: Edit, rival: FieldWrite | None) -> bool:
    return rival is None or (edit.edited_ms, edit.device_id or "") >= (rival.edited_ms, rival.device_id or "")


def _unless_frozen(freeze: Freeze, field: _Field) -> Decision:
    """Without `frozen_when` a FROZEN column is settled when the record is made."""
    if freeze is None or field.master.get(freeze[0]) in freeze[1]:
        return _lost(field, Code.FROZEN)
    return _latest(field)


def _move(routes: Routes, field: _Field) -> Decision:
    """Against a move that the device has not seen only a direct one counts: a detour could undo it unnoticed."""
    targets = (routes.direct if field.both_changed else routes.reach).get(field.theirs, frozenset())
    return (field.mine, None) if field.mine in targets else _lost(field, Code.MOVE_REFUSED)


def _manual(field: _Field) -> Decision:
    return _lost(field, Code.MANUAL_REVIEW) if field.both_changed else (field.mine, None)


def _union(field: _Field) -> Decision:
    mine, theirs = set(field.mine or ()), set(field.theirs or ())
    base = set() if field.base is UNKNOWN else set(field.base or ())
    merged = sorted((theirs | (mine - base)) - (base - mine))
    return (merged or (None if field.mine is None else []), None)


def _count(field: _Field) -> Decision:
    if field.base is UNKNOWN:  # the difference to nothing would be added again with each repetition
        return _lost(field, Code.BASE_UNKNOWN) if field.mine != field.theirs else (field.theirs, None)
    if field.theirs == field.base:
        return field.mine, None
    return (field.theirs or 0) + (field.mine or 0) - (field.base or 0), None


def _append(field: _Field) -> Decision:
    base = {} if field.base is UNKNOWN else _by_id(field.base)
    theirs, mine = _by_id(field.theirs), _by_id(field.mine)
    added = {key: item for key, item in mine.items() if key not in theirs}
    rewritten = any(item != theirs.get(key, item) and item != base.get(key) for key, item in mine.items())
    outcome = _outcome(field, "theirs", Code.APPEND_ONLY) if rewritten or base.keys() - mine.keys() else None
    if not added:
        return field.theirs, outcome
    return _in_order(base, theirs, added), outcome


def _in_order(base: Mapping[Any, Any], theirs: Mapping[Any, Any], added: Mapping[Any, Any]) -> list[Any]:
    """Both sides' news by id, so that the order of arrival does not show; one side's news in its own order."""
    if not theirs.keys() - base.keys():
        return [*theirs.values(), *added.values()]
    news = {key: item for key, item in theirs.items() if key not in base} | dict(added)
    return [*(item for key, item in theirs.items() if key in base), *(news[key] for key in sorted(news, key=str))]


def _by_id(items: Iterable[Any] | None) -> dict[Any, Any]:
    return {item["id"]: item for item in items or ()}


_STEPS: Final[Mapping[Policy, Step]] = {
    Policy.LATEST: _latest,
    Policy.UNION: _union,
    Policy.COUNTER: _count,
    Policy.APPEND: _append,
    Policy.MANUAL: _manual,
}


# ---- the whole document


class _Meeting(NamedTuple):
    plan: MergePlan
    master: Document
    edit: Edit
    base: Document
    history: History


def merge(plan: MergePlan, master: Document | None, edit: Edit, history: History = NO_HISTORY, *, deletable: bool = True) -> Merged:
    """The master after `edit`, which was rebased; neither is altered.

    history    may be empty when `contested` says no
    deletable  False when this device must not delete or restore this record whatever its role may
    """
    if master is None:
        return _insert(plan, edit)
    meeting = _Meeting(plan, master, edit, _seen_base(master, edit, history), history)
    gone, outcome = _life(meeting, deletable)
    outcomes = [] if outcome is None else [outcome]
    news = _news(meeting, bool(gone and master.get("deleted")), outcomes)
    if gone != bool(master.get("deleted")):
        news["deleted"] = gone
    return Merged({**master, **news}, tuple(news), tuple(outcomes))


def _news(meeting: _Meeting, gone: bool, outcomes: list[Outcome]) -> Document:
    """The values that replace the master's; what has to be said is added to `outcomes`."""
    steps, guarded, news = meeting.plan.steps, meeting.plan.guarded, {}
    for field in _edited(meeting):
        value, outcome = _lost(field, Code.RECORD_DELETED) if gone and field.name not in guarded else steps[field.name](field)
        if outcome is not None:
            outcomes.append(outcome)
        if value != field.theirs:
            news[field.name] = value
    return news


def _edited(meeting: _Meeting) -> list[_Field]:
    plan, master, edit, base, _ = meeting
    mine = edit.mine
    names = [name for name in plan.plain if name in mine and mine[name] != master.get(name)]
    names += [name for name in plan.counters if name in mine]
    return [
        _Field(name, plan.policies[name], was, mine[name], master.get(name), _rival(meeting, name), edit, master)
        for name in names
        if mine[name] != (was := base.get(name, UNKNOWN))
    ]


def _rival(meeting: _Meeting, name: str) -> FieldWrite | None:
    writes = meeting.history.get(name)
    if not writes:
        return _UNRECORDED if meeting.edit.base is None else None
    last = writes[-1]
    return None if last.device_id is not None and last.device_id == meeting.edit.device_id else last


def _life(meeting: _Meeting, deletable: bool) -> Decision:
    """Whether the record is deleted. A delete stands over edits that it had not seen: they stay in the tombstone."""
    plan, master, edit, base, _ = meeting
    was, gone = bool(base.get("deleted")), bool(master.get("deleted"))
    wish = bool(edit.mine.get("deleted", was))
    if wish in (was, gone):
        return gone, None
    field = _Field("deleted", Policy.SERVER, was, wish, gone, None, edit, master)
    if not (plan.may_delete and deletable):
        return _lost(field, Code.DELETE_REFUSED if wish else Code.UNDELETE_REFUSED)
    unseen = wish and any(_rival(meeting, name) and base.get(name, UNKNOWN) != master.get(name) for name in plan.names)
    return wish, _outcome(field, "mine", Code.DELETED_OVER_EDIT) if unseen else None


def _insert(plan: MergePlan, edit: Edit) -> Merged:
    mine = edit.mine if edit.base is None else {**edit.base, **edit.mine}
    document = {**plan.defaults, **mine}
    for name in plan.record.derived:
        document.pop(name, None)
    for name in plan.preset:
        if document[name] is None:  # RxDB sends null for what is not filled in
            document[name] = plan.defaults[name]
    outcomes: list[Outcome] = []
    for name, code in plan.guarded.items():
        _set_first(plan, document, name, code, outcomes)
    for name, routes in plan.routes.items():
        if document[name] not in routes.reach[None]:
            _set_first(plan, document, name, Code.MOVE_REFUSED, outcomes)
    document["id"], document["deleted"] = mine["id"], bool(mine.get("deleted"))
    return Merged(document, plan.record.edited, tuple(outcomes))


def _set_first(plan: MergePlan, document: Document, name: str, code: Code, outcomes: list[Outcome]) -> None:
    wish, first = document[name], plan.defaults[name]
    document[name] = first
    if wish is not None and wish != first:
        outcomes.append(Outcome(name, plan.policies[name], None, wish, None, "theirs", code))


# ---- what the device had seen


def rebase(edit: Edit, shadow: Document | None, shadow_revision: int | None) -> Edit:
    """The edit with the device's last accepted push as its base, if the device never got the answer to that push."""
    if shadow is None or shadow_revision is None or max(_revision(edit.base), _revision(edit.mine)) >= shadow_revision:
        return edit
    if edit.mine.get("revision") is not None and _revision(edit.mine) != _revision(shadow):
        return edit  # an unanswered document keeps its revision: this one was replaced, by a page that the push had overtaken
    return Edit({**shadow, "revision": shadow_revision}, edit.mine, edit.device_id, edit.edited_ms)


def shadow_of(edit: Edit) -> Document:
    """What to keep of a rebased edit as the shadow: the whole document as the device holds it now, on the revision that it names."""
    return edit.mine if edit.base is None else {**edit.base, **edit.mine, "revision": edit.mine.get("revision")}


def contested(plan: MergePlan, master: Document | None, edit: Edit) -> bool:
    """Whether the rebased edit may need the history: without contest `merge` decides the same without it."""
    if master is None:
        return False
    base, mine = edit.base, edit.mine
    if base is None or mine.get("revision") is None or _revision(mine) > _revision(base):
        return True
    if bool(mine.get("deleted", base.get("deleted"))) != bool(base.get("deleted")):
        return True
    edited = [name for name in plan.names if name in mine and mine[name] != base.get(name, UNKNOWN)]
    return any(master.get(name) != base.get(name, UNKNOWN) for name in edited)


def field_writes(changes: Sequence[Change], master: Document) -> History:
    """The history by field. `changes` reach up to the master, oldest first; a creation counts as a write of every field."""
    state, writes = dict(master), defaultdict[str, list[FieldWrite]](list)
    for change in reversed(changes):
        pairs = {name: (None, value) for name, value in state.items()} if change.changes is None else change.changes
        for name, (old, value) in pairs.items():
            writes[name].append(FieldWrite(change.revision, old, value, change.device_id, change.edited_ms))
            state[name] = old
    return {name: tuple(reversed(found)) for name, found in writes.items()}


def _seen_base(master: Document, edit: Edit, history: History) -> Document:
    """The base of `mine`, whatever the device knew of it.

    RxDB writes a document and its knowledge of the master in two steps. After a crash between them the document is at a
    later revision than its base, and what others wrote up to there is an echo, not an edit.
    """
    base, mine = edit.base or {}, edit.mine
    if _revision(base) < _revision(mine) <= _revision(master):
        return {**master, **_values_at(_revision(mine), history)}
    if history and mine.get("revision") is None and mine.get("created_at") is not None:
        return {**base, **_echoes(edit, history)}
    return base


def _values_at(revision: int, history: History) -> Document:
    later = {name: next((write for write in writes if write.revision > revision), None) for name, writes in history.items()}
    return {name: write.old for name, write in later.items() if write is not None}


def _echoes(edit: Edit, history: History) -> Document:
    """For a client that does not say on which revision its document stands, equality with another's value has to do.

    What the server has never answered or sent bears none of its times and holds no echo: there equality is chance.
    """
    return {
        name: edit.mine[name]
        for name, writes in history.items()
        if name in edit.mine and any(write.value == edit.mine[name] and write.device_id != edit.device_id for write in writes)
    }


def _revision(document: Document | None) -> int:
    revision = document.get("revision") if document else None
    return revision if type(revision) is int else 0


def lost_in_restore(plan: MergePlan, role: Role, assumed: Document, mine: Document, master: Document) -> tuple[Outcome, ...]:
    """What the assumed master says otherwise than the master, in fields that the role may write and did not write now."""
    names = [name for name in plan.names if name in assumed and assumed[name] != master.get(name)]
    unwritten = [name for name in names if mine.get(name, assumed[name]) == assumed[name] and name not in plan.guarded]
    seen = [name for name in unwritten if _readable(plan.record.by_name[name], role)]
    return tuple(Outcome(name, plan.policies[name], None, assumed[name], master.get(name), "theirs", Code.LOST_IN_RESTORE) for name in seen)


def _readable(column: Column, role: Role) -> bool:
    return column.readers is None or role in column.readers
