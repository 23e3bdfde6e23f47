"""Which way up a face is: whether five landmarks form a face, and a second look at those that do not.

A face detector is trained on upright people. Of a face that is turned by more than about 45 degrees it often finds the
place, but the landmarks drift to where those of an upright face would be. A crop that is rotated by them shows an
expression that nobody has, so each face whose landmarks do not form one is looked at again, turned.

Points are x, y in pixels, y down; angles are degrees, clockwise as seen in the image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moue.preprocess import ImageArray, square_window

#: Boxes ``(F, 4)``, scores ``(F,)`` and landmarks ``(F, 5, 2)`` of what was found, best first.
Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
#: Finds the faces of a uint8 image ``(H, W, 3)`` RGB.
Search = Callable[[ImageArray], Arrays]

#: The distance of the eyes, in distances of their center from that of the mouth. Frontal faces are near 1; the lower
#: limit is a head turned aside by about 55 degrees, or landmarks that fail.
EYES_TO_MOUTH = (0.6, 2.0)
#: Where the nose is between the eyes (0) and the mouth (1).
NOSE = (0.2, 0.9)
#: The mouth's width, in distances of the eyes.
MOUTH_WIDTH = (0.4, 1.6)
#: An upright face's box is higher than wide; that of a face that lies on its side is not.
MAX_ASPECT = 1.15
#: A face that is tilted by no more than this is found as well as an upright one.
LEVEL = 20.0
#: A tilt that is still believed, when it is then confirmed by a search of the leveled face.
MAX_ROLL = 55.0
#: The second look: a square of this many sides of the face's box, in a copy of no fewer and no more pixels a side.
REGION, REGION_PIXELS = 2.5, (128, 192)
#: How often a face is leveled by the landmarks just found: steep tilts are underestimated by a third.
STEPS = 3
#: How many faces of an image are looked at again at most.
MAX_LOOKS = 50
#: Two boxes whose intersection is more than this part of their union are one face.
MAX_IOU = 0.3


def are_faces(landmarks: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether landmarks are arranged as those of a face, turned by any angle.

    Args:
        landmarks: ``(F, 5, 2)``: the two eyes, the nose, the two corners of the mouth; of each pair, first the one that
            is to the left when the face is upright.

    Returns:
        bool ``(F,)``.
    """
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    across = points[:, 1] - points[:, 0]
    distance = np.linalg.norm(across, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        across = across / distance[:, None]
        down = np.stack([-across[:, 1], across[:, 0]], 1)
        height = ((mouth - eyes) * down).sum(1)
        nose = ((points[:, 2] - eyes) * down).sum(1) / height
        width = ((points[:, 4] - points[:, 3]) * across).sum(1) / distance
        # With a mouth above the eyes the height is below 0, and so is the ratio; NaN is within no limits.
        return _within(distance / height, EYES_TO_MOUTH) & _within(nose, NOSE) & _within(width, MOUTH_WIDTH)


def rolls(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far each face is turned in the image's plane: float64 ``(F,)``, -180 to 180, of landmarks ``(F, 5, 2)``."""
    across = np.asarray(landmarks[:, 1] - landmarks[:, 0], np.float64)
    return np.asarray(np.degrees(np.arctan2(across[:, 1], across[:, 0])))


@dataclass(frozen=True)
class _Found:
    """A face as it was found in some copy of the image."""

    box: NDArray[np.float32]
    """``(4,)``, in the image as given."""
    score: float
    landmarks: NDArray[np.float32]
    """``(5, 2)``, in the image as given."""
    aspect: float
    """Width over height of the box in the copy."""
    turn: float
    """By which angle the copy was turned."""
    reliable: bool = False
    """Whether the landmarks show which way up the face is."""

    @property
    def roll(self) -> float:
        return float(rolls(self.landmarks[None])[0])

    @property
    def tilt(self) -> float:
        """How far the face is turned in the copy."""
        return (self.roll - self.turn + 180) % 360 - 180

    def is_face(self, max_tilt: float) -> bool:
        """Whether the landmarks form a face, tilted by no more than that in the copy."""
        return abs(self.tilt) <= max_tilt and self.aspect <= MAX_ASPECT and bool(are_faces(self.landmarks[None])[0])


def look_again(
    view: ImageArray,
    found: Arrays,
    search: Callable[[int], Arrays],
    search_region: Search,
    *,
    turns: Callable[[], tuple[int, ...]],
) -> tuple[Arrays, NDArray[np.bool_]]:
    """Look again at what is not plainly upright, and correct it.

    An upright face costs nothing. A tilted one is searched for in a small copy of its surroundings, leveled; one whose
    landmarks form no face, in four such copies, turned by right angles. If most turn out to be turned, so is the
    image, and it is searched once more, upright: the result is that of the upright image.

    Args:
        view: uint8 ``(H, W, 3)`` RGB.
        found: its faces.
        search: finds those of the view, turned so that what is turned by that right angle, in degrees, is upright; in
            pixels of that.
        search_region: finds the large faces of a small image.
        turns: by which right angles, in degrees, an image in which nothing is found may be turned; those are searched.

    Returns:
        The faces, in the view, and bool ``(F,)``: whether the landmarks of each are reliable. The box of a turned face
        has the sides that it has upright, around the same center; they are exchanged where the face lies on its side.
    """
    faces = _resolve(view, _faces(found), search_region)
    turned = Counter(round(face.roll / 90) * 90 % 360 for face in faces if face.reliable)
    likely = () if faces else turns()
    if turned and (most := turned.most_common(1)[0][0]):
        likely = (most,)
    around = max((_turned(view, turn, search, search_region) for turn in likely), key=_total, default=[])
    return _arrays(_distinct([*around, *faces]))


def _turned(view: ImageArray, turn: int, search: Callable[[int], Arrays], search_region: Search) -> list[_Found]:
    """The faces of an image in which what is turned by that right angle is upright."""
    origin = np.array(view.shape[1::-1]) / 2
    center = origin[::-1] if turn % 180 else origin
    return _resolve(view, _faces(search(turn), center, origin, 1.0, turn), search_region)


def _total(faces: list[_Found]) -> tuple[float, float]:
    return sum(face.score for face in faces if face.reliable), sum(face.score for face in faces)


def _resolve(view: ImageArray, faces: Iterable[_Found], search: Search) -> list[_Found]:
    """The faces, best first, each found so that it is upright if that can be done."""
    resolved, looks = [], 0
    for face in faces:
        upright = face.is_face(LEVEL)
        looks += not upright
        # The rest stay as they are, not reliable: a low limit on scores finds faces everywhere.
        again = not upright and looks <= MAX_LOOKS
        resolved.append(_resolved(view, face, search) if again else replace(face, reliable=upright))
    return resolved


def _resolved(view: ImageArray, face: _Found, search: Search) -> _Found:
    """The face, found so that it is upright if that can be done, and else as it was, not reliable."""
    if face.is_face(MAX_ROLL) and (leveled := _leveled(view, face, search)):
        return leveled
    candidates = [other for turn in (0, 90, 180, 270) for other in _in_region(view, face, turn, search)]
    for other in sorted((c for c in candidates if c.is_face(MAX_ROLL)), key=lambda c: -c.score):
        if leveled := _leveled(view, other, search):
            return leveled
    return face


def _leveled(view: ImageArray, face: _Found, search: Search) -> _Found | None:
    """The face as it is found upright, or None where it is not found so."""
    for _ in range(STEPS):
        face = next(_in_region(view, face, face.roll, search), face)
        if face.is_face(LEVEL / 2):
            return replace(face, reliable=True)
        if not face.is_face(MAX_ROLL):
            return None
    return None


def _in_region(view: ImageArray, face: _Found, turn: float, search: Search) -> Iterator[_Found]:
    """The face as it is found in a copy of its surroundings, in which what is turned by that angle is upright."""
    x, y, w, h = face.box.tolist()
    center, side = np.array([x + w / 2, y + h / 2]), max(w, h) * REGION
    pixels = int(np.clip(side, *REGION_PIXELS))
    copy = square_window(view, center, side, math.radians(turn), pixels)
    for other in _faces(search(copy), np.full(2, pixels / 2), center, side / pixels, turn):
        # Neighbors are in the copy, too: the face is the one around its center.
        ox, oy, ow, oh = other.box.tolist()
        if math.hypot(ox + ow / 2 - center[0], oy + oh / 2 - center[1]) < max(w, h) / 2:
            yield other
            return


def _faces(
    found: Arrays,
    center: NDArray[np.floating] | None = None,
    origin: NDArray[np.floating] | None = None,
    scale: float = 1.0,
    turn: float = 0.0,
) -> Iterator[_Found]:
    """What was found in a copy, in the image as given.

    Args:
        found: in pixels of the copy.
        center: the point of the copy that it is turned about, ``(2,)``; None for the image as given.
        origin: the same point in the image as given.
        scale: pixels of the image as given for one of the copy.
        turn: by which the copy was turned.
    """
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rotation = np.array([[cos, sin], [-sin, cos]]) * scale
    for box, score, landmarks in zip(*found, strict=True):
        aspect = float(box[2] / box[3])
        if center is not None and origin is not None:
            size = box[2:] * scale
            middle = (box[:2] + box[2:] / 2 - center) @ rotation + origin
            size = size[::-1] if abs(sin) > abs(cos) else size
            box = np.concatenate([middle - size / 2, size]).astype(np.float32)
            landmarks = ((landmarks - center) @ rotation + origin).astype(np.float32)
        yield _Found(box, float(score), landmarks, aspect, turn)


def _distinct(faces: list[_Found]) -> list[_Found]:
    """Each face once, best first: of those that are the same, the first that is reliable, or the first."""
    faces = sorted(faces, key=lambda f: not f.reliable)
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    return sorted((faces[i] for i in non_max_suppression(boxes)), key=lambda f: -f.score)


def non_max_suppression(boxes: NDArray[np.float32]) -> list[int]:
    """The boxes, ``(F, 4)`` best first, that overlap no better one by more than :data:`MAX_IOU`."""
    top_left, bottom_right = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = boxes[:, 2] * boxes[:, 3]
    alive = np.ones(len(boxes), bool)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        overlap = np.minimum(bottom_right, bottom_right[i]) - np.maximum(top_left, top_left[i])
        intersection = np.clip(overlap, 0, None).prod(axis=1)
        alive &= intersection / (area + area[i] - intersection) <= MAX_IOU
    return kept


def _arrays(faces: list[_Found]) -> tuple[Arrays, NDArray[np.bool_]]:
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    scores = np.array([face.score for face in faces], np.float32)
    landmarks = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
    return (boxes, scores, landmarks), np.array([face.reliable for face in faces], bool)


def _within(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((values >= limits[0]) & (values <= limits[1]))
