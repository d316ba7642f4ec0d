"""Server-owned values that follow from what was sent: the WGS 84 point of each position. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geo.coordinates import Datum, to_wgs84
from schema.base import Document, Record
from schema.problems import Problem, Refused


def normalise(record: Record, after: Document, changed: Sequence[str]) -> Iterator[Problem]:
    """Sets `<position>_wgs84` of each changed position; a position that its datum doesn't allow is a problem."""
    for column in record.positions:
        if column.name not in changed and f"{column.name}_wgs84" in after:
            continue
        position = after[column.name]
        after[f"{column.name}_wgs84"] = None
        if position is None:
            continue
        try:
            lon, lat = to_wgs84(position["lon"], position["lat"], Datum(position["datum"]))
        except Refused as refused:
            yield from (Problem(problem.code, problem.message, column.name) for problem in refused.problems)
        else:
            after[f"{column.name}_wgs84"] = {"type": "Point", "coordinates": [round(lon * 1e7) / 1e7, round(lat * 1e7) / 1e7]}
