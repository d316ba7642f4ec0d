"""The audit of npm's graphql-http, unmodified."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from api.settings import ROOT
from tests.api.http_world import prepare, serving


async def test_no_must_and_no_should_of_graphql_over_http_fails(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path, schema=None) as world:
        script = str(ROOT / "tests/api/audit.mjs")
        process = await asyncio.create_subprocess_exec("node", script, f"{world.url}/graphql", stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    results = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == 0
    assert len(results) > 50
    assert [result for result in results if result["status"] == "error"] == []
    assert [result for result in results if result["status"] != "ok"] == []
