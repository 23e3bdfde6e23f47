"""Per-person statistics of videos: for each track its times, its mean probabilities and its curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.runtime.outputs.tabular import probability_columns
from moue.runtime.results import Faces

#: Points of a curve, which is drawn 1,000 pixels wide; when there are more, pairs of points become their mean.
MAX_POINTS = 2048

#: The columns of people.csv before those of the expressions.
COLUMNS = ("source", "track", "start", "end", "seconds", "frames", "label")
#: Its last column.
UNCERTAIN_SHARE = "uncertain_share"


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
        self.seconds = 0.0
        self._uncertain = 0
        self._first = self._last = 0.0
        self._sum = np.zeros(len(labels))
        self._top_counts = np.zeros(len(labels), np.int64)
        # Columns: seconds, then the classes. A point is the mean of `_stride` frames.
        self._points = np.zeros((64, 1 + len(labels)), np.float32)
        self._size = 0
        self._stride = 1
        self._point_sum = np.zeros(1 + len(labels))

    def add(self, timestamp: float, probabilities: NDArray[np.float32], uncertain: bool) -> None:
        """Add a frame: its time in seconds, the class probabilities, ``(K,)``, and whether the label is uncertain."""
        if not self.frames:
            self._first = timestamp
        self.frames, self._last = self.frames + 1, timestamp
        self._sum += probabilities
        self._top_counts[probabilities.argmax()] += 1
        self._uncertain += uncertain
        self._point_sum[0] += timestamp
        self._point_sum[1:] += probabilities
        if self.frames % self._stride == 0:
            self._append_point()

    def summary(self, last_step: float = 0.0) -> dict[str, Any]:
        """The statistics of :func:`summarize`, without source and track.

        Args:
            last_step: seconds for which the last frame counts, if the person is in it.
        """
        mean, shares = self._sum / self.frames, self._top_counts / self.frames
        return {
            "start": round(self._first, 6),
            "end": round(self._last, 6),
            "seconds": round(self.seconds + last_step, 6),
            "frames": self.frames,
            "label": self.labels[int(mean.argmax())],
            "probabilities": {n: round(float(v), 5) for n, v in zip(self.labels, mean, strict=True)},
            "shares": {n: round(float(v), 5) for n, v in zip(self.labels, shares, strict=True)},
            "uncertain_share": round(self._uncertain / self.frames, 5),
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


@dataclass
class _Video:
    """The video of a name that is being read."""

    number: int
    """Videos of one name are numbered from 1."""
    start: float
    last: float
    """Times of its first and of its newest frame."""
    frames: int
    seen: list[TrackHistory]
    """Who is in its newest frame."""

    @property
    def step(self) -> float:
        """Mean seconds from one frame to the next."""
        return (self.last - self.start) / max(1, self.frames - 1)


class People:
    """The people of one video or of several, collected in memory that grows with their number, not with the videos."""

    def __init__(self, rows: Iterable[Faces] = ()) -> None:
        #: In the order in which they appear.
        self.histories: dict[TrackKey, TrackHistory] = {}
        self._videos: dict[str, _Video] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Faces) -> None:
        """Add a frame's result; the frames of a video must come in order.

        Raises:
            UsageError: when it holds faces without a track.
        """
        if len(row) and (row.tracks is None or row.timestamp is None):
            raise UsageError(
                "a summary over time needs the results of a video, as moue.read('clip.mp4') gives them: these have no "
                "tracks."
            )
        if row.timestamp is None:
            return
        video = self._advance(row.source, row.timestamp)
        if row.tracks is None:
            return
        faces = zip(row.tracks.tolist(), row.predictions.probabilities, row.uncertain.tolist(), strict=True)
        for track, probabilities, uncertain in faces:
            key = TrackKey(row.source, video.number, track)
            if key not in self.histories:
                self.histories[key] = TrackHistory(row.predictions.labels)
            self.histories[key].add(row.timestamp, probabilities, uncertain)
            video.seen.append(self.histories[key])

    def _advance(self, source: str, timestamp: float) -> _Video:
        """Go to the next frame of a video: until then, those in the frame before it were seen."""
        video = self._videos.get(source, _Video(0, timestamp, timestamp, 0, []))
        another = not video.number or timestamp < video.last
        for history in video.seen:
            history.seconds += video.step if another else timestamp - video.last
        if another:
            video = self._videos[source] = _Video(video.number + 1, timestamp, timestamp, 0, [])
        video.seen, video.last, video.frames = [], timestamp, video.frames + 1
        return video

    def summary(self) -> list[dict[str, Any]]:
        """One row a track; see :func:`summarize`."""
        last_steps = {id(history): video.step for video in self._videos.values() for history in video.seen}
        return [
            {"source": key.source, "track": key.track} | history.summary(last_steps.get(id(history), 0.0))
            for key, history in self.histories.items()
        ]


def summarize(rows: Iterable[Faces]) -> list[dict[str, Any]]:
    """One row a track, in the order in which they appear.

    Args:
        rows: the results of one video or of several, as :func:`moue.runtime.video.stream.stream_video` gives them;
            iterated once.

    Returns:
        For each track of each video: ``source``, the video; ``track``; ``start`` and ``end``, the times of the first
        and the last frame in which it was seen; ``seconds``, for how long in all, and ``frames``, in how many;
        ``label``, the class with the highest mean probability; ``probabilities``, the mean of each class; ``shares``,
        the fraction of its frames in which each class was the most probable one; ``uncertain_share``, the fraction in
        which the label was uncertain.

    Raises:
        UsageError: when the rows hold faces without a track.
    """
    return People(rows).summary()


def columns_of(labels: Sequence[str]) -> list[str]:
    """The columns of people.csv: :data:`COLUMNS`, each expression's mean (``happy``) and share, ``uncertain_share``."""
    means = probability_columns(labels, (*COLUMNS, "uncertain", *(f"{label}_share" for label in labels)))
    return [*COLUMNS, *means, *(f"{name}_share" for name in means), UNCERTAIN_SHARE]


def to_row(person: Mapping[str, Any]) -> dict[str, Any]:
    """A row of :func:`summarize` as a line of people.csv: flat, with the keys of :func:`columns_of`."""
    values = [person[name] for name in COLUMNS]
    means, shares = person["probabilities"], person["shares"]
    values += [*means.values(), *shares.values(), person[UNCERTAIN_SHARE]]
    return dict(zip(columns_of(list(means)), values, strict=True))
