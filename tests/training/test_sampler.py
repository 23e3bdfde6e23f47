"""Which rows an epoch sees, in which order, mirrored or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import SMALL

from moue.data.table import ImageTable
from moue.training.loop import fit
from moue.training.run_folder import Run
from moue.training.sampler import draw_epoch, seed_step
from moue.training.tasks import ClassificationTask


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_repeats_of_an_image_are_mirrored_every_other_time(epoch: int) -> None:
    labels = np.repeat([0, 1], [40, 10])

    def drawn(*settings: str) -> tuple[Any, Any]:
        order, flipped = draw_epoch(SMALL.override(settings), labels, 2, epoch)
        return order.numpy(), flipped.numpy()

    order, flipped = drawn("data.oversample=true")
    for row in range(40, 50):
        assert flipped[order == row].sum() == 2, "of four times"
    # Each once: as a coin an image says, turned from epoch to epoch.
    order, flipped = drawn()
    coin = np.random.default_rng([0, epoch // 2, 1]).random(50) < 0.5
    assert (flipped == (coin ^ bool(epoch % 2))[order]).all()
    assert (order == np.random.default_rng([0, epoch]).permutation(50)).all()


def test_members_for_bagging_are_trained_on_rows_of_their_own(table: ImageTable, tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def task(network: Any, batch: Any, generator: Any, size: Any = None) -> Any:
        # Pixels as they are tell which rows these are.
        seen[-1] += [hash(image.numpy().tobytes()) for image in batch.images]
        return ClassificationTask(config.optim)(network, batch, generator, size)

    for name, settings in (("all", []), ("a", ["data.bootstrap=true"]), ("b", ["data.bootstrap=true", "run.seed=1"])):
        config = SMALL.override(["optim.epochs=1", "data.augment=false", *settings])
        seen.append([])
        run = fit(config, table, tmp_path / name, task=task)
    whole, a, b = map(set, seen)
    assert a < whole
    assert 0.5 < len(a) / len(whole) < 0.75
    assert a != b
    # What is held out is the same for all.
    assert len(run.split(table).validation) > 0
    assert (run.split(table).validation == Run(tmp_path / "all").split(table).validation).all()


def test_views_whose_teacher_probabilities_are_cached_come_again(table: ImageTable) -> None:
    def drawn(epoch: int, *settings: str) -> tuple[list[int], list[bool], int, int]:
        config = SMALL.override(settings)
        order, flipped = draw_epoch(config, table.labels[:40], 7, epoch)
        views = seed_step(config, epoch, 0).initial_seed()
        return order.tolist(), flipped.tolist(), views, torch.initial_seed()

    kept = ["optim.teachers=[default]", "optim.teacher_views=2"]
    first, second, third = (drawn(epoch, *kept) for epoch in (0, 1, 2))
    assert first[:3] == third[:3]
    assert not any(a == b for a, b in zip(first[:3], second[:3], strict=True))
    assert first[3] != third[3], "dropout never repeats itself"
    assert drawn(0)[2] != drawn(2)[2]
    assert drawn(2) == drawn(2, "optim.teachers=[default]"), "without the setting, each epoch has its own"
