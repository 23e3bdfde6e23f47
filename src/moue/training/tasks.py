"""What a network is trained on: a task turns a network and a batch into ``{"loss", "logits"}``.

The loop knows no loss of its own, so label smoothing, soft labels, class weights, mixing and auxiliary
heads all live here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from moue.models.base import Network
from moue.spec import Color
from moue.training.augment import scaled
from moue.training.config import OptimConfig
from moue.training.teachers import Teacher, open_teachers

#: Weight of each auxiliary classifier's loss (Szegedy et al., "Going deeper with convolutions", 2015).
AUXILIARY = 0.3


class Answer(TypedDict):
    """What a task gives the loop."""

    loss: Tensor
    """Scalar to minimize."""
    logits: Tensor
    """``(N, K)``, for the training accuracy."""


class Task(Protocol):
    """A training objective."""

    def __call__(
        self,
        network: Network,
        images: Tensor,
        targets: Tensor,
        generator: torch.Generator,
        size: int | None = None,
    ) -> Answer:
        """Loss and logits of one batch.

        Args:
            network: in training mode.
            images: float ``(N, C, H, W)``, 0..255, augmented, at the network's own size.
            targets: float ``(N, K)``, rows add up to 1; :class:`VotesTask` has vote shares behind them, and
                :class:`DistillationTask` out of fold who may teach.
            generator: CPU generator for whatever the task draws.
            size: the side that the network is to see them at, where training goes through smaller ones first.
        """
        ...


class ClassificationTask(nn.Module):
    """Cross-entropy on (soft) targets, with label smoothing, class weights, mixup and auxiliary classifiers.

    Args:
        config: smoothing and mixup.
        class_weights: float32 ``(K,)`` or None; a target's weight is the mean of its classes' weights.
    """

    class_weights: Tensor | None

    def __init__(self, config: OptimConfig, class_weights: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer(
            "class_weights", None if class_weights is None else torch.from_numpy(class_weights), persistent=False
        )

    def forward(
        self,
        network: Network,
        images: Tensor,
        targets: Tensor,
        generator: torch.Generator,
        size: int | None = None,
    ) -> Answer:
        """See :class:`Task`."""
        images, targets = self.mixed(images, targets, generator)
        return self.answer(network, scaled(images, size), targets)

    def mixed(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The batch after mixup, where that is on."""
        return mixup(images, targets, self.config.mixup, generator) if self.config.mixup > 0 else (images, targets)

    def answer(self, network: Network, images: Tensor, targets: Tensor) -> Answer:
        """Loss, with the auxiliary classifiers', and logits of a batch as it is."""
        logits, auxiliary = network.forward_with_aux(images)
        loss = self.loss(logits, targets)
        for extra in auxiliary:
            loss = loss + AUXILIARY * self.loss(extra, targets)
        return {"loss": loss, "logits": logits}

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy; with class weights, the weighted mean that scikit-learn's and Keras' users know."""
        smooth = self.config.label_smoothing
        if smooth > 0:
            targets = targets * (1 - smooth) + smooth / targets.shape[1]
        # In float32 under autocast: a sum of exponentials loses too much in bf16.
        each = -(targets * F.log_softmax(logits.float(), dim=1)).sum(dim=1)
        if self.class_weights is None:
            return each.mean()
        # No matrix product: autocast would round the weights, and their sum, to bf16's eight bits.
        weights = (targets * self.class_weights).sum(dim=1)
        return (each * weights).sum() / weights.sum()


class VotesTask(ClassificationTask):
    """:class:`ClassificationTask`, with FER+'s votes as a second teacher.

    The network has outputs for both label sets: the first ``classes`` learn the labels, the rest the votes, by soft
    cross-entropy. Ten annotators say more about a face than one label, and the features are shared.

    Args:
        config: smoothing, mixup, and the weight of the votes.
        classes: K, how many of the outputs and of the targets' columns are the labels'.
        class_weights: as of :class:`ClassificationTask`.
    """

    def __init__(self, config: OptimConfig, classes: int, class_weights: NDArray[np.float32] | None = None) -> None:
        super().__init__(config, class_weights)
        self.classes = classes

    def answer(self, network: Network, images: Tensor, targets: Tensor) -> Answer:
        """As :meth:`ClassificationTask.answer`; the logits are the labels' alone."""
        answer = super().answer(network, images, targets)
        return {"loss": answer["loss"], "logits": answer["logits"][:, : self.classes]}

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The labels' loss, and the votes' over the rows that have any."""
        votes = targets[:, self.classes :]
        each = -(votes * F.log_softmax(logits[:, self.classes :].float(), dim=1)).sum(dim=1)
        second = each.sum() / votes.sum().clamp_min(1.0)
        return super().loss(logits[:, : self.classes], targets[:, : self.classes]) + self.config.votes_weight * second


class DistillationTask(nn.Module):
    """Learning from teachers: student and teachers see the same augmented view.

    Hinton et al., "Distilling the knowledge in a neural network", 2015; the same view for both after Beyer et al.,
    "Knowledge distillation: a good teacher is patient and consistent", 2022.

    Args:
        labels: the task on the labels, which has the rest of the weight.
        teachers: T trained networks in evaluation mode, or models, with the same labels. Teachers that know Training by
            heart (above 95 %) teach little: such ones are for ``config.teachers_out_of_fold``.
        config: weight and temperature. Out of fold the targets' last T columns say which teachers held a row out.
    """

    def __init__(self, labels: ClassificationTask, teachers: Sequence[Teacher], config: OptimConfig) -> None:
        super().__init__()
        self.labels, self.config = labels, config
        # A tuple: registered as modules, the teachers' weights would go into each checkpoint.
        self.teachers = tuple(teachers)
        self.answers: dict[int, Tensor] = {}

    def forward(
        self,
        network: Network,
        images: Tensor,
        targets: Tensor,
        generator: torch.Generator,
        size: int | None = None,
    ) -> Answer:
        """See :class:`Task`; the teachers see the images at their own size, whatever the student's is now."""
        images, targets = self.labels.mixed(images, targets, generator)
        says = None
        if self.config.teachers_out_of_fold:
            targets, says = targets[:, : -len(self.teachers)], targets[:, -len(self.teachers) :]
        answer = self.labels.answer(network, scaled(images, size), targets)
        heat, share = self.config.teacher_temperature, self.config.teacher_weight
        taught = F.kl_div(
            F.log_softmax(answer["logits"].float() / heat, dim=1),
            self.recall(images, says, generator),
            reduction="batchmean",
        )
        # Softening divides the gradients by the temperature's square.
        loss = (1 - share) * answer["loss"] + share * heat**2 * taught
        return {"loss": loss, "logits": answer["logits"]}

    def recall(self, images: Tensor, says: Tensor | None, generator: torch.Generator) -> Tensor:
        """What :meth:`teach` says of a batch, once for all the epochs that have the same views: those drawn with the
        generator's seed.
        """
        if not self.config.teacher_views:
            return self.teach(images, says)
        views = generator.initial_seed()
        if views not in self.answers:
            self.answers[views] = self.teach(images, says)
        return self.answers[views]

    @torch.no_grad()
    def teach(self, images: Tensor, says: Tensor | None = None) -> Tensor:
        """The teachers' mean probabilities ``(N, K)`` at the temperature, of views in 0..255 of any size.

        ``says`` ``(N, T)`` is how much each of them has to say of each view, at least one of them something; all of
        them the same without it. Of a mixed image those may say something that have seen one half of it.
        """
        if says is None:
            says = images.new_ones(len(images), len(self.teachers))
        total: Tensor | float = 0.0
        for teacher, weight in zip(self.teachers, (says / says.sum(1, keepdim=True)).unbind(1), strict=True):
            on = weight > 0
            if not on.any():
                continue
            view = scaled(in_color(images[on], teacher.input.color), teacher.input.size)
            taught = F.softmax(teacher(view).float() / self.config.teacher_temperature, dim=1)
            total = total + taught.new_zeros(len(images), taught.shape[1]).index_put((on,), weight[on, None] * taught)
        assert isinstance(total, Tensor)
        return total


def in_color(images: Tensor, color: Color) -> Tensor:
    """Float images ``(N, 1 or 3, H, W)`` in another network's color; gray is ITU-R 601 luma, as in preprocessing."""
    if color == "rgb":
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def build(
    config: OptimConfig,
    labels: tuple[str, ...],
    weights: NDArray[np.float32] | None,
    device: str,
    threads: int = 0,
) -> nn.Module:
    """The task that a configuration asks for.

    Args:
        config: the losses and their weights.
        labels: the data set's.
        weights: class weights, or None.
        device: where the teachers are to be.
        threads: CPU threads of the teachers that answer there whatever the device.

    Raises:
        UnknownName, ModelError, MissingExtra: when a teacher is neither a finished run nor a trained model.
        UsageError: when a teacher has other labels.
    """
    task = VotesTask(config, len(labels), weights) if config.votes_weight > 0 else ClassificationTask(config, weights)
    if not config.teachers:
        return task
    return DistillationTask(task, open_teachers(config.teachers, labels, device, threads), config)


def mixup(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with another of its batch (Zhang et al., "mixup: beyond empirical risk minimization", 2018).

    One share λ ~ Beta(α, α) for the whole batch, as in the paper's own code.
    """
    # numpy's Beta, seeded from torch's generator: torch's own cannot take a generator.
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=generator).to(images.device)
    return images * share + images[order] * (1 - share), targets * share + targets[order] * (1 - share)
