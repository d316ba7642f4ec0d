"""What was refused to a signed-in person, in the audit: one entry per request with the path and the codes, never a value."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError
from sqlalchemy.exc import SQLAlchemyError

from api.accounts import Audit, audit
from api.context import RequestContext
from api.errors import refused
from schema.problems import Problem

log = logging.getLogger(__name__)


async def note(context: RequestContext, errors: Sequence[GraphQLError]) -> None:
    """Writes the refusals among `errors`; nothing for somebody who isn't signed in."""
    actor = context.actor
    found = [(error.path or [], problems) for error in errors if (problems := refused(error))]
    if actor is None or not found:
        return
    detail = {"refused": [_said(path, problems) for path, problems in found], "address": context.address}
    try:
        async with context.database.engine.begin() as connection:
            await audit(connection, context.now, Audit.REFUSED, user_id=actor.user_id, device_id=actor.device_id, detail=detail)
    except (SQLAlchemyError, OSError) as error:  # what was refused stays refused
        log.warning("a refusal is missing in the audit: %s", type(error).__name__)


def _said(path: Sequence[str | int], problems: Sequence[Problem]) -> dict[str, Any]:
    return {"path": list(path), "codes": [problem.code for problem in problems], "fields": [problem.field for problem in problems]}
