"""What every resolver gets to know about the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.accounts import Accounts
from api.contacts import Contacts
from api.database import Database
from api.news import News
from api.proofs import Proof
from api.settings import Settings
from schema.actor import Actor
from schema.problems import Problem, Refused
from sync.moment import Moment
from sync.wake import Subscription, WakeHub

NOBODY = Problem("UNAUTHENTICATED", "请先登录。")


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
    changes_at: float | None = None  # when a grant begins or ends by itself
    hub: WakeHub | None = None  # None while the app is not running
    proof: Proof | None = None  # that the device has its key
    offset_ms: int = 0  # server's clock minus the device's
    contacts: Contacts | None = None  # None while the app is not running
    listening: list[Subscription] = field(default_factory=list)  # open wake subscriptions of a socket
    rows: Mapping[str, list[Any]] = field(default_factory=dict)  # rows of a push by variable, as they came
    news: News = field(init=False)  # shared by the pulls of this request

    def __post_init__(self) -> None:
        self.news = News(self.database)

    @property
    def moment(self) -> Moment:
        """Now, with the offset of the device's clock."""
        return Moment(self.now, self.offset_ms)

    def signed_in(self) -> Actor:
        """Raises Refused: UNAUTHENTICATED, TOKEN_EXPIRED or TOKEN_INVALID."""
        if self.actor is None:
            raise Refused(self.refusal or NOBODY)
        return self.actor
