"""Results of films whose statistics can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moue.runtime.results import Faces, Predictions

LABELS = ("calm", "happy", "uncertain")


def film(source: str, happy: Callable[[float], dict[int, float]], seconds: float = 10, rate: float = 10) -> list[Faces]:
    """The results of a film: by track, how happy each person is at a time; the rest is calm."""
    rows = []
    for i in range(round(seconds * rate)):
        people = happy(i / rate)
        p = np.array([[1 - value - 0.01, value, 0.01] for value in people.values()], np.float32).reshape(-1, 3)
        boxes = np.tile(np.array([[1, 2, 30, 40]], np.float32), (len(p), 1))
        tracks = np.array(list(people), np.int64)
        status = "ok" if people else "no_face"
        predictions = Predictions(p, LABELS, uncertain_below=0.6)
        rows.append(
            Faces(source, status, 9, 9, boxes, np.ones(len(p)), None, predictions, tracks, frame=i, timestamp=i / rate)  # type: ignore[arg-type]
        )
    return rows
