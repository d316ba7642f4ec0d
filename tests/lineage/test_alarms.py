"""What a person is told before terminals notice: rules over figures that exist, and a stalled feed at /readyz."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml  # type: ignore[import-untyped]

from api import health, parts
from api.settings import ROOT
from tests.lineage.lineage_world import World, prepare, serving

NAME = re.compile(r"zhijian_\w+")


@pytest.fixture
async def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(parts, "LAG_SECONDS", 0.05)
    monkeypatch.setattr(health, "STALLED_SECONDS", 0.3)
    await prepare(database_url)
    async with serving(database_url, tmp_path) as made:
        yield made


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


async def _figures(world: World) -> dict[str, str]:
    """By name, labels left out; what NaN says is kept as text."""
    lines = (await world.http.get("/metrics")).text.splitlines()
    return {line.split()[0].partition("{")[0]: line.split()[-1] for line in lines if line and not line.startswith("#")}


async def test_every_figure_that_a_rule_names_is_at_metrics(world: World) -> None:
    await world.sign_in("ins")
    known = await _figures(world)
    named = {rule["alert"]: NAME.findall(rule["expr"]) for rule in _rules()}
    assert all(named.values())
    assert {name for names in named.values() for name in names} - known.keys() == set()


def test_every_rule_says_what_it_means_and_what_to_do() -> None:
    for rule in _rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert all(rule["annotations"][part] for part in ("summary", "what_to_do"))


async def test_a_stalled_stamper_is_a_figure_and_a_warning_until_it_goes_on(world: World) -> None:
    client = await world.sign_in("ins")
    await world.stamped()
    holder = await asyncpg.connect(world.app.state.database.url)
    await holder.execute("BEGIN; SELECT FROM sync_head FOR UPDATE")
    await client.push((None, client.new("甲厂")))
    stalled = await _readyz(world, warned=True)
    assert stalled["status"] == "ok"
    assert stalled["warning"].startswith("feed stalled")
    assert float((await _figures(world))["zhijian_feed_lag_seconds"]) > 0.3
    await holder.execute("ROLLBACK")
    assert await _readyz(world, warned=False) == {"status": "ok"}
    await holder.close()


async def _readyz(world: World, *, warned: bool) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            answer = await world.http.get("/readyz")
            assert answer.status_code == 200
            found: dict[str, Any] = answer.json()
            if ("warning" in found) == warned:
                return found
            await asyncio.sleep(0.05)
