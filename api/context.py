"""What every resolver gets to know about the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.accounts import Accounts
from api.database import Database
from api.settings import Settings
from schema.actor import Actor
from schema.problems import Problem, Refused
from sync.wake import WakeHub

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
    hub: WakeHub | None = None  # None while the app is not running
    rows: Mapping[str, list[Any]] = field(default_factory=dict)  # rows of a push by variable, as they came

    def signed_in(self) -> Actor:
        """Raises Refused: UNAUTHENTICATED, TOKEN_EXPIRED or TOKEN_INVALID."""
        if self.actor is None:
            raise Refused(self.refusal or NOBODY)
        return self.actor
