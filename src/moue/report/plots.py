"""Figures as SVG or PNG bytes: dark on light, with models distinguished by marker and dash as well as by color.

Colors are Okabe and Ito's ("Color Universal Design", 2008). Neither pyplot nor a display is used, and matplotlib's
global settings are left unchanged.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.errors import require
from moue.evaluation.calibration import COVERAGE
from moue.evaluation.curves import History, best_epoch, series
from moue.evaluation.metrics import ClassScore, coverage_at, index_at, reliability, risk_coverage, row_shares

Format = Literal["svg", "png"]

INK, GRAY, FAINT = "#1d2430", "#6b7280", "#d9dde3"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9C", "#7A7A7A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1)), (0, (1, 3)))
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": GRAY,
    "axes.edgecolor": "#9aa1ab",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    # Text stays text: sharper, smaller, and searchable; with the salt, the same data give the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "moue",
}


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


def style_of(i: int) -> tuple[str, str, Any]:
    """Color, marker and dash of the i-th model of a page."""
    return PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]


def curves(history: History, format: Format = "svg") -> bytes:
    """Loss and accuracy of training and validation over the epochs of one run."""
    with _figure(8.4, 3.1, 2, format) as (axes, sink):
        for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
            axis.set_title("Loss" if what == "loss" else "Accuracy, per cent")
            for part, color, dash in (("train", PALETTE[1], (0, (4, 1.5))), ("validation", PALETTE[0], "-")):
                x, y = series(history, f"{part}_{what}")
                if not len(x):
                    continue
                y = y * 100 if what == "accuracy" else y
                mark = "o" if len(x) < 3 else None
                axis.plot(x, y, color=color, linestyle=dash, label=part, marker=mark, markersize=5)
                best = best_epoch(history, f"{part}_{what}")
                if part == "validation" and len(x) > 2 and best is not None:
                    epoch, value = best
                    height = value * 100 if what == "accuracy" else value
                    axis.plot(epoch, height, "o", color=color, markersize=7, markeredgecolor="white", zorder=5)
                    axis.annotate(
                        f"{height:.1f} %" if what == "accuracy" else f"{height:.2f}",
                        (epoch, height),
                        (0, 9 if what == "loss" else -16),
                        textcoords="offset points",
                        ha="center",
                        color=color,
                        fontsize=10,
                        fontweight="bold",
                    )
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.margins(x=0.04, y=0.14)
        axes[0].legend(loc="best", handlelength=2.6)
    return sink.getvalue()


def all_curves(histories: Mapping[str, tuple[int, History]], format: Format = "svg") -> bytes:
    """Validation loss and accuracy of several runs over their epochs; by name: index on the page, history."""
    with _figure(8.4, 3.4, 2, format) as (axes, sink):
        for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
            axis.set_title("Validation loss" if what == "loss" else "Validation accuracy, per cent")
            for name, (i, history) in histories.items():
                color, marker, dash = style_of(i)
                x, y = series(history, f"validation_{what}")
                if len(x):
                    y = y * 100 if what == "accuracy" else y
                    every = max(1, len(x) // 8)
                    axis.plot(
                        x, y, color=color, linestyle=dash, marker=marker, markevery=every, markersize=5, label=name
                    )
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        # Runs on all of Training have no validation part, hence no line here.
        if axes[0].lines:
            axes[0].legend(loc="best", handlelength=3, fontsize=10)
    return sink.getvalue()


def confusion(table: NDArray[np.int64], labels: Sequence[str], format: Format = "svg") -> bytes:
    """A confusion matrix: each cell with its share of the true class in per cent, and its count below."""
    k = len(labels)
    side = max(3.6, 0.72 * k)
    with _figure(side + 0.9, side + 0.5, 1, format) as ((axis,), sink):
        shares = row_shares(table)
        axis.imshow(shares, cmap=_blues(), vmin=0, vmax=1, aspect="equal")
        for i in range(k):
            for j in range(k):
                color = "white" if shares[i, j] > 0.5 else INK
                weight = "bold" if i == j else "normal"
                text = f"{100 * shares[i, j]:.0f} %" if table[i].any() else "–"
                axis.text(j, i - 0.12, text, ha="center", va="center", color=color, fontsize=10.5, fontweight=weight)
                axis.text(
                    j, i + 0.25, f"{table[i, j]:,}", ha="center", va="center", color=color, fontsize=8.5, alpha=0.85
                )
        axis.set_xticks(range(k), labels, rotation=30 if k > 4 else 0, ha="right" if k > 4 else "center", color=INK)
        axis.set_yticks(range(k), labels, color=INK)
        # White seams between the cells instead of a grid through them.
        axis.grid(False)
        for edge in np.arange(0.5, k - 1):
            axis.axhline(edge, color="white", linewidth=1.5)
            axis.axvline(edge, color="white", linewidth=1.5)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set_xlabel("predicted")
        axis.set_ylabel("truth")
    return sink.getvalue()


def scatter(points: Sequence[Point], x_label: str, format: Format = "svg") -> bytes:
    """Accuracy, with one standard error, against a cost on a logarithmic axis; quoted numbers are hollow."""
    with _figure(5.2, 3.8, 1, format) as ((axis,), sink):
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axis.set_xscale("log")
        for p in points:
            axis.errorbar(
                p.x,
                100 * p.accuracy,
                yerr=100 * p.se or None,
                fmt=p.marker,
                color=GRAY if p.quoted else p.color,
                markerfacecolor="white" if p.quoted else p.color,
                markersize=8,
                capsize=3,
                elinewidth=1.4,
            )
        axis.margins(x=0.32, y=0.22)
        if len({p.x for p in points}) == 1:
            # A relative margin of an empty range is empty: a single cost gets an axis of its own around it.
            axis.set_autoscalex_on(False)
            axis.set_xlim(points[0].x / 3, points[0].x * 3)
        _label(axis, points)
        axis.set_xlabel(x_label)
        axis.set_ylabel("accuracy, per cent")
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        low, high = axis.get_xlim()
        if high / low < 20:
            axis.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: f"{v:g}" if f"{v:e}"[0] in "25" else ""))
        else:
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", which="minor", labelcolor=GRAY, labelsize=11)
    return sink.getvalue()


def reliability_diagram(confidence: NDArray[np.floating], correct: NDArray[np.bool_], format: Format = "svg") -> bytes:
    """Accuracy of the predictions over their confidence, with the share of the predictions in each bin."""
    with _figure(5.0, 4.8, 1, format) as ((axis,), sink):
        counts, confidences, accuracies = reliability(confidence, correct)
        seen = counts > 0
        width = 100 / len(counts)
        middles = (np.arange(len(counts)) + 0.5) * width
        axis.bar(middles, 100 * counts / counts.sum(), width * 0.9, color=FAINT, label="share of the predictions")
        axis.plot([0, 100], [0, 100], color=GRAY, linewidth=1.2, linestyle=(0, (4, 3)), label="perfectly calibrated")
        axis.plot(
            100 * confidences[seen], 100 * accuracies[seen], "o-", color=PALETTE[0], markersize=5, label="this model"
        )
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 100)
        axis.set_aspect("equal")
        axis.set_xlabel("confidence, per cent")
        axis.set_ylabel("accuracy, per cent")
        handles, names = axis.get_legend_handles_labels()
        order = [names.index(n) for n in ("this model", "perfectly calibrated", "share of the predictions")]
        axis.legend([handles[i] for i in order], [names[i] for i in order], loc="upper left", fontsize=9.5)
    return sink.getvalue()


def risk_coverage_curve(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], threshold: float = 0.0, format: Format = "svg"
) -> bytes:
    """Risk (error rate) over coverage (share of the predictions kept, the most confident first), with marks at
    :data:`~moue.evaluation.calibration.COVERAGE` and at the coverage of the model's own threshold.
    """
    with _figure(5.0, 4.2, 1, format) as ((axis,), sink):
        kept, risk = risk_coverage(confidence, correct)
        axis.plot(100 * kept, 100 * risk, color=PALETTE[0])
        marks = [(COVERAGE, "o", PALETTE[0], f"the {COVERAGE:.0%} most confident".replace("%", " %"), 7)]
        accepted = coverage_at(confidence, threshold)
        if 0 < accepted < 1:
            # A larger hollow square: a well-chosen threshold puts it at the first mark.
            marks.append((accepted, "s", PALETTE[1], "not marked uncertain", 13))
        for share, marker, color, name, size in marks:
            at = index_at(len(kept), share)
            label = f"{name}: {100 * risk[at]:.1f} % wrong"
            fill = "none" if marker == "s" else color
            axis.plot(
                100 * kept[at],
                100 * risk[at],
                marker,
                color=color,
                markersize=size,
                markerfacecolor=fill,
                markeredgewidth=1.8,
                label=label,
            )
        axis.set_xlim(0, 100)
        axis.set_ylim(0, max(1.0, 110 * float(risk.max())))
        axis.set_xlabel("predictions kept, the most confident first, per cent")
        axis.set_ylabel("wrong predictions among them, per cent")
        axis.legend(loc="upper left", fontsize=9.5, numpoints=1)
    return sink.getvalue()


def class_bars(classes: Mapping[str, ClassScore], format: Format = "svg") -> bytes:
    """Recall and precision of each class of one model."""
    with _figure(5.2, 0.42 * len(classes) + 1.3, 1, format) as ((axis,), sink):
        rows = np.arange(len(classes))
        for shift, what, color in ((-0.19, "recall", PALETTE[0]), (0.19, "precision", PALETTE[4])):
            values = [100 * (getattr(c, what) or 0.0) for c in classes.values()]
            axis.barh(rows + shift, values, 0.34, color=color, label=what)
            for row, value, score in zip(rows, values, classes.values(), strict=True):
                text = "–" if getattr(score, what) is None else f"{value:.0f}"
                axis.text(value + 1.2, row + shift, text, va="center", fontsize=8.5, color=GRAY)
        axis.set_yticks(rows, list(classes), color=INK)
        axis.invert_yaxis()
        axis.set_xlim(0, 108)
        axis.set_xticks(range(0, 101, 20))
        axis.grid(False, axis="y")
        axis.set_xlabel("per cent")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return sink.getvalue()


def class_recalls(recalls: Mapping[str, tuple[int, Mapping[str, ClassScore]]], format: Format = "svg") -> bytes:
    """Recall of each class, a dot a model; by name, the model's index on the page and its classes."""
    labels = list(dict.fromkeys(label for _, classes in recalls.values() for label in classes))
    with _figure(8.4, 0.4 * len(labels) + 1.4, 1, format) as ((axis,), sink):
        for i, label in enumerate(labels):
            known = [100 * r for _, c in recalls.values() if label in c and (r := c[label].recall) is not None]
            if known:
                axis.plot([min(known), max(known)], [i, i], color=FAINT, linewidth=5, solid_capstyle="round", zorder=1)
        for nth, (name, (i, classes)) in enumerate(recalls.items()):
            color, marker, _ = style_of(i)
            # A little above and below the line, so that no dot hides another.
            shift = 0.22 * (nth / (len(recalls) - 1) - 0.5) if len(recalls) > 1 else 0.0
            dots = [(100 * c.recall, labels.index(n) + shift) for n, c in classes.items() if c.recall is not None]
            x, y = [x for x, _ in dots], [y for _, y in dots]
            axis.plot(x, y, marker, color=color, markersize=8, markeredgecolor="white", label=name, zorder=3)
        axis.set_yticks(range(len(labels)), labels, color=INK)
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.set_xlabel("recall, per cent")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, len(recalls)))
    return sink.getvalue()


def _label(axis: Any, points: Sequence[Point]) -> None:
    """Write each point's name beside it, where it overlaps no other: on its right, else left, above or below."""
    size = axis.figure.get_size_inches() * 72
    box = axis.get_position()
    width, height = size[0] * box.width, size[1] * box.height
    low, high = np.log(axis.get_xlim())
    bottom, top = axis.get_ylim()
    at = [
        ((np.log(p.x) - low) / (high - low) * width, (100 * p.accuracy - bottom) / (top - bottom) * height)
        for p in points
    ]
    occupied = [(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    for point, (x, y) in zip(points, at, strict=True):
        wide = 5.4 * len(point.name)
        sides = [(9, 0, "left"), (-9, 0, "right"), (0, 14, "center"), (0, -14, "center")]
        candidates = [*sides, (9, 12, "left"), (9, -12, "left"), (-9, 12, "right"), (-9, -12, "right")]
        best, cost = candidates[0], float("inf")
        for dx, dy, align in candidates:
            left = x + dx - {"left": 0, "right": wide, "center": wide / 2}[align]
            area = (left, y + dy - 6, left + wide, y + dy + 6)
            outside = max(0.0, -area[0]) + max(0.0, area[2] - width) + max(0.0, -area[1]) + max(0.0, area[3] - height)
            overlap = sum(_overlap(area, other) for other in occupied)
            if overlap + 12 * outside < cost - 1:
                best, cost, chosen = (dx, dy, align), overlap + 12 * outside, area
        occupied.append(chosen)
        axis.annotate(
            point.name,
            (point.x, 100 * point.accuracy),
            best[:2],
            textcoords="offset points",
            ha=best[2],
            va="center",
            fontsize=9.5,
            color=GRAY if point.quoted else INK,
            fontstyle="italic" if point.quoted else "normal",
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("moue", ["#f3f6fa", "#a8cbe6", "#3a8cc4", "#0b4f86", "#06315a"])


@contextmanager
def _figure(width: float, height: float, panels: int, format: Format) -> Iterator[tuple[Any, io.BytesIO]]:
    """A row of panels, ``width`` × ``height`` inches, saved into the bytes when the block ends."""
    matplotlib = require("matplotlib", "report")
    figures = require("matplotlib.figure", "report")
    sink = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(1, panels, squeeze=False)[0], sink
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(sink, format=format, dpi=160, transparent=format == "svg", metadata=metadata)
