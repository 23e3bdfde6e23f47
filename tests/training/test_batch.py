"""A batch: every field follows the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from moue.data.table import ImageTable
from moue.models.base import InputSpec
from moue.training.batch import Batch


def test_all_fields_follow_the_rows(table: ImageTable) -> None:
    votes = np.random.default_rng(0).random((len(table), 8), np.float32)
    voted, rows = replace(table, votes=votes), np.array([7, 3, 12])
    batch = Batch.of(voted, rows, InputSpec(), torch.device("cpu"), votes=True)
    batch = replace(batch, teacher_mask=torch.eye(3))
    part = batch.take(torch.tensor([2, 0]))
    assert len(part) == 2
    assert part.votes is not None
    assert part.teacher_mask is not None
    assert part.labels.tolist() == table.labels[[12, 7]].tolist()
    assert torch.equal(part.images, torch.from_numpy(table.images[[12, 7]]))
    assert torch.equal(part.votes, torch.from_numpy(votes[[12, 7]]))
    assert torch.equal(part.targets.argmax(1), part.labels)
    assert part.teacher_mask.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_votes_and_mask_are_absent_unless_they_are_asked_for(table: ImageTable) -> None:
    batch = Batch.of(table, np.arange(4), InputSpec(size=24, color="rgb"), torch.device("cpu"))
    assert batch.images.shape == (4, 3, 24, 24)
    assert batch.votes is batch.teacher_mask is None
    assert batch.take(slice(2)).votes is None
