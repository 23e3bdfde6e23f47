"""The rows of a data set that a trained model was trained on, and those that it held out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.run_folder import EXPORTED, SPLIT
from moue.runtime.weights import is_known
from moue.trained.open import spec_of


def split_of(name: str | Path, table: ImageTable) -> Split | None:
    """Which rows of a set a model was trained on, and which it held out.

    A run has saved them. The spec of a model without its run says how they were split, so the split is made again; that
    of an ensemble is what all its members held out, and what any was trained on.

    Args:
        name: what :func:`moue.trained.open.open_any` would open.
        table: the whole set, as it was read for training.

    Returns:
        None where it is unknown: a model without its run that was trained on another set, or is an older one.

    Raises:
        DataError: when a run was trained on another set.
        UnknownName, ModelError, MissingExtra: as :func:`moue.trained.open.open_any`.
    """
    path = Path(name)
    folder = path.parent if path.name == EXPORTED else path
    if not is_known(name) and (folder / SPLIT).is_file():
        split = Split.load(folder / SPLIT)
        split.check(table)
        return split
    return _split_again(spec_of(name).trained, table)


def _split_again(trained: Mapping[str, Any], table: ImageTable) -> Split | None:
    if members := trained.get("members"):
        splits = [_split_again(member.get("trained", {}), table) for member in members]
        known = [split for split in splits if split is not None]
        if len(known) < len(splits):
            return None
        train = functools.reduce(np.union1d, [split.train for split in known])
        validation = functools.reduce(np.intersect1d, [split.validation for split in known])
        return Split(train, validation, known[0].seed, known[0].fraction, table.fingerprint)
    data = trained.get("data", {})
    if data.get("fingerprint") != table.fingerprint:
        return None
    match {"fold": 0, **data["split"]} if isinstance(data.get("split"), dict) else None:
        case {"fraction": int() | float() as fraction, "seed": int() as seed, "fold": int() as fold}:
            split = stratified_split(table, fraction, seed, fold)
            # An older version that split by other rules had other rows.
            same = [len(split.train), len(split.validation)] == [data.get("train"), data.get("validation")]
            return split if same else None
    return None
