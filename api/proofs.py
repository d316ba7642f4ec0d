"""Proofs that a request comes from the device whose key is enrolled: DPoP (RFC 9449), with ES256 or Ed25519 keys.

Each request carries a small token of its own in the header `DPoP`, bound to its method, path and access token, and used once.
Host and scheme are not compared: proxies change both. `seen` is of this process: a proof could be used once on each node within `WINDOW`.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson
from jwt.types import Options

from schema.problems import Problem, Refused

WINDOW = 120.0  # seconds between the proof and its arrival; a device corrects its clock by the Date header
REMEMBERED = 100_000
LONGEST = 4096
_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_CURVES = {"ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
_CHECKS: Options = {"require": ["jti", "htm", "htu", "iat"], "verify_exp": False, "verify_iat": False, "verify_aud": False}

REQUIRED = Problem("DEVICE_PROOF_REQUIRED", "This device is enrolled with a key; requests must be signed with it.")
INVALID = Problem("DEVICE_PROOF_INVALID", "The proof of the device's key is not valid for this request.")
STALE = Problem("DEVICE_PROOF_STALE", "The proof's time is too far from the server's; take it from the Date header.")


@dataclass(frozen=True, slots=True)
class Proof:
    """What came with a request: the proof, and what it must be for."""

    text: str | None
    method: str
    path: str


class Proofs:
    """The proofs that this process has seen."""

    def __init__(self) -> None:
        self.seen: OrderedDict[str, float] = OrderedDict()

    def thumbprint(self, proof: Proof | None, token: str | None, now: datetime) -> str:
        """RFC 7638 thumbprint of the key that signed; `token` is the access token that it must be bound to.

        Raises Refused: DEVICE_PROOF_REQUIRED, DEVICE_PROOF_INVALID or DEVICE_PROOF_STALE.
        """
        if proof is None or not proof.text:
            raise Refused(REQUIRED)
        try:
            key, claims = _read(proof.text)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            raise Refused(INVALID) from None
        if claims["htm"] != proof.method or urlsplit(str(claims["htu"])).path != proof.path:
            raise Refused(INVALID)
        if token is not None and claims.get("ath") != _encoded(hashlib.sha256(token.encode()).digest()):
            raise Refused(INVALID)
        self._once(f"{key}\n{claims['jti']}", float(claims["iat"]), now.timestamp())
        return key

    def _once(self, name: str, issued: float, now: float) -> None:
        if abs(now - issued) > WINDOW:
            raise Refused(STALE)
        if self.seen.get(name, 0.0) > now:
            raise Refused(INVALID)
        self.seen[name] = now + 2 * WINDOW
        self.seen.move_to_end(name)
        if len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)


def _read(text: str) -> tuple[str, dict[str, Any]]:
    """Thumbprint and claims of a proof whose signature is good."""
    header = jwt.get_unverified_header(text[:LONGEST])
    if header.get("typ") != "dpop+jwt" or header.get("alg") not in _CURVES:
        raise ValueError("no proof")
    jwk = header["jwk"]
    if (jwk["kty"], jwk["crv"]) != _CURVES[header["alg"]] or "d" in jwk:
        raise ValueError("not a key of ours")
    claims = jwt.decode(text, jwt.PyJWK(jwk, header["alg"]).key, algorithms=[header["alg"]], options=_CHECKS)
    float(claims["iat"])
    return thumbprint(jwk), claims


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638 of a public key in JSON form."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return _encoded(hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
