"""Figures for Prometheus at /metrics. Labels come from fixed sets, never from what a client names things."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One app's figures. `observe` hangs a figure of another part (the feed's lag) on a gauge."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("zhijian_graphql_requests", "GraphQL requests", ("operation", "status"), registry=self.registry)
        self.seconds = Histogram(
            "zhijian_graphql_seconds", "Time from request to answer", ("operation",), buckets=BUCKETS, registry=self.registry
        )
        self.sockets = Gauge("zhijian_websockets", "Open WebSocket connections", registry=self.registry)
        self.subscriptions = Gauge("zhijian_subscriptions", "Running subscriptions", registry=self.registry)
        self.connections = Gauge("zhijian_database_connections", "Database connections in use", ("door",), registry=self.registry)

    def request(self, operation: str, status: int, seconds: float) -> None:
        self.requests.labels(operation, f"{status // 100}xx").inc()
        self.seconds.labels(operation).observe(seconds)

    def observe(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Calls `read` at each scrape, e.g. `observe("zhijian_feed_lag_seconds", "…", feed.lag)`."""
        Gauge(name, meaning, registry=self.registry).set_function(read)


async def metrics(request: Request) -> Response:
    figures: Metrics = request.app.state.metrics
    for door, used in request.app.state.database.usage().items():
        figures.connections.labels(door).set(used)
    return Response(generate_latest(figures.registry), media_type=CONTENT_TYPE_LATEST)
