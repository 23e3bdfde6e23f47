"""What became of each face over a film: a table with a row a track, and a picture of its expressions over time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, require
from moue.expressions import colour
from moue.runtime.results import Faces


@dataclass
class _Course:
    """One track, frame by frame."""

    labels: tuple[str, ...]
    times: list[float] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)


def summarise(rows: Iterable[Faces]) -> list[dict[str, Any]]:
    """One row a track, in the order in which they appear.

    Args:
        rows: a film's rows, as :func:`moue.runtime.watch.read_video` gives them; read through once.

    Returns:
        For each track: ``track``; ``first`` and ``last``, seconds; ``frames``, in how many it was seen; ``label``, the
        class with the highest mean probability; ``probabilities``, the mean of each class; ``shares``, the fraction of
        its frames in which each class came first.

    Raises:
        UsageError: when the rows hold faces without a track.
    """
    answer = []
    for track, course in _courses(rows).items():
        p = np.asarray(course.probabilities, np.float64)
        mean = p.mean(axis=0)
        shares = np.bincount(p.argmax(axis=1), minlength=len(course.labels)) / len(p)
        answer.append(
            {
                "track": track,
                "first": round(course.times[0], 6),
                "last": round(course.times[-1], 6),
                "frames": len(p),
                "label": course.labels[int(mean.argmax())],
                "probabilities": {n: round(float(v), 5) for n, v in zip(course.labels, mean, strict=True)},
                "shares": {n: round(float(v), 5) for n, v in zip(course.labels, shares, strict=True)},
            }
        )
    return answer


def plot_timeline(rows: Iterable[Faces], path: str | os.PathLike[str], *, tracks: int = 8) -> None:
    """Draw each track's probabilities over the film's seconds, one panel a track, as PNG.

    Args:
        rows: a film's rows; read through once.
        path: where to write; the ending chooses the format (.png, .svg, .pdf).
        tracks: how many are drawn: those seen in the most frames, in the order in which they appear.

    Raises:
        MissingExtra: without matplotlib.
        UsageError: when the rows hold faces without a track.
    """
    require("matplotlib", "report")
    # The object interface, not pyplot: no global state, no display.
    figure_module = require("matplotlib.figure", "report")
    courses = _courses(rows)
    longest = sorted(courses, key=lambda t: len(courses[t].times), reverse=True)[:tracks]
    shown = [t for t in courses if t in longest]
    figure = figure_module.Figure(figsize=(10, 1.2 + 1.8 * max(1, len(shown))), layout="constrained")
    axes = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    for ax, track in zip(axes, shown, strict=False):
        course = courses[track]
        times, p = _with_gaps(np.asarray(course.times), np.asarray(course.probabilities))
        for k, label in enumerate(course.labels):
            red, green, blue = (v / 255 for v in colour(label))
            ax.plot(times, p[:, k], color=(red, green, blue), label=label, linewidth=1.5)
        ax.set_ylim(0, 1)
        ax.set_ylabel(f"track {track}")
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("seconds")
    if shown:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        hidden = len(courses) - len(shown)
        if hidden:
            figure.suptitle(f"the {len(shown)} longest of {len(courses)} tracks")
    else:
        axes[0].set_title("no face in this film")
    figure.savefig(path, dpi=100)


def _courses(rows: Iterable[Faces]) -> dict[int, _Course]:
    """Each track's times and probabilities, in the order of first appearance."""
    courses: dict[int, _Course] = {}
    for row in rows:
        if not len(row):
            continue
        if row.tracks is None or row.timestamp is None:
            raise UsageError("a summary over time needs a film's rows with tracks: read it with track=True.")
        for i, track in enumerate(row.tracks.tolist()):
            course = courses.setdefault(track, _Course(row.predictions.labels))
            course.times.append(row.timestamp)
            course.probabilities.append(row.predictions.probabilities[i])
    return courses


def _with_gaps(times: NDArray[Any], p: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A break (NaN) wherever the face was away for longer than a second and three of its usual steps."""
    if len(times) < 2:
        return times, p
    steps = np.diff(times)
    at = np.flatnonzero(steps > max(1.0, 3 * float(np.median(steps)))) + 1
    return np.insert(times.astype(float), at, np.nan), np.insert(p.astype(float), at, np.nan, axis=0)
