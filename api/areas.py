"""`python -m api areas`: the administrative areas of the installed data packages, into the database; then the records follow them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api import cluster
from api.settings import Settings, engine_url
from geo import importing
from geo.coordinates import Datum
from geo.divisions import Counts, load_areas, today
from schema import registry
from schema.problems import Refused
from sync import rescoping


def main(settings: Settings, arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    console = Console(soft_wrap=True)
    try:
        with cluster.running(settings) as url:
            return asyncio.run(bring_in(url, given, console)) if given.file else _load(url, console, given.valid_from)
    except Refused as refused:
        console.print("\n".join(problem.message for problem in refused.problems), style="red", markup=False)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m api areas", description="Load the areas, unless this version is there; or import outlines.")
    parser.add_argument("--import", dest="file", type=Path, metavar="FILE", help="GeoPackage, GeoJSON, shapefile or what GDAL reads")
    parser.add_argument("--code-field", default="code", help="field with the division code (default: code)")
    parser.add_argument("--name-field", help="field with the name, for the report")
    parser.add_argument("--datum", type=Datum, choices=list(Datum), default=Datum.CGCS2000, help="of the coordinates (default: CGCS2000)")
    parser.add_argument("--valid-from", type=date.fromisoformat, help="first day of what is new (default: today)")
    parser.add_argument("--source", help="what is noted as their source (default: the file's name)")
    parser.add_argument("--dry-run", action="store_true", help="check and report, change nothing")
    return parser


def _load(url: str, console: Console, on: date | None) -> int:
    counts = asyncio.run(load(url, console, on))
    what = "loaded" if counts.loaded else "there already"
    console.print(f"  {counts.areas:,} areas with {counts.boundaries:,} boundaries {what}.", highlight=False)
    return 0


async def bring_in(url: str, given: argparse.Namespace, console: Console) -> int:
    """Check a file of outlines, say what is wrong, and take it over if nothing is; 1 if it was not taken."""
    outlines, findings, epsg = importing.read_file(given.file, given.code_field, given.name_field, given.datum)
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            outlines, more = await importing.check(connection, outlines, epsg)
            report = [*findings, *more]
            _print(report, len(outlines), console)
            if any(finding.error for finding in report) or given.dry_run:
                return int(not given.dry_run or any(finding.error for finding in report))
            on = given.valid_from or await today(connection)
            changed = await importing.bring_in(connection, outlines, given.source or given.file.name, on)
        console.print(f"  {len(changed):,} outlines are new from {on}.", highlight=False)
        await rescoping.run(engine, registry.load())
    finally:
        await engine.dispose()
    return 0


def _print(findings: Sequence[importing.Finding], outlines: int, console: Console) -> None:
    console.print(f"  {outlines:,} outlines read, {len(findings):,} findings.", highlight=False)
    for finding in findings:
        console.print(
            f"  {'ERROR' if finding.error else 'note '} {finding.kind} {finding.code}: {finding.message}", highlight=False, markup=False
        )


async def load(url: str, console: Console, on: date | None = None) -> Counts:
    """Load the areas in one transaction, and let the records follow in many, with a progress bar.

    Interrupted, the next call or the running server goes on.
    """
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("areas")

            def tell(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total or None)

            async with engine.begin() as connection:
                counts = await load_areas(connection, tell, on=on)
            await rescoping.run(engine, registry.load(), tell)
            return counts
    finally:
        await engine.dispose()
