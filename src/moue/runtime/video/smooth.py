"""Probabilities that are steady over time: an exponential mean for each track, with its time constant in seconds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from moue.runtime.validation import check

#: Time constant in seconds where nobody asks for another.
SMOOTH = 0.3


class Smoother:
    """An exponential moving mean of each track's probabilities.

    The weight of what is new is ``1 - exp(-dt / constant)``, so a video looks the same whatever its frame rate.

    Args:
        constant: seconds after which a change shows to 63 %; 0 leaves everything as it is.

    Raises:
        UsageError: when ``constant`` is negative or no number.
    """

    def __init__(self, constant: float = SMOOTH) -> None:
        check("smooth", constant, 0)
        self.constant = constant
        self._means: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def __call__(
        self, tracks: NDArray[np.int64], probabilities: NDArray[np.float32], timestamp: float
    ) -> NDArray[np.float32]:
        """The smoothed probabilities of one frame.

        Args:
            tracks: int64 ``(F,)``, the identity of each face.
            probabilities: float32 ``(F, K)``, rows adding up to 1.
            timestamp: seconds; must not go back.

        Returns:
            float32 ``(F, K)``, rows adding up to 1.
        """
        if not self.constant or not len(tracks):
            return probabilities
        smoothed = np.asarray(probabilities, np.float64).copy()
        for i, track in enumerate(tracks.tolist()):
            if track in self._means:
                seen, mean = self._means[track]
                weight = 1 - math.exp(-max(timestamp - seen, 0.0) / self.constant)
                smoothed[i] = mean + weight * (smoothed[i] - mean)
            self._means[track] = (timestamp, smoothed[i])
        # What was last seen ten constants ago weighs nothing any more.
        old = [track for track, (seen, _) in self._means.items() if timestamp - seen > 10 * self.constant]
        for track in old:
            del self._means[track]
        return np.asarray(smoothed, np.float32)
