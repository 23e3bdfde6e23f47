"""A concatenation beside the models whose features it joins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moue.data.table import ImageTable
from moue.ensembles.gain import with_gain
from moue.evaluation.scoring import predict, truth_of
from moue.run_folder import SPEC
from moue.spec import ModelSpec
from moue.trained.open import open_any, spec_of
from moue.training.run_folder import Run


def compare_with_members(run: Run, members: Sequence[str], table: ImageTable) -> tuple[ModelSpec, list[str]]:
    """Score a concatenation and its members on the rows that it held out, and keep the gain in its spec.

    Args:
        run: the finished run.
        members: the models that it was made of; one of other classes is left out, as it cannot be scored.
        table: the data set that it was trained on.

    Returns:
        The run's spec, with ``trained["gain"]`` where rows were held out and a member has its classes; and the members
        that were scored.

    Raises:
        DataError: for another data set.
        UnknownName, ModelError, MissingExtra: as :func:`moue.trained.open.open_any`.
    """
    spec = run.spec()
    held_out = table.take(run.split(table).validation)
    scored = [name for name in members if spec_of(name).labels == spec.labels]
    if not len(held_out) or not scored:
        return spec, scored
    models: list[str | Path] = [run.folder, *scored]
    # With as many views each, as is done for other ensembles.
    values = [predict(open_any(model), held_out.images, views=spec.views) for model in models]
    own, *theirs = (found.probabilities for found in values)
    named = [(Path(name).name, probabilities) for name, probabilities in zip(scored, theirs, strict=True)]
    spec = with_gain(spec, own, named, truth_of(held_out, spec))
    spec.save(run.folder / SPEC)
    return spec, scored
