"""Regions of a face, by its landmarks, and the share of the evidence in each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Regions; pixels far from all landmarks are "elsewhere".
REGIONS = ("eyes", "nose", "mouth", "elsewhere")

#: A pixel belongs to its nearest landmark within this many distances between the eyes: brows then belong to the eyes,
#: cheeks and forehead are elsewhere.
MAX_DISTANCE = 0.6


def region_shares(heatmap: NDArray[np.floating], landmarks: NDArray[np.floating]) -> dict[str, float]:
    """Shares of the evidence for a class, by region; they add up to 1.

    Args:
        heatmap: ``(S, S)``; evidence against the class (below 0) does not count.
        landmarks: ``(5, 2)`` x, y in pixels of the heatmap: both eyes, nose, both mouth corners.

    Returns:
        A share for each of :data:`REGIONS`; all 0 where there is no evidence for the class.
    """
    size = heatmap.shape[0]
    centers = np.arange(size) + 0.5
    pixels = np.stack(np.meshgrid(centers, centers), axis=-1)
    points = np.concatenate([landmarks, landmarks[3:].mean(axis=0, keepdims=True)])
    region_of_point = np.array([0, 0, 1, 2, 2, 2])
    distance = np.linalg.norm(pixels[:, :, None] - points, axis=-1)
    eyes = max(1.0, float(np.linalg.norm(landmarks[1] - landmarks[0])))
    region = np.where(distance.min(axis=2) <= MAX_DISTANCE * eyes, region_of_point[distance.argmin(axis=2)], 3)
    evidence = np.bincount(region.ravel(), np.maximum(heatmap, 0).ravel(), len(REGIONS))
    total = evidence.sum()
    return dict(zip(REGIONS, (evidence / total if total > 0 else evidence).tolist(), strict=True))
