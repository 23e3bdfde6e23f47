"""Cuts in a video: frames at which another scene begins, and faces that give way to another one at the same place.

A frame is compared with the one before in two ways, as in Zhang, Kankanhalli and Smoliar, "Automatic partitioning of
full-motion video" (1993): by the mean absolute difference of small gray images, and by the distance of their color
histograms. Both must say that the scene is another one, as each is fooled by something else. Differences are taken
between small images of zero mean and unit variance, so that changes of light alone make none, and at the best of
several displacements, so that a camera that moves makes little. A histogram hardly changes by motion. Small images are
enough, and a difference counts in relation to the recent ones, as in Yeo and Liu, "Rapid scene analysis on compressed
video" (1995): where all frames differ, as at one frame a second, none of them is a cut.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Width and height of the small images in which scenes are compared, and side of those of faces.
_SCENE, _FACE = (32, 18), 16
#: Displacements that are tried, in pixels of those images: half a width and a third of a height; of a face an eighth.
_SCENE_SHIFTS, _FACE_SHIFTS = (16, 6), (2, 2)
#: Bins of a color channel's histogram.
_BINS = 16
#: Mean absolute difference, in standard deviations, and share of pixels that changed their bin, both of which a cut
#: exceeds. Of 120 pairs of unrelated photos the lowest values are 0.61 and 0.14; a camera that pans by half a frame
#: gives 0.31 and 0.40.
_SCENE_DIFFERENCE, _HISTOGRAM_DISTANCE = 0.5, 0.12
#: How many times the mean of that many differences before it a cut must exceed.
_RATIO, _RECENT = 2.0, 8
#: Below this standard deviation, of 255, an image has no content to compare: black, white, fog.
_CONTRAST = 4.0
#: So many more saturated pixels are a flash, for as many seconds at most; then they are a bright scene.
_FLASH_SHARE, _FLASH_SECONDS = 0.2, 0.5
#: Mean absolute difference of two faces in frames that follow within ``_SOON`` seconds, or later, above which they are
#: of two people. Of random pairs of FER-2013's faces 95 % exceed 0.69; one person's differ by up to 0.36 in a second.
_FACE_DIFFERENCE, _LATER_FACE_DIFFERENCE, _SOON = 0.65, 0.8, 0.5
#: How many times a track's usual difference it must be.
_FACE_RATIO = 3.0

GrayImage = NDArray[np.float32]
Change = Literal["none", "cut", "unclear"]


@dataclass(frozen=True)
class _Scene:
    """What a frame is compared by."""

    timestamp: float
    """Seconds."""
    gray: GrayImage
    """float32 ``(18, 32)``, 0 to 255."""
    histogram: NDArray[np.float64]
    """float64 ``(48,)``: of red, green and blue; adds up to 1."""
    saturated: float
    """Share of the values that are 250 or more."""


class CutDetector:
    """Finds the frames at which another scene begins. Gradual changes, as fades, are none."""

    def __init__(self) -> None:
        self._before: _Scene | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._flash = False

    def __call__(self, image: NDArray[np.uint8], timestamp: float) -> Change:
        """Compare a frame with the one before.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.
            timestamp: seconds; must not go back.

        Returns:
            "cut" for the first frame of another scene, "none" for one of the same scene, and "unclear" for one that
            shows nothing to go by (black, white, a flash): it is passed over in the next comparison.
        """
        scene = _scene(image, timestamp)
        if scene.gray.std() < _CONTRAST:
            return "unclear"
        before = self._before
        if before is None:
            self._before = scene
            return "none"
        # A frame of a flash is passed over even where frames are further apart than a flash lasts.
        if scene.saturated - before.saturated > _FLASH_SHARE and (
            not self._flash or timestamp - before.timestamp < _FLASH_SECONDS
        ):
            self._flash = True
            return "unclear"
        self._before, self._flash = scene, False
        usual = sum(self._recent) / len(self._recent) if self._recent else 0.0
        limit = max(1.0, _RATIO * usual)
        difference = _distance(before, scene)
        if difference > limit:
            # Displacements are tried only where they decide.
            difference = min(difference, _distance(before, scene, _SCENE_SHIFTS))
        self._recent.append(difference)
        return "cut" if difference > limit else "none"


def _distance(a: _Scene, b: _Scene, shifts: tuple[int, int] = (0, 0)) -> float:
    """How different two scenes are, by the measure that says less; a cut has more than 1."""
    difference = _difference(a.gray, b.gray, shifts, _SCENE_DIFFERENCE) / _SCENE_DIFFERENCE
    return min(difference, float(np.abs(a.histogram - b.histogram).sum() / 2) / _HISTOGRAM_DISTANCE)


class Appearance:
    """How the face of a track looks, to notice that another one takes its place."""

    def __init__(self) -> None:
        self._gray: GrayImage | None = None
        self._timestamp = 0.0
        self._usual: float | None = None

    def continues(self, gray: GrayImage | None, timestamp: float, same_place: bool = True) -> bool:
        """Whether a face may be the one of before.

        Args:
            gray: of :func:`face_images`; None, as of a dark one, may be any face.
            timestamp: seconds; must not go back.
            same_place: whether it is where the track expects it; a face that moves may be blurred, and is not compared.
        """
        if gray is None:
            return True
        before, soon = self._gray, timestamp - self._timestamp <= _SOON
        self._gray, self._timestamp = gray, timestamp
        if before is None or not same_place:
            return True
        difference, usual = least_difference(before, gray, _FACE_SHIFTS), self._usual
        limit = _FACE_DIFFERENCE if soon and usual is not None else _LATER_FACE_DIFFERENCE
        self._usual = difference if usual is None else 0.75 * usual + 0.25 * difference
        return difference <= max(limit, _FACE_RATIO * (usual or 0.0))


def face_images(image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> list[GrayImage | None]:
    """The faces of a frame as small gray images, for :class:`Appearance`.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        boxes: ``(F, 4)``: x, y, width, height in pixels.

    Returns:
        float32 ``(16, 16)`` each; None for a face without content, or outside the image.
    """
    height, width = image.shape[:2]
    found: list[GrayImage | None] = []
    for x, y, w, h in np.asarray(boxes, np.float64).tolist():
        left, top, right, bottom = (round(v) for v in (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)))
        crop = image[top:bottom, left:right]
        gray = _small(_thinned(crop, (_FACE, _FACE)), (_FACE, _FACE)) if min(crop.shape[:2]) >= 2 else None
        found.append(None if gray is None or gray.std() < _CONTRAST else gray)
    return found


def _scene(image: NDArray[np.uint8], timestamp: float) -> _Scene:
    sampled = _thinned(image, _SCENE)
    counts = np.array(sampled.histogram()).reshape(3, 256)
    values = 3 * sampled.width * sampled.height
    histogram = counts.reshape(3 * _BINS, -1).sum(axis=1) / values
    return _Scene(timestamp, _small(sampled, _SCENE), histogram, float(counts[:, 250:].sum() / values))


def _small(image: Image.Image, size: tuple[int, int]) -> GrayImage:
    """The image in gray, float32 0 to 255, averaged down to ``size`` (width, height)."""
    return np.asarray(image.convert("L").convert("F").resize(size, Image.Resampling.BOX), np.float32)


def _thinned(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Each Nth row and column, so that at least eight times ``size`` (width, height) are left."""
    rows, columns = max(1, image.shape[0] // (8 * size[1])), max(1, image.shape[1] // (8 * size[0]))
    return Image.fromarray(np.ascontiguousarray(image[::rows, ::columns]))


def _difference(a: GrayImage, b: GrayImage, shifts: tuple[int, int], enough: float = 0.0) -> float:
    """The mean absolute difference of two small images, in standard deviations; about 1.1 for unrelated ones.

    Args:
        a: float32 ``(h, w)``.
        b: float32 ``(h, w)``.
        shifts: how far to the sides, and up and down, ``b`` is displaced to find the lowest difference.
        enough: a difference at which no lower one is looked for.
    """
    height, width = a.shape
    lowest = np.inf
    for dx, dy in _displacements(*shifts):
        part = a[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
        other = b[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
        deviations = float(part.std()), float(other.std())
        # Parts without content, such as black bars, are like anything.
        if min(deviations) >= _CONTRAST or (dx, dy) == (0, 0):
            scaled = (part - part.mean()) / max(deviations[0], 1e-6) - (other - other.mean()) / max(deviations[1], 1e-6)
            lowest = min(lowest, float(np.abs(scaled).mean()))
            if lowest <= enough:
                break
    return lowest


def least_difference(a: GrayImage, b: GrayImage, shifts: tuple[int, int]) -> float:
    """The lowest of :func:`_difference` over all displacements, which are tried at once.

    Args:
        a: float32 ``(h, w)``.
        b: float32 ``(h, w)``.
        shifts: how far to the sides, and up and down, ``b`` is displaced.
    """
    sources, inside = _overlaps(a.shape, shifts)
    count = inside.sum(axis=(1, 2), keepdims=True)

    def centered(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images of mean 0 where they overlap and 0 elsewhere; their deviations."""
        images = (images - (images * inside).sum(axis=(1, 2), keepdims=True) / count) * inside
        return images, np.sqrt((images * images).sum(axis=(1, 2), keepdims=True) / count)

    (part, part_deviation), (other, other_deviation) = centered(a[None]), centered(b.ravel()[sources])
    scaled = part / np.maximum(part_deviation, 1e-6) - other / np.maximum(other_deviation, 1e-6)
    differences = np.abs(scaled).sum(axis=(1, 2)) / count[:, 0, 0]
    usable = np.minimum(part_deviation, other_deviation)[:, 0, 0] >= _CONTRAST
    usable[0] = True
    return float(differences[usable].min())


@cache
def _overlaps(shape: tuple[int, int], shifts: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each displacement, ``(D, h, w)``: where in ``b`` the pixel is that meets one of ``a``; 1 where it exists."""
    height, width = shape
    moves = np.array(_displacements(*shifts))[:, :, None, None]
    rows = np.arange(height)[None, :, None] - moves[:, 1]
    columns = np.arange(width)[None, None, :] - moves[:, 0]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    sources = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
    return sources, inside.astype(np.float32)


@cache
def _displacements(x: int, y: int) -> list[tuple[int, int]]:
    """All displacements up to that far, the shortest ones first."""
    every = [(dx, dy) for dy in range(-y, y + 1) for dx in range(-x, x + 1)]
    return sorted(every, key=lambda shift: shift[0] ** 2 + shift[1] ** 2)
