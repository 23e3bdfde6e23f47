"""An ensemble beside its best member: what it gains on the rows that all held out, kept in its spec, and what both
cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.gain import gain
from moue.export.cost import Cost, cost_of
from moue.report.gain import describe_gain
from moue.spec import ModelSpec
from moue.trained.open import run_of


def with_gain(
    spec: ModelSpec,
    logits: NDArray[np.floating],
    members: Sequence[tuple[str, NDArray[np.floating]]],
    truth: NDArray[np.int64],
    *,
    fitted: bool = False,
) -> ModelSpec:
    """The spec of an ensemble with ``trained["gain"]``: a :class:`moue.evaluation.gain.Gain` as plain values, and its
    ``summary`` in words; unchanged where no row was held out.

    Args:
        spec: the ensemble's.
        logits: ``(N, K)`` of the ensemble, for rows that every member held out; or its probabilities.
        members: name and logits, or probabilities, of each one that was given.
        truth: int64 ``(N,)``.
        fitted: whether the ensemble was fitted on these rows.
    """
    if not len(truth):
        return spec
    classes = [(name, values.argmax(axis=1)) for name, values in members]
    found = gain(spec.name, logits.argmax(axis=1), classes, truth, fitted=fitted)
    summary = describe_gain(found, "held-out images")
    return spec.replace(trained={**spec.trained, "gain": {**found.to_dict(), "summary": summary}})


def member_scores(spec: ModelSpec, n: int) -> list[dict[str, float | None]]:
    """``accuracy`` and ``balanced_accuracy`` of an ensemble's members on the rows that all held out, from its
    ``trained["gain"]``; None where there are no such rows.

    Args:
        spec: the ensemble's.
        n: how many members are asked for. They have no scores where these are not all that were given, as where a fit
            left some out.
    """
    gain = spec.trained.get("gain", {})
    found = [gain.get(key, ()) for key in ("member_accuracies", "member_balanced_accuracies")]
    columns = [values if len(values) == n else [None] * n for values in found]
    return [{"accuracy": accuracy, "balanced_accuracy": balanced} for accuracy, balanced in zip(*columns, strict=True)]


def costs(out: str | Path, best: str | Path) -> dict[str, Cost]:
    """What an ensemble and its best member cost, as "ensemble" and "best_member".

    Args:
        out: the ensemble's file or run.
        best: the member: a model, or the folder of a cross-validation, which counts as all of its runs.
    """
    folds = sorted(Path(best).glob("fold-*")) if Path(best).is_dir() else []
    member = cost_of(folds[0]).times(len(folds)) if folds else cost_of(run_of(best) or str(best))
    return {"ensemble": cost_of(run_of(out) or str(out)), "best_member": member}


def cost_rows(found: Mapping[str, Any], cost: Mapping[str, Cost], name: str) -> list[dict[str, Any]]:
    """The ensemble and its best member as rows with the same keys: accuracy, its standard error and balanced accuracy
    (fractions), then what they cost.

    Args:
        found: ``trained["gain"]`` of the ensemble's spec.
        cost: of :func:`costs`.
        name: the ensemble's.
    """
    return [
        {
            "model": title,
            **{key: found[prefix + key] for key in ("accuracy", "accuracy_se", "balanced_accuracy")},
            **asdict(cost[who]),
        }
        for title, prefix, who in (
            (name, "", "ensemble"),
            (f"{found['best_member']}, its best member", "best_member_", "best_member"),
        )
    ]
