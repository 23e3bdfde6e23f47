"""Detected faces to model inputs: the same cut for reading a photo and for making a training set of photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moue.preprocess import ImageArray, crop_face, to_input
from moue.runtime.detect import Detections, Detector
from moue.spec import Color, ModelSpec


def crops(
    image: ImageArray, found: Detections, *, margin: float, align: bool, size: int, color: Color
) -> list[ImageArray]:
    """Cut every detected face out of an image.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        found: its faces.
        margin: growth of the box, as for :func:`moue.preprocess.crop_face`.
        align: whether the crop is rotated so that the eyes are level.
        size: side of the crops in pixels.
        color: of the crops.

    Returns:
        One uint8 ``(C, size, size)`` a face, in the order of ``found``.
    """
    # Within the content alone: a crop that reaches over its edge repeats the image, not the border around it.
    left, top, width, height = found.content or (0, 0, image.shape[1], image.shape[0])
    view = image[top : top + height, left : left + width]
    corner = np.array([left, top], np.float32)
    return [
        crop_face(
            view,
            (float(x - left), float(y - top), float(w), float(h)),
            None if found.landmarks is None else found.landmarks[i] - corner,
            margin=margin,
            align=align,
            size=size,
            color=color,
        )
        for i, (x, y, w, h) in enumerate(found.boxes)
    ]


def face_inputs(image: ImageArray, found: Detections, spec: ModelSpec, *, whole: bool) -> list[ImageArray]:
    """The faces of an image as a model takes them: uint8 ``(C, S, S)`` each.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        found: its faces.
        spec: the model's.
        whole: whether the image itself is the face, which is neither cut nor turned then.
    """
    if whole:
        return [to_input(image, spec.size, spec.color)]
    return crops(image, found, margin=spec.margin, align=spec.align, size=spec.size, color=spec.color)


@dataclass(frozen=True)
class FaceCutter:
    """Finds and cuts the faces of a photo, for a training set: what ``moue data import --faces`` gives its reader."""

    detector: Detector
    size: int = 48
    color: Color = "gray"
    margin: float = 0.0
    align: bool = True
    min_score: float = 0.5

    def __call__(self, image: ImageArray, source: str) -> list[ImageArray]:
        """The faces of one photo.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.
            source: its name, which does not matter here.

        Returns:
            uint8 ``(size, size)`` gray or ``(size, size, 3)`` RGB, one a face; none where no face was found.
        """
        found = self.detector.detect(image, min_score=self.min_score)
        cut = crops(image, found, margin=self.margin, align=self.align, size=self.size, color=self.color)
        return [face[0] if self.color == "gray" else np.ascontiguousarray(face.transpose(1, 2, 0)) for face in cut]
