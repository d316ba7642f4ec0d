"""`python -m api handover give|take`: a planned switch to a standby after which no terminal has to replay.

`give` on the primary, stop it, promote the standby, `take` there. Unplanned promotions need neither: the epoch ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import asyncpg

from api import cluster
from api.database import plain_url
from api.settings import Settings
from sync.lineage import hand_over, take_over


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api handover", description="A planned switch to a standby within the same epoch.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("give", help="on the primary: refuse all writes from here on; then stop it and promote the standby")
    verbs.add_parser("take", help="on the promoted standby: writes go on. On the old primary only if nothing was promoted")
    chosen = parser.parse_args(arguments)
    try:
        with cluster.running(settings) as url:
            print(asyncio.run(_carry_out(plain_url(url), chosen.verb)))
        return 0
    except (cluster.ClusterError, asyncpg.PostgresError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


async def _carry_out(url: str, verb: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        if verb == "take":
            return f"Writes go on, in epoch {await take_over(connection)}."
        await hand_over(connection)
        return "Nobody writes any more. Stop this server cleanly, promote the standby, and run `handover take` there."
    finally:
        await connection.close()
