"""However the bytes are cut up and wherever the link dies, the same object comes out, and nothing is seen before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.problems import Refused
from sync.files import Announced, Checksum, LinkLostError, content_key
from tests.files.files_world import World, noise, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
PIECE = 50


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[int, int, int | None, bool]]:
    """For each request: bytes announced, bytes per block, the byte at which the link dies (None: it doesn't), with a checksum."""
    one = st.tuples(st.integers(0, 200), st.integers(1, 90), st.none() | st.integers(0, 200), st.booleans())
    return draw(st.lists(one, max_size=12))


async def _body(content: bytes, block: int, dies: int | None) -> AsyncIterator[bytes]:
    alive = content if dies is None else content[:dies]
    for start in range(0, len(alive), block):
        yield alive[start : start + block]
    if dies is not None and dies < len(content):
        raise LinkLostError


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 400), plan=requests())
async def test_any_split_and_any_cuts_yield_the_same_object(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int, plan: list[tuple[int, int, int | None, bool]]
) -> None:
    monkeypatch.setattr("sync.files.PIECE_BYTES", PIECE)
    content, now, actor = noise(size), datetime.now(UTC), await world.actor()
    sha256 = sha256_of(content)
    upload = await world.files.create(actor, Announced(sha256, size, "video/mp4"), now)
    for length, block, dies, checked in [*plan, (size, 400, None, True)]:
        here = (await world.files.find(actor, upload.id, now)).received
        part = content[here : here + length]
        arrived = len(part) if dies is None else min(len(part), dies)
        checksum = Checksum("sha256", bytes.fromhex(sha256_of(part))) if checked else None
        try:
            upload = await world.files.write(actor, upload.id, here, _body(part, block, dies), checksum, now)
        except LinkLostError:
            upload = await world.files.find(actor, upload.id, now)
        assert upload.received == here + arrived
        assert (await world.files.known(sha256) is not None) == (upload.state == "VERIFIED")
        if upload.received < size:
            assert upload.state == "RECEIVING"
    assert upload.whole
    upload = await world.files.look_after(upload)  # the link may have died behind the last byte
    assert upload.state == "VERIFIED"
    assert await world.files.vault.get(content_key(sha256)) == content


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 300), at=st.integers(0, 299), block=st.integers(1, 90))
async def test_one_wrong_bit_anywhere_is_found(world: World, monkeypatch: pytest.MonkeyPatch, size: int, at: int, block: int) -> None:
    monkeypatch.setattr("sync.files.PIECE_BYTES", PIECE)
    content, now, actor = noise(size), datetime.now(UTC), await world.actor()
    spoilt = bytearray(content)
    spoilt[at % size] ^= 1 << (at % 8)
    upload = await world.files.create(actor, Announced(sha256_of(content), size, "video/mp4"), now)
    with pytest.raises(Refused) as refused:
        await world.files.write(actor, upload.id, 0, _body(bytes(spoilt), block, None), None, now)
    assert refused.value.problems[0].code == "EVIDENCE_HASH_MISMATCH"
    assert await world.files.known(sha256_of(content)) is None
    assert not [key for key in await world.stored() if sha256_of(content) in key or upload.id in key]
