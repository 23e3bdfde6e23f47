"""Optimizers and learning-rate schedules out of an `OptimConfig`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moue.models.base import Network
from moue.training.config import OptimConfig


def build(network: Network, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer over a network's trainable weights; biases and norms are not decayed."""
    if config.name == "muon":
        return Muon(network, config)
    groups = parameter_groups(network, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for filters and hidden matrices, Nesterov SGD at half the rate for everything else.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, in the form of the CIFAR-10 speed
    runs: each filter bank, as a matrix ``(C_out, C_in · k · k)``, steps along the nearest orthogonal matrix of its
    momentum, and is kept at the norm √C_out; published weights are kept at their own norms, and step in proportion.
    Meant for networks whose convolutions are followed by a normalization, which makes their scale irrelevant.

    Hidden matrices keep theirs: at :attr:`MATRIX_RATE` times the rate they step by 0.2 √max(rows, columns) orthogonal
    matrices, as large as an Adam step, and decay by themselves (Liu et al., "Muon is scalable for LLM training", 2025).

    Args:
        network: whose trainable weights to step.
        config: ``lr`` of the convolutions; ``momentum`` and ``weight_decay`` of the rest.
    """

    MOMENTUM, MATRIX_MOMENTUM = 0.6, 0.95
    MATRIX_RATE, MATRIX_DECAY = 0.03, 0.05

    def __init__(self, network: Network, config: OptimConfig) -> None:
        self._keeps = bool(network.rebuild)
        hidden = {id(p) for p in network.hidden_matrices()}
        trainable = [p for p in network.parameters() if p.requires_grad]
        others = [p for p in trainable if id(p) not in hidden]
        rest = {"momentum": config.momentum, "lr": config.lr / 2, "kind": "rest"}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in others if p.ndim == 4], "lr": config.lr, "kind": "filters"},
            {"params": [p for p in others if p.ndim in (2, 3)], "weight_decay": config.weight_decay, **rest},
            {"params": [p for p in others if p.ndim < 2], **rest},
            {
                "params": [p for p in trainable if id(p) in hidden],
                "lr": config.lr * self.MATRIX_RATE,
                "kind": "matrices",
            },
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": config.lr, "weight_decay": 0.0, "momentum": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if group["kind"] == "filters":
                    update = newton_schulz(self._nesterov(p, p.grad, self.MOMENTUM).flatten(1)).view_as(p)
                    norm = self.state[p].setdefault("norm", p.norm() if self._keeps else p.new_tensor(len(p)).sqrt())
                    p.mul_(norm / p.norm().clamp_min(1e-7))
                    update *= norm / math.sqrt(len(p))
                elif group["kind"] == "matrices":
                    update = self._nesterov(p, p.grad, self.MATRIX_MOMENTUM)
                    # Queries, keys and values are three matrices, in one for speed.
                    parts = update.chunk(3) if len(p) == 3 * p.shape[1] else (update,)
                    update = torch.cat([0.2 * math.sqrt(max(m.shape)) * newton_schulz(m) for m in parts])
                    p.mul_(1 - group["lr"] * self.MATRIX_DECAY)
                else:
                    update = self._nesterov(p, p.grad.add(p, alpha=group["weight_decay"]), group["momentum"])
                p.add_(update, alpha=-group["lr"])
        return loss

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
    identity = torch.eye(len(gram), device=gram.device)
    gathered = identity
    for step in range(steps):
        factor = 3.4445 * identity - 4.7750 * gram + 2.0315 * gram @ gram
        gathered = factor @ gathered if step else factor
        if step < steps - 1:
            gram = factor @ gram @ factor
    nearest: Tensor = gathered @ wide
    return (nearest if x.shape[0] <= x.shape[1] else nearest.T).to(matrix.dtype)


def parameter_groups(network: Network, config: OptimConfig) -> list[dict[str, object]]:
    """Groups with their own decay and, with ``layer_decay`` below 1, a rate that falls toward the input.

    Auxiliary classifiers have the full rate, as the classifier has.
    """
    answering = {id(p) for p in network.inference_parameters()}
    layers = sorted(_layers(network), key=lambda layer: id(layer[0]) not in answering)
    last = sum(id(layer[0]) in answering for layer in layers) - 1
    groups: list[dict[str, object]] = []
    for i, layer in enumerate(layers):
        rate = config.lr * config.layer_decay ** max(0, last - i)
        trainable = [p for p in layer if p.requires_grad]
        for decay, chosen in (
            (config.weight_decay, [p for p in trainable if p.ndim > 1]),
            (0.0, [p for p in trainable if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    if config.layer_decay == 1.0:
        # Two groups do; fewer groups are fewer kernel launches.
        merged: dict[float, dict[str, object]] = {}
        for group in groups:
            key = float(group["weight_decay"])  # type: ignore[arg-type]
            if key in merged:
                merged[key]["params"] += group["params"]  # type: ignore[operator]
            else:
                merged[key] = group
        groups = list(merged.values())
    return groups


def _layers(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Parameters by layer from the input up: children in order; containers, and what holds a list of layers, opened."""
    own = list(module.parameters(recurse=False))
    if own:
        yield own
    for child in module.children():
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        if isinstance(child, containers) or any(isinstance(m, nn.ModuleList) for m in child.modules()):
            yield from _layers(child)
        else:
            weights = list(child.parameters())
            if weights:
                yield weights


def schedule(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """The factor on the peak rate at each step, from 0 to ``steps`` - 1."""
    warm = config.warmup * steps

    def factor(step: int) -> float:
        if step < warm:
            # One cycle starts at a 25th of its peak (Smith and Topin, "Super-convergence", 2018).
            low = 0.04 if config.schedule == "onecycle" else 0.0
            return low + (1 - low) * (step + 1) / (warm + 1)
        past = min(1.0, (step - warm) / max(1.0, steps - warm))
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "linear":
            return 1 - past
        return 0.5 * (1 + math.cos(math.pi * past))

    return factor
