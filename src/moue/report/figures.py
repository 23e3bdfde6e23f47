"""Which figures the comparison shows, each with a caption and a text alternative."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

from moue.evaluation.metrics import Evaluation
from moue.evaluation.model_result import ModelResult
from moue.report import plots
from moue.report.format import duration, percent


class Figure(NamedTuple):
    """One figure of the page."""

    name: str
    """File name without its suffix."""
    svg: bytes
    caption: str
    alt: str

    @property
    def data_uri(self) -> str:
        """The image as the source of an ``img`` element."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"

    @property
    def kind(self) -> str:
        """The last part of the name, as "confusion": the page's style goes by it."""
        return self.name.rsplit("-", 1)[-1]


def comparison_figures(results: Sequence[ModelResult]) -> list[Figure]:
    """The figures that show all models side by side; those without data are left out."""
    figures = []
    evaluated = [(i, result, result.evaluation) for i, result in enumerate(results) if result.evaluation is not None]
    histories = {result.name: (i, result.history) for i, result, _ in evaluated if result.history}
    if histories:
        alt = "Lines of validation loss and accuracy over the epochs, one for each of " + ", ".join(histories)
        caption = "Loss and accuracy on the validation part of Training."
        figures.append(Figure("curves", plots.all_curves(histories), caption, alt))
    for name, attribute, x_label, caption in (
        ("accuracy-hours", "hours", "training time, hours (logarithmic)", "Accuracy over training time."),
        (
            "accuracy-latency",
            "latency_ms",
            "milliseconds an image (logarithmic)",
            "Accuracy over latency, each with the views that it is scored with, in the engine that the table names.",
        ),
    ):
        if points := _points(results, attribute):
            hollow = " Hollow: quoted." if any(p.quoted for p in points) else ""
            bars = " Bars are one standard error." if any(p.se for p in points) else ""
            alt = "; ".join(f"{p.name}: {100 * p.accuracy:.1f} per cent at {p.x:.3g}" for p in points)
            svg = plots.scatter(points, x_label)
            figures.append(Figure(name, svg, caption + bars + hollow, f"{caption} {alt}"))
    recalls = {result.name: (i, e.per_class) for i, result, e in evaluated}
    if recalls:
        alt = "Recall of each class. " + "; ".join(
            f"{name}: " + ", ".join(f"{c} {percent(s.recall, 0)}" for c, s in classes.items())
            for name, (_, classes) in recalls.items()
        )
        caption = "Recall of each class: which expressions are hard."
        figures.append(Figure("recall", plots.class_recalls(recalls), caption, alt))
    return figures


def model_figures(result: ModelResult, slug: str) -> list[Figure]:
    """The figures of one model; none for a model that was not evaluated."""
    e = result.evaluation
    if e is None:
        return []
    figures = [_curves(result, slug)] if result.history else []
    alt = "Confusion matrix; rows are the truth. " + "; ".join(
        f"{label}: " + ", ".join(f"{n} as {other}" for other, n in zip(e.labels, counts, strict=True) if n)
        for label, counts in zip(e.labels, e.confusion, strict=True)
    )
    caption = "Confusion matrix: share of each true class, and number of images."
    figures.append(Figure(f"{slug}-confusion", plots.confusion(e.confusion, e.labels), caption, alt))
    alt, caption = "Bars; the table of the classes has the numbers", "Recall and precision of each class, per cent."
    figures.append(Figure(f"{slug}-classes", plots.class_bars(e.per_class), caption, alt))
    return [*figures, *_confidence(result, e, slug)]


def _curves(result: ModelResult, slug: str) -> Figure:
    n = len(result.history)
    alt = f"Loss and accuracy of training and validation over {n} epochs"
    if result.history[-1].get("validation_accuracy") is not None:
        alt += f"; the validation accuracy ends at {result.history[-1]['validation_accuracy']:.1%}"
    took = f" in {duration(result.hours)}" if result.hours else ""
    caption = f"{n} epochs{took}; the dot marks the best. Training is measured on augmented images."
    return Figure(f"{slug}-curves", plots.curves(result.history), caption, alt)


def _confidence(result: ModelResult, e: Evaluation, slug: str) -> list[Figure]:
    """Reliability diagram and risk-coverage curve."""
    if result.predictions is None or result.correct is None:
        return []
    confidence, threshold = result.predictions.confidence, result.predictions.uncertain_below
    reliability = Figure(
        f"{slug}-reliability",
        plots.reliability_diagram(confidence, result.correct),
        f"Reliability: the mean distance from the diagonal, weighted by predictions, is {e.ece:.1%}.",
        "Accuracy over confidence",
    )
    risk = Figure(
        f"{slug}-risk",
        plots.risk_coverage_curve(confidence, result.correct, threshold),
        f"Risk and coverage: {e.accuracy_at_80:.1%} of the 80 % most confident predictions are right, "
        f"{e.accuracy:.1%} of all.",
        f"Share of wrong predictions over the share kept; the accuracy is {e.accuracy_at_80:.1%} at 80 per cent and "
        f"{e.accuracy:.1%} of all",
    )
    return [reliability, risk]


def _points(results: Sequence[ModelResult], attribute: str) -> list[plots.Point]:
    points = []
    for i, result in enumerate(results):
        x, accuracy = getattr(result, attribute), result.accuracy
        if x and accuracy is not None:
            color, marker, _ = plots.style_of(i)
            se = result.evaluation.accuracy_se if result.evaluation is not None else 0.0
            points.append(plots.Point(result.name, float(x), accuracy, se, color, marker, result.published is not None))
    return points
