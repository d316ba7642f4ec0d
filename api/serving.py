"""What the HTTP endpoint and the sockets both serve from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from api.documents import Documents
from api.limits import Limits
from api.metrics import Metrics
from api.pressure import Pressure

Make = TypeVar("Make")


@dataclass(eq=False)
class Serving(Generic[Make]):
    """`make_context` says who asks."""

    documents: Documents
    make_context: Make
    metrics: Metrics
    limits: Limits
    production: bool
    pressure: Pressure
