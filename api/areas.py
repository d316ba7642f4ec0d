"""`python -m api areas`: the administrative areas of the installed data packages, into the database."""

from __future__ import annotations

import argparse
import asyncio

from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster
from api.settings import Settings, engine_url
from geo.divisions import Counts, load_areas


def main(settings: Settings, arguments: list[str]) -> int:
    argparse.ArgumentParser("python -m api areas", description="Load the areas, unless this version of them is there.").parse_args(
        arguments
    )
    console = Console(soft_wrap=True)
    with cluster.running(settings) as url:
        counts = asyncio.run(load(url, console))
    what = "loaded" if counts.loaded else "there already"
    console.print(f"  {counts.areas:,} areas with {counts.boundaries:,} boundaries {what}.", highlight=False)
    return 0


async def load(url: str, console: Console) -> Counts:
    """Load the areas in one transaction, with a progress bar."""
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("areas")
            async with engine.begin() as connection:
                return await load_areas(
                    connection, lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
                )
    finally:
        await engine.dispose()
