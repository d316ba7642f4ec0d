import re
from collections import defaultdict
from datetime import date, timedelta

import pytest

from schema.base import Kind
from schema.catalogue import Basis, Confidence, Factor, FactorClass, factors, versions
from schema.records.exposure import RECORD as EXPOSURE

TODAY = date(2026, 11, 1)
DAY = timedelta(days=1)


def by_code() -> dict[str, list[Factor]]:
    found: dict[str, list[Factor]] = defaultdict(list)
    for version in versions():
        found[version.code].append(version)
    return found


def test_every_code_fits_the_column_that_stores_it() -> None:
    column = EXPOSURE.by_name["factor_code"]
    assert column.kind is Kind.TEXT
    assert {code for code in by_code() if not re.fullmatch(r"[A-Z0-9-]+", code) or len(code) > column.max_length} == set()


def test_versions_of_a_factor_follow_each_other_without_gap_or_overlap() -> None:
    for code, found in by_code().items():
        assert [older.valid_to for older in found[:-1]] == [newer.valid_from for newer in found[1:]], code
        assert found[-1].valid_to is None, code


def test_severe_always_names_its_reason() -> None:
    assert [factor.code for factor in versions() if factor.severe != (factor.basis is not Basis.NONE)] == []


def test_cas_numbers_have_valid_check_digits() -> None:
    for factor in versions():
        if factor.cas:
            digits = factor.cas.replace("-", "")
            total = sum(int(digit) * weight for weight, digit in enumerate(reversed(digits[:-1]), 1))
            assert total % 10 == int(digits[-1]), factor


def test_all_54_high_toxic_items_are_severe() -> None:
    listed = [factor for factor in factors(TODAY).values() if "高毒物品目录" in factor.source]
    assert len(listed) == 54
    assert all(factor.severe for factor in listed)


@pytest.mark.parametrize(
    "code", ["CHEM-AMMONIA", "CHEM-CO", "CHEM-FORMALDEHYDE", "CHEM-CHLORINE", "CHEM-MANGANESE", "DUST-SILICA", "DUST-ASBESTOS"]
)
def test_what_people_take_for_harmless_is_severe(code: str) -> None:
    assert factors(TODAY)[code].severe


@pytest.mark.parametrize(
    "code", ["CHEM-TOLUENE", "CHEM-XYLENE", "CHEM-N-HEXANE", "PHYS-NOISE", "PHYS-HEAT", "DUST-CEMENT", "DUST-COAL", "DUST-WELDING"]
)
def test_general_factors_are_not_severe(code: str) -> None:
    assert not factors(TODAY)[code].severe


def test_a_factor_is_what_it_was_on_the_day() -> None:
    before, since = factors(date(2020, 3, 31))["DUST-WOOD"], factors(date(2020, 4, 1))["DUST-WOOD"]
    assert (before.severe, since.severe) == (False, True)
    assert since.basis is Basis.CARCINOGEN


def test_a_factor_is_absent_before_it_was_listed() -> None:
    assert "CHEM-ACETOCHLOR" not in factors(date(2025, 5, 1) - DAY)
    assert "CHEM-ACETOCHLOR" in factors(date(2025, 5, 1))
    assert factors(date(1999, 1, 1)) == {}


def test_only_what_was_read_counts_as_confirmed() -> None:
    confirmed = {factor.confidence for factor in versions() if not factor.unconfirmed}
    assert confirmed == {Confidence.SURE}
    assert factors(TODAY)["CHEM-TCE"].unconfirmed
    assert not factors(TODAY)["PHYS-NOISE"].unconfirmed


def test_every_class_has_factors() -> None:
    assert {factor.factor_class for factor in factors(TODAY).values()} == set(FactorClass)


def test_nobody_can_change_the_catalogue() -> None:
    with pytest.raises(TypeError):
        factors(TODAY)["PHYS-NOISE"] = factors(TODAY)["PHYS-HEAT"]  # type: ignore[index]
