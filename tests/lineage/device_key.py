"""A device's key and its DPoP proofs, as a browser's WebCrypto would make them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm


@dataclass
class DeviceKey:
    algorithm: str = "ES256"
    skew: float = 0.0  # seconds that its clock is ahead
    private: Any = field(init=False)

    def __post_init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1()) if self.algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()

    @property
    def jwk(self) -> dict[str, Any]:
        made = (ECAlgorithm if self.algorithm == "ES256" else OKPAlgorithm).to_jwk(self.private.public_key())
        return {name: value for name, value in json.loads(made).items() if name in ("kty", "crv", "x", "y")}

    def proof(self, token: str | None = None, method: str = "POST", path: str = "/graphql", **claims: Any) -> str:
        values = {"jti": str(uuid.uuid4()), "htm": method, "htu": f"https://any.example{path}", "iat": int(time.time() + self.skew)}
        if token:
            values["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        return jwt.encode({**values, **claims}, self.private, self.algorithm, headers={"typ": "dpop+jwt", "jwk": self.jwk})
