"""Stacking: a multinomial logistic regression of the members' logits (Wolpert, "Stacked generalization", 1992)."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue.cross_validation import OUT_OF_FOLD, OutOfFold
from moue.data.table import ImageTable
from moue.ensembles.combination import LinearStack
from moue.ensembles.gain import with_gain
from moue.ensembles.members import (
    SAME_ROWS,
    calibrated,
    held_out_positions,
    open_members,
    require_compatible,
    require_distinct,
    require_ensemble_file,
    spec_of_ensemble,
    unseen_remark,
    with_remarks,
    write_ensemble,
)
from moue.ensembles.voting import merge
from moue.errors import DataError, require
from moue.evaluation.metrics import negative_log_likelihood
from moue.evaluation.scoring import truth_of
from moue.preprocess import to_inputs
from moue.runtime.results import softmax
from moue.spec import ModelSpec
from moue.trained.open import spec_of

if TYPE_CHECKING:
    from moue.export.graph import Store

#: Held-out rows that a stack is fitted on at least.
MIN_ROWS = 200

#: Inverse strengths of the penalty (scikit-learn's C) that are tried.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

#: Parts of the held-out rows: each is predicted by a classifier that was fitted on the others.
PARTS = 5


def stack(
    members: Sequence[str | Path],
    out: str | Path,
    data: ImageTable,
    *,
    store: Store = "float32",
    unseen: bool = False,
    name: str | None = None,
) -> ModelSpec:
    """Write members and a linear classifier of their logits as one ``.onnx`` with its ``.json``.

    The classifier is fitted on the rows that no member was trained on: on logits of rows that a member memorized, it
    would learn to believe the one that memorizes best. A cross-validation as a member has such logits for all of
    Training, each from the run that held the row out; the member itself is the mean of its runs.

    Args:
        members: as of :func:`moue.ensembles.voting.merge`, and folders of ``moue cross-validate``.
        store, unseen, name: as of :func:`moue.ensembles.voting.merge`.
        out: path of the ``.onnx`` file.
        data: the set that they were trained on.

    Returns:
        The spec as written. Its validation score, temperature and threshold are of predictions for held-out rows by
        classifiers that were fitted on the other held-out rows; ``trained["penalty"]`` is scikit-learn's C.

    Raises:
        UsageError: for fewer than two members, or a file name that does not end in .onnx or is a member's.
        ModelError: when members differ in what an ensemble must share, or cannot be opened.
        DataError: when a member does not say which rows it held out, when there are fewer than :data:`MIN_ROWS` that
            every member held out, or a class is not among them.
        MissingExtra: without onnx and scikit-learn, or for run folders without torch.
    """
    require("sklearn", "train")
    require_distinct(members)
    path = require_ensemble_file(out, [member for member in members if not _is_crossed(member)])
    with tempfile.TemporaryDirectory(prefix="moue-folds-") as folder:
        crossed = {i: _out_of_fold(m, data) for i, m in enumerate(members) if _is_crossed(m)}
        names = [
            _mean_of_folds(Path(member), Path(folder) / f"{i}.onnx", store) if i in crossed else member
            for i, member in enumerate(members)
        ]
        require_compatible([spec_of(member) for member in names])
        rows = functools.reduce(
            np.intersect1d,
            [crossed[i].rows if i in crossed else held_out_positions(m, data, unseen) for i, m in enumerate(members)],
        )
        others = [member for i, member in enumerate(members) if i not in crossed]
        remarks = [unseen_remark(others, data)] if unseen else []
        if len(rows) < MIN_ROWS:
            raise DataError(
                f"a stack is fitted on {MIN_ROWS} images or more that every member held out. Got {len(rows)} instead. "
                f"{SAME_ROWS}."
            )
        with open_members(names, store) as opened:
            spec = spec_of_ensemble(opened.specs, [1 / len(members)] * len(members), name or path.stem, "stack")
            held_out = data.take(rows)
            truth, images = truth_of(held_out, spec), to_inputs(held_out.images, spec.size, spec.color)
            _require_all_classes(truth, spec.labels)
            own = [
                crossed[i].calibrated_logits[np.searchsorted(crossed[i].rows, rows)]
                if i in crossed
                else engine.tta_logits(images, spec.views)
                for i, engine in enumerate(opened.engines)
            ]
            logits = np.concatenate(own, axis=1)
            strength, predicted = choose_strength(logits, truth)
            spec = with_remarks(spec.replace(trained={**spec.trained, "penalty": strength}), *remarks)
            combination = LinearStack(*fit_linear(logits, truth, strength, len(spec.labels)))
            named = [(member.name, z) for member, z in zip(opened.specs, own, strict=True)]
            spec = with_gain(calibrated(spec, predicted, truth), predicted, named, truth)
            return write_ensemble(opened, combination, spec, path, images)


def _is_crossed(member: str | Path) -> bool:
    return (Path(member) / OUT_OF_FOLD).is_file()


def _out_of_fold(member: str | Path, data: ImageTable) -> OutOfFold:
    found = OutOfFold.load(Path(member) / OUT_OF_FOLD)
    if found.fingerprint != data.fingerprint:
        raise DataError(f"{member} was cross-validated on another data set: give that one with --data.")
    return found


def _mean_of_folds(member: Path, out: Path, store: Store) -> Path:
    merge(sorted(member.glob("fold-*")), out, store=store, name=member.name)
    return out


def _require_all_classes(truth: NDArray[np.int64], labels: Sequence[str]) -> None:
    if absent := sorted(set(range(len(labels))) - set(truth.tolist())):
        names = ", ".join(labels[i] for i in absent)
        raise DataError(f"no image of {names} was held out by every member, so a stack could never name it.")


def choose_strength(
    logits: NDArray[np.floating], truth: NDArray[np.int64], strengths: Sequence[float] = STRENGTHS
) -> tuple[float, NDArray[np.float64]]:
    """The penalty with the least log loss on rows that the classifier was not fitted on.

    Args:
        logits: ``(N, M K)``, the members' side by side.
        truth: int64 ``(N,)``.
        strengths: scikit-learn's C, to choose from.

    Returns:
        The penalty, and the logits ``(N, K)`` of each row by the classifier that was fitted on the parts without it.
    """
    found = []
    for strength in strengths:
        crossed = np.zeros((len(truth), truth.max() + 1))
        for fitted, left_out in _parts(len(truth)):
            matrix, bias = fit_linear(logits[fitted], truth[fitted], strength, crossed.shape[1])
            crossed[left_out] = logits[left_out] @ matrix + bias
        found.append((negative_log_likelihood(softmax(crossed), truth), strength, crossed))
    _, strength, crossed = min(found, key=lambda candidate: candidate[0])
    return strength, crossed


def fit_linear(
    logits: NDArray[np.floating], truth: NDArray[np.int64], strength: float, k: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A multinomial logistic regression: its matrix ``(M K, K)`` and bias ``(K,)``; other arguments as of
    :func:`choose_strength`. A class without rows is never predicted.
    """
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(C=strength, max_iter=2000).fit(np.asarray(logits, np.float64), truth)
    coefficients, intercepts = classifier.coef_, classifier.intercept_
    if len(classifier.classes_) == 2:  # scikit-learn keeps the difference alone.
        coefficients = np.vstack([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    matrix, bias = np.zeros((logits.shape[1], k), np.float32), np.full(k, -100, np.float32)
    matrix[:, classifier.classes_], bias[classifier.classes_] = coefficients.T, intercepts
    return matrix, bias


def _parts(n: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random parts of n rows: those to fit on, and those to predict."""
    part = np.random.default_rng(0).permutation(n) % PARTS
    for i in range(PARTS):
        yield np.flatnonzero(part != i), np.flatnonzero(part == i)
