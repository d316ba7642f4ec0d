"""Rows of a push on their way round graphql-core's input coercion. Pure.

A value that doesn't fit its GraphQL type would fail the whole request, and RxDB would send the batch for ever: the write path checks
each row instead and refuses only that one. It is also the larger part of what a push would cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

import strawberry
from graphql import ListTypeNode, NamedTypeNode, NonNullTypeNode, OperationDefinitionNode, TypeNode, VariableNode

from api.graphql.names import camel
from schema.base import Document, Record
from sync.rows import Sent

_SUFFIX = "PushRow"


def lift(operation: OperationDefinitionNode, variables: dict[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, list[Any]]]:
    """The variables with each list of pushed rows emptied, and those lists by variable."""
    names = [definition.variable.name.value for definition in operation.variable_definitions or () if _is_rows(definition.type)]
    rows = {name: variables[name] for name in names if variables and isinstance(variables.get(name), list)}
    return ({**variables, **{name: [] for name in rows}} if variables and rows else variables), rows


def _is_rows(node: TypeNode) -> bool:
    is_list = False
    while not isinstance(node, NamedTypeNode):
        is_list = is_list or isinstance(node, ListTypeNode)
        assert isinstance(node, (ListTypeNode, NonNullTypeNode))
        node = node.type
    return is_list and node.name.value.endswith(_SUFFIX)


def rows_of(info: strawberry.Info[Any, Any], record: Record, given: list[Any]) -> list[Sent]:
    """The rows of this field's argument, from where they are: lifted from a variable or written in the document."""
    argument = next(node for node in info._raw_info.field_nodes[0].arguments or () if node.name.value == "rows").value
    if isinstance(argument, VariableNode) and argument.name.value in info.context.rows:
        return [_sent(record, row) for row in info.context.rows[argument.name.value]]
    return [
        Sent(None if not row.assumed_master_state else values(row.assumed_master_state), values(row.new_document_state)) for row in given
    ]


def _sent(record: Record, row: Any) -> Sent:
    assumed, new = (row.get("assumedMasterState"), row.get("newDocumentState")) if isinstance(row, dict) else (None, None)
    names = _columns(record)
    return Sent(_renamed(assumed, names) if isinstance(assumed, dict) else None, _renamed(new, names) if isinstance(new, dict) else {})


@cache
def _columns(record: Record) -> Mapping[str, str]:
    return {camel(column.name): column.name for column in record.all_columns}


def _renamed(document: Document, names: Mapping[str, str]) -> Document:
    return {names[name]: value for name, value in document.items() if name in names}


def values(given: Any) -> Document:
    """A Strawberry input as a document; what was omitted is left out."""
    found = {name: getattr(given, name) for name in given.__dataclass_fields__}
    return {name: _plain(value) for name, value in found.items() if value is not strawberry.UNSET}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return values(value) if hasattr(value, "__dataclass_fields__") else value
