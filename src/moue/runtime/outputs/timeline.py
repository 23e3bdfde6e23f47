"""An image of each person's expressions over a video (Matplotlib)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import require
from moue.files import atomic_write
from moue.fonts import add_legend, figure_fonts
from moue.labels import color
from moue.runtime.outputs.people import People, TrackHistory
from moue.runtime.results import Faces


def plot_timeline(rows: People | Iterable[Faces], path: str | os.PathLike[str], *, tracks: int = 8) -> None:
    """Draw each track's probabilities over the video's seconds, one panel a track.

    Args:
        rows: the results of one video or of several, iterated once; or what was collected of them.
        path: where to write; the suffix chooses the format (.png, .svg, .pdf).
        tracks: how many are drawn: those seen in the most frames, in the order in which they appear.

    Raises:
        MissingExtra: without Matplotlib.
        UsageError: when the rows hold faces without a track.
        OSError: when the file cannot be written; nothing of it is left then.
    """
    require("matplotlib", "report")
    # The object interface, not pyplot: no global state, no display.
    figure_module = require("matplotlib.figure", "report")
    histories = (rows if isinstance(rows, People) else People(rows)).histories
    longest = sorted(histories, key=lambda key: histories[key].frames, reverse=True)[:tracks]
    shown = [key for key in histories if key in longest]
    several = len({(key.source, key.video) for key in histories}) > 1
    names = list(dict.fromkeys(_drawable(key.source) for key in histories))
    title = names[0] if len(names) == 1 else f"{len(names)} videos" if names else ""
    if len(shown) < len(histories):
        title += f": the {len(shown)} people seen longest, of {len(histories)}"
    path = Path(path)
    with atomic_write(path) as part, figure_fonts():
        figure = figure_module.Figure(figsize=(10, 1.6 + 1.9 * max(1, len(shown))), layout="constrained")
        axes = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
        for ax, key in zip(axes, shown, strict=False):
            _plot_track(ax, histories[key], f"{_drawable(key.source)}, " if several else "", key.track)
        axes[-1].set_xlabel("seconds")
        figure.suptitle(title)
        if shown:
            labels = histories[shown[0]].labels
            add_legend(
                figure, axes[0].get_lines(), labels, loc="outside lower center", ncols=len(labels), frameon=False
            )
        else:
            axes[0].set_title("no face in this video")
        figure.savefig(part, dpi=100, format=path.suffix.removeprefix(".") or "png")


def _plot_track(ax: Any, history: TrackHistory, video: str, track: int) -> None:
    times, probabilities = _break_at_gaps(*history.curve())
    for k, label in enumerate(history.labels):
        red, green, blue = (v / 255 for v in color(label))
        # A person who is seen in one frame is a point.
        marker = "o" if len(times) == 1 else None
        ax.plot(times, 100 * probabilities[:, k], color=(red, green, blue), linewidth=1.5, marker=marker)
    summary = history.summary()
    mean = summary["probabilities"][summary["label"]]
    ax.set_title(f"{video}person {track}: {summary['label']}, {100 * mean:.0f} % on average", loc="left", fontsize=10)
    ax.set_ylim(0, 100)
    ax.set_yticks((0, 25, 50, 75, 100))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    ax.grid(alpha=0.3)


def _drawable(source: str) -> str:
    """The name of a file; one that is not valid text cannot be drawn."""
    return Path(source).name.encode(errors="replace").decode()


def _break_at_gaps(times: NDArray[Any], p: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A break (NaN) wherever the face was away for longer than a second and three of its usual steps."""
    if len(times) < 2:
        return times, p
    steps = np.diff(times)
    at = np.flatnonzero(steps > max(1.0, 3 * float(np.median(steps)))) + 1
    return np.insert(times.astype(float), at, np.nan), np.insert(p.astype(float), at, np.nan, axis=0)
