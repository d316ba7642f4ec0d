"""Each topic of the bench really does its work; how fast is for the bench to say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from api import bench, cluster, seed
from api.bench.field import Sizes
from api.bench.report import Figure, line
from api.settings import Settings

SIZES = Sizes(
    page=20,
    pages=2,
    pushes=((10, 2, 1), (10, 2, 2)),
    alone=3,
    together=8,
    connections=4,
    wakes=3,
    county=60,
    contested=(10, 2),
    soak_seconds=0.5,
    soak_clients=2,
    patients=300,
    places=20,
    siting=(3, 20, 30),
    points=300,
    spots=20_000,
    register=500,
    tiles=10,
    tile_seconds=0.05,
    peers=False,
)
ENTERPRISES = 60


@pytest.fixture(scope="module")
def found(cluster_url: str, china: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Figure]]]:
    """Figures by name, of all topics in one run."""
    name = f"test_{os.getpid()}_bench"
    url = asyncio.run(cluster.create_database(cluster_url, name, china))
    asyncio.run(seed.fill(url, ENTERPRISES, bench.SEED, Console(file=StringIO())))
    figures: dict[str, list[Figure]] = {}
    order = bench.Order(tuple(bench.TOPICS), ENTERPRISES, 1, SIZES)
    settings = Settings(database_url=url, data=tmp_path_factory.mktemp("bench"))
    bench.measure(settings, order, lambda figure: figures.setdefault(figure.name, []).append(figure), lambda text: None)
    yield figures
    asyncio.run(cluster.drop_database(cluster_url, name))


def _value(found: dict[str, list[Figure]], name: str) -> float:
    return found[name][0].value


@pytest.mark.parametrize(
    ("name", "references"),
    [
        ("sync.empty.p50", {"__typename", "SELECT 1"}),
        ("sync.empty.at4", {"__typename", "SELECT 1"}),
        ("sync.elsewhere.p50", {"__typename", "SELECT 1"}),
        ("sync.elsewhere.at4", {"__typename", "SELECT 1"}),
        ("wake.commit.p50", {"notify"}),
        ("wake.commit.p95", {"notify"}),
        ("wake.answer.p50", {"notify"}),
        ("conflicts.10", {"uncontested"}),
    ],
)
def test_a_figure_stands_beside_its_references_of_the_same_run(found: dict[str, list[Figure]], name: str, references: set[str]) -> None:
    assert {figure.reference for figure in found[name]} == references
    assert all(figure.value > 0 or name == "wake.answer.p50" for figure in found[name])
    assert all(figure.ratio is not None for figure in found[name])
    assert all(f"{name}.{reference}" in found for reference in references)


def test_the_terminal_of_an_empty_round_holds_documents(found: dict[str, list[Figure]]) -> None:
    assert _value(found, "sync.documents") > 0


def test_the_jitter_of_a_wake_is_said(found: dict[str, list[Figure]]) -> None:
    assert 0 < _value(found, "wake.jitter.mean") < _value(found, "wake.jitter.at1000")


def test_a_first_sync_is_filled_to_its_size_and_compressed(found: dict[str, list[Figure]]) -> None:
    assert _value(found, "first.documents") >= SIZES.county
    assert _value(found, "first.bytes") / _value(found, "first.documents") < 1000


def test_a_real_client_gets_the_first_sync_too(found: dict[str, list[Figure]]) -> None:
    assert {figure.reference for figure in found["first.seconds"]} == {"floor", "RxDB"}
    assert _value(found, "first.bytes.RxDB") > _value(found, "first.documents")


def test_a_soak_counts_what_was_done_and_weighs_the_server(found: dict[str, list[Figure]]) -> None:
    assert _value(found, "soak.pushed") >= 20
    assert _value(found, "soak.pulled") > 0
    assert _value(found, "soak.requests") >= 2
    assert 20 < _value(found, "soak.memory.start") < 1000
    assert _value(found, "soak.memory.flat") in (0, 1)


def test_planning_is_beside_pysal_and_greedy_with_its_gap(found: dict[str, list[Figure]]) -> None:
    assert {figure.reference for figure in found["planning.2sfca.seconds"]} == {"access"}
    for aim in ("covering", "median"):
        assert _value(found, f"planning.{aim}.gap") == 0
        assert (found[f"planning.{aim}.value"][0].ratio or 0) >= 1


def test_tiles_of_both_layers_are_complete_at_each_zoom(found: dict[str, list[Figure]]) -> None:
    assert _value(found, "tiles.complete") == 100
    assert all(_value(found, f"tiles.{layer}.z{z}") > 0 for layer in ("county", "enterprise") for z in (4, 8, 12))
    assert _value(found, "tiles.cached") > 0


def test_maps_of_the_country_are_what_a_grouping_counts(found: dict[str, list[Figure]]) -> None:
    assert _value(found, "geo.indicators.enterprises") >= SIZES.register
    assert _value(found, "geo.indicators.counties") > 2800
    assert found["geo.indicators.warm.p50"][0].reference == "GROUP BY"
    assert all(_value(found, f"geo.indicators.{name}") > 0 for name in ("recompute", "recompute_one", "past.p50", "followed.p50"))


def test_figures_are_lines_of_json(found: dict[str, list[Figure]]) -> None:
    [figure] = found["sync.documents"]
    assert line(figure) == (
        f'{{"name": "sync.documents", "value": {figure.value}, "unit": "documents held", "reference": null, "ratio": null}}'
    )


def test_pull_and_push_are_measured_beside_the_plain_server_in_the_same_run(found: dict[str, list[Figure]]) -> None:
    assert {"push.10", "push.10.plain", "push.10.at2", "pull", "pull.floor", "pull.plain", "pull.empty.p50"} <= set(found)


def test_a_topic_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(Settings(), ["pull", "tides"])
    assert "there is no topic tides" in capsys.readouterr().err
