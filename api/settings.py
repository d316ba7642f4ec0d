"""What a process is told by its environment, read once; importing this module reads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sync.chain import DIGESTS

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the project; everything is run from there."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Settings:
    """The choices of whoever runs the project; every default suits a person who tries it on one machine."""

    database_url: str | None = field(default=None, repr=False)  # postgresql://…; None: the private cluster of `api.cluster`
    read_database_url: str | None = field(default=None, repr=False)  # a hot standby for bulk reads; None: the primary
    host: str = "127.0.0.1"
    port: int = 8000
    data: Path = ROOT / ".data"  # cluster, keys, evidence
    evidence_url: str | None = field(default=None, repr=False)  # s3://bucket/prefix; None: the folder evidence in `data`
    evidence_bytes: int = 2 * 1024**3  # the largest file that is taken: an hour of video
    production: bool = False
    audit_digest: str = "sha256"  # or sm3
    device_keys: bool = False  # only devices that are enrolled with a key may sign in
    tombstone_days: int = 180  # how long the feed itself names what left a scope; later it is read from a list per document
    tianditu_key: str = field(default="", repr=False)  # of the page's optional base map; "": no outside tiles, and none are allowed
    oldest_client: str = ""  # version below which clients are told to update; "": any

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Settings from ZHIJIAN_DATABASE_URL, ZHIJIAN_READ_DATABASE_URL, ZHIJIAN_PRODUCTION, ZHIJIAN_EVIDENCE_URL, ZHIJIAN_EVIDENCE_BYTES,
        ZHIJIAN_AUDIT_DIGEST, ZHIJIAN_DEVICE_KEYS, ZHIJIAN_OLDEST_CLIENT, ZHIJIAN_TOMBSTONE_DAYS,
        ZHIJIAN_TIANDITU_KEY, HOST, PORT and DATA.
        The S3 client reads its endpoint and keys from AWS_… by itself.

        An empty variable counts as unset. Raises ValueError, naming the variable, for what can't be meant.
        """
        given = {name: value for name, value in environment.items() if value}
        return cls(
            database_url=given.get("ZHIJIAN_DATABASE_URL"),
            read_database_url=given.get("ZHIJIAN_READ_DATABASE_URL"),
            host=given.get("HOST", cls.host),
            port=_port(given.get("PORT", str(cls.port))),
            data=Path(given.get("DATA", str(cls.data))).expanduser().resolve(),
            evidence_url=given.get("ZHIJIAN_EVIDENCE_URL"),
            evidence_bytes=_bytes(given.get("ZHIJIAN_EVIDENCE_BYTES", str(cls.evidence_bytes))),
            production=_truth("ZHIJIAN_PRODUCTION", given.get("ZHIJIAN_PRODUCTION", "0")),
            audit_digest=_one_of("ZHIJIAN_AUDIT_DIGEST", given.get("ZHIJIAN_AUDIT_DIGEST", cls.audit_digest), DIGESTS),
            device_keys=_truth("ZHIJIAN_DEVICE_KEYS", given.get("ZHIJIAN_DEVICE_KEYS", "0")),
            tombstone_days=_days(given.get("ZHIJIAN_TOMBSTONE_DAYS", str(cls.tombstone_days))),
            tianditu_key=_key("ZHIJIAN_TIANDITU_KEY", given.get("ZHIJIAN_TIANDITU_KEY", "")),
            oldest_client=given.get("ZHIJIAN_OLDEST_CLIENT", cls.oldest_client),
        )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server; demo accounts exist only then."""
        return self.host in LOOPBACK


def engine_url(url: str) -> str:
    """`url` as SQLAlchemy wants it for asyncpg."""
    _, _, rest = url.partition("://")
    return f"postgresql+asyncpg://{rest}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**53:
        raise ValueError(f"ZHIJIAN_EVIDENCE_BYTES must be a number of bytes, not {text!r}")
    return int(text)


def _key(name: str, text: str) -> str:
    if text and not (text.isascii() and text.isalnum() and len(text) <= 64):
        raise ValueError(f"{name} must be a key of letters and digits")
    return text


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 36500:
        raise ValueError(f"ZHIJIAN_TOMBSTONE_DAYS must be a number of days, not {text!r}")
    return int(text)


def _one_of(name: str, text: str, choices: Iterable[str]) -> str:
    if text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _truth(name: str, text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f"{name} must be 1 or 0, not {text!r}")
    return words[text.lower()]
