"""Which figures the comparison shows, each with the words for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from moue.report import plots
from moue.report.card import percent
from moue.report.findings import duration
from moue.report.result import Row


class Figure(NamedTuple):
    """One image of the page."""

    name: str
    """File name without its suffix."""
    svg: bytes
    caption: str
    alt: str


def overview(rows: Sequence[Row]) -> list[Figure]:
    """The figures that set all models side by side; those that have no data are left out."""
    ran = [(i, row) for i, row in enumerate(rows) if row.ran]
    found = []
    histories = {row.name: (i, row.history) for i, row in ran if row.history}
    if histories:
        alt = "Lines of validation loss and accuracy over the epochs, one for each of " + ", ".join(histories)
        caption = "Loss and accuracy on the part of Training that was held out."
        found.append(Figure("curves", plots.all_curves(histories), caption, alt))
    for name, attribute, x_label, caption in (
        ("accuracy-hours", "hours", "training time, hours (logarithmic)", "Accuracy against training time."),
        (
            "accuracy-latency",
            "latency_ms",
            "milliseconds an image (logarithmic)",
            "Accuracy against time to answer, each with the views that it is scored with, "
            "in the engine that the table names.",
        ),
    ):
        points = _points(rows, attribute)
        if points:
            hollow = " Hollow: quoted." if any(p.quoted for p in points) else ""
            alt = "; ".join(f"{p.name}: {100 * p.accuracy:.1f} per cent at {p.x:.3g}" for p in points)
            bars = " Bars are one standard error." if any(p.se for p in points) else ""
            found.append(Figure(name, plots.scatter(points, x_label), caption + bars + hollow, f"{caption} {alt}"))
    recalls = {row.name: (i, row.evaluation.per_class) for i, row in ran if row.evaluation is not None}
    if recalls:
        alt = "Recall of each class. " + "; ".join(
            f"{name}: " + ", ".join(f"{c} {percent(s.recall, 0)}" for c, s in classes.items())
            for name, (_, classes) in recalls.items()
        )
        caption = "Recall of each class: which expressions are hard."
        found.append(Figure("recall", plots.class_recalls(recalls), caption, alt))
    return found


def of_model(row: Row, slug: str) -> list[Figure]:
    """The figures of one model that ran."""
    e, found = row.evaluation, []
    if e is None:
        return []
    if row.history:
        last = row.history[-1]
        took = f" in {duration(row.hours)}" if row.hours else ""
        alt = f"Loss and accuracy of training and validation over {len(row.history)} epochs"
        if last.get("validation_accuracy") is not None:
            alt += f"; the validation accuracy ends at {last['validation_accuracy']:.1%}"
        caption = (
            f"{len(row.history)} epochs{took}; the dot marks the best. Training is measured as it is seen, augmented."
        )
        found.append(Figure(f"{slug}-curves", plots.curves(row.history), caption, alt))
    alt = "Confusion matrix; rows are the truth. " + "; ".join(
        f"{label}: " + ", ".join(f"{n} as {other}" for other, n in zip(e.labels, counts, strict=True) if n)
        for label, counts in zip(e.labels, e.confusion, strict=True)
    )
    caption = "Confusion matrix: share of each true class, and number of images."
    found.append(Figure(f"{slug}-confusion", plots.confusion(e.confusion, e.labels), caption, alt))
    alt, caption = (
        "Bars; the numbers stand in the table of the classes",
        "Recall and precision of each class, per cent.",
    )
    found.append(Figure(f"{slug}-classes", plots.class_bars(e.per_class), caption, alt))
    if row.predictions is not None and row.correct is not None:
        caption = f"Reliability: the mean distance from the diagonal, weighted by answers, is {e.ece:.1%}."
        svg = plots.reliability_diagram(row.predictions.confidence, row.correct)
        found.append(Figure(f"{slug}-reliability", svg, caption, "Share of right answers against stated probability"))
        right, all_wrong = e.accuracy_at_80, 1 - e.accuracy
        caption = f"Risk and coverage: {right:.1%} of the 80 % most certain answers are right, {e.accuracy:.1%} of all."
        alt = f"Share of wrong answers against the share kept: {1 - right:.1%} at 80 per cent, {all_wrong:.1%} of all"
        svg = plots.risk_coverage_curve(row.predictions.confidence, row.correct, row.predictions.uncertain_below)
        found.append(Figure(f"{slug}-risk", svg, caption, alt))
    return found


def _points(rows: Sequence[Row], attribute: str) -> list[plots.Point]:
    points = []
    for i, row in enumerate(rows):
        x, accuracy = getattr(row, attribute), row.accuracy
        if x and accuracy is not None:
            color, marker, _ = plots.style_of(i)
            se = row.evaluation.accuracy_se if row.evaluation is not None else 0.0
            points.append(plots.Point(row.name, float(x), accuracy, se, color, marker, row.quoted))
    return points
