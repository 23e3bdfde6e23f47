"""The page of a model's most confident errors: the images themselves, for people to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.evaluation.metrics import Evaluation
from moue.report.render import FOLDER, environment
from moue.runtime.results import Predictions

#: Images on the page.
SURE = 150


class ErrorImage(NamedTuple):
    """A wrong prediction."""

    image: str
    """A ``data:`` URI of the face."""
    source: str
    confidence: float
    truth: float
    """The probability of the true class."""


class Confusion(NamedTuple):
    """The errors of one true class that were predicted as one other."""

    truth: str
    predicted: str
    total: int
    """Of all errors of the kind, on the page or not."""
    errors: list[ErrorImage]
    """The surest first."""


def surest_errors(
    part: ImageTable, predictions: Predictions, truth: NDArray[np.int64], limit: int = SURE
) -> list[Confusion]:
    """The wrong predictions with the highest probability, by their confusion; the one with most of them first.

    Args:
        part: the rows.
        predictions: of them.
        truth: int64 ``(N,)``: positions in ``predictions.labels``.
        limit: how many images.
    """
    predicted, confidence = predictions.class_ids, predictions.confidence
    wrong = np.flatnonzero(predicted != truth)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")[:limit]]
    pairs: dict[tuple[int, int], list[ErrorImage]] = {}
    for i in surest.tolist():
        error = ErrorImage(
            _data_uri(part.images[i]),
            part.source[i],
            float(confidence[i]),
            float(predictions.probabilities[i, truth[i]]),
        )
        pairs.setdefault((int(truth[i]), int(predicted[i])), []).append(error)
    labels = predictions.labels
    found = [
        Confusion(labels[true], labels[other], int(((truth == true) & (predicted == other)).sum()), errors)
        for (true, other), errors in pairs.items()
    ]
    return sorted(found, key=lambda confusion: (-len(confusion.errors), confusion.truth, confusion.predicted))


def errors_page(evaluation: Evaluation, confusions: Sequence[Confusion]) -> str:
    """One self-contained HTML page.

    Raises:
        MissingExtra: without jinja2.
    """
    wrong = round((1 - evaluation.accuracy) * evaluation.n)
    context = {
        "title": f"The most confident errors of {evaluation.model}",
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "evaluation": evaluation,
        "confusions": confusions,
        "shown": sum(len(confusion.errors) for confusion in confusions),
        "wrong": wrong,
    }
    page: str = environment().get_template("errors.html.j2").render(context)
    return page


def _data_uri(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
