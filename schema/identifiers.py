"""Check digits of Chinese identifiers. Pure."""

from __future__ import annotations

import re
from datetime import date
from operator import mul

CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015: no I O S V Z
_CREDIT_CODE_VALUES = {character: value for value, character in enumerate(CREDIT_CODE_ALPHABET)}
_CREDIT_CODE_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714


def credit_code_check(first17: str) -> str:
    """The 18th character of a unified social credit code. Raises ValueError for characters outside the alphabet."""
    if len(first17) != len(_CREDIT_CODE_WEIGHTS):
        raise ValueError(f"{len(first17)} characters instead of 17")
    try:
        total = sum(map(mul, map(_CREDIT_CODE_VALUES.__getitem__, first17), _CREDIT_CODE_WEIGHTS))
    except KeyError as error:
        raise ValueError(f"not in the alphabet: {error}") from None
    return CREDIT_CODE_ALPHABET[-total % 31]


def organisation_check(first8: str) -> str:
    """The 9th character of an organisation code (GB 11714). Raises ValueError for characters that are not 0-9 A-Z."""
    total = sum(int(c, 36) * w for c, w in zip(first8, _ORGANISATION_WEIGHTS, strict=True))
    return "0123456789X0"[11 - total % 11]


def credit_code_fault(code: str) -> str:
    """What is wrong with a unified social credit code, or "". The inner organisation code is not checked: early codes fail it."""
    if len(code) != 18:
        return "应为 18 位"
    if not _CREDIT_CODE_VALUES.keys() >= set(code):
        return "含有不允许的字符（I、O、S、V、Z 和小写字母不使用）"
    return "" if credit_code_check(code[:17]) == code[17] else "校验位不符"


def resident_id_fault(number: str) -> str:
    """What is wrong with a resident identity number, or ""."""
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        return "应为 17 位数字加一位数字或 X"
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return "出生日期不存在"
    total = sum(int(c) * w for c, w in zip(number[:17], _RESIDENT_WEIGHTS, strict=True))
    return "" if "10X98765432"[total % 11] == number[17] else "校验位不符"
