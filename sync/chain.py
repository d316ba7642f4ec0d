"""The links of the audit's hash chain: which area an entry is chained in, and what its hash covers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SM3, Hash

from schema.areas import ROOT

Digest = Callable[[bytes], bytes]

FIRST = bytes(32)
"""What stands before the first entry of an area."""


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
    return _smallest(tuple([scope for scope in scopes if len(scope) == 6 and scope.isdecimal()]))


@lru_cache(4096)  # a batch of 1,000 documents has few counties, and is asked twice
def _smallest(divisions: tuple[str, ...]) -> str:
    return min(divisions, key=lambda code: (-len(code.rstrip("0")), code), default=ROOT)
