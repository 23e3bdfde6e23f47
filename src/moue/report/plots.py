"""The figures of a comparison: models are distinguished by marker and dash as well as by color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.calibration import COVERAGE
from moue.evaluation.curves import History, best_epoch, loss_limit, series
from moue.evaluation.metrics import ClassScore, coverage_at, index_at, reliability, risk_coverage, row_shares
from moue.evaluation.robustness import Robustness
from moue.report.canvas import (
    FAINT,
    GRAY,
    INK,
    PALETTE,
    SIZE,
    WIDTH,
    Canvas,
    Drawing,
    canvas,
    short_names,
    style_of,
    text_width,
)
from moue.report.labels import Box

Measure = Literal["loss", "accuracy"]

#: Costs whose largest is above this multiple of the smallest get a logarithmic axis.
LOGARITHMIC = 4.0


#: Inches of a cell of a confusion matrix.
CELL = 0.47
#: Up to as many curves have their names at their ends; a key has those of more.
NAMED_AT_ENDS = 6


class Point(NamedTuple):
    """One model of a scatter plot."""

    name: str
    x: float
    accuracy: float
    """Fraction of 1."""
    se: float
    """Standard error of the accuracy; 0 where it is not known."""
    color: str
    marker: str
    quoted: bool = False


class Line(NamedTuple):
    """One curve over the epochs."""

    name: str
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]
    color: str
    dash: Any
    marker: str | None = None


def curves(history: History, measure: Measure) -> Drawing:
    """Loss or accuracy of training and validation over the epochs of one run; a dot marks the best epoch."""
    lines = []
    for part, color, dash in (("training", PALETTE[1], (0, (4, 1.5))), ("validation", PALETTE[0], "-")):
        epochs, values = series(history, f"{part.removesuffix('ing')}_{measure}")
        lines.append(Line(part, epochs, values, color, dash))
    best = best_epoch(history, f"validation_{measure}") if len(lines[1].epochs) > 2 else None
    with canvas(3.2) as plot:
        plot.axis.set_title("Loss" if measure == "loss" else "Accuracy, percent")
        limit = _draw_lines(plot, lines, measure)
        if best is not None and (limit is None or best[1] <= limit):
            epoch, height = best[0], _scaled(best[1], measure)
            color = PALETTE[0]
            plot.axis.plot(epoch, height, "o", color=color, markersize=7, markeredgecolor="white", zorder=5)
            text = f"{height:.2f}" if measure == "loss" else f"{height:.1f}%"
            shown = [np.minimum(x.values, np.inf if limit is None else limit) for x in lines]
            drawn = [
                plot.points(list(zip(x.epochs, _scaled(y, measure), strict=True)))
                for x, y in zip(lines, shown, strict=True)
            ]
            plot.place_labels([(text, epoch, height, color)], _along(drawn), weight="bold")
    return plot.drawing


def all_curves(histories: Mapping[str, tuple[int, History]], measure: Measure) -> Drawing | None:
    """Validation loss or accuracy of several runs over their epochs.

    Args:
        histories: by model, its index on the page and its history.
        measure: which of the two.

    Returns:
        None where no run has values: runs on all of Training have no validation part.
    """
    lines = []
    for name, (i, history) in histories.items():
        color, marker, dash = style_of(i)
        epochs, values = series(history, f"validation_{measure}")
        if len(epochs):
            lines.append(Line(name, epochs, values, color, dash, marker))
    if not lines:
        return None
    with canvas(3.2) as plot:
        plot.axis.set_title("Validation loss" if measure == "loss" else "Validation accuracy, percent")
        _draw_lines(plot, lines, measure)
    return plot.drawing


def confusion(table: NDArray[np.int64], labels: Sequence[str], title: str = "Confusion matrix") -> Drawing:
    """A confusion matrix: each cell with its share of the true class in percent, and its count below."""
    k = len(labels)
    # The cells keep their size beside long names.
    names = max(text_width(name, SIZE) for name in short_names(labels)) / 72
    with canvas(CELL * k + 0.6 * names + 0.95, max(WIDTH, CELL * k + names + 0.5)) as plot:
        axis, shares = plot.axis, row_shares(table)
        axis.imshow(shares, cmap=_blues(), vmin=0, vmax=1, aspect="equal")
        for i, j in np.ndindex(k, k):
            color = "white" if shares[i, j] > 0.5 else INK
            weight = "bold" if i == j else "normal"
            text = f"{100 * shares[i, j]:.0f}" if table[i].any() else "–"
            cell = {"ha": "center", "va": "center", "color": color}
            axis.text(j, i - 0.14, text, fontsize=9.5, fontweight=weight, **cell)
            axis.text(j, i + 0.25, f"{table[i, j]:,}", fontsize=7.5 if table[i, j] < 10_000 else 6, **cell)
        plot.tick_names(labels, horizontal=True)
        axis.set_title(short_names([title], 40)[0])
        # White seams between the cells instead of a grid through them.
        axis.grid(False)
        for edge in np.arange(0.5, k - 1):
            axis.axhline(edge, color="white", linewidth=1.5)
            axis.axvline(edge, color="white", linewidth=1.5)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("predicted")
        axis.set_ylabel("truth")
    return plot.drawing


def scatter(points: Sequence[Point], x_label: str) -> Drawing:
    """Accuracy, with one standard error, against a cost; quoted numbers are hollow."""
    costs = [p.x for p in points]
    low, high = min(costs), max(costs)
    with canvas(3.4) as plot:
        axis, handles = plot.axis, []
        for p in points:
            color = GRAY if p.quoted else p.color
            bar = axis.errorbar(
                p.x,
                100 * p.accuracy,
                yerr=100 * p.se or None,
                fmt=p.marker,
                color=color,
                markerfacecolor="white" if p.quoted else color,
                markersize=8,
                capsize=3,
                elinewidth=1.4,
            )
            handles.append(bar.lines[0])
        bars = [100 * (p.accuracy + side * p.se) for p in points for side in (-1, 1)]
        # Four points at least, so that a difference of tenths looks like one.
        middle, half = (min(bars) + max(bars)) / 2, max(2.0, 0.62 * (max(bars) - min(bars)))
        axis.set_ylim(middle - half, middle + half)
        axis.yaxis.get_major_locator().set_params(integer=True, nbins=7)
        if high > LOGARITHMIC * low:
            _logarithmic(axis, low, high)
            x_label += " (logarithmic)"
        else:
            room = 0.3 * (high - low) or 0.3 * low
            axis.set_xlim(max(0.0, low - room), high + room)
            axis.xaxis.get_major_locator().set_params(nbins=6)
        axis.set_title("Accuracy over " + x_label.partition(",")[0])
        axis.set_xlabel(x_label)
        axis.set_ylabel("accuracy, percent")
        plot.lay_out()
        ends = [plot.points([(p.x, 100 * (p.accuracy - p.se)), (p.x, 100 * (p.accuracy + p.se))]) for p in points]
        obstacles = [Box(x - 4, bottom - 1, x + 4, top + 1) for (x, bottom), (_, top) in ends]
        names = short_names([p.name for p in points])
        labels = [(n, p.x, 100 * p.accuracy, GRAY if p.quoted else p.color) for n, p in zip(names, points, strict=True)]
        if not plot.place_labels(labels, obstacles):
            plot.key(handles, names)
    return plot.drawing


def reliability_diagram(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> Drawing:
    """Accuracy of the predictions over their confidence, with the share of the predictions in each bin."""
    with canvas(4.3) as plot:
        axis = plot.axis
        counts, confidences, accuracies = reliability(confidence, correct)
        seen = counts > 0
        width = 100 / len(counts)
        middles = (np.arange(len(counts)) + 0.5) * width
        shares = axis.bar(middles, 100 * counts / counts.sum(), width * 0.9, color=FAINT)
        [diagonal] = axis.plot([0, 100], [0, 100], color=GRAY, linewidth=1.2, linestyle=(0, (4, 3)))
        look = {"color": PALETTE[0], "markersize": 5, "clip_on": False}
        [own] = axis.plot(100 * confidences[seen], 100 * accuracies[seen], "o-", **look)
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 100)
        axis.set_title("Reliability")
        axis.set_aspect("equal")
        axis.set_xlabel("confidence, percent")
        axis.set_ylabel("accuracy, percent")
        plot.key([own, diagonal, shares], ["this model", "perfectly calibrated", "share of the predictions"])
    return plot.drawing


def risk_coverage_curve(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], threshold: float = 0.0
) -> Drawing:
    """Risk (error rate) over coverage (share of the predictions kept, the most confident first), with marks at
    :data:`~moue.evaluation.calibration.COVERAGE` and at the coverage of the model's own threshold.
    """
    with canvas(3.8) as plot:
        axis = plot.axis
        kept, risk = risk_coverage(confidence, correct)
        axis.plot(100 * kept, 100 * risk, color=PALETTE[0])
        marks = [(COVERAGE, "o", PALETTE[0], f"the {COVERAGE:.0%} most confident", 7)]
        accepted = coverage_at(confidence, threshold)
        if 0 < accepted < 1:
            # A larger hollow square: a well-chosen threshold puts it at the first mark.
            marks.append((accepted, "s", PALETTE[1], "not marked uncertain", 13))
        handles, names = [], []
        for share, marker, color, name, size in marks:
            at = index_at(len(kept), share)
            fill = "none" if marker == "s" else color
            look = {"color": color, "markersize": size, "markerfacecolor": fill, "markeredgewidth": 1.8}
            look["clip_on"] = False
            handles += axis.plot(100 * kept[at], 100 * risk[at], marker, **look)
            names.append(f"{name}: {risk[at]:.1%} wrong")
        axis.set_xlim(0, 100)
        axis.set_title("Risk and coverage")
        axis.set_ylim(0, max(1.0, 110 * float(risk.max())))
        axis.set_xlabel("predictions kept, the most confident first, percent")
        axis.set_ylabel("wrong among them, percent")
        plot.key(handles, names)
    return plot.drawing


def robustness_by_severity(found: Mapping[str, Robustness]) -> Drawing:
    """Accuracy by severity, averaged over the corruptions, of several models; thin: of what is not uncertain."""
    with canvas(3.4) as plot:
        handles, hollow = [], {"linewidth": 0.9, "markerfacecolor": "white"}
        for i, robustness in enumerate(found.values()):
            color, marker, dash = style_of(i)
            severities, accuracy, selective = robustness.by_severity()
            look = {"color": color, "linestyle": dash, "marker": marker, "markersize": 5, "clip_on": False}
            handles += plot.axis.plot(severities, [100 * a for a in accuracy], **look)
            known = [(s, 100 * a) for s, a in zip(severities, selective, strict=True) if a is not None]
            plot.axis.plot(*zip(*known, strict=True), **{**look, **hollow})
        plot.axis.set_title("Accuracy under corruptions")
        plot.axis.set_ylim(0, 100)
        plot.axis.set_xlabel("severity of the corruptions, 0: none")
        plot.axis.set_ylabel("accuracy, percent")
        handles += plot.axis.plot([], [], "o-", color=GRAY, markersize=5, **hollow)
        plot.key(handles, [*short_names(list(found)), "of what is not uncertain"])
    return plot.drawing


def class_bars(classes: Mapping[str, ClassScore]) -> Drawing:
    """Recall and precision of each class of one model."""
    with canvas(0.4 * len(classes) + 1.3) as plot:
        axis, rows, handles = plot.axis, np.arange(len(classes)), []
        for shift, what, color in ((-0.19, "recall", PALETTE[0]), (0.19, "precision", PALETTE[4])):
            values = [100 * (getattr(c, what) or 0.0) for c in classes.values()]
            handles.append(axis.barh(rows + shift, values, 0.34, color=color))
            for row, value, score in zip(rows, values, classes.values(), strict=True):
                text = "–" if getattr(score, what) is None else f"{value:.0f}"
                axis.text(value + 1.2, row + shift, text, va="center", fontsize=8, color=GRAY)
        plot.tick_names(list(classes))
        axis.invert_yaxis()
        axis.set_title("Recall and precision of each class")
        axis.set_xlim(0, 108)
        axis.set_xticks(range(0, 101, 20))
        axis.grid(False, axis="y")
        axis.set_xlabel("percent")
        plot.key(handles, ["recall", "precision"])
    return plot.drawing


def class_recalls(recalls: Mapping[str, tuple[int, Mapping[str, ClassScore]]]) -> Drawing:
    """Recall of each class that has images, a mark a model; by name, the model's index on the page and its classes."""
    labels = list(dict.fromkeys(n for _, own in recalls.values() for n, c in own.items() if c.recall is not None))
    with canvas(max(0.42, 0.06 * len(recalls)) * len(labels) + 1.0) as plot:
        axis, handles = plot.axis, []
        for i, label in enumerate(labels):
            known = [100 * r for _, c in recalls.values() if label in c and (r := c[label].recall) is not None]
            if known:
                axis.plot([min(known), max(known)], [i, i], color=FAINT, linewidth=5, solid_capstyle="round", zorder=1)
        for nth, (i, classes) in enumerate(recalls.values()):
            color, marker, _ = style_of(i)
            # A little above and below the line, so that no mark hides another.
            shift = min(0.7, 0.14 * len(recalls)) * (nth / (len(recalls) - 1) - 0.5) if len(recalls) > 1 else 0.0
            dots = [(100 * c.recall, labels.index(n) + shift) for n, c in classes.items() if c.recall is not None]
            x, y = [x for x, _ in dots], [y for _, y in dots]
            look = {"color": color, "markersize": 7, "markeredgecolor": "white", "zorder": 3, "clip_on": False}
            handles += axis.plot(x, y, marker, **look)
        plot.tick_names(labels)
        axis.invert_yaxis()
        axis.set_title("Recall of each class")
        axis.set_xlim(0, 100)
        axis.set_xlabel("recall, percent")
        plot.key(handles, short_names(list(recalls)))
    return plot.drawing


def _draw_lines(plot: Canvas, lines: Sequence[Line], measure: Measure) -> float | None:
    """Draw curves with their names at their ends; returns where a loss axis was cut off."""
    axis, handles, drawn = plot.axis, [], [line for line in lines if len(line.epochs)]
    limit = loss_limit([line.values for line in drawn]) if measure == "loss" else None
    ends = []
    for line in drawn:
        y = _scaled(line.values, measure)
        mark = line.marker or ("o" if len(y) < 3 else None)
        every = max(1, len(y) // 8)
        look = {"color": line.color, "linestyle": line.dash, "marker": mark, "markevery": every, "markersize": 5}
        handles += axis.plot(line.epochs, y, **look)
        ends.append((line.name, float(line.epochs[-1]), min(float(y[-1]), limit or np.inf), line.color))
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1, nbins=8)
    epochs = np.unique(np.concatenate([line.epochs for line in drawn])) if drawn else np.array([1.0])
    if len(epochs) == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axis.set_xticks(epochs)
    else:
        axis.margins(x=0.04)
    axis.margins(y=0.14)
    at_ends = len(ends) <= NAMED_AT_ENDS
    arrows, notes = _mark_clipped(plot, drawn, limit) if limit is not None else ([], [])
    names = [] if at_ends else short_names([line.name for line in drawn])
    if names or notes:
        plot.key([*arrows, *(handles if names else [])], [*notes, *names])
    if at_ends:
        plot.end_labels(ends)
    return limit


def _mark_clipped(plot: Canvas, lines: Sequence[Line], limit: float) -> tuple[list[Any], list[str]]:
    """End the axis at the limit, with an arrow there for each curve that goes on: the arrows, and what they mean."""
    lowest = min(float(line.values.min()) for line in lines)
    plot.axis.set_ylim(lowest - 0.08 * (limit - lowest), limit)
    handles, notes = [], []
    for line in lines:
        above = line.epochs[line.values > limit]
        if len(above):
            handles += plot.axis.plot(above[0], limit, "^", color=line.color, markersize=7, clip_on=False, zorder=6)
            notes.append(f"{short_names([line.name])[0]} cut off, up to {line.values.max():.3g}")
    return handles, notes


def _logarithmic(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log")
    room = (high / low) ** 0.3
    axis.set_xlim(low / room, high * room)
    decades = np.log10(high / low)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _along(lines: Sequence[Sequence[tuple[float, float]]]) -> list[Box]:
    """Small boxes along lines, to be left free by labels."""
    return [
        Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5)
        for line in lines
        for (x0, y0), (x1, y1) in pairwise(line)
        for t in np.linspace(0, 1, max(2, int(np.hypot(x1 - x0, y1 - y0) / 4)))
        for x, y in [(x0 + t * (x1 - x0), y0 + t * (y1 - y0))]
    ]


def _scaled(value: Any, measure: Measure) -> Any:
    return value * 100 if measure == "accuracy" else value


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("moue", ["#f3f6fa", "#a8cbe6", "#3a8cc4", "#0b4f86", "#06315a"])
