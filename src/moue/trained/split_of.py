"""The rows of a data set that a trained model was trained on, and those that it held out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.run_folder import EXPORTED, SPLIT
from moue.runtime.weights import is_known
from moue.spec import ModelSpec
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
    split = _saved(name)
    if split is not None:
        split.check(table)
        return split
    return _split_again(spec_of(name).trained, table)


def split_of_spec(name: str | Path, spec: ModelSpec, table: ImageTable) -> Split | None:
    """:func:`split_of` with the model's spec at hand, and None, too, for a run that was trained on another set.

    Args:
        name: a run folder, or any other name, of which only the spec counts.
        spec: the model's.
        table: the whole set, as it was read for training.
    """
    split = _saved(name)
    if split is not None:
        return split if split.fingerprint == table.fingerprint else None
    return _split_again(spec.trained, table)


def _saved(name: str | Path) -> Split | None:
    path = Path(name)
    folder = path.parent if path.name == EXPORTED else path
    return Split.load(folder / SPLIT) if not is_known(name) and (folder / SPLIT).is_file() else None


def _split_again(trained: Mapping[str, Any], table: ImageTable) -> Split | None:
    own = _own_split(trained.get("data", {}), table)
    if own is None and (members := trained.get("members")):
        splits = [_split_again(member.get("trained", {}), table) for member in members]
        known = [split for split in splits if split is not None]
        if len(known) < len(splits):
            return None
        train = functools.reduce(np.union1d, [split.train for split in known])
        validation = functools.reduce(np.intersect1d, [split.validation for split in known])
        # Near copies are on one side where they are for each: "exact" comes first.
        duplicates = min(split.duplicates for split in known)
        return replace(known[0], train=train, validation=validation, duplicates=duplicates)
    return own


def _own_split(data: Mapping[str, Any], table: ImageTable) -> Split | None:
    if data.get("fingerprint") != table.fingerprint:
        return None
    match {"fold": 0, "duplicates": "exact", **data["split"]} if isinstance(data.get("split"), dict) else None:
        case {
            "fraction": int() | float() as fraction,
            "seed": int() as seed,
            "fold": int() as fold,
            "duplicates": "exact" | "near" as duplicates,
        }:
            split = stratified_split(table, fraction, seed, fold, duplicates)
            # An older version that split by other rules had other rows.
            same = [len(split.train), len(split.validation)] == [data.get("train"), data.get("validation")]
            return split if same else None
    return None
