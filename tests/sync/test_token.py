"""The checkpoint token: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.problems import Refused
from sync.token import Sweep, TokenState, decode, encode

KEY = b"key"
_scopes = st.lists(st.from_regex(r"[A-Za-z0-9:_-]{1,30}", fullmatch=True), max_size=40).map(tuple)
_sweeps = st.builds(Sweep, _scopes, st.integers(0, 2**60))
_states = st.builds(TokenState, st.text(max_size=40), st.integers(0, 2**60), _scopes, _sweeps, _sweeps, st.integers(0, 2**60))
_STATE = TokenState("epoch", 7, ("220102",), Sweep(("220103",), 3))


@given(_states)
def test_a_state_survives_the_journey(state: TokenState) -> None:
    assert decode(encode(state, KEY, "enterprise"), KEY, "enterprise") == state


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_altered_byte_is_believed(at: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(_padded(encode(_STATE, KEY))))
    raw[at % len(raw)] ^= change
    _assert_refused(base64.urlsafe_b64encode(bytes(raw)).decode(), KEY)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_with_its_code(text: str) -> None:
    _assert_refused(text, KEY)


def test_another_key_or_record_is_refused() -> None:
    _assert_refused(encode(_STATE, KEY), b"other")
    _assert_refused(encode(_STATE, KEY, "patient"), KEY)


def test_sixty_counties_take_less_than_300_characters() -> None:
    counties = tuple(f"22{city:02d}{county:02d}" for city in range(1, 10) for county in range(1, 8))[:60]
    assert len(encode(TokenState("5f0c7f0e-1df8-4a53-9a0c-6a2b6f2f9f7e", 123_456_789, counties), KEY)) < 300


def test_only_url_safe_characters() -> None:
    assert set(encode(_STATE, KEY)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _assert_refused(text: str, key: bytes) -> None:
    with pytest.raises(Refused) as refused:
        decode(text, key)
    assert [problem.code for problem in refused.value.problems] == ["CHECKPOINT_INVALID"]


def test_a_checkpoint_of_an_earlier_version_is_still_good() -> None:
    """What `encode` made of `_STATE` before `told` was added."""
    assert decode("WF6l9iMcOFqRWSNwlJUluYs21FFKLchPzlDSMdcx1jHQUTIyMjA0MFKCMoyBDKVYAA", KEY) == _STATE
