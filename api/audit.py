"""`python -m api audit`: verify the hash chain, print its heads, and fit a database role that can add to the audit but not change it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from api import cluster
from api.database import SESSION, plain_url
from api.settings import Settings
from sync.audit import Chainer, Fault, Report, heads, verify

INSERT_ONLY = ("sync_change", "audit_entry", "audit_chain")
Heads = Mapping[str, tuple[int, str]]


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api audit", description="The audit and its hash chain.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verifying = verbs.add_parser("verify", help="recompute every link; exit code 1 for any altered, missing or reordered entry")
    verifying.add_argument(
        "--heads", metavar="FILE", type=Path, help="heads printed earlier: also finds chains that were cut or written anew"
    )
    verbs.add_parser("heads", help="the end of each area's chain as JSON, to be kept outside the database")
    verbs.add_parser("role", help="let an existing role work, but only add to the audit").add_argument("name")
    chosen = parser.parse_args(arguments)
    try:
        with cluster.running(settings) as url:
            return asyncio.run(_carry_out(url, settings, chosen))
    except cluster.ClusterError as error:
        print(error, file=sys.stderr)
        return 1


async def _carry_out(url: str, settings: Settings, chosen: argparse.Namespace) -> int:
    connection = await asyncpg.connect(plain_url(url), server_settings=SESSION)
    try:
        if chosen.verb == "role":
            await fit_role(connection, chosen.name)
            return 0
        if chosen.verb == "heads":
            await Chainer(plain_url(url), settings.audit_digest).drain()
            print(json.dumps(await heads(connection)))
            return 0
        return await _verify(connection, _kept(chosen.heads))
    finally:
        await connection.close()


def _kept(path: Path | None) -> Heads:
    return {area: (seq, text) for area, (seq, text) in json.loads(path.read_text()).items()} if path else {}


async def _verify(connection: Any, kept: Heads) -> int:
    report, faults = Report(), 0
    async for fault in verify(connection, report, kept):
        faults += 1
        print(fault)
    print(f"{report.links} entries in {report.areas} chains, {report.pending} not chained yet, {faults} faults")
    return 1 if faults else 0


async def faults_of(connection: Any, kept: Heads | None = None) -> list[Fault]:
    """Every fault there is."""
    return [fault async for fault in verify(connection, Report(), kept)]


async def fit_role(connection: Any, name: str) -> None:
    """Lets role `name` run the application. It owns nothing, so it can't switch off the triggers that guard the audit either."""
    role = '"' + name.replace('"', '""') + '"'
    tables = ", ".join(INSERT_ONLY)
    async with connection.transaction():
        for statement in (
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {tables} FROM {role}",
            f"REVOKE CREATE ON SCHEMA public FROM {role}",
        ):
            await connection.execute(statement)
