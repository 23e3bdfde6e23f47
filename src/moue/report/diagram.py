"""A network as a diagram of its blocks, from the input to the logits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from moue.report.canvas import FAINT, GRAY, INK, PALETTE, WIDTH, Drawing, canvas, short_names

#: Boxes in a row, and inches that a row takes.
ACROSS, ROW = 3, 0.86


class _Block(Protocol):
    """What a box shows: :class:`moue.models.blocks.Block`, which needs torch."""

    name: str
    kind: str
    output: str
    parameters: int
    repeats: int


class _Architecture(Protocol):
    network: str
    input: str
    inside: str | None
    blocks: tuple[_Block, ...]
    parameters: int
    classes: int


class _Box(NamedTuple):
    title: str
    lines: tuple[str, ...]
    weight: float
    """Share of the network's weights, 0 to 1."""


def block_diagram(network: _Architecture) -> Drawing:
    """Boxes in reading order, with an arrow from each to the next; the darker, the more of the weights it has.

    Args:
        network: :class:`moue.models.blocks.Architecture`.
    """
    boxes = [_Box("input", (network.input, "gray" if network.input.startswith("1×") else "RGB"), 0.0)]
    if network.inside:
        boxes.append(_Box("scaled up", (network.inside,), 0.0))
    for block in network.blocks:
        if block.output == "–":
            continue  # Weights without a place among the blocks.
        title = block.name if block.repeats == 1 else f"{block.repeats} × {block.kind}"
        kind = block.kind if block.repeats == 1 else block.name
        weight = block.parameters / max(network.parameters, 1)
        boxes.append(_Box(title, (kind, f"{block.output}; {_count(block.parameters)}"), weight))
    boxes.append(_Box("softmax", (f"{network.classes} probabilities",), 0.0))
    rows = -(-len(boxes) // ACROSS)
    with canvas(ROW * rows + 0.5) as plot:
        axis = plot.axis
        axis.set_title(f"{short_names([network.network], 30)[0]}: {network.parameters:,} weights")
        axis.set_axis_off()
        axis.set_xlim(0, ACROSS)
        axis.set_ylim(rows, 0)
        width, height = 0.86, 0.72
        for i, box in enumerate(boxes):
            row, column = divmod(i, ACROSS)
            left, top = column + (1 - width) / 2, row + (1 - height) / 2
            _draw(axis, box, left, top, width, height)
            if i + 1 < len(boxes):
                style = {"arrowstyle": "-|>", "color": GRAY, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
                start, end = (left + width, row + 0.5), (column + 1 + (1 - width) / 2, row + 0.5)
                if column == ACROSS - 1:
                    # Down to the next row, whose first box is on the left.
                    start, end = (left + width / 2, top + height), ((1 - width) / 2 + width / 2, row + 1.5 - height / 2)
                    style |= {"connectionstyle": "arc,angleA=-90,angleB=90,armA=7,armB=7,rad=3"}
                axis.annotate("", end, start, arrowprops=style)
    return plot.drawing


def _draw(axis: object, box: _Box, left: float, top: float, width: float, height: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    # Tints of one color, light enough for black text in gray print too.
    tint = _mixed(PALETTE[5], 0.12 + 0.6 * min(1.0, 2 * box.weight)) if box.weight else FAINT
    frame = FancyBboxPatch(
        (left, top),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.05",
        facecolor=tint,
        edgecolor=GRAY,
        linewidth=0.8,
    )
    axis.add_patch(frame)  # type: ignore[attr-defined]
    lines = [box.title, *box.lines]
    for i, text in enumerate(short_names([_fit(line) for line in lines], 40)):
        y = top + height * (i + 1) / (len(lines) + 1)
        look = {"fontsize": 7.5, "fontweight": "bold"} if i == 0 else {"fontsize": 6.5}
        axis.text(left + width / 2, y, text, ha="center", va="center", color=INK, **look)  # type: ignore[attr-defined]


def _fit(text: str) -> str:
    """A text cut to the width of a box."""
    room = round(WIDTH / ACROSS * 17)
    return text if len(text) <= room else text[: room - 1] + "…"


def _count(n: int) -> str:
    return f"{n / 1e6:.2f} M" if n >= 1e6 else f"{n / 1e3:.1f} k" if n >= 1000 else f"{n}"


def _mixed(color: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 1 - strength * (1 - red), 1 - strength * (1 - green), 1 - strength * (1 - blue)
