"""Finds faces: the protocol of a detector, and three detectors.

Images are uint8 ``(H, W, 3)`` RGB, upright; boxes are ``(x, y, width, height)`` in their pixels.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from moue.errors import ModelError, UnknownName, UsageError, quoted
from moue.preprocess import ImageArray
from moue.runtime.array_equality import ArrayEquality
from moue.runtime.border import trim_border
from moue.runtime.engine import EngineName, OptimizeFor, open_graph
from moue.runtime.orientation import Arrays, are_faces, look_again, non_max_suppression
from moue.runtime.validation import check_number, to_array
from moue.spec import file_sha256

WEIGHTS = Path(__file__).parent / "assets" / "centerface.onnx"
#: Sides of the graph's input are multiples of the first; a cell of its output stands for 4 × 4 pixels.
STRIDE, OUTPUT_STRIDE = 32, 4
#: Where nothing is found, the search is repeated on a thumbnail of this long side, with half of that in gray around it.
#: Of FER-2013's tight 48-pixel faces, 71 % are found without it and 99 % with it; at 100 pixels 94 % and 100 %.
THUMBNAIL, GRAY = 96, 127
#: Where nothing is found, whether the image is turned is asked at half of the long side, and at this one at most.
COARSE, TURNS = 640, (90, 180, 270)
#: The longer side of a face that is given, at most, in longer sides of its image.
MAX_BOX = 4
#: Pixels of an image that are scaled at a time.
STRIP_PIXELS = 1 << 24
#: Images of more pixels are large: what a search beside them takes is given back at once.
LARGE_PIXELS = 1 << 24
#: By field of :class:`Detections`: the shape of a face's numbers.
_SHAPES: dict[str, tuple[int, ...]] = {"boxes": (4,), "scores": (), "landmarks": (5, 2)}


@dataclass(frozen=True, eq=False)
class Detections(ArrayEquality):
    """The faces of one image, best first: what a detector returns. Lists become arrays.

    Raises:
        UsageError: when the arrays disagree in length or shape, a number is not finite, a score is not within 0 and 1,
            or a side is not above 0.
    """

    boxes: NDArray[np.float32]
    """float32 ``(F, 4)``: x, y, width, height in pixels. A face at the border may reach over it."""
    scores: NDArray[np.float32]
    """float32 ``(F,)``: 0 to 1."""
    landmarks: NDArray[np.float32] | None = None
    """float32 ``(F, 5, 2)``: the two eyes, nose, mouth corners, of each pair first the one that is to the left when the
    face is upright; or None."""
    content: tuple[int, int, int, int] | None = None
    """x, y, width, height of the part of the image that is more than border; None is all of it. A crop that reaches
    over its edges repeats them."""
    reliable: NDArray[np.bool_] | None = None
    """bool ``(F,)``: whether the landmarks show which way up a face is, and may align its crop; where left out, whether
    they are arranged as those of a face. None without landmarks."""

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            if (value := getattr(self, name)) is not None:
                array = to_array(name, value, np.float32)
                if not np.isfinite(array).all():
                    raise UsageError(f"{name} must be finite numbers. Got {quoted(value)} instead.")
                object.__setattr__(self, name, array if array.size else array.reshape(0, *shape))
        n = len(self.boxes)
        if self.boxes.shape != (n, 4):
            raise UsageError(f"boxes must be (F, 4): x, y, width, height. Got {self.boxes.shape} instead.")
        if self.scores.shape != (n,):
            raise UsageError(f"scores must be ({n},), one a box. Got {self.scores.shape} instead.")
        if (self.boxes[:, 2:] <= 0).any():
            raise UsageError("boxes must be x, y, width, height, with a width and a height above 0.")
        if ((self.scores < 0) | (self.scores > 1)).any():
            raise UsageError(f"scores must be from 0 to 1. Got {quoted(self.scores.tolist())} instead.")
        if self.landmarks is not None and self.landmarks.shape != (n, 5, 2):
            raise UsageError(f"landmarks must be ({n}, 5, 2). Got {self.landmarks.shape} instead.")
        if self.landmarks is not None and self.reliable is None:
            object.__setattr__(self, "reliable", are_faces(self.landmarks))
        if self.reliable is not None and self.reliable.shape != (n,):
            raise UsageError(f"reliable must be ({n},). Got {self.reliable.shape} instead.")

    def __len__(self) -> int:
        return len(self.boxes)

    def scaled(self, horizontally: float, vertically: float) -> Detections:
        """The same faces in an image of another size."""
        if horizontally == vertically == 1:
            return self
        scale = np.array([horizontally, vertically], np.float32)
        content = None
        if self.content is not None:
            x, y, width, height = self.content
            content = (
                *(round(x * horizontally), round(y * vertically)),
                *(round(width * horizontally), round(height * vertically)),
            )
        return replace(
            self,
            boxes=self.boxes * np.tile(scale, 2),
            landmarks=None if self.landmarks is None else self.landmarks * scale,
            content=content,
        )

    def left_to_right(self) -> Detections:
        """The same faces ordered by where their centers are: the numbers that people give them too."""
        if len(self) < 2:
            return self
        order = np.argsort(self.boxes[:, 0] + self.boxes[:, 2] / 2, kind="stable")
        per_face = ("boxes", "scores", "landmarks", "reliable")
        return replace(self, **{n: value[order] for n in per_face if (value := getattr(self, n)) is not None})

    def reliable_landmarks(self, i: int) -> NDArray[np.float32] | None:
        """The landmarks of one face, ``(5, 2)``, if its crop may be aligned by them."""
        return None if self.landmarks is None or self.reliable is None or not self.reliable[i] else self.landmarks[i]


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
    """Faces that are known already.

    Args:
        boxes: ``(F, 4)``, or ``(4,)`` for one: x, y, width, height in pixels of the upright image.
        scores: ``(F,)``, 0 to 1; 1 where left out.
        landmarks: ``(F, 5, 2)`` as in :class:`Detections`; without them, crops are not aligned.

    Raises:
        UsageError: as :class:`Detections`.
    """

    def __init__(self, boxes: ArrayLike, scores: ArrayLike | None = None, landmarks: ArrayLike | None = None) -> None:
        rows = to_array("boxes", boxes, np.float32)
        if rows.ndim < 2:
            rows = rows.reshape(-1, rows.size or 4)
        given = np.ones(len(rows), np.float32) if scores is None else to_array("scores", scores, np.float32)
        self.detections = Detections(
            rows, given, None if landmarks is None else to_array("landmarks", landmarks, np.float32)
        )

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces as they were given, whatever their score.

        Raises:
            UsageError: when one of them lies outside of the image, or is several times as large.
        """
        height, width = image.shape[:2]
        for x, y, w, h in self.detections.boxes.tolist():
            box = f"the box {x:g}, {y:g}, {w:g}, {h:g}"
            if x >= width or y >= height or x + w <= 0 or y + h <= 0:
                raise UsageError(f"{box} lies outside of the image's {width}×{height} pixels.")
            if max(w, h) > MAX_BOX * max(width, height):
                raise UsageError(f"{box} is more than {MAX_BOX} times as large as the image's {width}×{height} pixels.")
        return self.detections

    def scaled(self, horizontally: float, vertically: float) -> PrecomputedDetector:
        """The same faces for the image at another size."""
        faces = self.detections.scaled(horizontally, vertically)
        return PrecomputedDetector(faces.boxes, faces.scores, faces.landmarks)


class CenterFace:
    """Xu et al., "CenterFace: joint face detection and alignment using face as point" (2019).

    A uniform border is trimmed before the search, so that a frame around a photo changes nothing. An image in which
    nothing is found is searched again as a thumbnail with a gray margin, which is best for a face that fills its image.
    Faces that are not upright are looked at again, turned: see :mod:`moue.runtime.orientation`.

    Args:
        long_side: larger images are scaled to this long side in pixels; None searches at the native size.
        engine: see :func:`moue.runtime.engine.open_graph`.
        threads: see there.
        optimize_for: see there.
        path: the graph; the bundled one where left out.
        orientations: whether an image in which nothing is found is searched in its other three orientations, too.

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
        optimize_for: OptimizeFor = "latency",
        path: str | Path = WEIGHTS,
        orientations: bool = True,
    ) -> None:
        if long_side is not None:
            check_number("long_side", long_side, STRIDE)
        self.long_side, self.orientations = long_side, orientations
        self._graph = open_graph(_verified(Path(path)), engine=engine, threads=threads, optimize_for=optimize_for)
        self._input = next(iter(self._graph.inputs))

    def for_video(self, long_side: int | None) -> CenterFace:
        """The same detector for frames; both share one graph.

        It searches at another long side, and frames without faces in one orientation: most have none in any.
        """
        other = copy.copy(self)
        other.long_side, other.orientations = long_side, False
        return other

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        """The faces in an image, uint8 ``(H, W, 3)`` RGB, that score ``min_score`` or more, best first."""
        left, top, width, height = content = trim_border(image)
        view = image[top : top + height, left : left + width]
        # Scaled once, and turned and scaled on from there: a large photo takes longer to scale than to search.
        scale = self.search_scale(view)
        small = _scaled(view, scale)
        release = height * width > LARGE_PIXELS

        def search(turn: int) -> Arrays:
            boxes, scores, landmarks = self._search(np.rot90(small, turn // 90), min_score, release)
            return boxes / np.float32(scale), scores, landmarks / np.float32(scale)

        search_region = functools.partial(self.search_region, min_score=min_score)
        turns = functools.partial(self._turns, small, min_score)
        (boxes, scores, landmarks), reliable = look_again(view, search(0), search, search_region, turns=turns)
        boxes[:, :2] += (left, top)
        return Detections(boxes, scores, landmarks + np.array([left, top], np.float32), content, reliable)

    def search_region(self, image: ImageArray, min_score: float) -> Arrays:
        """The faces of a small image as it is, in one orientation: boxes, scores and landmarks in its pixels."""
        return self._run(image, 0, min_score)

    def search_scale(self, image: ImageArray) -> float:
        """By what an image without a border is scaled to be searched, 1 at most."""
        long: int = max(image.shape[:2])
        return min(1.0, (self.long_side or long) / long)

    def _turns(self, small: ImageArray, min_score: float) -> tuple[int, ...]:
        """The right angles by which an image may be turned that shows no upright face, given it as it is searched."""
        if not self.orientations:
            return ()
        coarse = min(COARSE, (self.long_side or 0) / 2) / max(small.shape[:2])
        if self.long_side is None or coarse >= 1:
            return TURNS
        # Most images without upright faces have none at all: a smaller copy tells, at a quarter of the work.
        small = _scaled(small, coarse)
        return tuple(turn for turn in TURNS if len(self._search(np.rot90(small, turn // 90), min_score)[0]))

    def _search(self, image: ImageArray, min_score: float, release: bool = False) -> Arrays:
        """The faces of an image in one orientation, as it is or else on a thumbnail, in its pixels."""
        found = self._run(image, 0, min_score, release)
        if not len(found[0]):
            scale = THUMBNAIL / max(image.shape[:2])
            boxes, scores, landmarks = self._run(_scaled(image, scale), THUMBNAIL // 2, min_score, release)
            found = boxes / np.float32(scale), scores, landmarks / np.float32(scale)
        return found

    def _run(self, image: ImageArray, margin: int, min_score: float, release: bool = False) -> Arrays:
        """Run the graph over an image with a gray margin; the results are in its pixels.

        With ``release`` its memory is given back: beside a large photo there is no room for what waits for a next run.
        """
        height, width = image.shape[:2]
        canvas_height, canvas_width = (math.ceil((side + 2 * margin) / STRIDE) * STRIDE for side in (height, width))
        canvas = np.full((1, 3, canvas_height, canvas_width), GRAY if margin else 0, np.float32)
        canvas[0, :, margin : margin + height, margin : margin + width] = image.transpose(2, 0, 1)
        boxes, scores, landmarks = _decode(self._graph({self._input: canvas}, release=release), min_score)
        boxes[:, :2] -= margin
        return boxes, scores, landmarks - margin


def open_detector(
    detector: str | Detector,
    *,
    long_side: int | None = 1280,
    engine: EngineName = "auto",
    threads: int = 0,
    optimize_for: OptimizeFor = "latency",
) -> Detector:
    """The detector of that name, "centerface" or "none"; an object that can ``detect`` comes back as it is.

    Args:
        detector: a name or an object.
        long_side: see :class:`CenterFace`.
        engine: see :func:`moue.runtime.engine.open_graph`.
        threads: see there.
        optimize_for: see there.

    Raises:
        UnknownName: for another name.
        UsageError: for an object that cannot ``detect``.
        ModelError: when the weights are missing or damaged.
    """
    if isinstance(detector, str):
        if detector == "none":
            return WholeImage()
        if detector == "centerface":
            return CenterFace(long_side, engine=engine, threads=threads, optimize_for=optimize_for)
        raise UnknownName("detector", detector, ("centerface", "none"))
    if not isinstance(detector, Detector):
        raise UsageError(f"a detector must have detect(image, *, min_score). Got {type(detector).__name__} instead.")
    return detector


def _verified(path: Path) -> Path:
    """The path, after its hash was checked against the record beside it."""
    try:
        recorded = str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"])
        found = file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{path} or the .json beside it is missing or damaged. Install moue again.") from None
    if found != recorded:
        raise ModelError(
            f"{path} is damaged: its sha256 must be {recorded[:12]}…. Got {found[:12]}… instead. Install again."
        )
    return path


def _scaled(image: ImageArray, scale: float) -> ImageArray:
    """An image scaled by a factor; as it is where that leaves its size."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return image if (height, width) == image.shape[:2] else _resized(image, width, height)


def _resized(image: ImageArray, width: int, height: int) -> ImageArray:
    """An image scaled down, a strip at a time: Pillow's copy of a large one would take more memory than the image."""
    factor = image.shape[0] / height
    rows = max(1, int(STRIP_PIXELS / image.shape[1] / factor))
    resized = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        # A row is the mean of source rows up to one row above and below it.
        first, last = max(0, math.floor((top - 1) * factor)), math.ceil((bottom + 1) * factor)
        strip = Image.fromarray(image[first:last])
        box = (0, top * factor - first, image.shape[1], min(bottom * factor - first, strip.height))
        resized[top:bottom] = np.asarray(strip.resize((width, bottom - top), Image.Resampling.BILINEAR, box))
    return resized


def _decode(outputs: Sequence[NDArray[np.float32]], min_score: float) -> Arrays:
    """Boxes, scores and landmarks out of the graph's four maps, in pixels of its input.

    The maps are ``(1, 1, h, w)`` center scores; ``(1, 2, h, w)`` logarithms of height and width in cells;
    ``(1, 2, h, w)`` the center's offset down and across in cells; ``(1, 10, h, w)`` five points, each down and across,
    in sides of the box from its upper left corner.
    """
    heatmap, log_sizes, offsets, points = (part[0] for part in outputs)
    rows, columns = np.nonzero(heatmap[0] >= min_score)
    order = np.argsort(-heatmap[0, rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    size = np.exp(log_sizes[::-1, rows, columns]).T * OUTPUT_STRIDE
    center = (np.stack([columns, rows], 1) + offsets[::-1, rows, columns].T + 0.5) * OUTPUT_STRIDE
    corner = center - size / 2
    boxes = np.concatenate([corner, size], 1).astype(np.float32)
    relative = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    landmarks = (corner[:, None] + relative * size[:, None]).astype(np.float32)
    kept = non_max_suppression(boxes)
    return boxes[kept], heatmap[0, rows, columns][kept], landmarks[kept]
