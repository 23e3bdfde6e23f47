"""A time budget becomes a number of epochs, by timing some steps."""

from __future__ import annotations

import copy
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from moue.models.base import Network
from moue.training import optimizers
from moue.training.augment import Augment
from moue.training.batch import Batch
from moue.training.config import Config
from moue.training.tasks import Task

#: The share of the budget that is planned: machines slow down more often than they speed up.
MARGIN = 0.95

#: Steps that are timed.
REPEATS = 6


def fit_to_time(
    config: Config, network: Network, task: Task, train: Batch, validation: Batch | None, steps: int, precision: str
) -> Config:
    """The configuration whose whole schedule fits ``run.minutes``; as it is where there is no budget.

    Args:
        config: its epochs are the most that will be trained.
        network: copied for the timing, not changed.
        task: the objective.
        train: the training rows.
        validation: the rows that each epoch ends with, or None.
        steps: of an epoch.
        precision: "bf16" or "fp32".
    """
    if config.run.minutes is None:
        return config
    probe = copy.deepcopy(network).train()
    optim = optimizers.build(probe, config.optim)
    augment = Augment(config.data)
    batch = train.take(slice(config.optim.batch_size))

    def step(size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        augmented = replace(batch, images=augment(batch.images, generator))
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = task(probe, augmented, generator, size).loss
        optim.zero_grad()
        torch.autograd.backward(loss)
        optim.step()
        loss.item()  # Waits for the device.

    full = network.input.size
    train_size = config.data.random_crop or full
    sizes = sorted({train_size, full, *config.optim.progressive_sizes})
    # Each size has seeds of its own: teachers whose probabilities are cached run again for other views alone.
    seeds = {size: range(i * REPEATS, (i + 1) * REPEATS) for i, size in enumerate(sizes)}
    one = {size: _median_time(partial(step, size), seeds[size]) for size in sizes}
    views = config.optim.teacher_views if config.optim.teachers else 0
    again = {size: _median_time(partial(step, size), seeds[size]) for size in sizes} if views else one
    # A forward pass is about a third of a step; both are measured in whole batches.
    checking = 0.0 if validation is None else len(validation) / len(batch) * one[full] / 3
    budget = config.run.minutes * 60 * MARGIN

    def seconds(epochs: int) -> float:
        optim_config = replace(config.optim, epochs=epochs)
        return sum(
            steps * (again if views and e >= views else one)[optim_config.size_in(e, train_size)] + checking
            for e in range(epochs)
        )

    # By bisection: a recipe may ask for a hundred thousand, to get all that fit.
    epochs = bisect_right(range(1, config.optim.epochs + 1), budget, key=seconds)
    if epochs:
        return replace(config, optim=replace(config.optim, epochs=epochs))
    # Not even one epoch fits: one short epoch, at the size that it would have.
    short = max(1, int((budget - checking) // one[replace(config.optim, epochs=1).size_in(0, train_size)]))
    return replace(config, optim=replace(config.optim, epochs=1, steps=short))


def _median_time(step: Callable[[int], None], seeds: Iterable[int], warm: int = 2) -> float:
    """Seconds of a step; the first ones choose kernels and fill caches, and do not count."""
    times = []
    for seed in seeds:
        began = time.perf_counter()
        step(seed)
        times.append(time.perf_counter() - began)
    return float(np.median(times[warm:]))
