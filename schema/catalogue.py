"""Catalogues that change with the law, as dated data: what a factor was on the day of the event. Pure once read.

The files are `schema/catalogue/*.csv`, one line per version of an item; a later version starts where the earlier one ends.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent / "catalogue"


class FactorClass(StrEnum):
    DUST = "DUST"  # 粉尘
    CHEMICAL = "CHEMICAL"  # 化学因素
    PHYSICAL = "PHYSICAL"  # 物理因素
    RADIATION = "RADIATION"  # 放射性因素
    BIOLOGICAL = "BIOLOGICAL"  # 生物因素
    OTHER = "OTHER"  # 其他因素


class Basis(StrEnum):
    """Why a factor counts as severe (分类监督执法 2023, 附件1)."""

    NONE = ""
    HIGH_TOXIC = "HIGH_TOXIC"  # 高毒物品目录
    ASBESTOS = "ASBESTOS"
    SILICA = "SILICA"  # free SiO₂ of 10 % or more
    CARCINOGEN = "CARCINOGEN"  # G1 in GBZ 2.1
    RADIATION = "RADIATION"


class Confidence(StrEnum):
    SURE = "sure"  # text read
    LIKELY = "likely"  # consistent secondary source
    CHECK = "check"  # nobody has read the official text


@dataclass(frozen=True)
class Factor:
    """A hazard factor (职业病危害因素) as it stood from `valid_from` until the day before `valid_to`."""

    code: str
    name: str
    factor_class: FactorClass
    severe: bool
    basis: Basis
    cas: str
    valid_from: date
    valid_to: date | None
    source: str
    confidence: Confidence

    @property
    def unconfirmed(self) -> bool:
        """Whether a person has yet to compare it with the official text."""
        return self.confidence is not Confidence.SURE

    def holds(self, on: date) -> bool:
        return self.valid_from <= on and (self.valid_to is None or on < self.valid_to)


@cache
def factors(on: date) -> Mapping[str, Factor]:
    """Hazard factors by code as of the day `on`; a factor that was not yet, or is no longer, listed is absent."""
    return MappingProxyType({factor.code: factor for factor in versions() if factor.holds(on)})


@cache
def versions() -> tuple[Factor, ...]:
    """Every version of every factor, in the order of the file."""
    with (FOLDER / "hazard_factors.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_factor(row) for row in csv.DictReader(file))


def _factor(row: Mapping[str, str]) -> Factor:
    return Factor(
        code=row["code"],
        name=row["name"],
        factor_class=FactorClass(row["class"]),
        severe={"true": True, "false": False}[row["severe"]],
        basis=Basis(row["basis"]),
        cas=row["cas"],
        valid_from=date.fromisoformat(row["valid_from"]),
        valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
        source=row["source"],
        confidence=Confidence(row["confidence"]),
    )
