"""Chains of areas: who an area belongs to, over a ragged division tree and the jurisdictions beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schema.areas import ROOT


def chains(parents: Mapping[str, str | None], memberships: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Each code's chain: itself, the jurisdictions that hold it or an ancestor, then its ancestors up to the province.

    `memberships` names an area's jurisdictions; a jurisdiction brings its own ancestors. The root and codes that
    `parents` does not know are in no chain; the root's own chain is empty.
    Raises ValueError for a cycle, also one through a jurisdiction that lies below its own member.
    """
    lines = {code: _line(code, parents) for code in parents}
    return {code: _with_jurisdictions(line, lines, memberships) for code, line in lines.items()}


def _line(code: str, parents: Mapping[str, str | None]) -> tuple[str, ...]:
    line: list[str] = []
    current: str | None = code
    while current is not None and current != ROOT and current in parents:
        if current in line:
            raise ValueError(f"{code} is its own ancestor: {line}")
        line.append(current)
        current = parents[current]
    return tuple(line)


def _with_jurisdictions(
    line: tuple[str, ...], lines: Mapping[str, tuple[str, ...]], memberships: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    beside = [code for area in line for jurisdiction in memberships.get(area, ()) for code in lines.get(jurisdiction, ())]
    if line and line[0] in beside:
        raise ValueError(f"{line[0]} belongs to a jurisdiction below itself")
    return line[:1] + _new(beside, line) + line[1:]


def _new(codes: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    return tuple(code for code in dict.fromkeys(codes) if code not in known)
