"""Which figures the comparison shows, each with a caption and a text alternative."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from moue.evaluation.curves import series
from moue.evaluation.metrics import Evaluation
from moue.evaluation.model_result import ModelResult
from moue.report import plots
from moue.report.canvas import Drawing, style_of
from moue.report.format import duration, percent, timed_in

MEASURES: tuple[plots.Measure, ...] = ("loss", "accuracy")


class Figure(NamedTuple):
    """One figure of the page."""

    name: str
    """File name without its suffix."""
    drawing: Drawing
    caption: str
    alt: str
    folded: bool = False
    """Whether the page shows it only when asked."""
    kind: Literal["plot", "photos"] = "plot"
    """"photos" shows images, whose colors stay as they are on a dark page, over the page's whole width."""

    @property
    def data_uri(self) -> str:
        """The image as the source of an ``img`` element."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.drawing.svg).decode()}"


def comparison_figures(results: Sequence[ModelResult]) -> list[Figure]:
    """The figures that show all models side by side; those without data are left out."""
    figures = []
    evaluated = [(i, result, result.evaluation) for i, result in enumerate(results) if result.evaluation is not None]
    histories = {result.name: (i, result.history) for i, result, _ in evaluated if result.history}
    for measure in MEASURES:
        if drawing := plots.all_curves(histories, measure):
            alt = f"Lines of the validation {measure} over the epochs, one for each of {', '.join(histories)}"
            caption = f"{measure.capitalize()} on the validation rows, which are part of Training."
            figures.append(Figure(f"curves-{measure}", drawing, caption, alt))
    for name, attribute, x_label, caption in (
        ("accuracy-hours", "hours", "training time, hours", "Accuracy over training time."),
        (
            "accuracy-latency",
            "latency_ms",
            "latency, milliseconds an image",
            f"Accuracy over latency {timed_in(results)}, with the views that each model is scored with.",
        ),
    ):
        if points := _points(results, attribute):
            hollow = " Hollow: quoted." if any(p.quoted for p in points) else ""
            bars = " Bars are one standard error." if any(p.se for p in points) else ""
            alt = "; ".join(f"{p.name}: {100 * p.accuracy:.1f} percent at {p.x:.3g}" for p in points)
            figures.append(Figure(name, plots.scatter(points, x_label), caption + bars + hollow, f"{caption} {alt}"))
    recalls = {result.name: (i, e.per_class) for i, result, e in evaluated}
    if recalls:
        alt = "Recall of each class. " + "; ".join(f"{result.name}: {_recalls(e)}" for _, result, e in evaluated)
        caption = "Recall of each class: which expressions are hard."
        figures.append(Figure("recall", plots.class_recalls(recalls), caption, alt))
    return figures


def model_figures(result: ModelResult, slug: str) -> list[Figure]:
    """The figures of one model; none for a model that was not evaluated."""
    e = result.evaluation
    if e is None:
        return []
    figures = _curves(result, slug)
    kept = [e.labels.index(name) for name in e.in_use]
    drawing = plots.confusion(e.confusion[np.ix_(kept, kept)], list(e.in_use))
    alt = "Confusion matrix; rows are the truth. " + "; ".join(
        f"{label}: " + ", ".join(f"{n} as {other}" for other, n in zip(e.labels, counts, strict=True) if n)
        for label, counts in zip(e.labels, e.confusion, strict=True)
    )
    caption = "Confusion matrix: percent of each true class, and number of images."
    figures.append(Figure(f"{slug}-confusion", drawing, caption, alt))
    alt, caption = (
        f"Recall and precision of each class as bars: {_recalls(e)}",
        "Recall and precision of each class, percent.",
    )
    figures.append(Figure(f"{slug}-classes", plots.class_bars(e.in_use), caption, alt))
    return [*figures, *_confidence(result, e, slug)]


def _recalls(e: Evaluation) -> str:
    return ", ".join(f"{name} {percent(c.recall, 0)}" for name, c in e.in_use.items())


def _curves(result: ModelResult, slug: str) -> list[Figure]:
    n, figures = len(result.history), []
    took = f" in {duration(result.hours)}" if result.hours else ""
    for measure in MEASURES:
        parts = {part: series(result.history, f"{part}_{measure}")[1] for part in ("train", "validation")}
        known = {part: values for part, values in parts.items() if len(values)}
        if not known:
            continue
        ends = " and ".join(f"{values[-1]:.3g} in {part}" for part, values in known.items())
        alt = f"{measure.capitalize()} over {n} epochs; it ends at {ends}"
        caption = f"{measure.capitalize()} over {n} epoch{'s' if n != 1 else ''}{took}."
        caption += " Training is measured on augmented images." if "train" in known else ""
        caption += " The dot marks the best." if len(parts["validation"]) > 2 else ""
        figures.append(Figure(f"{slug}-curves-{measure}", plots.curves(result.history, measure), caption, alt))
    return figures


def _confidence(result: ModelResult, e: Evaluation, slug: str) -> list[Figure]:
    """Reliability diagram and risk-coverage curve."""
    if result.predictions is None or result.correct is None:
        return []
    confidence, threshold = result.predictions.confidence, result.predictions.uncertain_below
    reliability = Figure(
        f"{slug}-reliability",
        plots.reliability_diagram(confidence, result.correct),
        f"Reliability: the mean distance from the diagonal, weighted by predictions, is {e.ece:.1%}.",
        f"Accuracy over confidence; the calibration error is {e.ece:.1%}",
        folded=True,
    )
    risk = Figure(
        f"{slug}-risk",
        plots.risk_coverage_curve(confidence, result.correct, threshold),
        f"Risk and coverage: {e.accuracy_at_80:.1%} of the 80% most confident predictions are right, "
        f"{e.accuracy:.1%} of all.",
        f"Share of wrong predictions over the share kept; the accuracy is {e.accuracy_at_80:.1%} at 80 percent and "
        f"{e.accuracy:.1%} of all",
        folded=True,
    )
    return [reliability, risk]


def _points(results: Sequence[ModelResult], attribute: str) -> list[plots.Point]:
    points = []
    for i, result in enumerate(results):
        x, accuracy = getattr(result, attribute), result.accuracy
        if x and accuracy is not None:
            color, marker, _ = style_of(i)
            se = result.evaluation.accuracy_se if result.evaluation is not None else 0.0
            points.append(plots.Point(result.name, float(x), accuracy, se, color, marker, result.published is not None))
    return points
