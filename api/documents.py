"""Documents on their way to the schema: parsed, measured and validated once, then kept; executed as often as they come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, cast

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    execute,
    parse,
    specified_rules,
    subscribe,
    validate,
)
from graphql.execution import Executor
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from api.errors import BadRequest, as_error, format_errors
from api.graphql.pushed import lift
from api.limits import Limits, TooMuch, check, introspects
from api.refusals import note
from schema.problems import Problem

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that may be executed."""

    document: DocumentNode
    operations: dict[str, OperationDefinitionNode]  # by name, "" for none
    introspects: bool


@dataclass(frozen=True, slots=True)
class Invalid:
    """A document that may not, and why."""

    errors: list[dict[str, Any]]
    over_limit: bool = False


class Documents:
    """Prepares and executes documents against one schema. Keeps the last valid ones by their text."""

    def __init__(self, schema: strawberry.Schema, limits: Limits, hide_suggestions: bool = False) -> None:
        self.schema = schema._schema
        self.executor = cast("type[Executor[Any]]", schema.execution_context_class)
        self.limits = limits
        self.hide_suggestions = hide_suggestions
        self.kept: OrderedDict[str, Prepared] = OrderedDict()

    def prepare(self, query: str) -> Prepared | Invalid:
        prepared = self.kept.get(query)
        if prepared is not None:
            self.kept.move_to_end(query)
            return prepared
        made = self._prepare(query)
        if isinstance(made, Prepared):
            self._keep(query, made)
        return made

    def _keep(self, query: str, prepared: Prepared) -> None:
        self.kept[query] = prepared
        if len(self.kept) > self.limits.documents:
            self.kept.popitem(last=False)

    def _prepare(self, query: str) -> Prepared | Invalid:
        limits = self.limits
        if len(query) > limits.source_characters:
            return _over("QUERY_TOO_LONG", f"The document has {len(query)} characters; {limits.source_characters} are allowed.")
        try:
            document = parse(query, max_lexical_tokens=limits.tokens, max_comments=limits.comments)
            check(document, limits)
            errors = validate(self.schema, document, RULES, max_errors=20, hide_suggestions=self.hide_suggestions)
        except TooMuch as over:
            return Invalid([as_error(over.problem)], over_limit=True)
        except GraphQLSyntaxError as error:
            return _unparsed(error)
        except (GraphQLError, RecursionError):
            return _over("QUERY_TOO_DEEP", f"The document nests deeper than {limits.depth} levels.")
        return Invalid(format_errors(errors, "GRAPHQL_VALIDATION_FAILED")) if errors else _prepared(document)

    async def run(
        self, prepared: Prepared, operation: OperationDefinitionNode, variables: dict[str, Any] | None, context: Any
    ) -> dict[str, Any]:
        """The answer as a map with `data`, `errors` or both; without `data` the request never began."""
        variables, context.rows = lift(operation, variables)
        result = execute(
            self.schema,
            prepared.document,
            context_value=context,
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
            executor_class=self.executor,
            is_awaitable=cast(Any, optimized_is_awaitable),
            hide_suggestions=self.hide_suggestions,
        )
        done = await result if isawaitable(result) else result
        if done.errors:
            await note(context, done.errors)
        return answer(done)

    async def stream(
        self, prepared: Prepared, operation: OperationDefinitionNode, variables: dict[str, Any] | None, context: Any
    ) -> AsyncIterator[ExecutionResult] | dict[str, Any]:
        """Results as they come, or at once the answer that refuses."""
        source = subscribe(
            self.schema,
            prepared.document,
            context_value=context,
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
            executor_class=self.executor,
            hide_suggestions=self.hide_suggestions,
        )
        found = await cast(Awaitable[Any], source) if isawaitable(source) else source
        return answer(found) if isinstance(found, ExecutionResult) else found


def answer(result: ExecutionResult) -> dict[str, Any]:
    if not result.errors:
        return {"data": result.data}
    errors = format_errors(result.errors, "BAD_USER_INPUT")
    started = result.data is not None or any(error.path is not None for error in result.errors)
    return {"errors": errors, "data": result.data} if started else {"errors": errors}


def choose(prepared: Prepared, name: str | None) -> OperationDefinitionNode:
    """The operation that is meant. Raises BadRequest when that is not clear."""
    operations = prepared.operations
    if name is None and len(operations) == 1:
        return next(iter(operations.values()))
    if name is None:
        raise BadRequest(400, "OPERATION_NAME_REQUIRED", "The document has several operations: say which in operationName.")
    if name not in operations or not name:
        raise BadRequest(400, "UNKNOWN_OPERATION", "The document has no operation of that name.")
    return operations[name]


def _prepared(document: DocumentNode) -> Prepared:
    found = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    operations = {node.name.value if node.name else "": node for node in found}
    return Prepared(document, operations, introspects(document))


def _over(code: str, message: str) -> Invalid:
    return Invalid([as_error(Problem(code, message))], over_limit=True)


def _unparsed(error: GraphQLSyntaxError) -> Invalid:
    if "nested too deeply" in error.message:
        return Invalid(format_errors([error], "QUERY_TOO_DEEP"), over_limit=True)
    over = error.message.endswith("Parsing aborted.")
    return Invalid(format_errors([error], "QUERY_TOO_LONG" if over else "GRAPHQL_PARSE_FAILED"), over_limit=over)
