"""Per-person statistics of videos: for each track its times, its mean probabilities and its curve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.runtime.results import Faces

#: Points of a curve, which is drawn 1,000 pixels wide; when there are more, pairs of points become their mean.
MAX_POINTS = 2048


class TrackKey(NamedTuple):
    """Identifies a person: tracks are numbered anew in each video, and videos given as bytes share a name."""

    source: str
    video: int
    track: int


class TrackHistory:
    """One track over time: exact statistics, and a curve of at most :data:`MAX_POINTS` points."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.frames = 0
        self._first = self._last = 0.0
        self._sum = np.zeros(len(labels))
        self._top_counts = np.zeros(len(labels), np.int64)
        # Columns: seconds, then the classes. A point is the mean of `_stride` frames.
        self._points = np.zeros((64, 1 + len(labels)), np.float32)
        self._size = 0
        self._stride = 1
        self._point_sum = np.zeros(1 + len(labels))

    def add(self, timestamp: float, probabilities: NDArray[np.float32]) -> None:
        """Add a frame: its time in seconds and the class probabilities, ``(K,)``."""
        if not self.frames:
            self._first = timestamp
        self.frames, self._last = self.frames + 1, timestamp
        self._sum += probabilities
        self._top_counts[probabilities.argmax()] += 1
        self._point_sum[0] += timestamp
        self._point_sum[1:] += probabilities
        if self.frames % self._stride == 0:
            self._append_point()

    def summary(self) -> dict[str, Any]:
        """The statistics of :func:`summarize`, without source and track."""
        mean, shares = self._sum / self.frames, self._top_counts / self.frames
        return {
            "first": round(self._first, 6),
            "last": round(self._last, 6),
            "frames": self.frames,
            "label": self.labels[int(mean.argmax())],
            "probabilities": {n: round(float(v), 5) for n, v in zip(self.labels, mean, strict=True)},
            "shares": {n: round(float(v), 5) for n, v in zip(self.labels, shares, strict=True)},
        }

    def curve(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Seconds ``(P,)`` and probabilities ``(P, K)``."""
        points = self._points[: self._size]
        return points[:, 0], points[:, 1:]

    def _append_point(self) -> None:
        if self._size == len(self._points):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
        self._points[self._size] = self._point_sum / self._stride
        self._size += 1
        self._point_sum[:] = 0
        if self._size == MAX_POINTS:
            self._points[: MAX_POINTS // 2] = (self._points[::2] + self._points[1::2]) / 2
            self._size, self._stride = MAX_POINTS // 2, 2 * self._stride


class People:
    """The people of one video or of several, collected in memory that grows with their number, not with the videos."""

    def __init__(self, rows: Iterable[Faces] = ()) -> None:
        #: In the order in which they appear.
        self.histories: dict[TrackKey, TrackHistory] = {}
        # By source: the number of the video of that name that is being read, and the time of its last frame.
        self._position: dict[str, tuple[int, float]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Faces) -> None:
        """Add a frame's result; the frames of a video must come in order.

        Raises:
            UsageError: when it holds faces without a track.
        """
        if row.tracks is None or row.timestamp is None:
            if len(row):
                raise UsageError(
                    "a summary over time needs the results of a video, as moue.read('clip.mp4') gives them: these have "
                    "no tracks."
                )
            return
        video, last = self._position.get(row.source, (1, 0.0))
        video += row.timestamp < last
        self._position[row.source] = video, row.timestamp
        for track, probabilities in zip(row.tracks.tolist(), row.predictions.probabilities, strict=True):
            key = TrackKey(row.source, video, track)
            if key not in self.histories:
                self.histories[key] = TrackHistory(row.predictions.labels)
            self.histories[key].add(row.timestamp, probabilities)

    def summary(self) -> list[dict[str, Any]]:
        """One row a track; see :func:`summarize`."""
        return [{"source": key.source, "track": key.track} | track.summary() for key, track in self.histories.items()]


def summarize(rows: Iterable[Faces]) -> list[dict[str, Any]]:
    """One row a track, in the order in which they appear.

    Args:
        rows: the results of one video or of several, as :func:`moue.runtime.video.stream.stream_video` gives them;
            iterated once.

    Returns:
        For each track of each video: ``source``, the video; ``track``; ``first`` and ``last``, seconds; ``frames``, in
        how many it was seen; ``label``, the class with the highest mean probability; ``probabilities``, the mean of
        each class; ``shares``, the fraction of its frames in which each class was the most probable one.

    Raises:
        UsageError: when the rows hold faces without a track.
    """
    return People(rows).summary()
