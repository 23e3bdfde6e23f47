"""Labels cover neither faces nor each other where there is room."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from moue.runtime.placement import overlaps, place_labels, places


def layout(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], int, int]:
    """Faces of some sizes anywhere in a picture, over its border too, and their labels."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(60, 2000, 2)
    n = rng.integers(1, 30)
    side = rng.uniform(0.02, rng.choice([0.08, 0.2, 0.6]), n) * min(width, height)
    x, y = rng.uniform(-0.1, 1, n) * width, rng.uniform(-0.1, 1, n) * height
    sizes = np.column_stack([rng.uniform(20, 160, n), np.full(n, rng.uniform(12, 30))])
    return np.column_stack([x, y, side, side * rng.uniform(1, 1.4, n)]), sizes, int(width), int(height)


@pytest.mark.parametrize("part", range(4))
def test_a_label_covers_something_only_where_it_has_no_free_place(part: int) -> None:
    free = covering = 0
    for seed in range(100 * part, 100 * part + 100):
        boxes, sizes, width, height = layout(seed)
        placed = np.column_stack([place_labels(boxes, sizes, width, height), sizes])
        for i, label in enumerate(placed):
            rest = np.concatenate([boxes, np.delete(placed, i, axis=0)])
            candidates = places(boxes[i], sizes[i], width, height)
            assert (candidates == label).all(axis=1).any()
            if overlaps(label[None], rest).sum() == 0:
                free += 1
            else:
                covering += 1
                assert (overlaps(candidates, rest).sum(axis=1) > 0).all(), f"layout {seed}, label {i}"
    # Both kinds are there, so that neither half of this is empty.
    assert free > 10 * part
    assert covering > 10


def test_every_label_is_inside_the_picture_where_it_fits() -> None:
    for seed in range(100):
        boxes, sizes, width, height = layout(seed)
        corners = place_labels(boxes, sizes, width, height)
        fits = (sizes <= (width, height)).all(axis=1)
        assert (corners >= 0).all()
        assert (corners[fits] + sizes[fits] <= np.array([width, height]) + 1e-9).all()


def test_the_order_of_the_places() -> None:
    face, label = [[100, 100, 60, 80]], [[90, 20]]

    def place(width: int = 300, height: int = 300, taken: list[list[int]] | None = None) -> tuple[float, float]:
        x, y = place_labels(face, label, width, height, taken or [])[0]
        return x, y

    above, below = [0, 0, 300, 90], [0, 190, 300, 90]
    assert place() == (100, 80)
    assert place(taken=[[180, 80, 50, 20]]) == (85, 80)
    assert place(taken=[above]) == (100, 180)
    assert place(taken=[above, below]) == (160, 100)
    assert place(width=180, taken=[above, below]) == (10, 100)
    # Its own face rather than another one.
    assert place_labels([[0, 0, 60, 80], [0, 80, 60, 20]], [[60, 20], [1, 1]], 60, 100)[0].tolist() == [0, 0]
    # Moved inside of the picture, it covers nothing.
    assert place(width=170) == (80, 80)


def test_a_label_gives_way_to_one_that_has_no_other_place() -> None:
    # The first would lie above its face, over the second one's only free place.
    boxes = [[100, 100, 40, 40], [141, 58, 40, 40]]
    placed = np.column_stack([place_labels(boxes, [[40, 20]] * 2, 182, 140), [[40, 20]] * 2])
    assert overlaps(placed, np.array(boxes, float)).sum() == 0
    assert overlaps(placed[:1], placed[1:]).sum() == 0


def test_nothing_to_place() -> None:
    assert place_labels([], [], 10, 10).shape == (0, 2)
