"""One face of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.runtime.array_equality import ArrayEquality


@dataclass(frozen=True, eq=False)
class Face(ArrayEquality):
    """One person in one image or frame: what iterating over :class:`moue.Faces` gives."""

    box: NDArray[np.float32]
    """float32 ``(4,)``: x, y, width, height in pixels. A face at the image's border may reach over it."""
    score: float
    """The detector's score, 0 to 1."""
    label: str
    """The most probable expression."""
    confidence: float
    """Its probability, 0 to 1."""
    uncertain: bool
    """Whether the confidence is below the model's threshold, or the image of the face too poor to be read."""
    probabilities: dict[str, float]
    """Expression to probability, in the model's order; they add up to 1."""
    landmarks: NDArray[np.float32] | None = None
    """float32 ``(5, 2)``: x, y of the eyes, nose and mouth corners, of each pair first the one that is to the left
    when the face is upright; or None."""
    track: int | None = None
    """A number that stays with a person over a video; None for photos."""
    quality: dict[str, Any] | None = None
    """How good the image of the face is: "size", "sharpness", "contrast", "brightness", "visible", "pose" (with "yaw",
    "pitch" and "roll"; or None) as :class:`moue.runtime.quality.Quality` has them, and the names of its "flaws"."""

    @property
    def flaws(self) -> list[str]:
        """The names of the flaws for which the image is too poor; none where the quality was not measured."""
        return list(self.quality["flaws"]) if self.quality is not None else []

    def __repr__(self) -> str:
        track = "" if self.track is None else f", track {self.track}"
        return f"<Face: {self.label} {self.confidence:.0%}, box {self.to_dict()['box']}{track}>"

    def to_dict(self) -> dict[str, Any]:
        """The face as ``moue predict --format json`` has it, in plain types."""
        face: dict[str, Any] = {"box": [round(float(v), 2) for v in self.box], "score": round(self.score, 4)}
        if self.landmarks is not None:
            face["landmarks"] = [[round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks]
        if self.track is not None:
            face["track"] = self.track
        face["label"] = self.label
        face["uncertain"] = self.uncertain
        if self.quality is not None:
            face["quality"] = self.quality
        face["probabilities"] = {name: round(p, 5) for name, p in self.probabilities.items()}
        return face
