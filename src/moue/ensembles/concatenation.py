"""A concatenation beside the models whose features it joins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moue.data.table import ImageTable
from moue.ensembles.gain import with_gain
from moue.errors import MissingExtra, ModelError, UnknownName
from moue.evaluation.scoring import predict, truth_of
from moue.run_folder import SPEC
from moue.spec import ModelSpec
from moue.trained.open import Model, open_any
from moue.training.run_folder import Run


def compare_with_members(run: Run, members: Sequence[str], table: ImageTable) -> tuple[ModelSpec, list[str], list[str]]:
    """Score a concatenation and its members on the rows that it held out, and keep the gain in its spec.

    Args:
        run: the finished run.
        members: the models that it was made of; one of other classes is left out, as it cannot be scored.
        table: the data set that it was trained on.

    Returns:
        The run's spec, with ``trained["gain"]`` where rows were held out and a member has its classes; the members that
        were scored; and why others could not be opened, as the run that holds their weights needs them no more. Where
        there are such, the file keeps the gain that it has.

    Raises:
        DataError: for another data set.
    """
    kept = run.spec()
    spec = kept.replace(trained={key: value for key, value in kept.trained.items() if key != "gain"})
    held_out = table.take(run.split(table).validation)
    models: dict[str, Model] = {}
    missing = []
    for name in members:
        try:
            models[name] = open_any(name)
        except (UnknownName, ModelError, MissingExtra) as error:
            missing.append(f"{name} is left out of the comparison: {error}")
    scored = [name for name, model in models.items() if model.spec.labels == spec.labels]
    if not len(held_out) or not scored:
        return spec, scored, missing
    # With as many views each, as is done for other ensembles.
    own, *theirs = (
        predict(model, held_out.images, views=spec.views).probabilities
        for model in (open_any(run.folder), *(models[name] for name in scored))
    )
    named = [(Path(name).name, probabilities) for name, probabilities in zip(scored, theirs, strict=True)]
    spec = with_gain(spec, own, named, truth_of(held_out, spec))
    if not (missing and "gain" in kept.trained):
        spec.save(run.folder / SPEC)
    return spec, scored, missing
