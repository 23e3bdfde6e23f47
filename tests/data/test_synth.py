"""The synthetic set: seeded, unequal, in three splits, and telling its expressions apart."""

from __future__ import annotations

import numpy as np
import pytest

from moue.data import load
from moue.data.readers.synth import synthetic
from moue.errors import UsageError


def test_the_seed_determines_the_result() -> None:
    assert synthetic(60, 3).fingerprint == synthetic(60, 3).fingerprint
    assert synthetic(60, 3).fingerprint != synthetic(60, 4).fingerprint


def test_it_is_shaped_like_fer2013() -> None:
    table = load("synth:300:1")
    assert table.images.shape == (300, 1, 48, 48)
    assert {s: int((table.split == s).sum()) for s in set(table.split.tolist())} == {
        "train": 240,
        "public_test": 30,
        "private_test": 30,
    }
    for split in ("train", "public_test", "private_test"):
        counts = np.bincount(table.part(split).labels, minlength=7)
        assert counts.min() >= 1
        assert counts.argmin() == 1  # disgust
        assert counts.argmax() == 3  # happy
    assert len(set(table.digests)) == 300
    assert table.name == "synth:300:1"


def test_expressions_can_be_classified_but_not_always() -> None:
    # Ridge regression on pooled edges: far from what a network does, well above the 25 % of always saying "happy".
    table = synthetic(1000, 0)
    pixels = table.images[:, 0].astype(np.float64)
    edges = [np.abs(np.diff(pixels, axis=axis, append=0)) for axis in (1, 2)]
    pooled = np.concatenate([e.reshape(-1, 12, 4, 12, 4).mean((2, 4)).reshape(len(table), -1) for e in edges], axis=1)
    pooled = np.log1p(pooled)
    pooled -= pooled.mean(1, keepdims=True)
    train = table.split == "train"
    goal = np.eye(7)[table.labels[train]]
    gram = pooled[train].T @ pooled[train] + 50 * np.eye(pooled.shape[1])
    answer = pooled[~train] @ np.linalg.solve(gram, pooled[train].T @ (goal - goal.mean(0)))
    score = (answer.argmax(1) == table.labels[~train]).mean()
    assert 0.4 < score < 0.95


def test_other_sizes() -> None:
    assert load("synth:20", size=64, color="rgb").images.shape == (20, 3, 64, 64)


@pytest.mark.parametrize("source", ["synth:5", "synth:x", "synth:20:1:2", "synth:-20"])
def test_usage_errors(source: str) -> None:
    with pytest.raises(UsageError, match="synthetic set"):
        load(source)


def test_it_has_no_votes() -> None:
    with pytest.raises(UsageError, match="FER-2013's labels"):
        load("synth", labels="ferplus")
