"""What a measurement found, for people and for programs. Pure but for `table`, which prints."""

from __future__ import annotations

import json
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

NOT_INSTALLED = ("rxdb-server", "PostGraphile", "Kinto", "PouchDB server", "ODK Central")
"""Peers of design/performance.md that a fresh machine does not have: named, not faked."""


@dataclass(frozen=True)
class Figure:
    """One line of the report. `ratio` says how many times better than `reference` of the same run it is: above 1 is ours."""

    name: str
    value: float
    unit: str
    reference: str | None = None
    ratio: float | None = None


class Rounds:
    """Values by contestant, one per round; the median of them counts."""

    def __init__(self, topic: str, unit: str, *, less_is_better: bool = False) -> None:
        self.topic = topic
        self.unit = unit
        self.less_is_better = less_is_better
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, contestant: str, value: float) -> None:
        self.values[contestant].append(value)

    def median(self, contestant: str) -> float:
        return statistics.median(self.values[contestant])

    def _ratio(self, own: float, other: float) -> float | None:
        """None where one of them is too small to be measured."""
        better, worse = (other, own) if self.less_is_better else (own, other)
        return round(better / worse, 3) if worse and better else None

    def figures(self) -> list[Figure]:
        """Ours against each reference, then the references themselves."""
        own = self.median("ours")
        others = [name for name in self.values if name != "ours"]
        ratio = {name: self._ratio(own, self.median(name)) for name in others}
        compared = [Figure(self.topic, round(own, 2), self.unit, name, ratio[name]) for name in others]
        return [
            *(compared or [Figure(self.topic, round(own, 2), self.unit)]),
            *(Figure(f"{self.topic}.{name}", round(self.median(name), 2), self.unit) for name in others),
        ]


def line(figure: Figure) -> str:
    """As one JSON object."""
    return json.dumps(asdict(figure))


def table(figures: Iterable[Figure], console: Console) -> None:
    """For people: the figures with date and machine."""
    grid = Table(title=f"bench, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}", title_justify="left")
    grid.add_column("what")
    for heading in ("value", "unit", "beside", "times"):
        grid.add_column(heading, justify="right")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        grid.add_row(figure.name, f"{figure.value:,.1f}", figure.unit, figure.reference or "", ratio)
    console.print(grid)
    console.print(f"Not installed here, so not measured: {', '.join(NOT_INSTALLED)}.", style="dim")


def machine() -> str:
    """Processor, cores and memory of this machine."""
    return f"{_processor()}, {_cores()} cores, {_gigabytes()} GB, Python {platform.python_version()}"


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> int:
    return Path("/proc/cpuinfo").read_text().count("processor\t")


def _gigabytes() -> int:
    return round(int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024)
