import numpy
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from geo.assign import Assigner

SIDE = 6


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, BaseGeometry], list[tuple[float, float]]]:
    """Areas of any squares of a board, so of several parts and with holes; one may lie over another. Points, many on borders."""
    owners = draw(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=SIDE * SIDE, max_size=SIDE * SIDE))
    squares = [shapely.box(at % SIDE, at // SIDE, at % SIDE + 1, at // SIDE + 1) for at in range(SIDE * SIDE)]
    world = {name: shapely.union_all([box for box, owner in zip(squares, owners, strict=True) if owner == name]) for name in "abc"}
    if draw(st.booleans()):
        world["d"] = shapely.box(1.5, 1.5, 3.25, 4)
    halves = st.integers(-1, 4 * SIDE + 1).map(lambda number: number / 4)
    points = draw(st.lists(st.tuples(halves | st.floats(-1, SIDE + 1), halves | st.floats(-1, SIDE + 1)), min_size=1, max_size=40))
    return {name: shape for name, shape in world.items() if not shape.is_empty} or {"a": squares[0]}, points


@settings(max_examples=60)
@given(worlds(), st.sampled_from([0.25, 0.3, 1.0, 7.0]))
def test_every_point_is_where_shapely_finds_it_and_the_smallest_code_has_the_border(
    world: tuple[dict[str, BaseGeometry], list[tuple[float, float]]], cell: float
) -> None:
    outlines, points = world
    ready = Assigner(outlines, cell)
    for point, number in zip(points, ready.assign(numpy.array(points)), strict=True):
        holders = [code for code, shape in outlines.items() if shape.intersects(shapely.Point(point))]
        assert (ready.codes[number] if number >= 0 else None) == min(holders, default=None), point
