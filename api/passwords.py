"""Passwords: argon2id hashes, made and checked beside the loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST = 1024  # characters; hashing more would be somebody else's choice of our work
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP Password Storage Cheat Sheet, argon2id
_workers = ThreadPoolExecutor(2, "password")  # 19 MiB each


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_workers, HASHER.hash, password)


async def matches(password: str, hashed: str | None) -> bool:
    """Whether `password` belongs to `hashed`; without a hash (nobody of that name) the same work is done in vain."""
    return await asyncio.get_running_loop().run_in_executor(_workers, _matches, password[:LONGEST], hashed)


def _matches(password: str, hashed: str | None) -> bool:
    try:
        return HASHER.verify(hashed or _nobody(), password) and hashed is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    return HASHER.hash("nobody has this password")
