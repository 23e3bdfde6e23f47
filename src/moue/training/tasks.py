"""What a network is trained on: a task turns a network and a batch into a loss and logits.

The loop knows no loss of its own: label smoothing, soft labels, class weights, mixing and auxiliary heads are all here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.models.base import Network, in_color
from moue.models.devices import put
from moue.training import processes
from moue.training.augment import scaled
from moue.training.batch import Batch
from moue.training.config import OptimConfig
from moue.training.teachers import Teacher, open_teachers

#: Weight of each auxiliary classifier's loss (Szegedy et al., "Going deeper with convolutions", 2015).
AUXILIARY = 0.3


@dataclass(frozen=True)
class TaskOutput:
    """What a task gives the loop."""

    loss: Tensor
    """Scalar to minimize."""
    logits: Tensor
    """``(N, K)``, for the training accuracy."""


class Task(Protocol):
    """A training objective."""

    def __call__(
        self, network: Network, batch: Batch, generator: torch.Generator, size: int | None = None
    ) -> TaskOutput:
        """Loss and logits of one batch.

        Args:
            network: in training mode.
            batch: its images augmented and mixed, float, at the size of the training images.
            generator: CPU generator for whatever the task draws.
            size: the side that the network is to see them at, where training goes through smaller ones first.
        """
        ...


class ClassificationTask:
    """Cross-entropy on (soft) targets, with label smoothing, class weights, logit adjustment and auxiliary classifiers.

    Args:
        config: smoothing and logit adjustment.
        class_weights: float32 ``(K,)`` on the training device, or None; a target's weight is the mean of its classes'
            weights.
        class_frequencies: float32 ``(K,)`` on the training device, above 0, for the logit adjustment.
    """

    def __init__(
        self, config: OptimConfig, class_weights: Tensor | None = None, class_frequencies: Tensor | None = None
    ) -> None:
        self.config, self.class_weights = config, class_weights
        self.offsets = None
        if config.logit_adjustment and class_frequencies is not None:
            self.offsets = config.logit_adjustment * class_frequencies.log()

    def __call__(
        self, network: Network, batch: Batch, generator: torch.Generator, size: int | None = None
    ) -> TaskOutput:
        """See :class:`Task`."""
        return self.output(network, scaled(batch.images, size), batch)

    def output(self, network: Network, images: Tensor, batch: Batch) -> TaskOutput:
        """Loss, with the auxiliary classifiers', and logits of a batch, whose images are given at their size."""
        logits, auxiliary = network.forward_with_aux(images)
        loss = self.loss(logits, batch)
        for extra in auxiliary:
            loss = loss + AUXILIARY * self.loss(extra, batch)
        return TaskOutput(loss, logits)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy; with class weights, the weighted mean that scikit-learn's and Keras' users know."""
        targets, smooth = batch.targets, self.config.label_smoothing
        if smooth > 0:
            targets = targets * (1 - smooth) + smooth / targets.shape[1]
        # In float32 under autocast: a sum of exponentials loses too much in bf16.
        logits = logits.float() if self.offsets is None else logits.float() + self.offsets
        each = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)
        if batch.weights is not None:
            each = each * batch.weights
        if self.class_weights is None:
            return each.sum() / processes.mean(each.new_full((), len(each)))
        # No matrix product: autocast would round the weights, and their sum, to bf16's eight bits.
        weights = (targets * self.class_weights).sum(dim=1)
        return (each * weights).sum() / processes.mean(weights.sum())


class VotesTask(ClassificationTask):
    """:class:`ClassificationTask`, with FER+'s votes as a second target.

    The network has outputs for both label sets: the first K learn the labels, the rest the votes, by soft
    cross-entropy. Ten annotators say more about a face than one label, and the features are shared.

    Args:
        config: smoothing, and the weight of the votes.
        class_weights, class_frequencies: as of :class:`ClassificationTask`.
    """

    def output(self, network: Network, images: Tensor, batch: Batch) -> TaskOutput:
        """As :meth:`ClassificationTask.output`; the logits are the labels' alone."""
        output = super().output(network, images, batch)
        return replace(output, logits=output.logits[:, : batch.targets.shape[1]])

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The labels' loss, and the votes' over the rows that have any."""
        votes, classes = batch.votes, batch.targets.shape[1]
        assert votes is not None
        each = -(votes * F.log_softmax(logits[:, classes:].float(), dim=1)).sum(dim=1)
        second = each.sum() / processes.mean(votes.sum()).clamp_min(1.0 / processes.count())
        return super().loss(logits[:, :classes], batch) + self.config.votes_weight * second


class DistillationTask:
    """Learning from teachers: student and teachers see the same augmented view, the student after it was damaged
    (``data.gamma``, ``data.degradation``, ``data.random_erasing``): it learns to read what teachers could still see.

    Hinton et al., "Distilling the knowledge in a neural network", 2015; the same view for both after Beyer et al.,
    "Knowledge distillation: a good teacher is patient and consistent", 2022.

    Args:
        labels: the task on the labels, which has the rest of the weight.
        teachers: trained networks in evaluation mode, or models, with the same labels. Teachers that memorize Training
            (above 95 %) teach little: such ones are for ``config.teachers_out_of_fold``.
        config: weight and temperature.
    """

    def __init__(self, labels: ClassificationTask, teachers: Sequence[Teacher], config: OptimConfig) -> None:
        self.labels, self.teachers, self.config = labels, teachers, config
        self.cache: dict[int, Tensor] = {}

    def __call__(
        self, network: Network, batch: Batch, generator: torch.Generator, size: int | None = None
    ) -> TaskOutput:
        """See :class:`Task`; the teachers see the images at their own size, whatever the student's is now."""
        output = self.labels.output(network, scaled(batch.images, size), batch)
        temperature, weight = self.config.teacher_temperature, self.config.teacher_weight
        probs = batch.teacher_probs
        if probs is None:
            probs = self.cached_teacher_probs(batch, generator)
        softened = F.log_softmax(output.logits.float() / temperature, dim=1)
        number = processes.mean(output.loss.new_full((), len(batch)))
        distilled = F.kl_div(softened, probs, reduction="sum") / number
        # Softening divides the gradients by the temperature's square.
        loss = (1 - weight) * output.loss + weight * temperature**2 * distilled
        return TaskOutput(loss, output.logits)

    def cached_teacher_probs(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """:meth:`teacher_probs` of a batch, computed once for all the epochs that have the same views: those drawn with
        the generator's seed.
        """
        images = batch.images if batch.teacher_images is None else batch.teacher_images
        if not self.config.teacher_views:
            return self.teacher_probs(images, batch.teacher_mask)
        seed = generator.initial_seed()
        if seed not in self.cache:
            self.cache[seed] = self.teacher_probs(images, batch.teacher_mask)
        return self.cache[seed]

    @torch.no_grad()
    def teacher_probs(self, images: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        """The teachers' mean probabilities ``(N, K)`` at the temperature, of views in 0..255 of any size.

        ``teacher_mask`` is that of :class:`Batch`; each row has a teacher that counts. For a mixed image those count
        that have seen one half of it.
        """
        if teacher_mask is None:
            teacher_mask = images.new_ones(len(images), len(self.teachers))
        weights = teacher_mask / teacher_mask.sum(1, keepdim=True)
        mean: Tensor | float = 0.0
        for teacher, weight in zip(self.teachers, weights.unbind(1), strict=True):
            on = weight > 0
            if not on.any():
                continue
            view = scaled(in_color(images[on], teacher.input.color), teacher.input.size)
            probs = F.softmax(teacher(view).float() / self.config.teacher_temperature, dim=1)
            mean = mean + probs.new_zeros(len(images), probs.shape[1]).index_put((on,), weight[on, None] * probs)
        assert isinstance(mean, Tensor)
        return mean


def build(
    config: OptimConfig,
    labels: tuple[str, ...],
    class_weights: NDArray[np.float32] | None,
    class_frequencies: NDArray[np.float32],
    device: torch.device,
    threads: int = 0,
) -> Task:
    """The task that a configuration asks for.

    Args:
        config: the losses and their weights.
        labels: the data set's.
        class_weights: float32 ``(K,)``, or None.
        class_frequencies: float32 ``(K,)``, above 0.
        device: where training runs, and those teachers that are runs.
        threads: CPU threads of the other teachers, which run on the CPU whatever the device.

    Raises:
        UnknownName, ModelError, MissingExtra: when a teacher is neither a finished run nor a trained model.
        UsageError: when a teacher has other labels.
    """
    weights = None if class_weights is None else torch.from_numpy(class_weights).to(device)
    frequencies = torch.from_numpy(class_frequencies).to(device)
    task = (VotesTask if config.votes_weight > 0 else ClassificationTask)(config, weights, frequencies)
    if not config.teachers:
        return task
    return DistillationTask(task, open_teachers(config.teachers, labels, str(device), threads), config)


def draw_mixup(n: int, alpha: float, generator: torch.Generator) -> tuple[float, Tensor]:
    """A share λ ~ Beta(α, α) for a whole batch of n images, as in the paper's own code, and which image each is mixed
    with: int64 ``(N,)``, on the CPU.
    """
    # numpy's Beta, seeded from torch's generator: torch's own cannot take a generator.
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha)), torch.randperm(n, generator=generator)


def mixup(batch: Batch, share: float, others: Tensor) -> Batch:
    """Mix images, and their targets, with others of their batch (Zhang et al., "mixup: beyond empirical risk
    minimization", 2018).

    Args:
        batch: with M images or more.
        share: λ: how much of each image is its own.
        others: int64 ``(M,)``: the image that each of the first M is mixed with.

    Returns:
        M images. The labels stay as they are.
    """
    others = put(others, batch.images.device)
    own = slice(len(others))

    def mixed(values: Tensor | None) -> Any:
        return None if values is None else values[own] * share + values[others] * (1 - share)

    names = ("images", "targets", "votes", "teacher_images", "teacher_mask", "weights")
    changes = {"labels": batch.labels[own], **{name: mixed(getattr(batch, name)) for name in names}}
    if batch.weights is not None:
        # Each target with its own image's weight.
        changes["targets"] = mixed(batch.targets * batch.weights[:, None]) / changes["weights"][:, None]
    return replace(batch, **changes)
