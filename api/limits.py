"""Limits of one GraphQL document, checked before validation so that a hostile one costs little. Pure: no session, no clock.

Counts follow fragments, as execution would; codes are stable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from schema.problems import Problem

LONGEST_ALIAS = 63  # bytes of a PostgreSQL identifier: aliases become column names


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for; the defaults leave room for 13 collections pulled or pushed in one document."""

    source_characters: int = 64_000
    tokens: int = 4_000
    comments: int = 100
    depth: int = 12
    aliases: int = 60
    root_fields: int = 40
    fields: int = 2_000
    body_bytes: int = 16 * 1024 * 1024
    drain_bytes: int = 64 * 1024 * 1024  # read and dropped beyond that, so that the refusal reaches a client that is still sending
    json_depth: int = 64
    body_idle_seconds: float = 20
    body_seconds: float = 300
    frame_characters: int = 1024 * 1024
    subscriptions: int = 16  # RxDB opens one per collection on a shared socket, 13 at most in its free version
    init_seconds: float = 10
    documents: int = 256
    bulk_each: int = 2  # pulls and pushes of one device that run at once
    bulk_total: int = 8  # of all devices: fewer than there are database connections
    light_each: int = 6  # everything else: what a browser sends at once
    light_total: int = 24
    queue_each: int = 32
    queue_total: int = 4096  # a thousand terminals that reconnect at once, and some
    queue_seconds: float = 30
    bodies_each: int = 48 * 1024 * 1024  # in memory at once, of one sender
    bodies_total: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class Extent:
    """What a selection set amounts to with its fragments spread out."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    roots: int = 0


class TooMuch(Exception):  # noqa: N818 - a limit, not a fault
    """A document is over a limit."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Measure:
    """Measures one document; a fragment is measured once, a fragment inside itself counts as nothing (validation refuses it)."""

    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        self.known: dict[str, Extent] = {}
        self.longest_alias = 0

    def of(self, selections: SelectionSetNode | None) -> Extent:
        if selections is None:
            return Extent()
        parts = list(self._parts(selections))
        return Extent(
            max((part.depth for part in parts), default=0),
            sum(part.aliases for part in parts),
            sum(part.fields for part in parts),
            sum(part.roots for part in parts),
        )

    def _parts(self, selections: SelectionSetNode) -> Iterator[Extent]:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield self._field(node)
            elif isinstance(node, InlineFragmentNode):
                yield self.of(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                yield self._fragment(node.name.value)

    def _field(self, node: FieldNode) -> Extent:
        inner = self.of(node.selection_set)
        if node.alias:
            self.longest_alias = max(self.longest_alias, len(node.alias.value.encode()))
        return Extent(inner.depth + 1, inner.aliases + bool(node.alias), inner.fields + 1, 1)

    def _fragment(self, name: str) -> Extent:
        if name not in self.known:
            self.known[name] = Extent()
            node = self.fragments.get(name)
            self.known[name] = self.of(node.selection_set) if node else Extent()
        return self.known[name]


def check(document: DocumentNode, limits: Limits) -> None:
    """Raises TooMuch with the first limit that the document is over."""
    measure = Measure(document)
    extents = [(node, measure.of(node.selection_set)) for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    for name in measure.fragments:
        measure._fragment(name)
    for found, most, code, what in (
        (max((e.depth for _, e in extents), default=0), limits.depth, "QUERY_TOO_DEEP", "levels"),
        (sum(e.aliases for _, e in extents), limits.aliases, "TOO_MANY_ALIASES", "aliases"),
        (max((e.roots for _, e in extents), default=0), limits.root_fields, "TOO_MANY_ROOT_FIELDS", "root fields"),
        (sum(e.fields for _, e in extents), limits.fields, "TOO_MANY_FIELDS", "fields"),
        (measure.longest_alias, LONGEST_ALIAS, "ALIAS_TOO_LONG", "bytes in an alias"),
    ):
        if found > most:
            raise TooMuch(Problem(code, f"The document has {found} {what}; {most} are allowed."))


def introspects(document: DocumentNode) -> bool:
    """Whether any part of the document asks for the schema itself."""
    return any(_asks_schema(getattr(node, "selection_set", None)) for node in document.definitions)


def _asks_schema(selections: SelectionSetNode | None) -> bool:
    nodes = selections.selections if selections else ()
    return any(_is_schema_field(node) or _asks_schema(getattr(node, "selection_set", None)) for node in nodes)


def _is_schema_field(node: SelectionNode) -> bool:
    return isinstance(node, FieldNode) and node.name.value in ("__schema", "__type")


def too_deep(value: object, deepest: int) -> bool:
    """Whether lists and maps of a JSON value nest more than `deepest` levels."""
    level: list[object] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(deepest):
        if not level:
            return False
        level = [inner for outer in level for inner in (outer.values() if type(outer) is dict else outer) if type(inner) in (dict, list)]  # type: ignore[attr-defined]
    return bool(level)
