"""Where the faces are: a small protocol, and three ways to meet it.

Images are uint8 ``(H, W, 3)`` RGB, upright; boxes are ``(x, y, width, height)`` in their pixels.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from moue.errors import ModelError, UnknownName, UsageError
from moue.preprocess import ImageArray
from moue.runtime.array_equality import ArrayEquality
from moue.runtime.engine import EngineName, open_graph
from moue.runtime.validation import check
from moue.spec import file_sha256

WEIGHTS = Path(__file__).parent / "assets" / "centerface.onnx"
#: Two boxes whose intersection is more than this part of their union are one face.
NMS_IOU = 0.3
#: The graph halves its image five times; its answer has a cell for every 4 × 4 pixels.
STRIDE, OUTPUT_STRIDE = 32, 4
#: The second look: a thumbnail of this long side, with half of that in gray around it. Of FER-2013's tight 48-pixel
#: faces, 71 % are found without it and 99 % with it; at 100 pixels 94 % and 100 %.
THUMBNAIL, GRAY = 96, 127
#: How much the pixels of a border's row or column may differ, per channel: saving as JPEG ripples them.
PLAIN = 8


@dataclass(frozen=True, eq=False)
class Detections(ArrayEquality):
    """The faces of one image, best first.

    Raises:
        UsageError: when the arrays disagree in length or shape.
    """

    boxes: NDArray[np.float32]
    """float32 ``(F, 4)``: x, y, width, height in pixels. A face at the border may reach over it."""
    scores: NDArray[np.float32]
    """float32 ``(F,)``: 0 to 1."""
    landmarks: NDArray[np.float32] | None = None
    """float32 ``(F, 5, 2)``: the eye to the left of the image, the eye to its right, nose, mouth corners; or None."""
    content: tuple[int, int, int, int] | None = None
    """x, y, width, height of the part of the image that is more than border; None is all of it. A crop that reaches
    over its edges repeats them."""

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,):
            raise UsageError(
                f"boxes must be (F, 4) and scores (F,). Got {self.boxes.shape} and {self.scores.shape} instead."
            )
        if self.landmarks is not None and self.landmarks.shape != (n, 5, 2):
            raise UsageError(f"landmarks must be ({n}, 5, 2). Got {self.landmarks.shape} instead.")

    def __len__(self) -> int:
        return len(self.boxes)


@runtime_checkable
class Detector(Protocol):
    """Anything that finds faces. It must be safe to call from several threads at once."""

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces in an image, uint8 ``(H, W, 3)`` RGB, that score ``min_score`` or more."""
        ...


class WholeImage:
    """The image is one face, cut out already."""

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """One box around the whole image, with the score 1."""
        height, width = image.shape[:2]
        return Detections(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


class PrecomputedDetector:
    """Faces that somebody else found.

    Args:
        boxes: ``(F, 4)``, or ``(4,)`` for one: x, y, width, height in pixels of the upright image.
        scores: ``(F,)``, 0 to 1; 1 where left out.
        landmarks: ``(F, 5, 2)`` as in :class:`Detections`; without them, crops are not levelled.

    Raises:
        UsageError: when shapes are others, a number is not finite, or a side is not above 0.
    """

    def __init__(self, boxes: ArrayLike, scores: ArrayLike | None = None, landmarks: ArrayLike | None = None) -> None:
        try:
            found = np.asarray(boxes, np.float32)
        except (TypeError, ValueError):
            raise UsageError("boxes must be rows of x, y, width, height.") from None
        if found.shape == (4,) or not found.size:
            found = found.reshape(-1, 4)
        if found.ndim != 2 or found.shape[1] != 4:
            raise UsageError(f"boxes must be (F, 4): x, y, width, height. Got {found.shape} instead.")
        if not np.isfinite(found).all() or (found[:, 2:] <= 0).any():
            raise UsageError("boxes must be finite, with a width and a height above 0.")
        self.found = Detections(
            found,
            np.ones(len(found), np.float32) if scores is None else np.asarray(scores, np.float32),
            None if landmarks is None else np.asarray(landmarks, np.float32),
        )

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The boxes as they were given, whatever their score.

        Raises:
            UsageError: when one of them lies outside of the image.
        """
        height, width = image.shape[:2]
        for x, y, w, h in self.found.boxes.tolist():
            if x >= width or y >= height or x + w <= 0 or y + h <= 0:
                box = f"{x:g}, {y:g}, {w:g}, {h:g}"
                raise UsageError(f"the box {box} lies outside of the image's {width}×{height} pixels.")
        return self.found


class CenterFace:
    """Xu et al., "CenterFace: joint face detection and alignment using face as point" (2019).

    A uniform border is cut off before the search, so a photo with a frame around it gives the faces that it gives
    without. An image in which nothing is found is looked at once more as a thumbnail in a gray surround, where a face
    that fills its image shows best.

    Args:
        long_side: larger images are scaled to this long side in pixels; None looks at the native size.
        engine: see :func:`moue.runtime.engine.open_graph`.
        threads: see there.
        many: see there.
        path: the graph; the bundled one where left out.

    Raises:
        ModelError: when the weights are missing or damaged.
        UsageError: when ``long_side`` is below 32.
    """

    def __init__(
        self,
        long_side: int | None = 1280,
        *,
        engine: EngineName = "auto",
        threads: int = 0,
        many: bool = False,
        path: str | Path = WEIGHTS,
    ) -> None:
        if long_side is not None:
            check("long_side", long_side, STRIDE)
        self.long_side = long_side
        self._graph = open_graph(_whole(Path(path)), engine=engine, threads=threads, many=many)
        self._input = next(iter(self._graph.inputs))

    def at(self, long_side: int | None) -> CenterFace:
        """The same detector at another long side; both share one graph."""
        other = copy.copy(self)
        other.long_side = long_side
        return other

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces in an image, uint8 ``(H, W, 3)`` RGB, that score ``min_score`` or more, best first."""
        left, top, width, height = content = trim_border(image)
        view = image[top : top + height, left : left + width]
        long = max(width, height)
        scale = min(1.0, (self.long_side or long) / long)
        boxes, scores, landmarks = self._look(view, scale, 0, min_score)
        if not len(boxes):
            boxes, scores, landmarks = self._look(view, THUMBNAIL / long, THUMBNAIL // 2, min_score)
        boxes[:, :2] += (left, top)
        return Detections(boxes, scores, landmarks + np.array([left, top], np.float32), content)

    def _look(self, view: ImageArray, scale: float, surround: int, min_score: float) -> _Found:
        """One run of the graph over the scaled image with a gray surround; answers in the image's own pixels."""
        height, width = (max(1, round(side * scale)) for side in view.shape[:2])
        if (height, width) != view.shape[:2]:
            view = np.asarray(Image.fromarray(view).resize((width, height), Image.Resampling.BILINEAR))
        tall, wide = (math.ceil((side + 2 * surround) / STRIDE) * STRIDE for side in (height, width))
        canvas = np.full((1, 3, tall, wide), GRAY if surround else 0, np.float32)
        canvas[0, :, surround : surround + height, surround : surround + width] = view.transpose(2, 0, 1)
        boxes, scores, landmarks = _decode(self._graph({self._input: canvas}), min_score)
        boxes[:, :2] -= surround
        return boxes / np.float32(scale), scores, (landmarks - surround) / np.float32(scale)


def trim_border(image: ImageArray) -> tuple[int, int, int, int]:
    """The part of an image inside its uniform border: x, y, width, height. All of it where nothing would be left.

    An edge row or column whose pixels differ by :data:`PLAIN` at most is border, whatever its color. As each is judged
    by itself, a border that is put around an image comes off again and takes nothing else with it.
    """
    top, left = 0, 0
    bottom, right = image.shape[:2]
    shaved = True
    while shaved:
        shaved = False
        while bottom - top > 1 and _plain(image[top, left:right]):
            top, shaved = top + 1, True
        while bottom - top > 1 and _plain(image[bottom - 1, left:right]):
            bottom, shaved = bottom - 1, True
        while right - left > 1 and _plain(image[top:bottom, left]):
            left, shaved = left + 1, True
        while right - left > 1 and _plain(image[top:bottom, right - 1]):
            right, shaved = right - 1, True
    if right - left <= 1 or bottom - top <= 1:
        return 0, 0, image.shape[1], image.shape[0]
    return left, top, right - left, bottom - top


def open_detector(
    detector: str | Detector,
    *,
    long_side: int | None = 1280,
    engine: EngineName = "auto",
    threads: int = 0,
    many: bool = False,
) -> Detector:
    """The detector of that name, "centerface" or "none"; an object that can ``detect`` comes back as it is.

    Args:
        detector: a name or an object.
        long_side: see :class:`CenterFace`.
        engine: see :func:`moue.runtime.engine.open_graph`.
        threads: see there.
        many: see there.

    Raises:
        UnknownName: for another name.
        UsageError: for an object that cannot ``detect``.
        ModelError: when the weights are missing or damaged.
    """
    if isinstance(detector, str):
        if detector == "none":
            return WholeImage()
        if detector == "centerface":
            return CenterFace(long_side, engine=engine, threads=threads, many=many)
        raise UnknownName("detector", detector, ("centerface", "none"))
    if not isinstance(detector, Detector):
        raise UsageError(f"a detector must have detect(image, *, min_score). Got {type(detector).__name__} instead.")
    return detector


_Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _plain(line: NDArray[np.uint8]) -> bool:
    low, high = line.min(axis=0).astype(np.int16), line.max(axis=0).astype(np.int16)
    return bool((high - low).max() <= PLAIN)


def _whole(path: Path) -> Path:
    """The path, after its hash was checked against the record beside it."""
    try:
        wanted = str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"])
        found = file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{path} or the .json beside it is missing or damaged. Install moue again.") from None
    if found != wanted:
        raise ModelError(
            f"{path} is damaged: its sha256 must be {wanted[:12]}…. Got {found[:12]}… instead. Install again."
        )
    return path


def _decode(answer: Sequence[NDArray[np.float32]], min_score: float) -> _Found:
    """Boxes, scores and landmarks out of the graph's four maps, in pixels of its input.

    The maps are ``(1, 1, h, w)`` center scores; ``(1, 2, h, w)`` logarithms of height and width in cells;
    ``(1, 2, h, w)`` the center's offset down and across in cells; ``(1, 10, h, w)`` five points, each down and across,
    in sides of the box from its upper left corner.
    """
    heat, logs, shift, points = (part[0] for part in answer)
    rows, columns = np.nonzero(heat[0] >= min_score)
    best = np.argsort(-heat[0, rows, columns], kind="stable")
    rows, columns = rows[best], columns[best]
    size = np.exp(logs[::-1, rows, columns]).T * OUTPUT_STRIDE
    center = (np.stack([columns, rows], 1) + shift[::-1, rows, columns].T + 0.5) * OUTPUT_STRIDE
    corner = center - size / 2
    boxes = np.concatenate([corner, size], 1).astype(np.float32)
    inside = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    landmarks = (corner[:, None] + inside * size[:, None]).astype(np.float32)
    kept = _nms(boxes)
    return boxes[kept], heat[0, rows, columns][kept], landmarks[kept]


def _nms(boxes: NDArray[np.float32]) -> list[int]:
    """Which boxes to keep, best first: those that overlap no better one by more than :data:`NMS_IOU`."""
    corner, far = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = boxes[:, 2] * boxes[:, 3]
    alive = np.ones(len(boxes), bool)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        shared = np.clip(np.minimum(far, far[i]) - np.maximum(corner, corner[i]), 0, None).prod(axis=1)
        alive &= shared / (area + area[i] - shared) <= NMS_IOU
    return kept
