"""Derived townships: they tile their county, are nobody else's land, and are marked."""

from __future__ import annotations

import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from geo.cells import Pin, cells

HOLE = shapely.box(125.25, 43.25, 125.75, 43.75)
ISLAND = shapely.box(127.0, 43.0, 127.5, 43.5)
COUNTY = shapely.union_all([shapely.difference(shapely.box(125, 43, 126, 44), HOLE), ISLAND])
SLIVER = 1e-9  # of the county's area: the two sides of a computed corner may differ in the last digit
spots = st.tuples(st.floats(124.9, 127.6), st.floats(42.9, 44.1))


def divided(points: list[tuple[float, float]], townships: int) -> dict[str, BaseGeometry]:
    return dict(cells({"c": COUNTY}, [Pin(f"t{at:02}", "c", *point) for at, point in enumerate(points)], {"c": townships}))


@settings(max_examples=40)
@given(st.lists(spots, min_size=1, max_size=12))
def test_if_every_township_has_a_point_the_cells_tile_the_county(points: list[tuple[float, float]]) -> None:
    found = divided(points, len(points))
    union = shapely.union_all(list(found.values()))
    assert union.symmetric_difference(COUNTY).area < SLIVER
    assert abs(sum(each.area for each in found.values()) - COUNTY.area) < SLIVER
    assert all(each.is_valid for each in found.values())


@settings(max_examples=40)
@given(st.lists(spots, min_size=1, max_size=8), st.integers(1, 10))
def test_townships_without_a_point_share_what_is_left(points: list[tuple[float, float]], missing: int) -> None:
    found = divided(points, len(points) + missing)
    union = shapely.union_all(list(found.values()))
    assert shapely.difference(union, COUNTY).area < SLIVER
    assert abs(sum(each.area for each in found.values()) - union.area) < SLIVER
    # Each takes at most its fair share of the county.
    assert all(each.area <= COUNTY.area / (len(points) + missing) + SLIVER for each in found.values())


def test_a_place_belongs_to_the_township_whose_point_is_nearest_on_the_ground() -> None:
    found = divided([(125.1, 43.1), (125.1, 43.9)], 2)
    assert found["t00"].intersects(shapely.Point(125.2, 43.2))
    assert found["t01"].intersects(shapely.Point(125.2, 43.8))


def test_of_two_points_on_one_spot_the_smaller_code_has_the_cell() -> None:
    assert set(divided([(125.1, 43.1), (125.1, 43.1)], 2)) == {"t00"}


def test_points_of_unknown_counties_have_no_cell() -> None:
    assert cells({}, [Pin("t", "x", 125.0, 43.0)], {}) == []
