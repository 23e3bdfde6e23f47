"""What all figures share: their style, how text is measured and placed on them, and how they become files.

Colors are Okabe and Ito's ("Color Universal Design", 2008). Neither pyplot nor a display is used, and matplotlib's
global settings are left unchanged.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from moue.errors import require, shortened
from moue.fonts import LAYOUT_FONT, add_legend, figure_fonts, no_glyph_warnings
from moue.report.labels import Box, place, spread

#: Inches. All figures but large confusion matrices are as wide, so that their text has one size on the page.
WIDTH = 4.6
INK, GRAY, FAINT = "#1d2430", "#5f6773", "#d9dde3"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9C", "#7A7A7A")
#: As many as have no common divisor with the colors: 72 models differ in color or marker, 56 in color or dash.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1)))
#: Text is laid out in the font that matplotlib brings, which is wider than these: what has room there has room here.
VIEWER_FONTS = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
#: Points.
SIZE, SMALL = 10.0, 9.0
#: Points between a label and its point from which on it is hard to see that they belong together.
FAR = 30.0
#: Characters of a model's or a class's name in a figure.
NAME = 22
STYLE = {
    "font.family": "sans-serif",
    "font.size": SIZE,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
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
    "lines.linewidth": 1.8,
    # Text stays text: sharper, smaller, and searchable; with the salt, the same data give the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "moue",
}


#: An image in an SVG.
_EMBEDDED = re.compile(rb"data:image/png;base64,([A-Za-z0-9+/=\s]+)")


class Drawing(NamedTuple):
    """A figure as files."""

    svg: bytes
    png: bytes


class Canvas:
    """One plot that is being drawn; labels come last, as they fix its layout."""

    def __init__(self, figure: Any) -> None:
        self.figure, self.axis = figure, figure.subplots()
        self._left = self._bottom = self._right = 0.0
        self._laid_out = False
        self.drawing = Drawing(b"", b"")

    def tick_names(self, names: Sequence[str], *, vertical: bool = True, horizontal: bool = False) -> None:
        """Write names at the ticks 0, 1, … of an axis or of both."""
        short = short_names(names)
        if horizontal:
            slanted = len(short) > 4 or max(map(len, short)) > 8
            how = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
            self.axis.set_xticks(range(len(short)), short, color=INK, **how)
        if vertical:
            self.axis.set_yticks(range(len(short)), short, color=INK)
            # Room for half of a mark at the axis.
            self.axis.tick_params(axis="y", pad=7)
        # matplotlib's font lacks these characters and so does its layout: half of their width is missing.
        missing = max(_wide(name) for name in short) * 0.45 * SIZE
        self._left, self._bottom = missing, missing if horizontal else 0.0

    def end_labels(self, ends: Sequence[tuple[str, float, float, str]]) -> None:
        """Write each line's name on the right of the axes, at the height of its end, with a thin line to it.

        Args:
            ends: name, x and y of the line's last point, color.
        """
        names = short_names([name for name, *_ in ends])
        self._right = max((text_width(name, SMALL) for name in names), default=0.0) + 14
        self.lay_out()
        area, lines = self.area(), self.points([(x, y) for _, x, y, _ in ends])
        heights = spread([y for _, y in lines], SMALL + 3, area.bottom, area.top)
        for name, (_, x, y, color), height in zip(names, ends, heights, strict=True):
            self._note(name, (x, y), (area.right + 10, height), color, ha="left", leader=True)

    def place_labels(
        self,
        labels: Sequence[tuple[str, float, float, str]],
        obstacles: Sequence[Box] = (),
        *,
        radius: float = 6.0,
        weight: str = "normal",
    ) -> bool:
        """Write each label near its point, where it covers nothing; with :data:`FAR` ones among them, write none.

        Args:
            labels: text, x and y of its point, color.
            obstacles: what else to leave free, in points of the figure, see :meth:`points`.
            radius: of the points' marks.
            weight: of the font.

        Returns:
            Whether there was room.
        """
        self.lay_out()
        anchors = self.points([(x, y) for _, x, y, _ in labels])
        sizes = [(text_width(text, SMALL), SMALL + 2) for text, *_ in labels]
        placed = place(anchors, sizes, self.area(), obstacles, radius)
        around = [Box(*anchor, *anchor) for anchor in anchors]
        if any(not box.grown(FAR).overlap(at.grown(radius)) for box, at in zip(placed, around, strict=True)):
            return False
        for (text, x, y, color), at, box in zip(labels, around, placed, strict=True):
            middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
            # A thin line leads to what is not beside its point.
            leader = not box.grown(SMALL).overlap(at.grown(radius))
            self._note(text, (x, y), middle, color, ha="center", leader=leader, weight=weight)
        return True

    def key(self, handles: Sequence[Any], names: Sequence[str]) -> None:
        """A legend above the axes, in as many columns as fit; the figure grows by its height."""
        short = short_names(names, 2 * NAME)
        widest = max(text_width(name, SMALL) for name in short) + 42
        columns = max(1, min(len(names), int(72 * WIDTH / widest)))
        width, height = self.figure.get_size_inches()
        self.figure.set_size_inches(width, height + 0.18 * -(-len(names) // columns))
        add_legend(self.figure, handles, short, loc="outside upper left", ncols=columns, fontsize=SMALL, numpoints=1)
        self._laid_out = False
        self.figure.set_layout_engine("constrained")

    def lay_out(self) -> None:
        """Fix where the axes are; what is drawn later changes nothing about it, and labels can be placed."""
        if self._laid_out:
            return
        self._laid_out = True
        width, height = self.figure.get_size_inches() * 72
        left, bottom = self._left / width, self._bottom / height
        self.figure.get_layout_engine().set(rect=(left, bottom, 1 - left - self._right / width, 1 - bottom))
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def points(self, data: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Positions on the figure, in points, of positions in the data."""
        scale = 72 / self.figure.dpi
        return [tuple(scale * self.axis.transData.transform(at)) for at in data]

    def area(self) -> Box:
        """Where the data is drawn, in points of the figure."""
        box, scale = self.axis.get_window_extent(), 72 / self.figure.dpi
        return Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)

    def finish(self) -> None:
        """Save the figure as SVG and PNG."""
        self.lay_out()
        self.drawing = saved(self.figure)

    def _note(
        self,
        text: str,
        at: tuple[float, float],
        where: tuple[float, float],
        color: str,
        *,
        ha: str,
        leader: bool,
        weight: str = "normal",
    ) -> None:
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 4}
        note = self.axis.annotate(
            text,
            at,
            where,
            textcoords="figure points",
            ha=ha,
            va="center",
            fontsize=SMALL,
            color=_dark(color),
            fontweight=weight,
            annotation_clip=False,
            arrowprops=arrow if leader else None,
        )
        note.set_in_layout(False)


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[Canvas]:
    """A plot of ``width`` × ``height`` inches; when the block ends, its ``drawing`` has the files."""
    figures = require("matplotlib.figure", "report")
    with figure_fonts(STYLE):
        plot = Canvas(figures.Figure(figsize=(width, height), layout="constrained"))
        yield plot
        plot.finish()


def saved(figure: Any) -> Drawing:
    """A figure as SVG, whose background is transparent, and as PNG; the same figure gives the same bytes."""
    files = {"svg": io.BytesIO(), "png": io.BytesIO()}
    for kind, file in files.items():
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(file, format=kind, dpi=200, transparent=kind == "svg", metadata=metadata)
    svg = re.sub(rb"'DejaVu Sans'[^;\"]*", VIEWER_FONTS.encode(), files["svg"].getvalue())
    return Drawing(_EMBEDDED.sub(_gray, svg), files["png"].getvalue())


def _gray(found: re.Match[bytes]) -> bytes:
    """An image in an SVG, which matplotlib writes in color, as gray where it is: a third of the bytes."""
    image = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA")
    pixels = np.asarray(image)
    if (pixels[..., :3] != pixels[..., :1]).any() or (pixels[..., 3] != 255).any():
        return found[0]
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "PNG", optimize=True)
    return b"data:image/png;base64," + base64.b64encode(file.getvalue())


def style_of(i: int) -> tuple[str, str, Any]:
    """Color, marker and dash of the i-th model of a page."""
    return PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]


def short_names(names: Sequence[str], length: int = NAME) -> list[str]:
    """Names as they stand in a figure: on one line, with at most ``length`` columns, each still different."""
    cut = []
    for i, name in enumerate(names):
        printable = "".join(c if c.isprintable() else " " for c in name)
        room = length - min(_wide(printable), length // 2)
        short = shortened(printable, room)
        cut.append(short if short not in cut else f"{shortened(printable, room - 4)} #{i + 1}")
    return cut


def text_width(text: str, size: float) -> float:
    """Points that a text takes at a font size."""
    font_manager, textpath = require("matplotlib.font_manager", "report"), require("matplotlib.textpath", "report")
    font = font_manager.FontProperties(family=LAYOUT_FONT, size=size)
    with no_glyph_warnings():
        width = textpath.text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return float(width) + 0.45 * size * _wide(text)


def _dark(color: str) -> str:
    """A color as text that has enough contrast on white."""
    colors = require("matplotlib.colors", "report")
    return str(colors.to_hex([0.65 * part for part in colors.to_rgb(color)]))


def _wide(text: str) -> int:
    """How many characters take the width of two, as those of Chinese."""
    return sum(unicodedata.east_asian_width(c) in "WF" for c in text)
