"""`make demo`: from nothing to a served field day. Each step knows when it has been done before."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TypeVar

from rich.console import Console

from api import cluster, story
from api.__main__ import VERBS
from api.serve import end_on_terminate
from api.server_process import ServerError, ServerProcess
from api.settings import Settings

PREPARATION = {
    "migrate": "bring the database to the newest migration",
    "areas": "load every area of China",
    "seed": "fill Jilin province with invented enterprises",
}
"""Verbs in order with what they do here; each is quick when there is nothing left to do."""


Result = TypeVar("Result")


class StepError(Exception):
    """A step said that it failed; its own words stand above."""


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api demo", description="Prepare everything, play the field day, go on serving.")
    parser.add_argument("--once", action="store_true", help="stop after the field day, with exit code 0 or 1")
    once = parser.parse_args(arguments).once
    end_on_terminate()
    try:
        return play(settings, once=once, console=Console(soft_wrap=True))
    except (cluster.ClusterError, ServerError, StepError) as error:
        print(error, file=sys.stderr)
        return 1


def play(settings: Settings, *, once: bool, console: Console) -> int:
    """The exit code: 0 when the field day ended as it should, also when someone ended the serving after it."""
    console.print("Zhijian: field platform for occupational-health supervision. All persons and enterprises are invented.")
    with ExitStack() as stack:
        url = _step(console, "start PostgreSQL with PostGIS", lambda: stack.enter_context(cluster.running(settings)))
        here = replace(settings, database_url=url)
        for name, title in PREPARATION.items():
            _step(console, title, partial(_verb, name, here))
        server = ServerProcess(here)
        _step(console, f"start the server on {server.url}", lambda: stack.enter_context(server))
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the stopping short
        passed = story.run(here, server, console)
        return _keep_serving(server, passed, console) if not once else 0 if passed else 1


def _step(console: Console, title: str, do: Callable[[], Result]) -> Result:
    console.print(f"[bold]·[/bold] {title}")
    began = time.monotonic()
    result = do()
    console.print(f"  done in {time.monotonic() - began:.1f} s", style="dim")
    return result


def _verb(name: str, settings: Settings) -> None:
    if VERBS[name].load()(settings, []):
        raise StepError(f"`python -m api {name}` failed.")


def _keep_serving(server: ServerProcess, passed: bool, console: Console) -> int:
    console.print(f"\nServing on {server.url} (sign in as changchun, password zhijian-demo). Ctrl-C stops everything.")
    try:
        server.wait()
    except KeyboardInterrupt:
        console.print("Stopping.")
        return 0 if passed else 1
    raise ServerError(f"The server ended by itself: see {server.log}")
