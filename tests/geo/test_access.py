"""Reach and floating catchments, against the geodesic, plain loops and PySAL's `access`."""

from __future__ import annotations

import sqlite3
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import access
from geo.access import Floats, as_points
from geo.demand import towns_of
from geo.roads import RoadsError, read_roads, roads_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from access import Access, weights

GEOD = Geod(ellps="WGS84")
PLACES = st.lists(st.tuples(st.floats(121, 131), st.floats(40, 46)), min_size=0, max_size=12).map(as_points)


def drawn(n: int, seed: int = 1) -> Floats:
    chance = np.random.default_rng(seed)
    return np.column_stack((chance.uniform(125, 126.5, n), chance.uniform(43, 44, n)))


def truth(demand: Floats, sites: Floats) -> Floats:
    shape = (len(demand), len(sites))
    if 0 in shape:
        return np.zeros(shape)
    lon, lat = np.repeat(demand, len(sites), axis=0).T
    to_lon, to_lat = np.tile(sites, (len(demand), 1)).T
    return np.asarray(GEOD.inv(lon, lat, to_lon, to_lat)[2]).reshape(shape)


@given(PLACES, PLACES)
@settings(max_examples=40, deadline=None)
def test_a_distance_is_the_geodesic_to_ten_millionths(demand: Floats, sites: Floats) -> None:
    np.testing.assert_allclose(access.distances(demand, sites), truth(demand, sites), rtol=1e-5, atol=1e-6)


@given(PLACES, PLACES, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_nearest_are_those_of_a_plain_search_and_missing_ones_are_said(demand: Floats, sites: Floats, k: int) -> None:
    metres, which = access.nearest(demand, sites, k)
    assert metres.shape == which.shape == (len(demand), k)
    expected = np.sort(truth(demand, sites), axis=1)[:, :k]
    held = min(k, len(sites))
    np.testing.assert_allclose(metres[:, :held], expected, rtol=1e-5, atol=1e-3)
    assert (which[:, :held] >= 0).all()
    assert (which[:, held:] == -1).all()
    assert np.isinf(metres[:, held:]).all()


@given(PLACES, PLACES, st.floats(0, 600_000))
@settings(max_examples=40, deadline=None)
def test_pairs_within_a_reach_are_all_there_are(demand: Floats, sites: Floats, metres: float) -> None:
    found = access.pairs_within(demand, sites, metres)
    every = access.distances(demand, sites)
    expected = {(int(i), int(j)) for i, j in zip(*np.nonzero(every < metres * (1 - 1e-9) - 1e-5), strict=True)}
    possible = {(int(i), int(j)) for i, j in zip(*np.nonzero(every <= metres * (1 + 1e-9) + 1e-5), strict=True)}
    assert expected <= set(zip(found.demand.tolist(), found.site.tolist(), strict=True)) <= possible
    assert (found.cost <= metres).all()


def test_nearest_in_degrees_would_be_another_site() -> None:
    demand, sites = as_points([[125.0, 44.0]]), as_points([[125.0, 44.9], [126.0, 44.0]])
    assert access.nearest(demand, sites)[1].tolist() == [[1]]


def test_a_share_counts_persons_and_says_when_there_are_none() -> None:
    costs = np.array([1.0, 5.0, np.inf])
    assert access.share_within(np.array([10.0, 20.0, 10.0]), costs, 5.0) == 0.75
    assert access.share_within(np.zeros(3), costs, 5.0) is None
    assert access.share_within(np.zeros(0), np.zeros(0), 5.0) is None


@pytest.mark.parametrize("pair", [(181, 0), (0, 91), (float("nan"), 0)])
def test_what_is_no_place_is_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="lon, lat"):
        as_points([pair])


STEPS = {5_000.0: 1.0, 15_000.0: 0.68, 30_000.0: 0.22}


@pytest.mark.parametrize("seed", [1, 2])
def test_floating_catchments_equal_pysal(seed: int) -> None:
    import pandas as pd

    demand, sites = drawn(60, seed), drawn(12, seed + 10)
    chance = np.random.default_rng(seed)
    people, places = chance.integers(1, 90, 60).astype(float), chance.integers(1, 30, 12).astype(float)
    pairs = access.pairs_within(demand, sites, 30_000)
    costs = pd.DataFrame({"origin": pairs.demand, "dest": pairs.site, "cost": pairs.cost})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Access(
            demand_df=pd.DataFrame({"id": range(60), "n": people}),
            demand_index="id",
            demand_value="n",
            supply_df=pd.DataFrame({"id": range(12), "s": places}),
            supply_index="id",
            supply_value="s",
            cost_df=costs,
            cost_origin="origin",
            cost_dest="dest",
            cost_name="cost",
        )
        width, step = weights.gaussian(12_000), weights.step_fn(STEPS)
        expected = [
            peer.two_stage_fca(max_cost=30_000).iloc[:, -1],
            peer.enhanced_two_stage_fca(max_cost=30_000, weight_fn=width).iloc[:, -1],
            peer.enhanced_two_stage_fca(max_cost=30_000, weight_fn=step).iloc[:, -1],
            peer.three_stage_fca(max_cost=30_000, weight_fn=width).iloc[:, -1],
        ]
    found = [
        access.two_step(pairs, people, places),
        access.enhanced(pairs, people, places, access.gaussian(12_000)),
        access.enhanced(pairs, people, places, access.stepwise(STEPS)),
        access.three_step(pairs, people, places, access.gaussian(12_000)),
    ]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.reindex(range(60)).fillna(0).to_numpy(), rtol=1e-9, atol=1e-15)


@given(PLACES, PLACES, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_what_is_handed_out_is_the_supply_in_reach_of_somebody(demand: Floats, sites: Floats, seed: int) -> None:
    chance = np.random.default_rng(seed)
    people, places = chance.integers(0, 3, len(demand)).astype(float), chance.integers(0, 9, len(sites)).astype(float)
    pairs = access.pairs_within(demand, sites, 80_000)
    reached = np.unique(pairs.site[people[pairs.demand] > 0])
    assert access.two_step(pairs, people, places) @ people == pytest.approx(places[reached].sum())
    weighing = access.gaussian(40_000)
    for values in (access.enhanced(pairs, people, places, weighing), access.three_step(pairs, people, places, weighing)):
        assert values @ people == pytest.approx(places[reached].sum())
        assert np.isfinite(values).all()
        assert (values[np.setdiff1d(np.arange(len(demand)), pairs.demand)] == 0).all()


async def test_every_township_has_a_place_and_it_is_said_whose(areas: AsyncConnection) -> None:
    towns = await towns_of(areas, "220000", date(2026, 11, 22))
    expected = await areas.execute(
        text("SELECT code, point IS NOT NULL AS own FROM area WHERE '220000' = ANY(chain) AND 'township' = ANY(layers)")
    )
    assert {town.code: town.placed == "own" for town in towns} == {row.code: row.own for row in expected}
    assert {town.placed for town in towns} == {"own", "above"}
    assert all(town.lon is not None and town.layer and town.persons == 0 for town in towns)
    assert (await towns_of(areas, "220102", date(2026, 11, 22)))[0].code.startswith("220102")


# --- roads --------------------------------------------------------------------------------------------------------------


def test_minutes_follow_the_roads_not_the_straight_line() -> None:
    a, b, c = (125.0, 43.5), (125.1, 43.5), (125.1, 43.6)
    roads = roads_of([(*a, *b, 10.0, False), (*b, *c, 7.0, True), (*a, *b, 12.0, False)])
    travel = roads.travel(as_points([a, c]), as_points([c, a]))
    assert travel[0].tolist() == [17.0, 0.0]
    assert travel[1].tolist() == [0.0, np.inf]  # one way
    assert roads.travel(as_points([a]), as_points([c]), limit=16.0).tolist() == [[np.inf]]
    assert roads.travel(as_points([]), as_points([c])).shape == (0, 1)


def test_an_edge_list_is_read_from_csv_and_from_geopackage(tmp_path: Path) -> None:
    plain = tmp_path / "roads.csv"
    plain.write_text("from_lon,from_lat,to_lon,to_lat,minutes,oneway\n125,43,125.1,43,10,0\n125.1,43,125.2,43,5,1\n")
    packed = tmp_path / "roads.gpkg"
    with sqlite3.connect(packed) as file:
        file.execute("CREATE TABLE gpkg_geometry_columns (table_name, column_name)")
        file.execute("INSERT INTO gpkg_geometry_columns VALUES ('road', 'geom')")
        file.execute("CREATE TABLE road (geom BLOB, minutes REAL, oneway INTEGER)")
        for line, minutes, oneway in (("LINESTRING (125 43, 125.05 43.2, 125.1 43)", 10, 0), ("LINESTRING (125.1 43, 125.2 43)", 5, 1)):
            head = b"GP\x00\x01" + (4326).to_bytes(4, "little")
            file.execute("INSERT INTO road VALUES (?, ?, ?)", (head + shapely.to_wkb(shapely.from_wkt(line)), minutes, oneway))
    file.close()
    demand, sites = as_points([[125, 43], [125.2, 43]]), as_points([[125.2, 43]])
    for path in (plain, packed):
        roads = read_roads(path)
        assert roads.travel(demand, sites).tolist() == [[15.0], [0.0]]
        assert len(roads.digest) == 64


@pytest.mark.parametrize("lines", ["", "from_lon\n1\n", "from_lon,from_lat,to_lon,to_lat,minutes\n1,2,3,4,-1\n", "x\ny\n"])
def test_a_file_that_is_no_edge_list_is_refused(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "roads.csv"
    path.write_text(lines)
    with pytest.raises(RoadsError, match=r"roads\.csv"):
        read_roads(path)
