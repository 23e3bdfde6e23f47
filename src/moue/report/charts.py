"""Charts of a data set: class shares as bars and as a pie, a grid of samples, a grid of augmented samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.data.info import class_counts
from moue.data.table import SPLITS, ImageTable
from moue.errors import require, shortened
from moue.fonts import figure_fonts
from moue.labels import color
from moue.report.canvas import STYLE, Drawing, saved

#: An augmentation of a batch of images, uint8 ``(N, C, S, S)`` to the same.
Augment = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

#: What :func:`draw` writes.
FILES = ("classes_bar.png", "classes_pie.png", "samples.png", "augmented.png")

_COLUMNS = 10
_ROWS = 6

#: Share of a slice of the pie that is too thin for a number.
_THIN = 0.012

#: Characters of a class's or a data set's name that fit beside a chart or above it.
_NAME = 24


def draw(table: ImageTable, folder: Path | str, augment: Augment | None = None, seed: int = 0) -> list[Path]:
    """Write the charts of a data set as PNG.

    Args:
        table: the set.
        folder: where to; made where it is missing.
        augment: the augmentation of training; without it there is no grid of augmented samples.
        seed: of the choice of samples.

    Returns:
        the files: ``classes_bar.png``, ``classes_pie.png``, ``samples.png`` and, with ``augment``, ``augmented.png``.

    Raises:
        MissingExtra: without matplotlib.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with figure_fonts(STYLE):
        for name, figure in _figures(table, augment, seed).items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=110)
    return paths


def drawings(table: ImageTable, augment: Augment | None = None, seed: int = 0) -> dict[str, Drawing]:
    """The same charts for a page, by their names.

    Raises:
        MissingExtra: without matplotlib.
    """
    with figure_fonts(STYLE):
        return {name: saved(figure) for name, figure in _figures(table, augment, seed).items()}


def _figures(table: ImageTable, augment: Augment | None, seed: int) -> dict[str, Any]:
    figures = {"classes_bar": _bars(table), "classes_pie": _pie(table), "samples": _samples(table, seed)}
    if augment is not None:
        figures["augmented"] = _augmented(table, augment, seed)
    return figures


def _figure(width: float, height: float) -> Any:
    # Not through pyplot, which would keep the figure alive and choose a window system.
    return require("matplotlib.figure", "report").Figure(figsize=(width, height), layout="constrained")


def _short(names: Iterable[str]) -> list[str]:
    return [shortened(name, _NAME) for name in names]


def _tint(name: str) -> tuple[float, float, float]:
    red, green, blue = color(name)
    return red / 255, green / 255, blue / 255


def _bars(table: ImageTable) -> Any:
    """Counts of each class, a bar a split."""
    splits = [s for s in SPLITS if (table.split == s).any()]
    names = table.label_set.labels
    figure = _figure(max(5.6, 0.8 * len(names)), 3.6)
    axes = figure.add_subplot()
    width = 0.84 / len(splits)
    for i, split in enumerate(splits):
        counts = list(class_counts(table, table.split == split).values())
        positions = np.arange(len(names)) + (i - (len(splits) - 1) / 2) * width
        # Splits differ in opacity, classes in hue.
        bars = axes.bar(
            positions,
            counts,
            width * 0.94,
            color=[_tint(n) for n in names],
            alpha=1 - 0.6 * i / len(splits),
            label=split.replace("_", " "),
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=1, rotation=90 if len(splits) > 2 else 0)
    slanted = max(map(len, names)) > 10
    axes.set_xticks(
        range(len(names)), _short(names), rotation=30 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_ylabel("images")
    axes.grid(False, axis="x")
    axes.set_title(f"{shortened(table.name, _NAME)}: {len(table):,} images")
    axes.margins(y=0.14)
    axes.spines[["top", "right"]].set_visible(False)
    if len(splits) > 1:
        legend = axes.legend(frameon=False)
        for handle, i in zip(legend.legend_handles, range(len(splits)), strict=True):
            handle.set_facecolor("black")
            handle.set_alpha(1 - 0.6 * i / len(splits))
    return figure


def _pie(table: ImageTable) -> Any:
    counts = {n: c for n, c in class_counts(table, np.ones(len(table), bool)).items() if c}
    figure = _figure(5.6, max(3.6, 0.3 * len(counts)))
    axes = figure.add_subplot()
    wedges, _ = axes.pie(
        list(counts.values()),
        colors=[_tint(n) for n in counts],
        startangle=90,
        counterclock=False,
        wedgeprops={"linewidth": 1, "edgecolor": "white"},
    )
    # Names at the slices themselves would leave the picture, and lie on one another where classes are small.
    shares = [n / len(table) for n in counts.values()]
    named = zip(_short(counts), counts.values(), shares, strict=True)
    labels = [f"{i} {name}: {n:,} ({share:.1%})" for i, (name, n, share) in enumerate(named, start=1)]
    # Numbers tell the slices apart where colors do not; those that are too thin for one are the legend's others.
    angle = 0.0
    for i, share in enumerate(shares, start=1):
        middle = 2 * np.pi * (angle + share / 2)
        if share >= _THIN:
            axes.text(1.13 * np.sin(middle), 1.13 * np.cos(middle), str(i), ha="center", va="center", fontsize=8)
        angle += share
    figure.legend(wedges, labels, loc="outside right center", frameon=False)
    # As the titles of axes are.
    look = {"fontsize": STYLE["axes.titlesize"], "fontweight": STYLE["axes.titleweight"]}
    figure.suptitle(f"{shortened(table.name, _NAME)}: shares of the classes", x=0.01, ha="left", **look)
    return figure


def _samples(table: ImageTable, seed: int) -> Any:
    """One row a class."""
    rng = np.random.default_rng(seed)
    present = [k for k in range(len(table.label_set)) if (table.labels == k).any()]
    rows = [rng.permutation(np.flatnonzero(table.labels == k))[:_COLUMNS] for k in present]
    names = [table.label_set.labels[k] for k in present]
    return _grid([table.images[r] for r in rows], names, f"{shortened(table.name, _NAME)}: samples of each class")


def _augmented(table: ImageTable, augment: Augment, seed: int) -> Any:
    """One row an image: itself, then augmented."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(table))[:_ROWS]
    rows = []
    for image in table.images[chosen]:
        batch = np.repeat(image[None], _COLUMNS, axis=0)
        rows.append(np.concatenate([image[None], augment(batch[1:])]))
    names = [table.label_set.labels[k] for k in table.labels[chosen]]
    return _grid(rows, names, "augmentation: the first column is the image itself")


def _grid(rows: list[NDArray[np.uint8]], names: list[str], title: str) -> Any:
    side, gap = max(r.shape[-1] for r in rows), 2
    step = side + gap
    sheet = np.full((len(rows) * step - gap, _COLUMNS * step - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            sheet[i * step : i * step + side, j * step : j * step + side] = image.transpose(1, 2, 0)
    # Small ones enlarged without interpolation, so that pixels stay visible.
    factor = max(1, round(48 / side))
    enlarged = Image.fromarray(sheet).resize(
        (sheet.shape[1] * factor, sheet.shape[0] * factor), Image.Resampling.NEAREST
    )
    figure = _figure(_COLUMNS * 0.9 + 1, len(rows) * 0.9 + 0.5)
    axes = figure.add_subplot()
    axes.imshow(np.asarray(enlarged), interpolation="none")
    axes.grid(False)
    axes.set_yticks([(i * step + side / 2) * factor for i in range(len(rows))], _short(names))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return figure
