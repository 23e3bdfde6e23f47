"""Detected faces to model inputs: the same cut for reading a photo and for making a training set of photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moue.preprocess import Picture, crop_face, to_input
from moue.runtime.detect import Detections, Detector
from moue.spec import Colour, ModelSpec


def crops(
    picture: Picture, found: Detections, *, margin: float, level: bool, size: int, colour: Colour
) -> list[Picture]:
    """Cut every detected face out of a picture.

    Args:
        picture: uint8 ``(H, W, 3)`` RGB.
        found: its faces.
        margin: growth of the box, as for :func:`moue.preprocess.crop_face`.
        level: whether the eyes are turned level.
        size: side of the crops in pixels.
        colour: of the crops.

    Returns:
        One uint8 ``(C, size, size)`` a face, in the order of ``found``.
    """
    # Within the content alone: a crop that reaches over its edge repeats the picture, not the border around it.
    left, top, width, height = found.content or (0, 0, picture.shape[1], picture.shape[0])
    view = picture[top : top + height, left : left + width]
    corner = np.array([left, top], np.float32)
    return [
        crop_face(
            view,
            (float(x - left), float(y - top), float(w), float(h)),
            None if found.landmarks is None else found.landmarks[i] - corner,
            margin=margin,
            level=level,
            size=size,
            colour=colour,
        )
        for i, (x, y, w, h) in enumerate(found.boxes)
    ]


def face_inputs(picture: Picture, found: Detections, spec: ModelSpec, *, whole: bool) -> list[Picture]:
    """The faces of a picture as a model takes them: uint8 ``(C, S, S)`` each.

    Args:
        picture: uint8 ``(H, W, 3)`` RGB.
        found: its faces.
        spec: the model's.
        whole: whether the picture itself is the face, which is neither cut nor turned then.
    """
    if whole:
        return [to_input(picture, spec.size, spec.colour)]
    return crops(picture, found, margin=spec.margin, level=spec.level, size=spec.size, colour=spec.colour)


@dataclass(frozen=True)
class FaceCutter:
    """Finds and cuts the faces of a photo, for a training set: what ``moue data import --faces`` gives its reader."""

    detector: Detector
    size: int = 48
    colour: Colour = "grey"
    margin: float = 0.0
    level: bool = True
    min_score: float = 0.5

    def __call__(self, picture: Picture, source: str) -> list[Picture]:
        """The faces of one photo.

        Args:
            picture: uint8 ``(H, W, 3)`` RGB.
            source: its name, which does not matter here.

        Returns:
            uint8 ``(size, size)`` grey or ``(size, size, 3)`` RGB, one a face; none where no face was found.
        """
        found = self.detector.detect(picture, min_score=self.min_score)
        cut = crops(picture, found, margin=self.margin, level=self.level, size=self.size, colour=self.colour)
        return [face[0] if self.colour == "grey" else np.ascontiguousarray(face.transpose(1, 2, 0)) for face in cut]
