"""Which rows the steps of a run see, and the random numbers of each: all of it drawn from (seed, epoch, step).

That is why a run that was killed at any moment ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moue.data.balance import oversample, repeats
from moue.training.config import Config


def steps_per_epoch(config: Config, labels: NDArray[np.int64]) -> int:
    """Steps of an epoch; the last batch may be smaller, but never a single row, which batch norm cannot take.

    With oversampling an epoch draws as many rows of each class as the largest has.
    """
    counts, batch_size = np.bincount(labels), config.optim.batch_size
    rows = int(counts.max()) * len(counts) if config.data.oversample else len(labels)
    full = rows // batch_size + (rows % batch_size > 1)
    return max(1, min(full, config.optim.steps or full))


def augmentation_epoch(config: Config, epoch: int) -> int:
    """What an epoch's views are drawn from: its number, or that of the epoch whose views come again for what is cached:
    teachers' probabilities or frozen layers' features.
    """
    views = config.optim.cached_views or (config.optim.teacher_views if config.optim.teachers else 0)
    return epoch % views if views else epoch


def draw_epoch(config: Config, labels: NDArray[np.int64], classes: int, epoch: int) -> tuple[Tensor, Tensor]:
    """The rows of an epoch in their order, and which of them are mirrored: int64 and bool ``(N,)``, on the CPU.

    Args:
        config: the run's.
        labels: of the training rows.
        classes: how many there are.
        epoch: from 0.
    """
    epoch = augmentation_epoch(config, epoch)
    draw = np.random.default_rng([config.run.seed, epoch])
    order = oversample(labels, classes, draw) if config.data.oversample else draw.permutation(len(labels))
    # Alternating flips: a coin an image on even epochs, its other side on the odd one that follows, so that both
    # sides are seen in every pair of epochs (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024). Repeats within an
    # epoch alternate, too.
    coin = np.random.default_rng([config.run.seed, epoch // 2, 1]).random(len(labels)) < 0.5
    turns = epoch + repeats(order)
    return torch.from_numpy(order), torch.from_numpy(coin[order] ^ (turns % 2 == 1))


def seed_step(config: Config, epoch: int, step: int) -> torch.Generator:
    """A CPU generator of one step's views; also seeds torch's global one, which dropout draws from."""
    views, rest = (
        int(np.random.SeedSequence([config.run.seed, number, step]).generate_state(1, np.uint64)[0] >> 1)
        for number in (augmentation_epoch(config, epoch), epoch)
    )
    torch.manual_seed(rest)
    return torch.Generator().manual_seed(views)


def seed_anew(config: Config, epoch: int, step: int) -> torch.Generator:
    """A CPU generator of what is another in every epoch, also where one step's views come again: what damages them
    where there are teachers, and how cached features are mixed.
    """
    drawn = np.random.SeedSequence([config.run.seed, epoch, step, 1]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(drawn >> 1))
