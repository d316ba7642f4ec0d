import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.identifiers import CREDIT_CODE_ALPHABET, credit_code_check, credit_code_fault, organisation_check, resident_id_fault

FIRST17 = st.text(CREDIT_CODE_ALPHABET, min_size=17, max_size=17)
WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)  # as printed in GB 32100-2015


@pytest.mark.parametrize("code", ["91350100M000100Y43", "91110000802100433B", "91330106673959654P"])
def test_published_credit_codes_pass(code: str) -> None:
    assert credit_code_fault(code) == ""
    assert organisation_check(code[8:16]) == code[16]


@given(FIRST17)
def test_check_character_solves_the_printed_equation(first17: str) -> None:
    total = sum(CREDIT_CODE_ALPHABET.index(c) * w for c, w in zip(first17, WEIGHTS, strict=True))
    assert (total + CREDIT_CODE_ALPHABET.index(credit_code_check(first17))) % 31 == 0


@given(FIRST17, st.integers(0, 17), st.sampled_from(CREDIT_CODE_ALPHABET))
def test_one_wrong_character_is_always_found(first17: str, place: int, other: str) -> None:
    code = first17 + credit_code_check(first17)
    changed = code[:place] + other + code[place + 1 :]
    assert bool(credit_code_fault(changed)) == (changed != code)


@given(FIRST17, st.integers(0, 16))
def test_two_neighbours_swapped_are_always_found(first17: str, place: int) -> None:
    code = first17 + credit_code_check(first17)
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert bool(credit_code_fault(swapped)) == (swapped != code)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("", "18 位"),
        ("91350100M000100Y4", "18 位"),
        ("91350100M000100Y433", "18 位"),
        ("91350100I000100Y43", "不允许的字符"),
        ("91350100m000100Y43", "不允许的字符"),
        ("91350100M000100Y4 ", "不允许的字符"),
        ("9135010０M000100Y43", "不允许的字符"),
        ("91350100M000100Y44", "校验位"),
    ],
)
def test_faulty_credit_code_says_what_is_wrong(code: str, fault: str) -> None:
    assert fault in credit_code_fault(code)


@given(st.text(max_size=20))
def test_no_text_breaks_the_checks(text: str) -> None:
    assert isinstance(credit_code_fault(text), str)
    assert isinstance(resident_id_fault(text), str)


def test_alphabet_leaves_out_the_letters_that_look_like_others() -> None:
    assert set(string.ascii_uppercase + string.digits) - set(CREDIT_CODE_ALPHABET) == set("IOSVZ")


@pytest.mark.parametrize(
    ("first8", "check"), [("MA000000", None), ("80210043", "3"), ("67395965", "4"), ("00000000", "0"), ("00000001", "9")]
)
def test_organisation_check(first8: str, check: str | None) -> None:
    found = organisation_check(first8)
    assert found in "0123456789X"
    assert check in (None, found)


def test_organisation_check_reaches_x() -> None:
    chosen = random.Random(1)
    assert "X" in {organisation_check(f"{chosen.randrange(10**8):08d}") for _ in range(200)}


@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])  # the examples of GB 11643-1999
def test_resident_numbers_of_the_standard_pass(number: str) -> None:
    assert resident_id_fault(number) == ""


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("11010519491231002", "17 位"),
        ("11010519491231002x", "17 位"),
        ("11010519491331002X", "出生日期"),
        ("11010519490230002X", "出生日期"),
        ("110105194912310021", "校验位"),
        ("１1010519491231002X", "17 位"),
    ],
)
def test_faulty_resident_number_says_what_is_wrong(number: str, fault: str) -> None:
    assert fault in resident_id_fault(number)
