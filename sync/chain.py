"""The links of the audit's hash chain: which area an entry is chained in, and what its hash covers. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping

from cryptography.hazmat.primitives.hashes import SM3, Hash

from schema.areas import ROOT

Digest = Callable[[bytes], bytes]

FIRST = bytes(32)
"""What stands before the first entry of an area."""

_DIVISION = re.compile(r"\d{6}")


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _sm3(content: bytes) -> bytes:
    made = Hash(SM3())
    made.update(content)
    return made.finalize()


DIGESTS: Mapping[str, Digest] = {"sha256": _sha256, "sm3": _sm3}


def link(digest: Digest, previous: bytes, area: str, seq: int, source: str, entry_id: int, content: str) -> bytes:
    """The hash of one entry at its place; `content` holds all its columns."""
    return digest(previous + f"{area}\n{seq}\n{source}\n{entry_id}\n{content}".encode())


def area_of(scopes: Iterable[str]) -> str:
    """The smallest division down to the county among a document's scopes, 000000 without one."""
    divisions = [scope for scope in scopes if _DIVISION.fullmatch(scope)]
    return min(divisions, key=lambda code: (-len(code.rstrip("0")), code), default=ROOT)
