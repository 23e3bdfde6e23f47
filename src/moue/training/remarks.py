"""What a user should know of a finished run that its accuracy alone does not say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from moue.evaluation.curves import MIN_EPOCHS, best_epoch, series
from moue.evaluation.metrics import Scores, standard_error
from moue.training.config import Config

#: A last epoch that is further below the best one than this many standard errors of their difference is far below it.
#: That of two independent parts is taken, which on the same images is wide, as the best of many epochs is lucky.
FAR = 2

#: Validation images that are few to tell epochs apart: of 100, one standard error is up to 5 points.
FEW = 100

#: A training that took less than this share of its time budget ended early.
EARLY = 0.8


def remarks(
    config: Config, history: Sequence[Mapping[str, Any]], validation: Scores | None, most: int | None = None
) -> list[str]:
    """The remarks on a run, a sentence each; usually none.

    Args:
        config: as it was trained.
        history: a row an epoch.
        validation: the kept weights' scores on the validation part, where there is one.
        most: epochs of the recipe, of which a time budget takes as many as fit; None where it is not known.
    """
    found = []
    epochs = config.optim.epochs
    if config.run.minutes is not None and epochs < MIN_EPOCHS and epochs != most:
        found.append(
            f"only {epochs} epoch{'s' * (epochs != 1)} fit into {config.run.minutes:g} minutes, and under {MIN_EPOCHS} "
            "most networks have learned little: allow more minutes, or take a smaller network"
        )
    minutes = sum(float(row.get("seconds") or 0) for row in history) / 60
    if config.run.minutes is not None and len(history) == most and minutes < EARLY * config.run.minutes:
        found.append(
            f"it ended after {minutes:.2g} of {config.run.minutes:g} minutes, as the recipe has {most} "
            f"epoch{'s' * (most != 1)} at most: --set optim.epochs=N allows more"
        )
    best, (_, accuracies) = best_epoch(history, "validation_accuracy"), series(history, "validation_accuracy")
    if validation is not None and best is not None:
        last = float(accuracies[-1])
        if best[1] - last > FAR * math.hypot(*(standard_error(a, validation.n) for a in (best[1], last))):
            kept = (
                f"The run kept epoch {best[0]:.0f}; a lower optim.lr, or fewer epochs, may do better"
                if config.optim.keep == "best"
                else "The run kept the last one: --set optim.keep=best keeps the best"
            )
            found.append(
                f"the last epoch is right for {last:.1%} of the validation images, far below epoch {best[0]:.0f} with "
                f"{best[1]:.1%} (more than {FAR} standard errors of the difference). {kept}"
            )
        elif config.optim.keep == "best" and validation.n < FEW and 2 * best[0] <= len(history):
            found.append(
                f"epoch {best[0]:.0f} of {len(history)} is kept, as it is the best on {validation.n} validation "
                "images, which are few to tell epochs apart: the last one may be as good, or better. "
                "--set optim.keep=last keeps it"
            )
    if validation is not None and not validation.above_majority:
        found.append(
            f"its accuracy on validation, {validation.accuracy:.1%}, is not significantly above the majority baseline "
            f"of {validation.majority_baseline:.1%} (always {validation.majority_class}) on these {validation.n} "
            "images: train on more images or longer, or hold out more"
        )
    if validation is not None and (absent := [name for name, score in validation.per_class.items() if not score.n]):
        found.append(f"no image of {', '.join(absent)} is held out: the accuracy on validation says nothing of it")
    return found
