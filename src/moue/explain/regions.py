"""The parts of a face, by its landmarks, and how much of the evidence lies in each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: In the order of :func:`shares`' columns of landmarks; what is near to none is "elsewhere".
AREAS = ("eyes", "nose", "mouth", "elsewhere")

#: A pixel belongs to the landmark nearest to it, if that is within so many distances between the eyes: brows then
#: belong to the eyes, cheeks and forehead to nothing.
REACH = 0.6


def shares(heat: NDArray[np.floating], landmarks: NDArray[np.floating]) -> dict[str, float]:
    """Shares of the evidence for a class, by area; they add up to 1.

    Args:
        heat: ``(S, S)``; what speaks against the class (below 0) does not count.
        landmarks: ``(5, 2)`` x, y in pixels of the map: both eyes, nose, both mouth corners.

    Returns:
        A share for each of :data:`AREAS`; all 0 where nothing speaks for the class.
    """
    size = heat.shape[0]
    centers = np.arange(size) + 0.5
    pixels = np.stack(np.meshgrid(centers, centers), axis=-1)
    points = np.concatenate([landmarks, landmarks[3:].mean(axis=0, keepdims=True)])
    area = np.array([0, 0, 1, 2, 2, 2])
    far = np.linalg.norm(pixels[:, :, None] - points, axis=-1)
    eyes = max(1.0, float(np.linalg.norm(landmarks[1] - landmarks[0])))
    belongs = np.where(far.min(axis=2) <= REACH * eyes, area[far.argmin(axis=2)], 3)
    evidence = np.bincount(belongs.ravel(), np.maximum(heat, 0).ravel(), len(AREAS))
    total = evidence.sum()
    return dict(zip(AREAS, (evidence / total if total > 0 else evidence).tolist(), strict=True))
