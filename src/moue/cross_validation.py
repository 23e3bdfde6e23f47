"""k-fold cross-validation of a recipe: a run a fold, and each training row predicted by the run that held it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.damage import decoding
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError, quoted
from moue.evaluation.metrics import Evaluation, evaluate
from moue.evaluation.predictions_file import prediction_rows, write_rows
from moue.evaluation.scoring import truth_of
from moue.files import atomic_write, require_run_directory
from moue.preprocess import to_inputs
from moue.runtime.results import Predictions, softmax
from moue.trained.open import open_any
from moue.trained.split_of import split_of
from moue.training.config import Config
from moue.training.run_folder import Run
from moue.training.split import configured_split, require_validation
from moue.tta import tta_logits

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: In the folder of a cross-validation.
OUT_OF_FOLD, PREDICTIONS, SCORES = "out_of_fold.npz", "out_of_fold.csv", "cross-validation.json"

#: With which an epoch is not chosen on the rows that are scored.
UNSELECTED: dict[str, Any] = {"optim.keep": "last", "optim.patience": None}

#: The scores that are averaged over the folds.
AVERAGED = ("accuracy", "majority_baseline", "balanced_accuracy", "macro_f1", "top2", "nll", "ece")


@dataclass(frozen=True)
class OutOfFold:
    """The logits of every row of Training, each from the run that held it out."""

    rows: NDArray[np.int64]
    """``(N,)`` rows of the table, ascending."""
    logits: NDArray[np.float32]
    """``(N, K)``, averaged over the model's views, before any temperature."""
    truth: NDArray[np.int64]
    """``(N,)`` positions in ``labels``."""
    folds: NDArray[np.int64]
    """``(N,)`` the fold that held out each row."""
    temperatures: NDArray[np.float64]
    """``(folds,)`` of the runs; each was fitted on the rows that its run held out."""
    labels: tuple[str, ...]
    fingerprint: str
    """Of the data set."""

    @property
    def calibrated_logits(self) -> NDArray[np.float32]:
        """Each run's logits divided by its temperature."""
        return (self.logits / self.temperatures[self.folds][:, None]).astype(np.float32)

    @property
    def predictions(self) -> Predictions:
        """The probabilities, calibrated."""
        return Predictions(softmax(self.calibrated_logits), self.labels)

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, atomically."""
        with atomic_write(path) as part, open(part, "wb") as file:
            np.savez(
                file,
                rows=self.rows,
                logits=self.logits,
                truth=self.truth,
                folds=self.folds,
                temperatures=self.temperatures,
                labels=np.array(self.labels),
                fingerprint=np.array(self.fingerprint),
            )

    @classmethod
    def load(cls, path: Path) -> OutOfFold:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: when the file is missing or damaged.
        """
        if not path.is_file():
            raise DataError(f"{path} is missing: moue cross-validate writes it when all folds are trained.")
        with decoding(path, lambda why: DataError(f"{path} is damaged ({why}): repeat moue cross-validate.")):
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
            return cls(
                values["rows"].astype(np.int64),
                values["logits"].astype(np.float32),
                values["truth"].astype(np.int64),
                values["folds"].astype(np.int64),
                values["temperatures"].astype(np.float64),
                tuple(values["labels"].tolist()),
                str(values["fingerprint"]),
            )


@dataclass(frozen=True)
class CrossValidation:
    """The scores of all folds."""

    folds: tuple[Evaluation, ...]
    """Of each run, on the rows that it held out."""
    pooled: Evaluation
    """Of all rows, each predicted by the run that held it out."""
    runs: tuple[Path, ...]
    selected: bool = False
    """Whether a run's last epoch, or the one that it keeps, was chosen on the rows that it held out."""

    def mean(self, score: str) -> float:
        """The mean of one of :data:`AVERAGED` over the folds."""
        return float(np.mean([getattr(fold, score) for fold in self.folds]))

    def deviation(self, score: str) -> float:
        """Its standard deviation over the folds (of a sample, n - 1)."""
        return float(np.std([getattr(fold, score) for fold in self.folds], ddof=1))

    @property
    def remarks(self) -> list[str]:
        """What the scores do not say, a sentence each; usually none."""
        found, pooled = [], self.pooled
        if self.selected:
            found.append(
                "the epoch of each run was chosen on the rows that it is scored on, so that the scores are too high: "
                "optim.keep=last and no optim.patience, in another --out, do without"
            )
        if not pooled.above_majority:
            found.append(
                f"the accuracy of all rows, {pooled.accuracy:.1%}, is not significantly above the majority baseline of "
                f"{pooled.majority_baseline:.1%} (always {pooled.majority_class})"
            )
        if few := [f"{name} ({score.n})" for name, score in pooled.per_class.items() if score.n < len(self.folds)]:
            found.append(f"some folds have no image of {', '.join(few)}: their balanced accuracy is of fewer classes")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "network": self.pooled.network,
            "n": self.pooled.n,
            "mean": {score: self.mean(score) for score in AVERAGED},
            "sd": {score: self.deviation(score) for score in AVERAGED},
            "folds": [
                {"fold": i, "run": str(run), "n": fold.n, **{score: getattr(fold, score) for score in AVERAGED}}
                for i, (run, fold) in enumerate(zip(self.runs, self.folds, strict=True))
            ],
            "pooled": self.pooled.to_dict(),
            "remarks": self.remarks,
        }


def cross_validate(
    config: Config,
    table: ImageTable,
    out: Path,
    folds: int = 5,
    *,
    recipe: Config | None = None,
    settings: Sequence[str] = (),
    progress: Callable[[str], ProgressCallback] | None = None,
) -> CrossValidation:
    """Train a recipe once a fold; every row of Training is held out by exactly one of the runs.

    The folds are stratified, and exact duplicates are in the same one, see
    :func:`moue.data.splits.stratified_split`. A run of ``out`` that is finished is taken, an interrupted one resumed.
    Each run keeps its last epoch: the best on the rows that it held out would flatter their scores.

    Args:
        config: the recipe's; its ``data.validation`` and ``data.fold`` are set for each fold, and :data:`UNSELECTED`
            where ``settings`` do not name them, and no run of ``out`` has other values.
        table: the data set.
        out: gets the runs ``fold-0`` …, ``out_of_fold.npz`` (:class:`OutOfFold`), the same predictions as CSV, and the
            scores as JSON.
        folds: how many, 2 to 20.
        recipe: what ``config`` was made from, as of :func:`moue.training.loop.fit`.
        settings: the names of those settings of ``config`` that runs of ``out`` must have.
        progress: makes the progress callback of a training from its name.

    Raises:
        UsageError: for another number of folds, a recipe that starts from a model of this set, a set with a validation
            part of its own, a recipe that trains on another part of Training, a set too small for so many folds, or an
            ``out`` with runs of other settings or data.
        DataError, TrainingError: as :func:`moue.training.loop.fit`.
    """
    from moue.training.loop import fit
    from moue.training.unseen import require_unseen

    if not 2 <= folds <= 20:
        raise UsageError(f"folds must be between 2 and 20. Got {quoted(folds)} instead.")
    if (table.split == "validation").any():
        raise UsageError(
            f"{table.name or 'the data set'} has a validation part of its own, and cross-validation cuts its own from "
            "Training. Import it with its validation rows as training rows, or use moue train."
        )
    if config.data.bootstrap:
        raise UsageError("cross-validation holds out each row once, and data.bootstrap leaves rows out by chance.")
    for name in ("data.validation", "data.fold"):
        if any(setting.partition("=")[0] == name for setting in settings):
            raise UsageError(f"cross-validation sets {name} itself: leave it out, and give --folds.")
    require_unseen(config, table, "cross-validation")
    require_run_directory(out)
    runs = tuple(out / f"fold-{fold}" for fold in range(folds))
    _require_room(out, folds)
    fold_settings = [{"data.validation": 1 / folds, "data.fold": fold} for fold in range(folds)]
    for folder, changes in zip(runs, fold_settings, strict=True):
        if not Run(folder).exists:
            split = configured_split(table, config.override(changes=changes).data)
            require_validation(split, table, "each fold is scored on images", "Take fewer --folds")
    names = {setting.partition("=")[0].strip() for setting in settings}
    # All folds alike, also those that are added to a cross-validation of an older version.
    like = next((Run(run).config() for run in runs if Run(run).exists), Config().override(changes=UNSELECTED))
    unselected = {name: like.get(name) for name in UNSELECTED if name not in names}
    for folder, changes in zip(runs, fold_settings, strict=True):
        wanted, base = config.override(changes={**changes, **unselected}), (recipe or config).override(changes=changes)
        if Run(folder).exists:
            wanted = Run(folder).resume_config(base, wanted, [*settings, *changes])
        callback = progress(folder.name) if progress is not None else None
        fit(wanted, table, folder, resume=True, progress=callback, recipe=base)
    found = _out_of_fold(runs, table)
    network = Run(runs[0]).spec().network
    every = np.ones(len(found.rows), bool)
    evaluations = tuple(_evaluated(found, found.folds == fold, f"fold {fold}", network, table) for fold in range(folds))
    pooled = _evaluated(found, every, "cross-validation", network, table)
    selected = any(Run(run).config().get(name) != value for run in runs for name, value in UNSELECTED.items())
    result = CrossValidation(evaluations, pooled, runs, selected)
    held_out = table.take(found.rows)
    held_out = replace(held_out, split=np.full(len(held_out), "validation"))
    write_rows(out / PREDICTIONS, prediction_rows(held_out, found.predictions, found.truth, folds=found.folds))
    found.save(out / OUT_OF_FOLD)
    with atomic_write(out / SCORES) as part:
        part.write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    return result


def _require_room(out: Path, folds: int) -> None:
    """Refuse a folder that holds a single run, or a cross-validation with another number of folds."""
    if Run(out).exists:
        raise UsageError(f"{out} holds a run of moue train. Choose another --out.")
    first = Run(out / "fold-0")
    if first.exists and (there := round(1 / (first.config().data.validation or 1))) != folds:
        raise UsageError(f"{out} holds a cross-validation with {there} folds, not {folds}. Choose another --out.")


def _out_of_fold(runs: Sequence[Path], table: ImageTable) -> OutOfFold:
    """What each run predicts for the rows that it held out, in the order of the table."""
    rows, logits, folds, specs = [], [], [], []
    for fold, folder in enumerate(runs):
        model = open_any(folder)
        split = split_of(folder, table)
        assert split is not None  # A run has its split, or `fit` would have refused it.
        images = to_inputs(table.take(split.validation).images, model.spec.size, model.spec.color)
        logits.append(tta_logits(model.logits, images, model.spec.views, 64, model.spec.crop_size))
        rows.append(split.validation)
        folds.append(np.full(len(split.validation), fold))
        specs.append(model.spec)
    all_rows = np.concatenate(rows)
    order = np.argsort(all_rows, kind="stable")
    return OutOfFold(
        rows=all_rows[order],
        logits=np.concatenate(logits)[order],
        truth=truth_of(table.take(all_rows[order]), specs[0]),
        folds=np.concatenate(folds)[order],
        temperatures=np.array([spec.temperature for spec in specs]),
        labels=specs[0].labels,
        fingerprint=table.fingerprint,
    )


def _evaluated(found: OutOfFold, which: NDArray[np.bool_], name: str, network: str, table: ImageTable) -> Evaluation:
    return evaluate(
        Predictions(found.predictions.probabilities[which], found.labels),
        found.truth[which],
        model=name,
        network=network,
        split="validation",
        label_set=table.label_set.name,
        views=2,
    )
