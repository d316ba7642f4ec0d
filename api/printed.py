"""`python -m api schema`: the printed GraphQL schema and the permission table.

Both are committed, so that a review sees what a declaration changed.
"""

from __future__ import annotations

import argparse
import sys

from strawberry.printer import print_schema

from api.graphql.names import pascal
from api.graphql.schema import build_schema
from api.settings import ROOT, Settings
from api.surface import MUTATIONS, QUERIES
from schema.actor import Role
from schema.base import Record, Verb
from schema.registry import Registry, load

SCHEMA = ROOT / "schema" / "schema.graphql"
PERMISSIONS = ROOT / "schema" / "permissions.md"
_LETTERS = ((Verb.READ, "R"), (Verb.CREATE, "C"), (Verb.UPDATE, "U"), (Verb.DELETE, "D"))


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api schema", description="Write schema/schema.graphql and schema/permissions.md.")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    wanted = {SCHEMA: printed_schema(), PERMISSIONS: permission_table()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    if parser.parse_args(arguments).check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python -m api schema", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        print(f"written: {path.relative_to(ROOT)}")
    return 0


def printed_schema() -> str:
    return print_schema(build_schema(queries=QUERIES, mutations=MUTATIONS)) + "\n"


def permission_table(registry: Registry | None = None) -> str:
    """Who may do what, and which columns only some may read or write."""
    records = (registry or load()).values()
    roles = [role for role in Role if any(role in record.access for record in records)]
    lines = [
        "# Permissions",
        "",
        "Derived from the declarations by `python -m api schema`. R read, C create, U update, D delete; always within scope.",
        "",
    ]
    lines += [f"| record | {' | '.join(role.value for role in roles)} |", f"|---|{'---|' * len(roles)}"]
    lines += [f"| {record.name} {record.label} | {' | '.join(_letters(record, role) for role in roles)} |" for record in records]
    lines += ["", "| column | read by | written by |", "|---|---|---|"]
    lines += [line for record in records for line in _narrowed(record)]
    return "\n".join(lines) + "\n"


def _letters(record: Record, role: Role) -> str:
    return "".join(letter for verb, letter in _LETTERS if record.may(role, verb)) or "–"


def _narrowed(record: Record) -> list[str]:
    columns = [column for column in record.columns if column.readers is not None or column.writers is not None]
    return [f"| {pascal(record.name)}.{column.name} | {_names(column.readers)} | {_names(column.writers)} |" for column in columns]


def _names(roles: frozenset[Role] | None) -> str:
    return "whoever may use the record" if roles is None else ", ".join(sorted(role.value for role in roles))
