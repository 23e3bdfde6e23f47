"""Muon: momentum that is orthogonalized before each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for filters and hidden matrices, Nesterov SGD for everything else.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, in the form of the CIFAR-10 speed
    runs: each filter bank, as a matrix ``(C_out, C_in · k · k)``, steps along the nearest orthogonal matrix of its
    momentum, and is kept at one norm. Meant for networks whose convolutions are followed by a normalization, which
    makes their scale irrelevant.

    Matrices keep the norm that they learn: they step by 0.2 √max(rows, columns) orthogonal matrices, as large as an
    Adam step, and decay by themselves (Liu et al., "Muon is scalable for LLM training", 2025).

    Args:
        filters: convolutions' weights, ``(C_out, C_in, k, k)``.
        matrices: weights between hidden layers, ``(rows, columns)``; three of the same width in one, as queries, keys
            and values are, are orthogonalized one by one.
        others: all other weights.
        lr: rate of the filters.
        momentum: of the filters.
        matrix_lr: rate of the matrices, as a factor on ``lr``.
        matrix_momentum: of the matrices.
        matrix_weight_decay: of the matrices, decoupled from their gradients.
        other_lr: rate of the others, as a factor on ``lr``.
        other_momentum: of the others.
        other_weight_decay: of those others that have two dimensions or more.
        keep_norms: whether filters are kept at the norm that they have, with steps in proportion, as suits published
            weights, or at √C_out.
    """

    def __init__(
        self,
        filters: Iterable[nn.Parameter],
        matrices: Iterable[nn.Parameter] = (),
        others: Iterable[nn.Parameter] = (),
        *,
        lr: float,
        momentum: float = 0.6,
        matrix_lr: float = 0.03,
        matrix_momentum: float = 0.95,
        matrix_weight_decay: float = 0.05,
        other_lr: float = 0.5,
        other_momentum: float = 0.9,
        other_weight_decay: float = 0.0,
        keep_norms: bool = False,
    ) -> None:
        self.keep_norms = keep_norms
        others = list(others)
        other = {"kind": "other", "lr": lr * other_lr, "momentum": other_momentum}
        matrix = {"kind": "matrix", "lr": lr * matrix_lr, "momentum": matrix_momentum}
        groups: list[dict[str, Any]] = [
            {"params": list(filters), "kind": "filter", "momentum": momentum},
            {"params": [p for p in others if p.ndim > 1], "weight_decay": other_weight_decay, **other},
            {"params": [p for p in others if p.ndim < 2], **other},
            {"params": list(matrices), "weight_decay": matrix_weight_decay, **matrix},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = {"filter": self._filter_update, "matrix": self._matrix_update, "other": self._other_update}
            for p in group["params"]:
                if p.grad is not None:
                    # The rate may be a tensor.
                    p.sub_(update[group["kind"]](p, p.grad, group) * group["lr"])
        return loss

    def _filter_update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        update = newton_schulz(self._nesterov(p, gradient, group["momentum"]).flatten(1)).view_as(p)
        if "norm" not in self.state[p]:
            self.state[p]["norm"] = p.norm() if self.keep_norms else p.new_tensor(len(p)).sqrt()
        norm = self.state[p]["norm"]
        p.mul_(norm / p.norm().clamp_min(1e-7))
        update *= norm / math.sqrt(len(p))
        return update

    def _matrix_update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        update = self._nesterov(p, gradient, group["momentum"])
        parts = update.chunk(3) if len(p) == 3 * p.shape[1] else (update,)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return torch.cat([0.2 * math.sqrt(max(part.shape)) * newton_schulz(part) for part in parts])

    def _other_update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        return self._nesterov(p, gradient.add(p, alpha=group["weight_decay"]), group["momentum"])

    def _nesterov(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].mul_(momentum).add_(gradient)
        return gradient.add(state["momentum"], alpha=momentum)


def newton_schulz(matrix: Tensor, steps: int = 3) -> Tensor:
    """About the nearest (semi-)orthogonal matrix, by a quintic Newton–Schulz iteration (Jordan et al., 2024).

    Three steps bring the singular values near 1 (roughly 0.5 to 1.2), which is as good as exact for a direction. Each
    step multiplies by a polynomial of the Gram matrix, and these commute: they are gathered on the small side, so that
    the long side is multiplied twice and not six times.
    """
    x = matrix.float()
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / (wide.norm() + 1e-7)
    gram = wide @ wide.T
    product = gram
    for step in range(steps):
        # 3.4445 I - 4.7750 G + 2.0315 G², in two kernels: on a GPU small matrices cost by the kernel.
        factor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        factor.diagonal().add_(3.4445)
        product = factor @ product if step else factor
        if step < steps - 1:
            gram = factor @ gram @ factor
    nearest: Tensor = product @ wide
    return (nearest if x.shape[0] <= x.shape[1] else nearest.T).to(matrix.dtype)
