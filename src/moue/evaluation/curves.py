"""Training curves: what they say about overfitting and underfitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

History = Sequence[Mapping[str, Any]]

#: Curves of fewer epochs say nothing about overfitting and underfitting.
MIN_EPOCHS = 5
#: A validation loss that ends this share above its minimum is overfitting.
LOSS_RISE = 0.05
#: A larger difference between training and validation accuracy is memorizing.
ACCURACY_GAP = 0.10


#: A loss axis ends at this multiple of the median loss, or as many times the spread below it above the median …
LOSS_RANGE = 2.0, 6.0
#: … unless less than this share of the axis would be gained.
LOSS_GAIN = 0.25


class CurveDiagnosis(NamedTuple):
    """What a run's curves say."""

    kind: Literal["overfitting", "memorizing", "unfinished", "converged"]
    train_accuracy: float
    """Of the last epoch, as all that follows: fraction of 1."""
    validation_accuracy: float
    gap: float
    """Training accuracy less validation accuracy."""
    lowest_loss_epoch: int | None
    """Around which epoch the smoothed validation loss is lowest; None without a validation loss."""
    loss_rise: float
    """How far the smoothed validation loss ends above its minimum, as a share of it."""
    best_epoch: int
    """The epoch of the highest validation accuracy."""
    last_epoch: int


def diagnose_curves(history: History) -> CurveDiagnosis | None:
    """Diagnose overfitting and underfitting; None without an accuracy on both parts over at least
    :data:`MIN_EPOCHS` epochs.

    In this order: a validation loss that ends more than :data:`LOSS_RISE` above its minimum is overfitting; a gap of
    more than :data:`ACCURACY_GAP` between training and validation accuracy is memorizing; a best validation accuracy in
    the last tenth of the epochs is unfinished. The loss is smoothed by medians over a fifth of the epochs: at a
    constant learning rate it fluctuates, and one bad epoch says little.
    """
    epochs, validation = series(history, "validation_accuracy")
    _, train = series(history, "train_accuracy")
    if len(validation) < MIN_EPOCHS or not len(train):
        return None
    window = len(epochs) // 5 | 1
    loss_epochs, loss = (_moving_median(values, window) for values in series(history, "validation_loss"))
    rise = float(loss[-1] / loss.min() - 1) if len(loss) and loss.min() > 0 else 0.0
    gap, best = float(train[-1] - validation[-1]), int(validation.argmax())
    kind: Literal["overfitting", "memorizing", "unfinished", "converged"] = "converged"
    if rise > LOSS_RISE:
        kind = "overfitting"
    elif gap > ACCURACY_GAP:
        kind = "memorizing"
    elif best >= len(validation) - max(1, len(validation) // 10):
        kind = "unfinished"
    return CurveDiagnosis(
        kind,
        train_accuracy=float(train[-1]),
        validation_accuracy=float(validation[-1]),
        gap=gap,
        lowest_loss_epoch=int(loss_epochs[loss.argmin()]) if len(loss) else None,
        loss_rise=rise,
        best_epoch=int(epochs[best]),
        last_epoch=int(epochs[-1]),
    )


def series(history: History, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs and values of one column of a history, without the epochs whose value is missing or not finite."""
    rows = [(row.get("epoch", i + 1), row.get(key)) for i, row in enumerate(history)]
    known = [(epoch, value) for epoch, value in rows if value is not None and np.isfinite(value)]
    return np.array([float(e) for e, _ in known]), np.array([float(v) for _, v in known])


def loss_limit(losses: Sequence[NDArray[np.float64]]) -> float | None:
    """Where to end an axis of losses, so that single high values do not flatten all curves; None to show all of them.

    Each curve counts the same, whatever its length, with 21 of its quantiles. The limit goes by their median and the
    distance to their lowest tenth, see :data:`LOSS_RANGE`: values of a run that diverged, and of first epochs, change
    neither.

    Args:
        losses: the values of each curve, finite.
    """
    curves = [values for values in losses if len(values)]
    if not curves:
        return None
    pooled = np.concatenate([np.quantile(values, np.linspace(0, 1, 21), method="nearest") for values in curves])
    middle, low = (float(np.quantile(pooled, q, method="lower")) for q in (0.5, 0.1))
    limit = max(LOSS_RANGE[0] * middle, middle + LOSS_RANGE[1] * (middle - low))
    everything = np.concatenate(curves)
    if float(everything.max()) <= (1 + LOSS_GAIN) * limit:
        return None
    return float(everything[everything <= limit].max()) * 1.1 or limit


def best_epoch(history: History, key: str) -> tuple[float, float] | None:
    """Epoch and value of the lowest loss, or of the highest of another column; None without values."""
    epochs, values = series(history, key)
    if not len(values):
        return None
    best = int(values.argmin() if key.endswith("loss") else values.argmax())
    return float(epochs[best]), float(values[best])


def _moving_median(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    if not len(values):
        return values
    windows = np.lib.stride_tricks.sliding_window_view(values, min(window, len(values)))
    medians: NDArray[np.float64] = np.median(windows, axis=1)
    return medians
