"""Bagging: members of one recipe on bootstrap samples of Training, averaged (Breiman, "Bagging predictors", 1996)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.data.splits import Duplicates, copy_groups
from moue.data.table import ImageTable
from moue.ensembles.gain import member_scores
from moue.ensembles.voting import merge
from moue.errors import UsageError, quoted
from moue.evaluation.metrics import Evaluation, evaluate
from moue.evaluation.scoring import predict, truth_of
from moue.files import require_run_directory
from moue.runtime.results import Predictions
from moue.spec import ModelSpec
from moue.trained.open import open_any
from moue.trained.split_of import split_of
from moue.training.config import Config
from moue.training.run_folder import Run

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: The ensemble's file in the folder of an ensemble that was trained.
ENSEMBLE = "ensemble.onnx"


@dataclass(frozen=True)
class Bag:
    """What bagging gives."""

    runs: tuple[Path, ...]
    out_of_bag: Evaluation | None
    """Of training rows, each predicted by the mean of those members whose sample is without it; None where every row is
    in every sample."""
    spec: ModelSpec
    """Of the ensemble, with the scores of both on the rows that all members held out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "members": [
                {"run": str(run), "validation": s["accuracy"], "balanced_accuracy": s["balanced_accuracy"]}
                for run, s in zip(self.runs, member_scores(self.spec, len(self.runs)), strict=True)
            ],
            "validation": self.spec.scores.get("validation"),
            "out_of_bag": None if self.out_of_bag is None else self.out_of_bag.to_dict(),
        }


def bag(
    config: Config,
    table: ImageTable,
    out: Path,
    members: int = 5,
    *,
    recipe: Config | None = None,
    settings: Sequence[str] = (),
    progress: Callable[[str], ProgressCallback] | None = None,
) -> Bag:
    """Train members on bootstrap samples, and write their average.

    The samples are of the training part, a class at a time, copies together, as ``data.duplicates`` says. A member of
    ``out`` that is finished is taken, an interrupted one resumed.

    Args:
        config: the recipe's; ``data.bootstrap`` is set, and member i has the seed ``run.seed`` + i.
        table: the data set.
        out: gets the runs ``member-0`` … and the ensemble, ``ensemble.onnx`` with its ``.json``.
        members: how many, 2 to 100.
        recipe: what ``config`` was made from, as of :func:`moue.training.loop.fit`.
        settings: the names of those settings of ``config`` that runs of ``out`` must have.
        progress: makes the progress callback of a training from its name.

    Raises:
        UsageError: for another number of members, a recipe that starts from a model of this set, or an ``out`` with
            runs of other settings or data.
        DataError, TrainingError: as :func:`moue.training.loop.fit`.
    """
    from moue.training.loop import fit
    from moue.training.unseen import require_unseen

    if not 2 <= members <= 100:
        raise UsageError(f"members must be between 2 and 100. Got {quoted(members)} instead.")
    require_unseen(config, table, "bagging")
    require_run_directory(out)
    runs = tuple(out / f"member-{i}" for i in range(members))
    for i, folder in enumerate(runs):
        changes = {"data.bootstrap": True, "run.seed": config.run.seed + i}
        wanted, base = config.override(changes=changes), (recipe or config).override(changes=changes)
        if Run(folder).exists:
            wanted = Run(folder).resume_config(base, wanted, [*settings, *changes])
        callback = progress(folder.name) if progress is not None else None
        fit(wanted, table, folder, resume=True, progress=callback, recipe=base)
    held_out = config.data.validation > 0 or bool((table.split == "validation").any())
    spec = merge(runs, out / ENSEMBLE, data=table if held_out else None, name=out.name)
    return Bag(runs, out_of_bag(runs, table), spec)


def out_of_bag(runs: Sequence[Path], table: ImageTable) -> Evaluation | None:
    """The scores of training rows by those members that have not seen them.

    Args:
        runs: finished runs with ``data.bootstrap``, of one split.
        table: the data set.

    Returns:
        None where no row is out of any sample.
    """
    split = split_of(runs[0], table)
    assert split is not None  # A run has its split.
    rows = split.train
    sums: NDArray[np.float64] | None = None
    counts = np.zeros(len(rows), np.int64)
    for folder in runs:
        config = Run(folder).config()
        out = is_out_of_bag(table, rows, config.run.seed, config.data.duplicates)
        model = open_any(folder)
        predictions = predict(model, table.take(rows[out]).images, views=model.spec.views)
        sums = np.zeros((len(rows), len(model.spec.labels))) if sums is None else sums
        sums[out] += predictions.probabilities
        counts += out
    seen = counts > 0
    if sums is None or not seen.any():
        return None
    part, spec = table.take(rows[seen]), Run(runs[0]).spec()
    mean = (sums[seen] / counts[seen, None]).astype(np.float32)
    return evaluate(
        Predictions(mean, spec.labels),
        truth_of(part, spec),
        model="out of bag",
        network=spec.network,
        split="train",
        label_set=table.label_set.name,
        views=spec.views,
    )


def is_out_of_bag(
    table: ImageTable, rows: NDArray[np.int64], seed: int, duplicates: Duplicates = "exact"
) -> NDArray[np.bool_]:
    """bool ``(N,)``: which rows neither are in the sample of a run with that seed nor have a copy there.

    Args:
        table, rows, seed, duplicates: as of :func:`moue.training.prepare.bootstrap_rows`.
    """
    from moue.training.prepare import bootstrap_rows

    groups = copy_groups(table.take(rows), duplicates)
    drawn = np.isin(rows, bootstrap_rows(table, rows, seed, duplicates))
    return ~np.isin(groups, groups[drawn])
