"""Access tokens: JSON Web Tokens signed with Ed25519 keys that lie in the data folder.

The newest key signs, every key in the folder verifies. `Keys.rotate` adds one; a file may be removed a day after its successor came.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.types import Options

from schema.problems import Problem, Refused

ISSUER = "zhijian"
LIFETIME = timedelta(minutes=15)
CLAIMS = ["exp", "sub", "iss", "typ", "device", "family"]
CHECKS: Options = {"require": CLAIMS, "verify_exp": False, "verify_iat": False}  # `verify` compares with the time passed in
RELOAD_AFTER = 5.0  # seconds between looks into the folder for a key that another node made
EXPIRED = Problem("TOKEN_EXPIRED", "The access token has expired; refresh it.")
INVALID = Problem("TOKEN_INVALID", "The access token is not valid; sign in again.")


@dataclass(frozen=True, slots=True)
class Whose:
    """Person, device, and the log-in that a token descends from."""

    user_id: str
    device_id: str
    family_id: str


@dataclass(frozen=True, slots=True)
class Claims(Whose):
    """What a verified access token says."""

    expires_at: float  # seconds since 1970


class Keys:
    """The signing keys of one installation. The folder holds KEYID.pem files, readable by the owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.loaded_at = 0.0

    def load(self) -> None:
        """Reads the folder; makes it, and a first key, where there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.keys = {file.stem: _read(file) for file in sorted(self.folder.glob("*.pem"))}
        self.loaded_at = time.monotonic()
        if not self.keys:
            self.rotate()

    def rotate(self) -> str:
        """Adds a key, which signs from now on, and returns its id."""
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        key = Ed25519PrivateKey.generate()
        _write(self.folder / f"{name}.pem", key)
        self.keys[name] = key
        return name

    @property
    def checkpoint(self) -> bytes:
        """The key of pull checkpoints, the same on every node that shares the folder, and stable while keys are added."""
        if not self.keys:
            self.load()
        return hashlib.sha256(b"checkpoint" + self.keys[min(self.keys)].private_bytes_raw()).digest()

    def sign(self, claims: dict[str, Any]) -> str:
        if not self.keys:
            self.load()
        name = max(self.keys)
        return jwt.encode(claims, self.keys[name], algorithm="EdDSA", headers={"kid": name})

    def verify(self, token: str) -> dict[str, Any]:
        """The claims. Raises jwt.PyJWTError."""
        key = self._find(str(jwt.get_unverified_header(token).get("kid")))
        return jwt.decode(token, key.public_key(), algorithms=["EdDSA"], issuer=ISSUER, options=CHECKS)

    def _find(self, name: str) -> Ed25519PrivateKey:
        if name not in self.keys and time.monotonic() - self.loaded_at > RELOAD_AFTER:
            self.load()
        if name not in self.keys:
            raise jwt.InvalidTokenError("unknown key")
        return self.keys[name]


def _read(file: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file.name} holds no Ed25519 key")
    return key


def _write(file: Path, key: Ed25519PrivateKey) -> None:
    """Writes beside the place and renames: another node never reads half a key."""
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft = file.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(text)
    draft.rename(file)


def issue(keys: Keys, whose: Whose, now: datetime) -> tuple[str, datetime]:
    """An access token and when it ends."""
    ends = now.replace(microsecond=0) + LIFETIME
    claims = {
        "iss": ISSUER,
        "typ": "access",
        "sub": whose.user_id,
        "device": whose.device_id,
        "family": whose.family_id,
        "iat": now,
        "exp": ends,
    }
    return keys.sign(claims), ends


def verify(keys: Keys, token: str, now: datetime, *, also_expired: bool = False) -> Claims:
    """Raises Refused: TOKEN_EXPIRED or TOKEN_INVALID."""
    try:
        claims = keys.verify(token)
        found = Claims(claims["sub"], claims["device"], claims["family"], float(claims["exp"]))
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Refused(INVALID) from None
    if claims["typ"] != "access":
        raise Refused(INVALID)
    if found.expires_at <= now.timestamp() and not also_expired:
        raise Refused(EXPIRED)
    return found
