"""Boosting: SAMME over networks (Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", 2009), with shrinkage (Friedman,
"Greedy function approximation: a gradient boosting machine", 2001).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.ensembles.bagging import ENSEMBLE
from moue.ensembles.combination import WeightedVote
from moue.ensembles.gain import member_scores, with_gain
from moue.ensembles.members import (
    calibrated,
    open_members,
    spec_of_ensemble,
    with_remarks,
    write_ensemble,
)
from moue.errors import TrainingError, UsageError, quoted
from moue.evaluation.scoring import predict, truth_of
from moue.files import atomic_write, require_run_directory
from moue.preprocess import to_inputs
from moue.runtime.validation import check_number
from moue.spec import ModelSpec
from moue.trained.open import open_any
from moue.training.config import Config
from moue.training.run_folder import Run
from moue.training.split import configured_split

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: In the folder of a boosted ensemble: a line a round, and the weight of every training row in every round.
ROUNDS, WEIGHTS = "rounds.csv", "weights.csv"


@dataclass(frozen=True)
class Round:
    """One round of boosting."""

    run: str
    error: float
    """Weighted share of the training rows that its network gets wrong."""
    weight: float
    """Of its vote, see :func:`vote_weight`."""
    train_accuracy: float
    """Share of the training rows that it gets right, each counted once."""
    validation: float | None
    """Share of the rows that were held out that it gets right; None where there are none."""
    effective_rows: float
    """(sum of weights)² / sum of squared weights (Kish, "Survey sampling", 1965): how many rows of equal weight would
    be as much to learn from. It falls where the weights gather on few rows."""


@dataclass(frozen=True)
class Boost:
    """What boosting gives."""

    rounds: tuple[Round, ...]
    ended: str
    """Why there are fewer rounds than were asked for; "" where there are not."""
    spec: ModelSpec
    """Of the ensemble, with its accuracy on the rows that were held out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        scores = member_scores(self.spec, len(self.rounds))
        return {
            "rounds": [
                {**asdict(r), "balanced_accuracy": s["balanced_accuracy"]}
                for r, s in zip(self.rounds, scores, strict=True)
            ],
            "ended": self.ended or None,
            "validation": self.spec.scores.get("validation"),
        }


def boost(
    config: Config,
    table: ImageTable,
    out: Path,
    rounds: int = 5,
    *,
    learning_rate: float = 1.0,
    recipe: Config | None = None,
    settings: Sequence[str] = (),
    progress: Callable[[str], ProgressCallback] | None = None,
) -> Boost:
    """Train networks one after the other, each on weights that are larger where those before it were wrong.

    A round of ``out`` that is finished is taken, an interrupted one resumed.

    Args:
        config: the recipe's; round i has the seed ``run.seed`` + i.
        table: the data set.
        out: gets the runs ``round-0`` …, ``rounds.csv``, ``weights.csv`` (a line a training row, a column a round; 1 on
            average) and the ensemble, ``ensemble.onnx`` with its ``.json``: a weighted vote.
        rounds: how many at most, 2 to 100.
        learning_rate: the shrinkage, above 0 to 1: what each vote is multiplied with, as of :func:`vote_weight`, and
            with it how far a round changes the weights. It is not that of the optimizer, which is ``optim.lr``.
        recipe, settings, progress: as of :func:`moue.ensembles.bagging.bag`.

    Raises:
        UsageError: for another number of rounds, another learning rate, a recipe that starts from a model of this set,
            a recipe with ``data.bootstrap`` or ``data.noisy_labels`` "drop" or "relabel", or an ``out`` with runs of
            other settings or data, or with rounds that follow from another learning rate.
        TrainingError: where the first network is no better than chance; as :func:`moue.training.loop.fit`.
        DataError: as :func:`moue.training.loop.fit`.
    """
    from moue.training.loop import fit
    from moue.training.unseen import require_unseen

    check_number("rounds", rounds, 2, 100, integer=True)
    check_number("learning_rate", learning_rate, 0, 1, exclusive=True)
    if config.data.bootstrap:
        raise UsageError("boosting weights all training rows, and data.bootstrap leaves some out. Choose one of them.")
    if config.data.noisy_labels in ("drop", "relabel"):
        raise UsageError(
            "boosting weights all training rows by their labels, and data.noisy_labels leaves some out or gives them "
            f"others. Got {config.data.noisy_labels}: type --set data.noisy_labels=keep, or weight"
        )
    require_unseen(config, table, "boosting")
    require_run_directory(out)
    _require_same_rate(out, learning_rate)
    out.mkdir(parents=True, exist_ok=True)
    rows = configured_split(table, config.data).train
    k, ended = len(table.label_set), ""
    weights = np.full(len(rows), 1 / len(rows))
    done: list[Round] = []
    history: list[NDArray[np.float64]] = []
    for i in range(rounds):
        folder, changes = out / f"round-{i}", {"run.seed": config.run.seed + i}
        wanted, base = config.override(changes=changes), (recipe or config).override(changes=changes)
        if Run(folder).exists:
            wanted = Run(folder).resume_config(base, wanted, [*settings, *changes])
        history.append(weights)
        _write_weights(out / WEIGHTS, table, rows, history)
        callback = progress(folder.name) if progress is not None else None
        in_table = np.ones(len(table))
        in_table[rows] = weights * len(rows)
        fit(wanted, table, folder, resume=True, progress=callback, recipe=base, sample_weights=in_table)
        model = open_any(folder)
        part = table.take(rows)
        wrong = predict(model, part.images, views=model.spec.views).class_ids != truth_of(part, model.spec)
        error = float(weights @ wrong)
        if error >= 1 - 1 / k:
            ended = f"round {i} is no better than chance: it gets {error:.1%} of the weighted rows wrong"
            break
        vote = vote_weight(error, k, learning_rate)
        effective = float(1 / (weights**2).sum())
        held_out = model.spec.scores.get("validation")
        done.append(Round(str(folder), error, vote, float(1 - wrong.mean()), held_out, effective))
        _write_rounds(out / ROUNDS, done, learning_rate)
        if error <= 0:
            ended = f"round {i} gets every training row right: there is nothing left to weight"
            break
        weights = reweighted(weights, wrong, vote)
    if len(done) < 2:
        raise TrainingError(f"boosting needs two rounds: {ended}. Change how long, or how regularized, each trains.")
    return Boost(tuple(done), ended, _write(done, ended, table, config, out, learning_rate))


def vote_weight(error: float, k: int, learning_rate: float = 1.0) -> float:
    """The weight of a network's vote, ``learning_rate * (log((1 - error) / error) + log(k - 1))``: that of Zhu et al.,
    2009 (algorithm 2, step c), shrunk as by scikit-learn's ``AdaBoostClassifier``.

    With 1, the network of a round is exactly at chance on the weights of the next one, however few rows it got wrong;
    where labels are wrong, the next network then learns little else than those. Less than 1 takes more rounds.

    Args:
        error: its weighted error, 0 to below 1 - 1 / k. Of 0, that of a hundred thousandth is given.
        k: number of classes.
        learning_rate: above 0 to 1.
    """
    error = max(error, 1e-5)
    return learning_rate * (math.log((1 - error) / error) + math.log(k - 1))


def reweighted(weights: NDArray[np.float64], wrong: NDArray[np.bool_], vote: float) -> NDArray[np.float64]:
    """The weights of the next round (Zhu et al., 2009, algorithm 2, steps d and e): those of rows that the network got
    wrong times exp(vote); they add up to 1.

    Args:
        weights: ``(N,)``; they add up to 1.
        wrong: bool ``(N,)``.
        vote: of :func:`vote_weight`.
    """
    raised = weights * np.exp(vote * wrong)
    scaled: NDArray[np.float64] = raised / raised.sum()
    return scaled


def _write(
    done: Sequence[Round], ended: str, table: ImageTable, config: Config, out: Path, learning_rate: float
) -> ModelSpec:
    """The rounds' weighted vote, calibrated on the rows that were held out."""
    held_out = table.take(configured_split(table, config.data).validation)
    total = sum(r.weight for r in done)
    shares = [r.weight / total for r in done]
    with open_members([r.run for r in done]) as opened:
        spec = with_remarks(spec_of_ensemble(opened.specs, shares, out.name, "boost"), ended)
        spec = spec.replace(trained={**spec.trained, "learning_rate": learning_rate})
        combination = WeightedVote(tuple(shares))
        images = to_inputs(held_out.images, spec.size, spec.color)
        if len(images):
            truth = truth_of(held_out, spec)
            logits, own = opened.combined_beside(combination, images, spec.views)
            named = [(Path(r.run).name, z) for r, z in zip(done, own, strict=True)]
            spec = with_gain(calibrated(spec, logits, truth), logits, named, truth)
        return write_ensemble(opened, combination, spec, out / ENSEMBLE, images if len(images) else None)


def _require_same_rate(out: Path, learning_rate: float) -> None:
    """Check that the rounds of a folder follow from the same learning rate; the first one follows from none."""
    if not Run(out / "round-1").exists:
        return
    try:
        with open(out / ROUNDS, newline="", encoding="utf-8", errors="replace") as file:
            first = next(csv.DictReader(file), None)
    except (FileNotFoundError, csv.Error):
        first = None
    if first is None:
        raise UsageError(
            f"{out / ROUNDS} is missing or damaged, which says the learning rate that the rounds follow from. Restore "
            "it from a copy, or give another --out."
        )
    was = first.get("learning_rate") or "1"  # Earlier versions had no other.
    if was != f"{learning_rate:g}":
        raise UsageError(
            f"the rounds of {out} follow from a learning rate of {quoted(was)}. Got {learning_rate:g} instead. Give "
            "that one, or another --out."
        )


def _write_rounds(path: Path, rounds: Sequence[Round], learning_rate: float) -> None:
    rows = [{"round": i, **asdict(r), "learning_rate": f"{learning_rate:g}"} for i, r in enumerate(rounds)]
    with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_weights(
    path: Path, table: ImageTable, rows: NDArray[np.int64], history: Sequence[NDArray[np.float64]]
) -> None:
    relative = np.stack(history, axis=1) * len(rows)
    with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "label", *(f"round-{i}" for i in range(len(history)))])
        for row, values in zip(rows, relative, strict=True):
            label = table.label_set.labels[table.labels[row]]
            writer.writerow([table.source[row], label, *(f"{value:.6g}" for value in values)])
