"""The faces of a photo with an explanation each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.explain.explainer import Explainer, Explanation
from moue.preprocess import ImageArray, in_crop
from moue.progress import Report
from moue.runtime.crop import detect_faces
from moue.runtime.detect import Detector
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
    progress: Report | None = None,
) -> ExplainedFaces:
    """Find the faces of a photo, and explain the prediction for each.

    Args:
        explainer: of a model.
        detector: what finds faces.
        image: uint8 ``(H, W, 3)`` RGB.
        source: its name in the result.
        label: the class to explain; each face's most probable one where None.
        min_score: faces with a lower detection score are dropped, 0 to 1.
        progress: called before each face with the number of explained faces, and of all.

    Raises:
        UnknownName, UsageError: as :meth:`Explainer.explain`.
    """
    spec = explainer.spec
    detected = detect_faces(image, detector, spec, source, min_score=min_score)
    landmarks = detected.detections.landmarks
    explanations = []
    for i, crop in enumerate(detected.crops):
        if progress is not None:
            progress(i, len(detected.crops))
        inside = None
        if landmarks is not None:
            x, y, w, h = detected.detections.boxes[i].tolist()
            aligned = detected.detections.reliable_landmarks(i)
            inside = in_crop(landmarks[i], (x, y, w, h), aligned, margin=spec.margin, align=spec.align, size=spec.size)
        explanations.append(explainer.explain(crop, label, inside))
    crops = np.asarray(detected.crops, np.uint8).reshape(-1, spec.channels, spec.size, spec.size)
    predictions = Predictions(explainer.probabilities(crops), spec.labels, spec.uncertain_below)
    return ExplainedFaces(detected.classified(predictions), detected.crops, explanations)
