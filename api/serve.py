"""`python -m api serve`: one API process, started and stopped cleanly."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from types import FrameType

import uvicorn

from api import cluster
from api.app import build
from api.memory import collect_rarely
from api.server import config
from api.settings import Settings


class Announcing(uvicorn.Server):
    """Says on standard output when the first request can come."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            print(f"Serving on http://{self.config.host}:{self.config.port}", flush=True)


def main(settings: Settings, arguments: list[str]) -> int:
    argparse.ArgumentParser("python -m api serve", description="Serve on HOST and PORT until SIGTERM or Ctrl-C.").parse_args(arguments)
    end_on_terminate()
    try:
        with cluster.running(settings) as url:
            collect_rarely()
            server = Announcing(config(build(replace(settings, database_url=url)), settings))
            server.run()
            return 0 if server.started else 1
    except cluster.ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def end_on_terminate() -> None:
    """SIGTERM unwinds the stack, so that what was started is stopped; uvicorn raises it again when it is done."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
