"""The checkpoint that a terminal keeps: which scopes it holds, up to which position. Pure: no session, no clock.

Text: base64url of a 16-byte HMAC-SHA256 and the deflated state. The scopes themselves travel, not a digest of them: a digest would
say that a grant changed but not what must be removed, unless every server kept every set ever granted. Sorted codes share their
beginnings and deflate well: 60 counties of a province take about 200 characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass

from schema.problems import Problem, Refused

_TAG_BYTES = 16  # 128 bits; RFC 2104 section 5 allows half of the digest
_VERSION = 2


@dataclass(frozen=True)
class Sweep:
    """Documents of `scopes` gone through in the order of their positions, up to and with position `after`. No scopes: nothing to do."""

    scopes: tuple[str, ...] = ()
    after: int = 0


@dataclass(frozen=True)
class TokenState:
    """What a terminal holds of one record.

    `scopes` are held whole up to `pos`; `fill` are newly granted ones, of which only the part up to `fill.after` has been sent;
    `drop` are withdrawn ones, of which the part up to `drop.after` has been removed. `told` is the position up to which it has been
    told of what left its scopes, where that is further than `pos`.
    """

    epoch: str
    pos: int
    scopes: tuple[str, ...] = ()
    fill: Sweep = Sweep()
    drop: Sweep = Sweep()
    told: int = 0


def encode(state: TokenState, key: bytes, record: str = "") -> str:
    """The state as signed, opaque, URL-safe text; valid for the same `record` alone."""
    fill, drop = state.fill, state.drop
    groups = [" ".join(scopes) for scopes in (state.scopes, fill.scopes, drop.scopes)]
    body = _deflate(
        json.dumps([_VERSION, state.epoch, state.pos, fill.after, drop.after, state.told, *groups], separators=(",", ":")).encode()
    )
    return base64.urlsafe_b64encode(_tag(body, key, record) + body).rstrip(b"=").decode()


def decode(text: str, key: bytes, record: str = "") -> TokenState:
    """The state that `encode` signed. Raises Refused CHECKPOINT_INVALID for anything else."""
    raw = _raw(text)
    tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(body, key, record)):
        raise _invalid()
    version, *values = json.loads(zlib.decompress(body, wbits=-15))
    if version not in (1, _VERSION):
        raise _invalid()
    if version == 1:
        values.insert(4, 0)  # of a terminal from before `told`
    epoch, pos, filled, dropped, told, *groups = values
    served, fill, drop = (tuple(group.split()) for group in groups)
    return TokenState(epoch, pos, served, Sweep(fill, filled), Sweep(drop, dropped), told)


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return deflater.compress(body) + deflater.flush()


def _tag(body: bytes, key: bytes, record: str) -> bytes:
    return hmac.digest(key, record.encode() + b"\0" + body, hashlib.sha256)[:_TAG_BYTES]


def _invalid() -> Refused:
    return Refused(Problem("CHECKPOINT_INVALID", "The checkpoint is not one of this server; pull again without it.", "checkpoint"))
