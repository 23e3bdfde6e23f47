"""Follows the faces of a film between full searches: each frame is searched around the faces of the frame before.

A full search of a frame of 640 × 480 looks at 384 × 288 pixels, that around a face of 100 at 128 × 128, at the same
scale, so that boxes agree. Whatever is not as expected leads to a full search of the same frame: a face that is not
found where it was, that changed its size, or whose landmarks form no upright face; two faces that become one; another
scene; a frame before it without faces. So a face is never invented, and what is missed is a face that newly appears,
until the next full search.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.preprocess import ImageArray, square_window
from moue.runtime.detect import STRIDE, Detections
from moue.runtime.orientation import LEVEL, MAX_ASPECT, Arrays, are_faces, non_max_suppression, rolls

#: A face's surroundings: a square of this many sides of its box, in a copy of no fewer and no more pixels a side.
REGION, PIXELS = 2.0, (96, 256)
#: Faces of a frame from which on a full search costs no more.
MANY = 4
#: A face that is that many times as large as before, or as small, is not believed to be the same.
GROWTH = 1.3
#: Width and height of the samples by which frames are compared, and the mean difference, of 255, of another scene.
SAMPLES, SCENE = (32, 18), 24.0


class RegionDetector(Protocol):
    """What is followed with: a detector that can also search a small image as it is."""

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces in an image."""
        ...

    def search_region(self, image: ImageArray, min_score: float) -> Arrays:
        """The faces of a small image, in its pixels, in one orientation."""
        ...

    def search_scale(self, image: ImageArray) -> float:
        """By what an image is scaled to be searched, 1 at most."""
        ...


class FollowingDetector:
    """A detector for the frames of one film, in their order, from one thread.

    Args:
        detector: searches frames, and copies of a face's surroundings.
        every: a full search at least every so many frames.
    """

    def __init__(self, detector: RegionDetector, every: int) -> None:
        self.detector, self.every = detector, every
        self._last: Detections | None = None
        self._since = 0
        self._sample: NDArray[np.int16] | None = None

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces in the next frame, uint8 ``(H, W, 3)`` RGB; see :class:`moue.runtime.detect.Detector`."""
        same = self._continues(image)
        self._since += 1
        found = None
        if same and self._last is not None and self._since < self.every:
            found = self._follow(image, self._last, min_score)
        if found is None:
            found, self._since = self.detector.detect(image, min_score=min_score), 0
        self._last = found
        return found

    def _continues(self, image: ImageArray) -> bool:
        """Whether a frame shows the scene of the one before."""
        rows, columns = (max(1, side // n) for side, n in zip(image.shape[:2], SAMPLES[::-1], strict=True))
        sample = np.asarray(Image.fromarray(image).reduce((columns, rows)), np.int16)
        before, self._sample = self._sample, sample
        return before is not None and before.shape == sample.shape and float(np.abs(sample - before).mean()) < SCENE

    def _follow(self, image: ImageArray, last: Detections, min_score: float) -> Detections | None:
        """The faces of the frame before in this one; None where a full search must tell."""
        if not 0 < len(last) < MANY or last.reliable is None or not last.reliable.all():
            return None
        # Without the border, as the full search does: it has a say in the scale.
        left, top, width, height = last.content or (0, 0, *image.shape[1::-1])
        view, corner = image[top : top + height, left : left + width], np.array([left, top], np.float32)
        found = [self._around(view, box - [*corner, 0, 0], min_score) for box in last.boxes]
        faces = [face for face in found if face is not None]
        if len(faces) < len(last):
            return None
        faces.sort(key=lambda face: -face[1])
        boxes = np.array([box for box, _, _ in faces], np.float32) + np.array([left, top, 0, 0], np.float32)
        if len(non_max_suppression(boxes)) < len(boxes):
            return None
        scores = np.array([score for _, score, _ in faces], np.float32)
        landmarks = np.array([points for _, _, points in faces], np.float32) + corner
        return Detections(boxes, scores, landmarks, last.content, np.ones(len(boxes), bool))

    def _around(
        self, image: ImageArray, box: NDArray[np.float32], min_score: float
    ) -> tuple[NDArray[np.float32], float, NDArray[np.float32]] | None:
        """Box, score and landmarks of the one upright face that is where one was, and of about its size."""
        center, size = box[:2] + box[2:] / 2, float(box[2:].max())
        scale = self.detector.search_scale(image)
        pixels = int(np.clip(math.ceil(REGION * size * scale / STRIDE) * STRIDE, *PIXELS))
        side = max(pixels / scale, REGION * size)
        copy = square_window(image, center, side, 0.0, pixels)
        boxes, scores, landmarks = self.detector.search_region(copy, min_score)
        boxes, landmarks = boxes * np.float32(side / pixels), landmarks * np.float32(side / pixels)
        middles = boxes[:, :2] + boxes[:, 2:] / 2 - side / 2
        near = np.flatnonzero(np.hypot(*middles.T) < size / 2)
        if len(near) != 1:
            return None
        (found,), (points,) = boxes[near], landmarks[near]
        upright = are_faces(points[None])[0] and abs(rolls(points[None])[0]) <= LEVEL
        if not upright or found[2] > MAX_ASPECT * found[3] or not 1 / GROWTH < found[2:].max() / size < GROWTH:
            return None
        corner = (center - side / 2).astype(np.float32)
        return np.concatenate([found[:2] + corner, found[2:]]), float(scores[near[0]]), points + corner
