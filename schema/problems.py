"""The catalogue of expected refusals. A code is stable and never reused; a bug is an exception instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """An expected no: a stable code, the column it is about (or ""), and a sentence a person can act on."""

    code: str
    message: str
    field: str = ""


class Refused(Exception):  # noqa: N818 - an expected answer, not an error
    """Carries problems to the edge, which answers with them; whoever raises it has written nothing."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
