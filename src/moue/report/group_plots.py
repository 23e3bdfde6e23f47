"""The figures of an audit: shares of groups with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from moue.evaluation.audit import CellScore, GroupScores
from moue.report.canvas import FAINT, GRAY, INK, Drawing, canvas, short_names, style_of

#: More groups than this are not told apart by marks in one figure.
MAX_MARKS = 9


def recalls(groups: Sequence[GroupScores], labels: Sequence[str]) -> Drawing:
    """Recall of each class, a mark with its interval for each group; hollow where it is of few images."""
    step = 0.8 / max(len(groups), 2)
    with canvas(max(0.42, 0.1 * len(groups)) * len(labels) + 0.9) as plot:
        axis, handles = plot.axis, []
        axis.set_title("Recall of each class")
        for nth, group in enumerate(groups):
            color, marker, _ = style_of(nth)
            shift = step * (nth - (len(groups) - 1) / 2)
            for row, label in enumerate(labels):
                _bar(axis, group.recall[label], row + shift, color, marker)
            handles += axis.plot([], [], marker, color=color, markersize=6)
        for edge in range(len(labels) - 1):
            axis.axhline(edge + 0.5, color=FAINT, linewidth=0.7)
        plot.tick_names(labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_xlim(0, 100)
        axis.grid(False, axis="y")
        axis.set_xlabel("percent, with 95% intervals")
        plot.key(handles, short_names([group.group for group in groups]))
    return plot.drawing


def accuracies(groups: Sequence[GroupScores], title: str) -> Drawing:
    """Accuracy and share of uncertain predictions of each group, with their intervals."""
    with canvas(0.36 * len(groups) + 1.3) as plot:
        axis, handles = plot.axis, []
        axis.set_title(short_names([title], 40)[0])
        for shift, name, nth in ((-0.13, "accuracy", 0), (0.13, "uncertain", 1)):
            color, marker, _ = style_of(nth)
            for row, group in enumerate(groups):
                _bar(axis, getattr(group, name), row + shift, color, marker)
            handles += axis.plot([], [], marker, color=color, markersize=6)
        plot.tick_names([group.group for group in groups])
        axis.set_ylim(len(groups) - 0.5, -0.5)
        axis.set_xlim(0, 100)
        axis.grid(False, axis="y")
        axis.set_xlabel("percent of the faces, with 95% intervals")
        plot.key(handles, ["right", "uncertain"])
    return plot.drawing


def _bar(axis: object, cell: CellScore, y: float, color: str, marker: str) -> None:
    if cell.share is None:
        return
    plot = axis.plot  # type: ignore[attr-defined]
    if cell.low is not None and cell.high is not None:
        plot([100 * cell.low, 100 * cell.high], [y, y], color=GRAY if cell.few else color, linewidth=1.2)
    look = {"color": color, "markerfacecolor": "white" if cell.few else color, "markersize": 5}
    plot(100 * cell.share, y, marker, markeredgecolor=color or INK, clip_on=False, **look)
