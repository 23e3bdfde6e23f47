"""Noisy labels, by FER+'s votes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sets import table_of

from moue.data.label_noise import noisy_labels, relabel
from moue.data.table import ImageTable
from moue.labels import FER2013, FERPLUS

ANGRY, FEAR, SAD, NEUTRAL = (FER2013.index(name) for name in ("angry", "fear", "sad", "neutral"))


def voted() -> ImageTable:
    """A shared label, one that two of ten share, one that nobody shares, one whose votes are split, one that FER-2013
    lacks, and an image without votes."""
    labels = [ANGRY, FEAR, FEAR, SAD, SAD, NEUTRAL]
    shares = [{"angry": 1.0}, {"fear": 0.2, "surprise": 0.8}, {"surprise": 1.0}]
    shares += [{"neutral": 0.5, "angry": 0.5}, {"contempt": 0.9, "angry": 0.1}, {}]
    votes = np.zeros((6, len(FERPLUS)), np.float32)
    for row, share in zip(votes, shares, strict=True):
        for name, value in share.items():
            row[FERPLUS.index(name)] = value
    return replace(table_of(range(6), labels), votes=votes)


def test_a_label_that_no_annotator_shares_is_noisy_and_one_below_the_agreement_too() -> None:
    table = voted()
    assert noisy_labels(table).tolist() == [False, False, True, True, True, True]
    assert noisy_labels(table, 0.2).tolist() == [False, True, True, True, True, True]
    assert noisy_labels(table, 1.0).all()


def test_relabeling_takes_the_majority_and_gives_up_where_there_is_none() -> None:
    table = voted()
    changed, kept = relabel(table, noisy_labels(table))
    assert kept.tolist() == [True, True, True, False, False, False]
    assert changed.labels.tolist() == [ANGRY, FEAR, FER2013.index("surprise"), SAD, SAD, NEUTRAL]
    assert table.labels.tolist() == voted().labels.tolist()
