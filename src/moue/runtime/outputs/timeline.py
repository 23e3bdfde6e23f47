"""What became of each face over a video: a table with one row per track, and an image of its expressions over time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, require
from moue.labels import color
from moue.runtime.results import Faces

#: Points of a track that are kept for its image, which is 1,000 pixels wide; beyond, neighbors become their mean.
POINTS = 2048


class Timeline:
    """Gathers the rows of videos one by one, in memory that grows with the number of people and not with the videos."""

    def __init__(self) -> None:
        self._courses: dict[_Person, _Course] = {}
        # By name: which video of that name is being read, and how far.
        self._videos: dict[str, tuple[int, float]] = {}

    def add(self, row: Faces) -> None:
        """Take in one row; a video's rows must come in order.

        Raises:
            UsageError: when it holds faces without a track.
        """
        if row.tracks is None or row.timestamp is None:
            if len(row):
                raise UsageError(
                    "a summary over time needs a video's answers, as moue.read('clip.mp4') gives them: these have no "
                    "tracks."
                )
            return
        video, last = self._videos.get(row.source, (1, 0.0))
        video += row.timestamp < last
        self._videos[row.source] = video, row.timestamp
        for track, p in zip(row.tracks.tolist(), row.predictions.probabilities, strict=True):
            person = _Person(row.source, video, track)
            course = self._courses.get(person)
            if course is None:
                course = self._courses[person] = _Course(row.predictions.labels)
            course.add(row.timestamp, p)

    def summary(self) -> list[dict[str, Any]]:
        """One row a track, in the order in which they appear; see :func:`summarize`."""
        return [
            {"source": person.source, "track": person.track} | course.summary()
            for person, course in self._courses.items()
        ]

    def plot(self, path: str | os.PathLike[str], *, tracks: int = 8) -> None:
        """Draw each track's probabilities over the video's seconds; see :func:`plot_timeline`."""
        require("matplotlib", "report")
        # The object interface, not pyplot: no global state, no display.
        figure_module = require("matplotlib.figure", "report")
        courses = self._courses
        longest = sorted(courses, key=lambda person: courses[person].frames, reverse=True)[:tracks]
        shown = [person for person in courses if person in longest]
        several = len({(person.source, person.video) for person in courses}) > 1
        figure = figure_module.Figure(figsize=(10, 1.2 + 1.8 * max(1, len(shown))), layout="constrained")
        axes = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
        for ax, person in zip(axes, shown, strict=False):
            course = courses[person]
            times, p = _with_gaps(*course.line())
            for k, label in enumerate(course.labels):
                red, green, blue = (v / 255 for v in color(label))
                ax.plot(times, p[:, k], color=(red, green, blue), label=label, linewidth=1.5)
            ax.set_ylim(0, 1)
            # No name is a formula, and what is no text cannot be drawn.
            video = f"{Path(person.source).name}\n".encode(errors="replace").decode() if several else ""
            ax.set_ylabel(f"{video}track {person.track}", parse_math=False)
            ax.grid(alpha=0.3)
        axes[-1].set_xlabel("seconds")
        if shown:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
            hidden = len(courses) - len(shown)
            if hidden:
                figure.suptitle(f"the {len(shown)} longest of {len(courses)} tracks")
        else:
            axes[0].set_title("no face in this video")
        figure.savefig(path, dpi=100)


def summarize(rows: Iterable[Faces]) -> list[dict[str, Any]]:
    """One row a track, in the order in which they appear.

    Args:
        rows: those of one video or of several, as :func:`moue.runtime.video.stream.stream_video` gives them; read
            through once.

    Returns:
        For each track of each video: ``source``, the video; ``track``; ``first`` and ``last``, seconds; ``frames``, in
        how many it was seen; ``label``, the class with the highest mean probability; ``probabilities``, the mean of
        each class; ``shares``, the fraction of its frames in which each class came first.

    Raises:
        UsageError: when the rows hold faces without a track.
    """
    return _gathered(rows).summary()


def plot_timeline(rows: Iterable[Faces], path: str | os.PathLike[str], *, tracks: int = 8) -> None:
    """Draw each track's probabilities over the video's seconds, one panel a track, as PNG.

    Args:
        rows: those of one video or of several; read through once.
        path: where to write; the ending chooses the format (.png, .svg, .pdf).
        tracks: how many are drawn: those seen in the most frames, in the order in which they appear.

    Raises:
        MissingExtra: without matplotlib.
        UsageError: when the rows hold faces without a track.
    """
    _gathered(rows).plot(path, tracks=tracks)


def _gathered(rows: Iterable[Faces]) -> Timeline:
    timeline = Timeline()
    for row in rows:
        timeline.add(row)
    return timeline


class _Person(NamedTuple):
    """Whose course it is: tracks are numbered anew in each video, and videos that are given as bytes share a name."""

    source: str
    video: int
    track: int


class _Course:
    """One track, frame by frame: exact sums, and a line of at most :data:`POINTS` points."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.frames = 0
        self._first = self._last = 0.0
        self._sum = np.zeros(len(labels))
        self._wins = np.zeros(len(labels), np.int64)
        # Columns: seconds, then the classes; each point is the mean of `_every` frames.
        self._points = np.zeros((64, 1 + len(labels)), np.float32)
        self._held = 0
        self._every = 1
        self._part = np.zeros(1 + len(labels))

    def add(self, time: float, p: NDArray[np.float32]) -> None:
        if not self.frames:
            self._first = time
        self.frames, self._last = self.frames + 1, time
        self._sum += p
        self._wins[p.argmax()] += 1
        self._part[0] += time
        self._part[1:] += p
        if self.frames % self._every == 0:
            self._keep()

    def summary(self) -> dict[str, Any]:
        mean, shares = self._sum / self.frames, self._wins / self.frames
        return {
            "first": round(self._first, 6),
            "last": round(self._last, 6),
            "frames": self.frames,
            "label": self.labels[int(mean.argmax())],
            "probabilities": {n: round(float(v), 5) for n, v in zip(self.labels, mean, strict=True)},
            "shares": {n: round(float(v), 5) for n, v in zip(self.labels, shares, strict=True)},
        }

    def line(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Seconds ``(P,)`` and probabilities ``(P, K)``."""
        points = self._points[: self._held]
        return points[:, 0], points[:, 1:]

    def _keep(self) -> None:
        if self._held == len(self._points):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
        self._points[self._held] = self._part / self._every
        self._held += 1
        self._part[:] = 0
        if self._held == POINTS:
            self._points[: POINTS // 2] = (self._points[::2] + self._points[1::2]) / 2
            self._held, self._every = POINTS // 2, 2 * self._every


def _with_gaps(times: NDArray[Any], p: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A break (NaN) wherever the face was away for longer than a second and three of its usual steps."""
    if len(times) < 2:
        return times, p
    steps = np.diff(times)
    at = np.flatnonzero(steps > max(1.0, 3 * float(np.median(steps)))) + 1
    return np.insert(times.astype(float), at, np.nan), np.insert(p.astype(float), at, np.nan, axis=0)
