"""The scores in the spec of a shipped model: measured when it is shipped, and measured again to check it."""

from __future__ import annotations

from collections.abc import Iterable

from moue.data.table import ImageTable
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.scoring import predict, score, truth_of
from moue.trained.open import Model

#: The split that shipped models are measured on.
SPLIT = "public_test"


def shipped_scores(model: Model, table: ImageTable, views: Iterable[int] = ()) -> dict[str, float]:
    """The scores of a model on PublicTest, as :attr:`moue.spec.ModelSpec.scores` holds them.

    Args:
        model: the model.
        table: a whole data set, with the labels that the model knows.
        views: numbers of views to measure the accuracy with, besides the scores over the model's own.

    Returns:
        Fractions of 1: ``public_test``, ``…_se`` (standard error), ``…_ece`` (calibration error), ``…_at_80`` (accuracy
        on the 80 % most confident), ``…_balanced_accuracy`` (macro recall) and ``…_macro_f1``; ``…_deduplicated`` and
        ``…_deduplicated_se`` where the set has Training rows; and ``…_views_V`` for each number of views.

    Raises:
        DataError: when the set has no PublicTest rows.
        UsageError: when it holds classes that the model does not know, or there cannot be that many views.
    """
    part, reference = rows_of(table, SPLIT)
    evaluation, _ = score(model, part, reference=reference, split=SPLIT)
    scores = {
        "": evaluation.accuracy,
        "_se": evaluation.accuracy_se,
        "_ece": evaluation.ece,
        "_at_80": evaluation.accuracy_at_80,
        "_balanced_accuracy": evaluation.balanced_accuracy,
        "_macro_f1": evaluation.macro_f1,
    }
    if (deduplicated := evaluation.deduplicated) is not None:
        scores |= {"_deduplicated": deduplicated.accuracy, "_deduplicated_se": deduplicated.accuracy_se}
    truth = truth_of(part, model.spec)
    for n in views:
        if n == model.spec.views:
            scores[f"_views_{n}"] = evaluation.accuracy
        else:
            scores[f"_views_{n}"] = float((predict(model, part.images, views=n).class_ids == truth).mean())
    return {f"{SPLIT}{key}": value for key, value in scores.items()}
