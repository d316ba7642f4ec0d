"""`python -m api VERB`: each verb is a function `(settings, arguments) -> exit code`, imported when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.settings import Settings

Function = Callable[[Settings, list[str]], int]


@dataclass(frozen=True)
class Verb:
    """`place` is module:function."""

    place: str
    summary: str

    def load(self) -> Function:
        module, _, name = self.place.partition(":")
        function: Function = getattr(importlib.import_module(module), name)
        return function


VERBS = {
    "demo": Verb("api.demo:main", "prepare everything, play the field day, go on serving"),
    "serve": Verb("api.serve:main", "serve HTTP and GraphQL"),
    "story": Verb("api.story:main", "play the field day against a server of its own"),
    "fuzz": Verb("api.fuzz:main", "sync under random faults with real terminals"),
    "migrate": Verb("api.migrate:main", "bring the database to the newest migration, or write the next one"),
    "areas": Verb("api.areas:main", "load the administrative areas, or import outlines of your own"),
    "indicators": Verb("api.indicators:main", "list the indicators, or count all their values anew"),
    "backup": Verb("api.backup:backup_main", "write database, keys and files into one file, and check it"),
    "restore": Verb("api.backup:restore_main", "put the state of a backup in the place of the database"),
    "handover": Verb("api.handover:main", "switch to a standby as planned, without a new epoch"),
    "seed": Verb("api.seed:main", "fill the database with invented data"),
    "audit": Verb("api.audit:main", "verify the audit's hash chain, print its heads, or fit a role that can't change it"),
    "bench": Verb("api.bench:main", "measure pulls, pushes, sync rounds, wakes and more beside their references"),
    "schema": Verb("api.printed:main", "print the GraphQL schema and the permission table"),
    "doctor": Verb("api.doctor:main", "say what is missing, and what to do"),
    "stop": Verb("api.cluster:main", "stop a private PostgreSQL that was left running"),
}


def main(arguments: Sequence[str]) -> int:
    """Carry out the verb; `VERB --help` tells its options. 2 for a verb that there isn't, 130 after Ctrl-C."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb = VERBS.get(arguments[0])
    if verb is None:
        print(f"There is no verb {arguments[0]!r}.\n\n{usage()}", file=sys.stderr)
        return 2
    return _carry_out(verb, list(arguments[1:]))


def usage() -> str:
    lines = [f"  {name:<11}{verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(["usage: python -m api VERB [options]; VERB --help says more", "", *lines])


def _carry_out(verb: Verb, arguments: list[str]) -> int:
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return verb.load()(settings, arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
