"""What every resolver gets to know about the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from api.accounts import Accounts
from api.database import Database
from api.settings import Settings
from schema.actor import Actor
from schema.problems import Problem, Refused

NOBODY = Problem("UNAUTHENTICATED", "Sign in first.")


@dataclass(slots=True)
class RequestContext:
    """`actor` is None without a valid access token; `refusal` then says what is wrong with the token that came."""

    actor: Actor | None
    database: Database
    settings: Settings
    accounts: Accounts
    now: datetime
    address: str = ""  # of the peer, for limits and the audit
    token: str | None = None
    refusal: Problem | None = None
    expires_at: float = 0.0  # of the access token, seconds since 1970

    def signed_in(self) -> Actor:
        """Raises Refused: UNAUTHENTICATED, TOKEN_EXPIRED or TOKEN_INVALID."""
        if self.actor is None:
            raise Refused(self.refusal or NOBODY)
        return self.actor
