"""A model's robustness as figures and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.report.canvas import Drawing, canvas, short_names, style_of
from moue.report.format import percent
from moue.report.plots import robustness_by_severity


class Axis(NamedTuple):
    """One figure: the corruptions along its axis, and what their strengths are called there."""

    corruptions: tuple[str, ...]
    """The first one from its worst severity to its best, left of the clean images, where there are two."""
    label: str
    clean: str
    """What stands at the clean images."""
    scale: float = 1.0
    """Of the strengths' numbers."""
    offset: float = 0.0


#: By the figure's name.
AXES = {
    "crop": Axis(("tight_crop", "loose_crop"), "side of the crop, change in percent", "0", 100, -1),
    "shift": Axis(("shift",), "shift, percent of the side", "0", 100),
    "rotation": Axis(("rotation",), "rotation to either side, degrees", "0"),
    "blur": Axis(("blur",), "blur: standard deviation, percent of the side", "0", 100),
    "resolution": Axis(("low_resolution",), "side of the face, pixels", "48"),
    "darkness": Axis(("darkness",), "light that is left, percent", "100", 100),
    "jpeg": Axis(("jpeg",), "JPEG quality", "none"),
    "eyes": Axis(("covered_eyes",), "height of a bar over the eyes, percent of the side", "0", 100),
    "mouth": Axis(("covered_mouth",), "height of a mask over the mouth, percent of the side", "0", 100),
    "noise": Axis(("noise",), "noise: standard deviation, of 255", "0"),
}


def robustness_curves(found: Mapping[str, Robustness]) -> dict[str, Drawing]:
    """Accuracy over the strength of each of :data:`AXES`, and over the severity of all: by name, one figure each.

    Args:
        found: by the model's name.
    """
    drawings = {name: _curves(found, axis) for name, axis in AXES.items()}
    return {**drawings, "uncertain": robustness_by_severity(found)}


def robustness_lines(found: Robustness, images: str = "images") -> list[str]:
    """Lines of Markdown: the mean corruption error, what ``uncertain`` is worth, and accuracy by severity."""
    clean, correlation = found.clean, found.uncertainty_correlation
    worst = [score for score in found.corrupted if score.severity == max(s.severity for s in found.corrupted)]
    uncertain = _mean([s.uncertain for s in worst])
    selective = [s.selective_accuracy for s in worst if s.selective_accuracy is not None]
    lines = [
        f"On {found.n:,} {images} it is right for {percent(clean.accuracy)} as they are, and for "
        f"{percent(1 - found.mean_corruption_error)} on average over {len(_names(found))} corruptions in "
        f"{len(found.corrupted) // len(_names(found))} severities (mean corruption error "
        f"{percent(found.mean_corruption_error)}).",
        f"It is uncertain about {percent(clean.uncertain, 0)} of the images as they are and about "
        f"{percent(uncertain, 0)} at the worst severity"
        + (
            f", where it is right for {percent(_mean(selective), 0)} of the others "
            f"({percent(_mean([s.accuracy for s in worst]), 0)} of all)."
            if selective
            else "."
        )
        + ("" if correlation is None else f" Rank correlation of uncertain with wrong: {correlation:.2f}."),
        "",
        "| corruption | " + " | ".join(str(s) for s in sorted({s.severity for s in found.corrupted})) + " |",
        "|---|" + "---:|" * len({s.severity for s in found.corrupted}),
    ]
    for name in _names(found):
        cells = [percent(s.accuracy, 0) for s in found.corrupted if s.corruption == name]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def _names(found: Robustness) -> list[str]:
    return list(dict.fromkeys(str(score.corruption) for score in found.corrupted))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _conditions(found: Robustness, axis: Axis) -> list[CorruptedScore]:
    """The scores along an axis, from left to right."""
    parts = [[s for s in found.corrupted if s.corruption == name] for name in axis.corruptions]
    left = parts[0][::-1] if len(parts) > 1 else []
    return [*left, found.clean, *parts[-1]]


def _curves(found: Mapping[str, Robustness], axis: Axis) -> Drawing:
    with canvas(3.0) as plot:
        handles, ticks = [], []
        for i, robustness in enumerate(found.values()):
            color, marker, dash = style_of(i)
            scores = _conditions(robustness, axis)
            ticks = [axis.clean if s.strength is None else _tick(axis, s.strength) for s in scores]
            accuracy = [100 * s.accuracy for s in scores]
            handles += plot.axis.plot(
                range(len(scores)), accuracy, color=color, marker=marker, linestyle=dash, markersize=5
            )
        plot.axis.set_xticks(range(len(ticks)), ticks)
        plot.axis.set_xlabel(axis.label)
        plot.axis.set_ylabel("accuracy, percent")
        plot.axis.set_ylim(bottom=0)
        plot.key(handles, short_names(list(found)))
    return plot.drawing


def _tick(axis: Axis, strength: float) -> str:
    value = axis.scale * (strength + axis.offset)
    return f"{value:+.0f}".replace("-", "−") if axis.offset else f"{value:.3g}"
