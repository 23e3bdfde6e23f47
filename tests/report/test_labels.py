"""Labels never cover each other: the geometry, with whatever numbers."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from moue.report.labels import Box, place, spread

#: The area of a figure of the page, in points.
BOUNDS = Box(40, 40, 320, 240)


def points(n: int) -> st.SearchStrategy[list[tuple[float, float]]]:
    point = st.tuples(st.floats(BOUNDS.left, BOUNDS.right), st.floats(BOUNDS.bottom, BOUNDS.top))
    # Most of them close together, where labels get in each other's way.
    near = st.tuples(st.floats(100, 130), st.floats(100, 120))
    return st.lists(point | near, min_size=1, max_size=n)


@settings(deadline=None)
@given(points(10), st.lists(st.floats(10, 110), min_size=10, max_size=10))
def test_placed_labels_cover_no_label_no_point_and_no_edge(
    anchors: list[tuple[float, float]], wide: list[float]
) -> None:
    boxes = place(anchors, [(wide[i], 11) for i in range(len(anchors))], BOUNDS)
    assert not any(a.overlap(b) for a, b in combinations(boxes, 2))
    marks = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in anchors]
    assert not any(box.overlap(mark) for box in boxes for mark in marks)
    assert all(BOUNDS.left <= b.left and b.right <= BOUNDS.right + 1e-6 for b in boxes)
    assert all(BOUNDS.bottom <= b.bottom and b.top <= BOUNDS.top + 1e-6 for b in boxes)


def test_a_label_stands_beside_its_point_where_there_is_room_and_leaves_obstacles_free() -> None:
    [box] = place([(100, 100)], [(50, 10)], BOUNDS)
    assert (box.left, box.bottom) == (108.5, 95)
    [box] = place([(100, 100)], [(50, 10)], BOUNDS, [Box(105, 90, 200, 110)])
    assert box.right < 94
    [box] = place([(100, 100)], [(900, 10)], BOUNDS)
    assert box.left == 108.5, "what is wider than the figure has no place in it"


@settings(deadline=None)
@given(st.lists(st.floats(-50, 250), max_size=14), st.floats(1, 12))
def test_spread_labels_keep_their_order_their_distance_and_the_limits(wanted: list[float], gap: float) -> None:
    got = spread(wanted, gap, 0, 200)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert all(got[b] - got[a] >= gap - 1e-6 for a, b in pairwise(order))
    assert all(-1e-6 <= at <= 200 + 1e-6 for at in got)


def test_spread_labels_stay_where_they_are_if_they_can() -> None:
    assert spread([10, 50, 30], 12, 0, 100) == [10, 50, 30]
    assert spread([50, 50], 10, 0, 100) == [45, 55]
    assert spread([0, 0, 0], 60, 0, 100) == [0, 50, 100]
    assert spread([], 5, 0, 1) == []
