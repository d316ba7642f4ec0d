"""Identifiers made by the server."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson


def uuid7(at: datetime) -> str:
    """A UUIDv7 (RFC 9562) of the moment `at`."""
    milliseconds = int(at.timestamp() * 1000)
    value = (milliseconds << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return str(UUID(int=value))


def uuid_of(words: list[Any]) -> str:
    """A UUIDv8 (RFC 9562) that is the same for the same JSON values."""
    value = int.from_bytes(hashlib.sha256(orjson.dumps(words, option=orjson.OPT_SORT_KEYS)).digest()[:16])
    return str(UUID(int=(value & ~(0xF << 76) & ~(0b11 << 62)) | (0x8 << 76) | (0b10 << 62)))
