"""Figures of curves and of conditions (Matplotlib, the extra ``report``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import UnknownName, UsageError, require
from moue.files import atomic_write
from moue.fonts import add_legend, figure_fonts
from moue.report.canvas import DASHES, INK, PALETTE, STYLE
from moue.timeline.curves import Curves
from moue.timeline.table import Table

UNITS = {"person": "people", "source": "films", "event": "events"}
#: Panels side by side.
_COLUMNS = 4


def plot_curves(
    curves: Curves, path: str | os.PathLike[str] | None = None, expressions: Sequence[str] | None = None
) -> Any:
    """Draw what :func:`moue.timeline.event_locked` returns: a panel an expression, a line with its band a condition.

    Args:
        curves: what that returned.
        path: a file to write; the suffix chooses the format (.png, .svg, .pdf).
        expressions: which to draw; all where left out.

    Returns:
        The Matplotlib figure.

    Raises:
        MissingExtra: without Matplotlib.
        UnknownName: for an expression that the curves do not have.
        UsageError: for a format that Matplotlib does not write.
        OSError: when the file cannot be written; nothing of it is left then.
    """
    shown = _chosen(expressions, curves.labels)
    with figure_fonts(STYLE):
        figure, axes = _panels(len(shown))
        drawn: dict[str, Any] = {}
        for ax, name in zip(axes, shown, strict=False):
            k = curves.labels.index(name)
            for c, condition in enumerate(curves.conditions):
                color, dashes = PALETTE[c % len(PALETTE)], DASHES[c % len(DASHES)]
                counted = f"{condition} (n = {curves.n[c, np.abs(curves.times).argmin()]})"
                drawn[counted] = ax.plot(curves.times, curves.mean[c, :, k], color=color, linestyle=dashes)[0]
                ax.fill_between(
                    curves.times, curves.low[c, :, k], curves.high[c, :, k], color=color, alpha=0.2, linewidth=0
                )
            ax.axvline(0, color=INK, linewidth=0.8)
            ax.set_title(name)
            ax.set_xlim(curves.times[0], curves.times[-1])
        below = axes[_COLUMNS : len(shown)]
        for i, ax in enumerate(axes):
            # An empty place below it has no axis.
            bottom, left = i >= len(below), ax.get_subplotspec().is_first_col()
            ax.tick_params(labelbottom=bottom)
            ax.set_xlabel("seconds from the start" if bottom else "")
            ax.set_ylabel("mean probability" if left else "")
        _legend(figure, drawn)
        figure.suptitle(f"Mean and {curves.confidence:.0%} interval, pointwise, over {UNITS[curves.unit]}", fontsize=11)
        _save(figure, path)
    return figure


def plot_conditions(
    table: Table, path: str | os.PathLike[str] | None = None, expressions: Sequence[str] | None = None
) -> Any:
    """Draw what :func:`moue.timeline.by_condition` returns: means with their intervals, side by side an expression.

    Args:
        table: what that returned.
        path, expressions: as of :func:`plot_curves`.

    Returns:
        The Matplotlib figure.

    Raises:
        MissingExtra, UnknownName, OSError: as :func:`plot_curves`.
        UsageError: for another table, or a format that Matplotlib does not write.
    """
    if "mean_low" not in table.columns:
        raise UsageError("a figure of conditions needs what by_condition returns.")
    shown = _chosen(expressions, list(dict.fromkeys(row["expression"] for row in table)))
    conditions = list(dict.fromkeys(row["condition"] for row in table))
    with figure_fonts(STYLE):
        figure = require("matplotlib.figure", "report").Figure(figsize=(2 + 1.3 * len(shown), 4), layout="constrained")
        ax = figure.subplots()
        drawn: dict[str, Any] = {}
        for c, condition in enumerate(conditions):
            rows = [row for row in table if row["condition"] == condition and row["expression"] in shown]
            rows.sort(key=lambda row: shown.index(row["expression"]))
            x = np.arange(len(shown)) + (c - (len(conditions) - 1) / 2) * 0.6 / len(conditions)
            mean, low, high = (
                np.array([np.nan if row[key] is None else row[key] for row in rows], float)
                for key in ("mean", "mean_low", "mean_high")
            )
            errors = np.nan_to_num([mean - low, high - mean])
            style = {"color": PALETTE[c % len(PALETTE)], "marker": "o", "linestyle": "none", "capsize": 3}
            drawn[f"{condition} (n = {rows[0]['people']})"] = ax.errorbar(x, mean, errors, **style)
        ax.set_xticks(range(len(shown)), shown)
        ax.set_ylabel("mean probability")
        # A value of 0 is drawn whole.
        ax.set_ylim(bottom=-0.02)
        ax.grid(axis="x", visible=False)
        _legend(figure, drawn)
        _save(figure, path)
    return figure


def _save(figure: Any, path: str | os.PathLike[str] | None) -> None:
    if path is None:
        return
    path = Path(path)
    format = path.suffix.removeprefix(".").lower() or "png"
    if format not in (known := figure.canvas.get_supported_filetypes()):
        raise UsageError(
            f"a figure must end in .png, .svg or .pdf. Got {path} instead; known: {', '.join(sorted(known))}."
        )
    with atomic_write(path) as part:
        figure.savefig(part, dpi=120, format=format)


def _panels(n: int) -> tuple[Any, list[Any]]:
    columns = min(n, _COLUMNS)
    rows = -(-n // columns)
    size = (1 + 2.6 * columns, 1.2 + 2.2 * rows)
    figure = require("matplotlib.figure", "report").Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for ax in axes[n:]:
        ax.set_visible(False)
    return figure, axes


def _legend(figure: Any, drawn: Mapping[str, Any]) -> None:
    add_legend(figure, list(drawn.values()), list(drawn), loc="outside lower center", ncols=min(len(drawn), 4))


def _chosen(expressions: Sequence[str] | None, labels: Sequence[str]) -> list[str]:
    shown = list(labels if expressions is None else expressions)
    for name in shown:
        if name not in labels:
            raise UnknownName("expression in the results", name, labels)
    if not shown:
        raise UsageError("a figure needs at least one expression.")
    return shown
