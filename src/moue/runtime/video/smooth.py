"""Probabilities that are steady over time: an exponential moving average for each track."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from moue.runtime.validation import check_number

#: The default time constant, in seconds.
SMOOTH = 0.3


class Smoother:
    """An exponential moving average of each track's probabilities.

    A new value has the weight ``1 - exp(-dt / time_constant)``, so a video looks the same whatever its frame rate.

    Args:
        time_constant: seconds after which a change shows to 63 %; 0 leaves everything as it is.

    Raises:
        UsageError: when ``time_constant`` is negative or no number.
    """

    def __init__(self, time_constant: float = SMOOTH) -> None:
        check_number("smooth", time_constant, 0)
        self.time_constant = time_constant
        self._averages: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def __call__(
        self, tracks: NDArray[np.int64], probabilities: NDArray[np.float32], timestamp: float
    ) -> NDArray[np.float32]:
        """The smoothed probabilities of one frame.

        Args:
            tracks: int64 ``(F,)``, the track of each face.
            probabilities: float32 ``(F, K)``, rows adding up to 1.
            timestamp: seconds; must not go back.

        Returns:
            float32 ``(F, K)``, rows adding up to 1.
        """
        if not self.time_constant or not len(tracks):
            return probabilities
        smoothed = np.asarray(probabilities, np.float64).copy()
        for i, track in enumerate(tracks.tolist()):
            if track in self._averages:
                last_seen, average = self._averages[track]
                weight = 1 - math.exp(-max(timestamp - last_seen, 0.0) / self.time_constant)
                smoothed[i] = average + weight * (smoothed[i] - average)
            self._averages[track] = (timestamp, smoothed[i])
        # After ten time constants the old average has no weight (exp(-10)).
        oldest = timestamp - 10 * self.time_constant
        self._averages = {track: average for track, average in self._averages.items() if average[0] >= oldest}
        return np.asarray(smoothed, np.float32)
