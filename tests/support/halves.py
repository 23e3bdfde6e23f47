"""A detector whose faces are known, and images and results for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.runtime.detect import Detections
from moue.runtime.results import Faces


class Halves:
    """Finds two faces in each image that is wider than high: its halves."""

    def detect(self, image: NDArray[np.uint8], *, min_score: float = 0.5) -> Detections:
        height, width = image.shape[:2]
        if width <= height:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        half = width / 2
        boxes = np.array([[0, 0, half, height], [half, 0, half, height]], np.float32)
        return Detections(boxes, np.array([0.9, 0.8], np.float32))


def image(seed: int, height: int = 60, width: int = 100) -> NDArray[np.uint8]:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 10, 3), np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height)))


def one(result: Faces | list[Faces]) -> Faces:
    assert isinstance(result, Faces)
    return result


def many(result: Faces | list[Faces]) -> list[Faces]:
    assert isinstance(result, list)
    return result
