from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.stamp import AHEAD_MS, LARGEST, Stamp, edit_ms, is_repeat, parse_stamp

NOW = 1_795_000_000_000


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("pad-7:12:1795000000000", Stamp("pad-7", 12, NOW)),
        ("pad-7:0", Stamp("pad-7", 0, None)),
        (f"p:{LARGEST}:{LARGEST}", Stamp("p", LARGEST, LARGEST)),
    ],
)
def test_a_stamp_is_read(text: str, stamp: Stamp) -> None:
    assert parse_stamp(text) == stamp


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p",
        "p:",
        ":1",
        "p:-1",
        "p:1:",
        "p:1:-2",
        "p:1:2:3",
        "p:1.5",
        "p:1\n",
        "p :1",
        f"p:{LARGEST + 1}",
        f"p:1:{LARGEST + 1}",
        "p:１",
        None,
        7,
    ],
)
def test_a_malformed_stamp_is_no_stamp(text: object) -> None:
    assert parse_stamp(text) is None


@given(st.text() | st.from_regex(r"[a-z:]{0,3}[0-9:]*"))
def test_any_text_is_a_bounded_stamp_or_none(text: str) -> None:
    stamp = parse_stamp(text)
    assert stamp is None or (0 <= stamp.counter <= LARGEST and 0 <= (stamp.ms or 0) <= LARGEST)


@pytest.mark.parametrize(
    ("ms", "offset_ms", "counts"),
    [
        (NOW - 86_400_000, 0, NOW - 86_400_000),
        (NOW - 1_000, 400, NOW - 600),
        (NOW + AHEAD_MS, 0, NOW + AHEAD_MS),
        (NOW + AHEAD_MS + 1, 0, NOW),
        (NOW + AHEAD_MS + 1, -1, NOW + AHEAD_MS),
        (5, -6, NOW),
        (None, 400, NOW),
    ],
)
def test_an_edit_counts_at_its_corrected_time_and_at_arrival_if_that_is_impossible(ms: int | None, offset_ms: int, counts: int) -> None:
    assert edit_ms(Stamp("p", 1, ms), offset_ms, NOW) == counts


def test_an_edit_without_a_stamp_counts_at_arrival() -> None:
    assert edit_ms(None, 99, NOW) == NOW


@pytest.mark.parametrize(("counter", "last", "repeat"), [(3, None, False), (3, 2, False), (3, 3, True), (2, 3, True), (0, 0, True)])
def test_a_counter_not_above_the_last_is_a_repeat(counter: int, last: int | None, repeat: bool) -> None:
    assert is_repeat(Stamp("p", counter, None), last) is repeat


def test_without_a_stamp_nothing_is_a_repeat() -> None:
    assert not is_repeat(None, 3)
