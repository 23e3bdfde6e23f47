from __future__ import annotations

from typing import Any

import pytest

from moue.evaluation.curves import best_epoch, diagnose_curves


def history(train: list[float], validation: list[float], loss: list[float]) -> list[dict[str, Any]]:
    return [
        {"epoch": i + 1, "train_loss": x, "train_accuracy": t, "validation_loss": x, "validation_accuracy": v}
        for i, (t, v, x) in enumerate(zip(train, validation, loss, strict=True))
    ]


@pytest.mark.parametrize(
    ("train", "validation", "loss", "kind"),
    [
        ([0.3, 0.5, 0.7, 0.9, 0.97], [0.4, 0.5, 0.6, 0.62, 0.61], [1.5, 1.3, 1.1, 1.2, 1.5], "overfitting"),
        ([0.3, 0.5, 0.7, 0.8, 0.85], [0.4, 0.5, 0.6, 0.62, 0.63], [1.5, 1.3, 1.1, 1.05, 1.04], "memorizing"),
        ([0.2, 0.3, 0.4, 0.5, 0.55], [0.2, 0.3, 0.4, 0.5, 0.56], [1.9, 1.7, 1.5, 1.3, 1.2], "unfinished"),
        ([0.2, 0.3, 0.5, 0.6, 0.62], [0.2, 0.3, 0.5, 0.6, 0.59], [1.9, 1.7, 1.3, 1.1, 1.1], "converged"),
        # At a constant learning rate the loss fluctuates; one bad epoch at the end says nothing.
        ([0.5] * 20, [0.5, 0.51] * 10, [1.2, 1.25, 1.15, 1.26, 1.2] * 3 + [1.2, 1.25, 1.15, 1.2, 1.3], "converged"),
    ],
)
def test_curves_are_diagnosed(train: list[float], validation: list[float], loss: list[float], kind: str) -> None:
    diagnosis = diagnose_curves(history(train, validation, loss))
    assert diagnosis is not None
    assert diagnosis.kind == kind
    assert diagnose_curves(history(train, validation, loss)[-4:]) is None, "under five epochs say nothing"
    assert diagnose_curves([{"epoch": i, "train_loss": 1.0} for i in range(9)]) is None


def test_the_best_epoch_is_the_lowest_loss_and_the_highest_accuracy() -> None:
    rows = history([0.5, 0.7, 0.8], [0.5, 0.62, 0.6], [1.3, float("nan"), 1.1])
    assert best_epoch(rows, "validation_accuracy") == (2, 0.62)
    assert best_epoch(rows, "validation_loss") == (3, 1.1)
    assert best_epoch(rows, "lr") is None
