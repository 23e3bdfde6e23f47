"""The faces of a photo with an explanation each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.explain.explainer import Explainer, Explanation
from moue.preprocess import ImageArray, in_crop
from moue.runtime.crop import face_inputs
from moue.runtime.detect import Detector, WholeImage
from moue.runtime.results import Faces, Predictions


@dataclass(frozen=True, eq=False)
class ExplainedFaces:
    """The faces of one photo with their explanations."""

    faces: Faces
    crops: list[NDArray[np.uint8]]
    """uint8 ``(C, S, S)`` a face, the model's input."""
    explanations: list[Explanation]
    """One a face."""

    def to_dict(self) -> dict[str, Any]:
        """The row of ``moue explain --format json``: that of ``moue predict``, each face with its ``explanation``."""
        row = self.faces.to_dict()
        for face, explanation in zip(row["faces"], self.explanations, strict=True):
            face["explanation"] = explanation.to_dict()
        return row


def explain_faces(
    explainer: Explainer,
    detector: Detector,
    image: ImageArray,
    source: str = "",
    *,
    label: str | None = None,
    min_score: float = 0.5,
) -> ExplainedFaces:
    """Find the faces of a photo, and explain the prediction for each.

    Args:
        explainer: of a model.
        detector: what finds faces.
        image: uint8 ``(H, W, 3)`` RGB.
        source: its name in the result.
        label: the class to explain; each face's most probable one where None.
        min_score: faces with a lower detection score are dropped, 0 to 1.

    Raises:
        UnknownName, UsageError: as :meth:`Explainer.explain`.
    """
    spec = explainer.spec
    found = detector.detect(image, min_score=min_score)
    whole = isinstance(detector, WholeImage)
    crops = face_inputs(image, found, spec, whole=whole)
    explanations = []
    for i, crop in enumerate(crops):
        marks = None if whole or found.landmarks is None else found.landmarks[i]
        x, y, w, h = (float(v) for v in found.boxes[i])
        inside = None
        if marks is not None:
            inside = in_crop(marks, (x, y, w, h), marks, margin=spec.margin, align=spec.align, size=spec.size)
        explanations.append(explainer.explain(crop, label, inside))
    stacked = np.stack(crops) if crops else np.zeros((0, spec.channels, spec.size, spec.size), np.uint8)
    faces = Faces(
        source,
        "ok" if len(found) else "no_face",
        image.shape[1],
        image.shape[0],
        found.boxes,
        found.scores,
        found.landmarks,
        Predictions(explainer.probabilities(stacked), spec.labels, spec.uncertain_below),
    )
    return ExplainedFaces(faces, crops, explanations)
