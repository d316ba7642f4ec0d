"""From exceptions to the `errors` of an answer: expected refusals with their codes, bugs as a number that stands in the log."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError

from schema.problems import Problem, Refused

log = logging.getLogger("zhijian.api")


class BadRequest(Exception):  # noqa: N818 - the client's, named as HTTP does
    """A request that is refused before it reaches the schema."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code, message)
        self.headers = headers or {}


def as_error(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "extensions": _extensions((problem,))}


def format_errors(errors: Iterable[GraphQLError], code: str) -> list[dict[str, Any]]:
    """`code` names request errors that carry none of their own."""
    return [_format(error, code) for error in errors]


def _format(error: GraphQLError, code: str) -> dict[str, Any]:
    cause = _cause(error)
    if isinstance(cause, Refused):
        return {**_place(error), "message": cause.problems[0].message, "extensions": _extensions(cause.problems)}
    if cause is not None and error.path is not None:
        return {**_place(error), "message": "internal error", "extensions": {"code": "INTERNAL", "id": log_bug(cause)}}
    return {**_place(error), "message": error.message, "extensions": {"code": code, **(error.extensions or {})}}


def refused(error: GraphQLError) -> tuple[Problem, ...]:
    """The problems of an expected refusal; none for anything else."""
    cause = _cause(error)
    return cause.problems if isinstance(cause, Refused) else ()


def _cause(error: GraphQLError) -> BaseException | None:
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _place(error: GraphQLError) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if error.locations:
        place["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path is not None:
        place["path"] = list(error.path)
    return place


def _extensions(problems: tuple[Problem, ...]) -> dict[str, Any]:
    listed = [{"code": problem.code, "message": problem.message, "field": problem.field} for problem in problems]
    wipe = {"wipe": True} if problems[0].code == "DEVICE_REVOKED" else {}
    return {"code": problems[0].code, "field": problems[0].field, "problems": listed, **wipe}


def log_bug(cause: BaseException) -> str:
    """Logs where a bug happened and returns its number.

    Types and lines only: the message of a database error may quote somebody's data.
    """
    number = secrets.token_hex(6)
    frames = "".join(traceback.format_tb(cause.__traceback__))
    log.error("internal error %s: %s\n%s", number, type(cause).__name__, frames)
    return number
