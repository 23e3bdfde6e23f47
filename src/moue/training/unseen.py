"""The rows of a data set that none of some trained models has seen, to validate on what is made of these models."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moue.data.readers.fer2013_csv import is_fer2013
from moue.data.splits import Split
from moue.data.table import ImageTable
from moue.errors import UsageError
from moue.spec import ModelSpec
from moue.trained.network import network_spec
from moue.trained.split_of import split_of_spec
from moue.training.config import Config, DataConfig
from moue.training.split import configured_split


def unseen_split(models: Sequence[tuple[str, ModelSpec]], table: ImageTable, data: DataConfig) -> Split:
    """A split whose validation rows none of some models was trained on.

    They are the rows that all those held out that were trained on this set. Where none was, the split is that of the
    settings.

    Args:
        models: what each is called, and its spec.
        table: the whole set.
        data: the settings of the split.

    Returns:
        The split; without validation rows where the settings hold out none, or the models held out none in common.

    Raises:
        UsageError: where a model was trained on these images and does not say on which.
    """
    plain = configured_split(table, data)
    if not len(plain.validation):
        return plain
    known: list[Split] = []
    for name, spec in models:
        if (split := split_of_spec(name, spec, table)) is not None:
            known.append(split)
        elif may_have_seen(spec, table):
            raise UsageError(
                f"{name} was trained on images of {table.name or 'this set'}, and nothing says which of these rows it "
                "held out, as for another version of the set or with other labels. Give a run folder of this set with "
                "these labels."
            )
    if not known:
        return plain
    validation = functools.reduce(np.intersect1d, [split.validation for split in known])
    rows = functools.reduce(np.union1d, [np.union1d(split.train, split.validation) for split in known])
    # Near copies are on one side where they are for each: "exact" comes first.
    duplicates = min(split.duplicates for split in known)
    return replace(known[0], train=np.setdiff1d(rows, validation), validation=validation, duplicates=duplicates)


def require_unseen(config: Config, table: ImageTable, what: str) -> None:
    """Refuse a recipe that starts from a model which has seen a set's images.

    Args:
        config: the recipe's, whose ``model.init`` or ``model.backbones`` are such models.
        table: the whole set.
        what: what would score each of the set's rows by models that must not have been trained on it.

    Raises:
        UsageError: names the model.
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`moue.trained.network.network_spec`.
    """
    model = config.model
    setting, names = ("model.init", [model.init]) if model.init else ("model.backbones", model.backbones)
    for name in names:
        spec = network_spec(name)
        if split_of_spec(name, spec, table) is not None or may_have_seen(spec, table):
            raise UsageError(
                f"{what} scores rows as new that {name}, of {setting}, was trained on: it has seen images of "
                f"{table.name or 'this set'}. Give a model of another set, or a recipe that starts from none. Several "
                "models of this set are joined by moue ensemble vote, stack or concat."
            )


def may_have_seen(spec: ModelSpec, table: ImageTable) -> bool:
    """Whether a model without a split of a table may have been trained on its images: its spec names the same images
    with the same labels, a set of the same name and as many rows, or FER-2013 in any form. A copy of another name is
    not recognized.
    """
    members = [member.get("trained", {}) for member in spec.trained.get("members", [])]
    data = [part["data"] for part in (spec.trained, *members) if part.get("data")]
    if any(part.get("fingerprint") == table.fingerprint for part in data):
        return True
    # Read in another size, or with other labels, a set has another fingerprint.
    rows = int(np.isin(table.split, ("train", "validation")).sum())
    if any((part.get("name"), part.get("train", 0) + part.get("validation", 0)) == (table.name, rows) for part in data):
        return True
    fer2013 = "FER-2013" in spec.license or any(part.get("fer2013") for part in data)
    return is_fer2013(table) and (fer2013 or not data)
