"""Several models as one: a graph with all of them that gives the mean of their logits.

The mean is taken of calibrated logits, ``z = sum_i w_i z_i / T_i`` with weights that add up to 1. A softmax of it is
the normalized geometric mean of the members' probabilities (a product of experts, Hinton, "Training products of experts
by minimizing contrastive divergence", 2002), as the constants by which logits and log-probabilities differ cancel. It
was chosen over the arithmetic mean of probabilities because it is linear: averaging views before or after it is the
same, one temperature calibrates the mean like a single model, and the graph needs no logarithm of a rounded zero.
Dividing by each member's temperature first keeps an over-confident member from dominating the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.ensembles.combination import WeightedSum, WeightedVote
from moue.ensembles.gain import with_gain
from moue.ensembles.members import (
    Members,
    calibrated,
    held_out_rows,
    open_members,
    require_compatible,
    require_ensemble_file,
    spec_of_ensemble,
    unseen_remark,
    with_remarks,
    write_ensemble,
)
from moue.errors import UsageError, require
from moue.evaluation.calibration import MIN_ROWS
from moue.evaluation.scoring import truth_of
from moue.preprocess import to_inputs
from moue.spec import ModelSpec
from moue.trained.open import spec_of

if TYPE_CHECKING:
    from moue.export.graph import Store


#: The least share of the weights with which a member earns its place.
MIN_WEIGHT = 0.01


def merge(
    members: Sequence[str | Path],
    out: str | Path,
    weights: Sequence[float] | None = None,
    *,
    kind: Literal["soft", "majority"] = "soft",
    fit: bool = False,
    store: Store = "float32",
    data: ImageTable | None = None,
    unseen: bool = False,
    name: str | None = None,
) -> ModelSpec:
    """Write several models as one ``.onnx`` with its ``.json``, after comparing it with its members in every engine.

    Args:
        members: two or more of: a run folder (exported first), the path of an ``.onnx`` with its ``.json``, a name of
            ``moue models``.
        out: path of the ``.onnx`` file.
        weights: one above 0 for each member; equal ones by default. Only their ratios matter.
        kind: "soft" for the mean of calibrated logits, "majority" for votes: each member's likeliest class, times its
            weight.
        fit: with ``data``, choose the weights of a soft vote by the least log loss on the rows that every member held
            out, instead of giving them. A member whose weight is below :data:`MIN_WEIGHT` is left out, with a remark;
            weights stay equal, with a remark, where there are fewer than
            :data:`moue.evaluation.calibration.MIN_ROWS` such rows.
        store: how the weights of run folders are stored, as for :func:`moue.export.export`; files stay unchanged.
        data: the set that the runs were trained on. With it, temperature and threshold are fitted on the rows that
            every member held out, after views and members are averaged; without it, or where these are too few, the
            temperature is 1, and without any the threshold the members' mean: ``trained["remarks"]`` then says so. Of
            members without a split, the set's own validation rows count as held out.
        unseen: see :func:`moue.ensembles.members.held_out_positions`; a remark says so.
        name: the ensemble's name; by default the file's.

    Returns:
        The spec as written: parameters are the members' sum, views their most, ``trained["members"]`` names each
        with its hash, weight and temperature, and ``trained["gain"]`` has the ensemble beside its best member on the
        held-out rows, see :class:`moue.ensembles.gain.Gain`.

    Raises:
        UsageError: for fewer than two members, wrong weights, weights to fit without data or beside given ones,
            ``unseen`` without data, members none of which is worth a weight, or a file name that does not end in .onnx
            or is a member's.
        ModelError: when members differ in :data:`SHARED` or cannot be opened.
        DataError: when a member does not say which rows it held out, or was trained on another set.
        MissingExtra: without onnx, or for run folders without torch.
    """
    path = require_ensemble_file(out, members)
    if fit and (data is None or weights is not None or kind != "soft"):
        raise UsageError("weights are fitted for a soft vote, on --data: leave --weights out, and give --data SET.")
    if unseen and data is None:
        raise UsageError("--unseen is about the images of --data: give --data SET, or leave it out.")
    shares = _shares(weights, len(members))
    held_out = None
    if data is not None and len(members) > 1:
        require_compatible([spec_of(member) for member in members])  # Other rows would not help those that differ.
        held_out = held_out_rows(members, data, unseen)
    with open_members(members, store) as opened:
        given, images, truth = opened, None, None
        remarks = [unseen_remark(members, data)] if unseen and data is not None else []
        if held_out is not None:
            first = opened.specs[0]
            images, truth = to_inputs(held_out.images, first.size, first.color), truth_of(held_out, first)
        if fit and images is not None and truth is not None:
            if len(images) < MIN_ROWS:
                remarks.append(
                    f"its weights stay equal: {len(images)} held-out images are too few; fitting takes {MIN_ROWS}"
                )
            else:
                opened, shares, left_out = _fitted(opened, images, truth)
                remarks += left_out
        spec = spec_of_ensemble(opened.specs, shares, name or path.stem, "vote" if kind == "soft" else "majority vote")
        factors = tuple(share / spec.temperature for share, spec in zip(shares, opened.specs, strict=True))
        combination = WeightedSum(factors) if kind == "soft" else WeightedVote(tuple(shares))
        if held_out is None:
            remarks.append("its temperature stays 1: --data SET fits one on the rows that all members held out")
        spec = with_remarks(spec, *remarks)
        if images is not None and truth is not None:
            logits, own = opened.combined_beside(combination, images, spec.views)
            if given is not opened:
                own = given.logits(images, spec.views)
            named = [(member.name, z) for member, z in zip(given.specs, own, strict=True)]
            spec = with_gain(calibrated(spec, logits, truth), logits, named, truth, fitted=fit and given is not opened)
        return write_ensemble(opened, combination, spec, path, images)


def _fitted(
    members: Members, images: NDArray[np.uint8], truth: NDArray[np.int64]
) -> tuple[Members, list[float], list[str]]:
    """The members that get a weight, their weights, which add up to 1, and a remark on each of the others.

    The weights have the least negative log-likelihood of the weighted mean of calibrated logits, which is convex in
    them; their sum, which is free, is left to the ensemble's own temperature.
    """
    optimize = require("scipy.optimize", "train")
    views = max(spec.views for spec in members.specs)
    scaled = [z / spec.temperature for z, spec in zip(members.logits(images, views), members.specs, strict=True)]
    logits = np.stack(scaled).astype(np.float64)
    rows = np.arange(len(truth))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = np.tensordot(weights, logits, 1)
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        error = np.exp(log_p)
        error[rows, truth] -= 1
        return -float(log_p[rows, truth].mean()), np.tensordot(logits, error, ([1, 2], [0, 1])) / len(truth)

    start = np.full(len(logits), 1 / len(logits))
    found = optimize.minimize(loss, start, jac=True, bounds=[(0, None)] * len(logits), method="L-BFGS-B")
    if not found.x.any():
        raise UsageError(
            f"no weights can be fitted: on the {len(truth):,} held-out images no member is better than chance. Are "
            "their labels those that the members were trained on?"
        )
    weights = found.x / found.x.sum()
    remarks = [
        f"{spec.name} is left out: on held-out rows its weight is {weight:.3f}"
        for spec, weight in zip(members.specs, weights, strict=True)
        if weight < MIN_WEIGHT
    ]
    kept = [i for i, weight in enumerate(weights) if weight >= MIN_WEIGHT]
    return members.take(kept), _shares([float(weights[i]) for i in kept], len(kept)), remarks


def _shares(weights: Sequence[float] | None, n: int) -> list[float]:
    weights = [1.0] * n if weights is None else list(weights)
    if len(weights) != n or not all(math.isfinite(w) and w > 0 for w in weights):
        raise UsageError(f"weights must be {n} numbers above 0, one for each member. Got {weights} instead.")
    return [w / sum(weights) for w in weights]
