"""A time budget becomes a number of epochs, by timing some steps, and once more by timing an epoch."""

from __future__ import annotations

import copy
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from moue.models.base import Network
from moue.training import optimizers, processes
from moue.training.augment import Augment
from moue.training.batch import Batch
from moue.training.config import Config, OptimConfig
from moue.training.tasks import Task

#: The share of the budget that is planned: machines slow down more often than they speed up.
MARGIN = 0.95

#: Steps that are timed.
REPEATS = 4


@dataclass(frozen=True)
class Budget:
    """A time budget, and what an epoch costs as some timed steps say."""

    seconds: float
    """That may be planned."""
    first: Mapping[int, float]
    """Seconds of a step by the size of its images in pixels."""
    again: Mapping[int, float]
    """The same where teachers or frozen layers do not run, as what they give is cached."""
    views: int
    """Epochs after which it is; 0 where nothing is cached."""
    checking: float
    """Seconds of the validation that each epoch ends with."""
    steps: int
    """Of an epoch."""
    size: int
    """Of the images that are trained on, without progressive sizes."""

    def seconds_of(self, optim: OptimConfig, epoch: int) -> float:
        """The seconds that an epoch, from 0, should take."""
        step = self.again if self.views and epoch >= self.views else self.first
        return self.steps * step[optim.size_in(epoch, self.size)] + self.checking

    def fit(self, optim: OptimConfig) -> OptimConfig:
        """With as many epochs as fit, at most its own; with one short epoch where not even one does."""
        if epochs := self._most(optim, optim.epochs, 0, self.seconds):
            return replace(optim, epochs=epochs)
        one = replace(optim, epochs=1)
        # At the size that it would have.
        short = max(1, int((self.seconds - self.checking) // self.first[one.size_in(0, self.size)]))
        return replace(one, steps=short)

    def refit(self, optim: OptimConfig, most: int, done: int, spent: float, took: float) -> OptimConfig:
        """With as many epochs as fit in what is left of the budget.

        One more epoch, in which the rate falls, is trained where at least half of it fits.

        Args:
            optim: as it was planned.
            most: epochs at most.
            done: epochs that were trained.
            spent: seconds of all of these.
            took: seconds of the last of them.
        """
        slower = took / self.seconds_of(optim, done - 1)
        left = (self.seconds - spent) / slower
        epochs = max(done, self._most(optim, most, done, left))
        if epochs == done < most and self.seconds_of(replace(optim, epochs=done + 1), done) <= 2 * left:
            epochs += 1
        return replace(optim, epochs=epochs)

    def _most(self, optim: OptimConfig, most: int, done: int, seconds: float) -> int:
        """The largest number of epochs whose remaining ones take at most so many seconds; 0 where none does."""

        def remaining(epochs: int) -> float:
            planned = replace(optim, epochs=epochs)
            return sum(self.seconds_of(planned, epoch) for epoch in range(done, epochs))

        # By bisection: a recipe may ask for a hundred thousand, to get all that fit.
        return bisect_right(range(1, most + 1), seconds, key=remaining)


def measure(
    config: Config, network: Network, task: Task, train: Batch, validation: Batch | None, steps: int, precision: str
) -> Budget | None:
    """Time some steps of a training; None where it has no time budget.

    Args:
        config: of the training.
        network: copied for the timing, not changed.
        task: the objective.
        train: the training rows.
        validation: the rows that each epoch ends with, or None.
        steps: of an epoch.
        precision: "bf16" or "fp32".
    """
    if config.run.minutes is None:
        return None
    probe = copy.deepcopy(network).train()
    optim = optimizers.build(probe, config.optim)
    augment = Augment(config.data)
    # A process's part of a step; all of them are timed at once, and the first one's times are taken.
    batch = train.take(slice(max(2, config.optim.batch_size // processes.count())))

    def step(size: int, seed: int, features: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        augmented = replace(batch, images=augment(batch.images, generator) if features is None else features)
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
    views, features = config.optim.teacher_views if config.optim.teachers else 0, None
    if config.optim.cached_views:
        views = config.optim.cached_views
        with torch.no_grad():
            features = probe.forward_frozen(batch.images).float()
    cached = partial(step, features=features)
    again = {size: _median_time(partial(cached, size), seeds[size]) for size in sizes} if views else one
    # A forward pass is about a third of a step; both are measured in whole batches.
    each = len(batch) * processes.count()
    checking = 0.0 if validation is None else len(validation) / each * one[full] / 3
    return Budget(config.run.minutes * 60 * MARGIN, one, again, views, checking, steps, train_size)


def _median_time(step: Callable[[int], None], seeds: Iterable[int], warm: int = 1) -> float:
    """Seconds of a step; the first one chooses kernels and fills caches, and does not count."""
    times = []
    for seed in seeds:
        began = time.perf_counter()
        step(seed)
        times.append(time.perf_counter() - began)
    return float(np.median(times[warm:]))
