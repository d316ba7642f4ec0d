"""Which documents the next page of a pull holds, and what the terminal's checkpoint says after it. Pure: builds SQL, runs none.

A page takes, in this order and always up to its limit: old tombstones that the terminal has not been told of (gone), documents of
withdrawn scopes (drop), documents of newly granted scopes (fill), changes (fresh). Drop and fill look no further than `pos`, the position
up to which the terminal holds its other scopes, because fresh goes on from there for all scopes together. So a first pull is a fill of
everything up to the head, and a replay after a change of epoch is fresh from 0, tombstones included.

Gone covers what the trimmer took out of the feed (`sync.tombstones`): whatever left a scope between `pos` and `trimmed_pos` and has not
come back. It may name more than the terminal holds, which does no harm.

It rests on two promises of the writers and the stamper: every change names all scopes that the document is in, so all its `in` rows
share one position; and positions become visible in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sync.token import Sweep, TokenState

_PHASE = 1 << 60  # `ord` = phase * _PHASE + pos: one number that orders a page and says where it ended
_GONE, _DROP, _FILL, _FRESH = 0, 1, 2, 3

NEWS_SQL = """
SELECT asked.record FROM unnest($1::text[], $2::bigint[]) AS asked(record, pos)
WHERE asked.pos < (SELECT pos FROM sync_head) AND EXISTS (
  SELECT FROM unnest($3::text[]) AS held(scope), LATERAL (
    SELECT FROM sync_scope_doc AS entry WHERE entry.scope = held.scope AND entry.record = asked.record AND entry.pos > asked.pos LIMIT 1
  ) AS newer
)"""
"""Of the records $1, held up to the positions $2, those that have changed in the scopes $3: one question for a whole sync round.

A plan that is `sweeping` has a page whatever this says.
"""

ROUND_SQL = f"SELECT epoch, pos, ARRAY({NEWS_SQL}) AS changed FROM sync_head"
"""The head, and NEWS_SQL's answer as of that head: no later snapshot of this server shows anything up to it that this one lacks."""


@dataclass(frozen=True)
class PageSource:
    """The rows of one page, and the checkpoint that follows from how many of them there were.

    `sql` is a SELECT of (doc_id uuid, pos bigint, ord bigint), at most `limit` rows, to be used as `(sql) AS d`; `ord` is its order.
    `args` are its parameters. Whoever joins it sends `{id, deleted: true}` for a document that the actor may not read now.
    """

    sql: str
    args: list[Any]
    limit: int
    state: TokenState
    trimmed_pos: int = 0

    def next_state(self, last: int | None, count: int) -> TokenState:
        """The checkpoint after a page of `count` rows, the last of which has `ord` `last` (None: no rows)."""
        phase, pos = divmod(last or 0, _PHASE)
        if count < self.limit or phase == _FRESH:
            return self._all(pos if phase == _FRESH else self.state.pos)
        if phase == _GONE:
            return replace(self.state, told=pos)
        told = self._told(self.state.pos)
        if phase == _FILL:
            return replace(self.state, drop=Sweep(), fill=replace(self.state.fill, after=pos), told=told)
        return replace(self.state, drop=replace(self.state.drop, after=pos), told=told)

    def _all(self, pos: int) -> TokenState:
        return TokenState(self.state.epoch, pos, _sorted(self.state.scopes + self.state.fill.scopes), told=self._told(pos))

    def _told(self, pos: int) -> int:
        told = max(self.state.told, self.trimmed_pos)
        return told if told > pos else 0


@dataclass(frozen=True)
class PagePlan:
    """A terminal's checkpoint, made to fit what the actor may see now."""

    state: TokenState
    limit: int
    head_pos: int
    trimmed_pos: int = 0

    @property
    def sweeping(self) -> bool:
        """Whether a change of grants, or a long absence, is still being worked off."""
        return bool(self.state.drop.scopes or self.state.fill.scopes) or self.long_away

    @property
    def long_away(self) -> bool:
        """Whether tombstones were trimmed that the terminal has not been told of."""
        return max(self.state.pos, self.state.told) < self.trimmed_pos

    @property
    def idle(self) -> bool:
        """Whether nothing can be new: the page is empty."""
        return not self.sweeping and self.state.pos >= self.head_pos

    def source(self, record: str, first: int = 1) -> PageSource:
        """The page's rows; placeholders count from `$first`, so that the caller's own parameters may stand before them."""
        builder = _Builder(self.state, self.limit, [record], first, long_away=self.long_away)
        return PageSource(builder.page(), builder.args, self.limit, self.state, self.trimmed_pos)


def plan_page(
    state: TokenState | None, actor_scopes: Iterable[str], limit: int, epoch: str, head_pos: int, trimmed_pos: int = 0
) -> PagePlan:
    """What to send next to a terminal that holds `state` (None: nothing).

    `epoch` and `head_pos` must be read on the connection that serves the page (or earlier on the same server): a standby may be behind.
    A page read when more has been trimmed than `trimmed_pos` says must be planned again.
    """
    if limit < 1:
        raise ValueError("a page holds at least one row")
    return PagePlan(_settle(_lineage(state, epoch, head_pos), frozenset(actor_scopes)), limit, head_pos, trimmed_pos)


def holds_all(state: TokenState, actor_scopes: Iterable[str]) -> bool:
    """Whether the terminal holds the actor's scopes, no other, and each to the same position: only a change can give it a page."""
    return not state.fill.scopes and not state.drop.scopes and frozenset(state.scopes) == frozenset(actor_scopes)


def _lineage(state: TokenState | None, epoch: str, head_pos: int) -> TokenState:
    """The state in this database's epoch: one from another is replayed from 0, and everything it ever covered counts as held."""
    if state is None:
        return TokenState(epoch, head_pos)
    if state.epoch == epoch:
        return state
    return TokenState(epoch, 0, _sorted(state.scopes + state.fill.scopes + state.drop.scopes))


def _settle(state: TokenState, granted: frozenset[str]) -> TokenState:
    """The state with what was granted added to `fill` and what was withdrawn to `drop`; a sweep that grows starts again."""
    known = frozenset(state.scopes) | frozenset(state.fill.scopes)
    kept = granted.intersection(state.fill.scopes)
    going = frozenset(state.drop.scopes) - granted
    return TokenState(
        state.epoch,
        state.pos,
        _sorted(granted.intersection(state.scopes)),
        _sweep(kept, granted - known, state.fill.after),
        _sweep(going, known - granted, state.drop.after),
        state.told,
    )


def _sweep(going: frozenset[str], added: frozenset[str], after: int) -> Sweep:
    scopes = _sorted(going | added)
    return Sweep(scopes, 0 if added or not scopes else after)


def _sorted(scopes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(scopes)))


class _Builder:
    """Collects the parameters while the page's SQL is written. Limits stand in the text: the planner must know them."""

    def __init__(self, state: TokenState, limit: int, args: list[Any], first: int, *, long_away: bool) -> None:
        self.state, self.limit, self.args, self.first, self.long_away = state, limit, args, first, long_away
        self.all = _sorted(state.scopes + state.fill.scopes)

    def page(self) -> str:
        """The sweeps that there are, each taking the room that those before it left."""
        names: list[str] = []
        steps: list[str] = []
        for phase, name, rows in self._phases():
            room = "".join(f" - (SELECT count(*) FROM {before})" for before in names)
            columns = f"doc_id, pos, {phase * _PHASE} + pos AS ord"
            steps.append(f"{name} AS MATERIALIZED (SELECT {columns} FROM ({rows}) AS a LIMIT {self.limit}{room})")
            names.append(name)
        union = " UNION ALL ".join(f"SELECT doc_id, pos, ord FROM {name}" for name in names)
        return f"WITH {', '.join(steps)} {union} ORDER BY ord"

    def _phases(self) -> list[tuple[int, str, str]]:
        phases = [(_GONE, "gone", self._gone())] if self.long_away else []
        if self.state.drop.scopes:
            phases.append((_DROP, "dropped", self._dropped()))
        if self.state.fill.scopes:
            phases.append((_FILL, "filled", self._filled()))
        return [*phases, (_FRESH, "fresh", self._fresh())]

    def _gone(self) -> str:
        """What left the scopes that the terminal holds in part or whole, after what it has been told."""
        told, scopes = max(self.state.pos, self.state.told), _sorted(self.all + self.state.drop.scopes)
        pos, after, held = self._add(self.state.pos, "bigint"), self._add(told, "bigint"), self._add(list(scopes), "text[]")
        back = self._exists("back", f"back.scope = ANY({held}) AND (back.state = 'in' OR back.pos > {pos})")  # the other phases' to tell
        where = f"entry.record = {self._record} AND entry.pos > {after} AND entry.scopes && {held} AND NOT {back}"
        return f"SELECT entry.doc_id, entry.pos FROM sync_tombstone AS entry WHERE {where} ORDER BY entry.pos LIMIT {self.limit}"

    def _dropped(self) -> str:
        """What the terminal may hold of the withdrawn scopes, and neither has by another scope nor will be told by a change."""
        drop, pos, granted = self.state.drop, self._add(self.state.pos, "bigint"), self._add(list(self.all), "text[]")
        kept = f"kept.scope = ANY({granted}) AND (kept.state = 'in' OR kept.pos > {pos})"
        return self._merged(drop, f"AND (entry.state = 'in' OR entry.pos > {pos}) AND NOT {self._exists('kept', kept)}")

    def _filled(self) -> str:
        return self._merged(self.state.fill, f"AND entry.state = 'in' AND entry.pos <= {self._add(self.state.pos, 'bigint')}")

    def _fresh(self) -> str:
        return self._merged(Sweep(self.all, self.state.pos))

    def _merged(self, sweep: Sweep, condition: str = "") -> str:
        """The documents of the sweep's scopes in the order of their positions, each once."""
        after = self._add(sweep.after, "bigint")
        if len(sweep.scopes) == 1:
            return self._one(self._add(sweep.scopes[0], "text"), after, condition)
        scopes = self._add(list(sweep.scopes), "text[]")
        # Only a row that was left behind can be older than another of the same document: rows that are `in` share their position.
        newer = self._exists("newer", f"newer.scope = ANY({scopes}) AND newer.pos > entry.pos")
        top = self._one("held.scope", after, f"{condition} AND (entry.state = 'in' OR NOT {newer})")
        rows = f"SELECT doc_id, pos FROM unnest({scopes}) AS held(scope) CROSS JOIN LATERAL ({top}) AS top"
        return f"{rows} GROUP BY doc_id, pos ORDER BY pos LIMIT {self.limit}"

    def _one(self, scope: str, after: str, condition: str) -> str:
        where = f"entry.scope = {scope} AND entry.record = {self._record} AND entry.pos > {after} {condition}"
        return f"SELECT entry.doc_id, entry.pos FROM sync_scope_doc AS entry WHERE {where} ORDER BY entry.pos LIMIT {self.limit}"

    def _exists(self, name: str, where: str) -> str:
        # OFFSET 0 keeps it a probe by primary key: as a join the planner would read whole scopes.
        document = f"{name}.record = {self._record} AND {name}.doc_id = entry.doc_id"
        return f"EXISTS (SELECT FROM sync_scope_doc AS {name} WHERE {document} AND {where} OFFSET 0)"

    @property
    def _record(self) -> str:
        return f"${self.first}::text"

    def _add(self, value: Any, kind: str) -> str:
        self.args.append(value)
        return f"${self.first + len(self.args) - 1}::{kind}"
