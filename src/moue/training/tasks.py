"""What a network is trained on: a task turns a network and a batch into ``{"loss", "logits"}``.

The loop knows no loss of its own, so label smoothing, soft labels, class weights, mixing and auxiliary
heads all live here.
"""

from __future__ import annotations

from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from moue.models.base import Network
from moue.training.config import OptimConfig

#: Weight of each auxiliary classifier's loss (Szegedy et al., "Going deeper with convolutions", 2015).
AUXILIARY = 0.3


class Answer(TypedDict):
    """What a task gives the loop."""

    loss: Tensor
    """Scalar to minimise."""
    logits: Tensor
    """``(N, K)``, for the training accuracy."""


class Task(Protocol):
    """A training objective."""

    def __call__(self, network: Network, images: Tensor, targets: Tensor, generator: torch.Generator) -> Answer:
        """Loss and logits of one batch.

        Args:
            network: in training mode.
            images: float ``(N, C, H, W)``, 0..255, augmented.
            targets: float ``(N, K)``, rows add up to 1.
            generator: CPU generator for whatever the task draws.
        """
        ...


class Supervised(nn.Module):
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

    def forward(self, network: Network, images: Tensor, targets: Tensor, generator: torch.Generator) -> Answer:
        """See :class:`Task`."""
        if self.config.mixup > 0:
            images, targets = mixup(images, targets, self.config.mixup, generator)
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
        weights = targets @ self.class_weights
        return (each * weights).sum() / weights.sum()


def mixup(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each picture with another of its batch (Zhang et al., "mixup: beyond empirical risk minimization", 2018).

    One share λ ~ Beta(α, α) for the whole batch, as in the paper's own code.
    """
    # numpy's Beta, seeded from torch's generator: torch's own cannot take a generator.
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=generator).to(images.device)
    return images * share + images[order] * (1 - share), targets * share + targets[order] * (1 - share)
