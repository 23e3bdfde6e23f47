"""Annotated images: the input untouched, the faces marked, whatever the size and wherever the box."""

from __future__ import annotations

import numpy as np
import pytest

from moue.labels import FER2013, color
from moue.runtime.results import Faces, Predictions


def result(boxes: list[list[float]], top: str = "happy") -> Faces:
    p = np.full((len(boxes), 7), 0.05, np.float32)
    p[:, FER2013.index(top)] = 0.7
    return Faces("x", "ok", boxes=np.array(boxes, np.float32), scores=np.ones(len(boxes), np.float32),
                 predictions=Predictions(p, FER2013.labels))  # fmt: skip


@pytest.mark.parametrize("ground", [0, 255])
def test_box_in_the_color_of_the_expression(ground: int) -> None:
    image = np.full((300, 400, 3), ground, np.uint8)
    shown = result([[100, 80, 120, 150]]).draw(image)
    assert shown.shape == image.shape
    assert (image == ground).all()
    np.testing.assert_array_equal(shown[150, 101], color("happy"))
    np.testing.assert_array_equal(shown[200, 160], [ground] * 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (12, 12, 3), (40, 2000, 3)])
@pytest.mark.parametrize("box", [[-50, -50, 30, 30], [0, 0, 1, 1], [-5, -5, 5000, 5000]])
def test_any_size_and_any_box(shape: tuple[int, int, int], box: list[float]) -> None:
    assert result([box]).draw(np.zeros(shape, np.uint8)).shape == shape


def test_no_face_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(Faces("x", "no_face").draw(image), image)
