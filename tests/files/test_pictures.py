"""Whatever an image is, looking at it ends quickly and never with an error."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sync.pictures import look
from tests.files.files_world import photo

PHOTO = photo(125.35, -43.87)


def test_a_photo_tells_where_and_when() -> None:
    found = look(PHOTO)
    assert (found.width, found.height, found.taken_at, found.problem) == (800, 600, "2026:11:20 09:00:00", None)
    assert found.lon == pytest.approx(125.35, abs=1e-6)
    assert found.lat == pytest.approx(-43.87, abs=1e-6)


def test_a_photo_on_its_side_has_an_upright_thumbnail() -> None:
    thumbnail = look(photo(x0112=6)).thumbnail
    assert thumbnail
    assert Image.open(io.BytesIO(thumbnail)).size == (384, 512)


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP")]
)
def test_every_kind_of_image_gets_a_thumbnail(mode: str, kind: str) -> None:
    target = io.BytesIO()
    Image.new(mode, (30, 20)).save(target, kind)
    thumbnail = look(target.getvalue()).thumbnail
    assert thumbnail
    assert Image.open(io.BytesIO(thumbnail)).mode == "RGB"


def test_zeros_are_no_position() -> None:
    assert look(photo(0.0, 0.0)).lon is None


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 16_000, 100_000])
def test_a_bomb_is_not_unpacked(side: int) -> None:
    found = look(_bomb(side, side))
    assert (found.problem, found.thumbnail) == ("IMAGE_TOO_LARGE", None)


@settings(max_examples=150)
@given(at=st.integers(0, len(PHOTO) - 1), junk=st.binary(max_size=20), cut=st.integers(0, len(PHOTO)))
def test_a_spoilt_photo_never_raises(at: int, junk: bytes, cut: int) -> None:
    look((PHOTO[:at] + junk + PHOTO[at + len(junk) :])[:cut])


@settings(max_examples=100)
@given(at=st.integers(0, 400), junk=st.binary(min_size=1, max_size=8))
def test_spoilt_metadata_never_raises(at: int, junk: bytes) -> None:
    found = look(PHOTO[:at] + junk + PHOTO[at + len(junk) :])
    assert found.lon is None or -180 <= found.lon <= 180
