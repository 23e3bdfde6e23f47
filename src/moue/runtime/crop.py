"""Detected faces to model inputs: the same crop for reading a photo and for making a training set of photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moue.errors import UsageError
from moue.preprocess import ImageArray, crop_face, to_input
from moue.runtime.detect import Detections, Detector, PrecomputedDetector, WholeImage
from moue.runtime.quality import Quality, measure
from moue.runtime.results import Faces, Predictions
from moue.spec import Color, ModelSpec


@dataclass(frozen=True)
class DetectedFaces:
    """The faces of an image, cropped for a model and not classified yet."""

    source: str
    """The image's name."""
    width: int
    height: int
    """The image's, in pixels."""
    detections: Detections
    """Where they are."""
    crops: list[ImageArray]
    """uint8 ``(C, S, S)`` each, as the model takes them."""
    remark: str | None = None
    """What of the image was not read; None where all was."""
    model: str | None = None
    """The name of the model that the crops are for."""

    def classified(self, predictions: Predictions) -> Faces:
        """The image's result, given a prediction for each face."""
        return Faces(
            self.source,
            "ok" if len(self.detections) else "no_face",
            self.width,
            self.height,
            self.detections.boxes,
            self.detections.scores,
            self.detections.landmarks,
            predictions,
            reason=self.remark,
            quality=self.quality,
            model=self.model,
        )

    @property
    def quality(self) -> Quality:
        """How good the images of the faces are."""
        found = self.detections
        return measure(self.crops, found.boxes, found.landmarks, found.reliable, width=self.width, height=self.height)


def detect_faces(
    image: ImageArray, detector: Detector, spec: ModelSpec, source: str = "", *, min_score: float = 0.5
) -> DetectedFaces:
    """Find the faces of an image, from left to right, and crop them for a model.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        detector: what finds them. With :class:`moue.WholeImage` the image itself is the face, scaled and not cropped.
            Faces that were given to a :class:`PrecomputedDetector` stay in their order.
        spec: the model's.
        source: the image's name in the result.
        min_score: the least score of the detector that makes a face, 0 to 1.

    Raises:
        UsageError: when the detector returns anything but :class:`moue.Detections`.
    """
    detections = detector.detect(image, min_score=min_score)
    if not isinstance(detections, Detections):
        raise UsageError(f"a detector must return moue.Detections. Got {type(detections).__name__} instead.")
    if not isinstance(detector, PrecomputedDetector):
        detections = detections.left_to_right()
    if isinstance(detector, WholeImage):
        crops = [to_input(image, spec.size, spec.color)]
    else:
        crops = crop_faces(image, detections, margin=spec.margin, align=spec.align, size=spec.size, color=spec.color)
    return DetectedFaces(source, image.shape[1], image.shape[0], detections, crops, model=spec.name)


def crop_faces(
    image: ImageArray, detections: Detections, *, margin: float, align: bool, size: int, color: Color
) -> list[ImageArray]:
    """Cut every detected face out of an image.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        detections: its faces.
        margin: growth of the box, as for :func:`moue.preprocess.crop_face`.
        align: whether the crop is rotated so that the eyes are level.
        size: side of the crops in pixels.
        color: of the crops.

    Returns:
        One uint8 ``(C, size, size)`` a face, in the order of ``detections``.
    """
    # A crop that reaches over the edge of the content repeats the image there, not the border around it.
    left, top, width, height = detections.content or (0, 0, image.shape[1], image.shape[0])
    view = image[top : top + height, left : left + width]
    corner = np.array([left, top], np.float32)
    crops = []
    for i, (x, y, w, h) in enumerate(detections.boxes):
        landmarks = detections.reliable_landmarks(i)
        crops.append(
            crop_face(
                view,
                (float(x - left), float(y - top), float(w), float(h)),
                None if landmarks is None else landmarks - corner,
                margin=margin,
                align=align,
                size=size,
                color=color,
            )
        )
    return crops


@dataclass(frozen=True)
class FaceCropper:
    """Finds and crops the faces of a photo, for a training set: what ``moue data import --faces`` gives its reader."""

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
            source: its name, not used here.

        Returns:
            uint8 ``(size, size)`` gray or ``(size, size, 3)`` RGB, one a face; none where no face was found.
        """
        detections = self.detector.detect(image, min_score=self.min_score)
        crops = crop_faces(image, detections, margin=self.margin, align=self.align, size=self.size, color=self.color)
        return [crop[0] if self.color == "gray" else np.ascontiguousarray(crop.transpose(1, 2, 0)) for crop in crops]
