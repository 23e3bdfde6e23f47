"""Optimisers and learning-rate schedules out of an `OptimConfig`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from moue.models.base import Network
from moue.training.config import OptimConfig


def build(network: Network, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over a network's trainable weights; biases and norms are not decayed."""
    groups = parameter_groups(network, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def parameter_groups(network: Network, config: OptimConfig) -> list[dict[str, object]]:
    """Groups with their own decay and, with ``layer_decay`` below 1, their own rate: full at the top, less towards the input."""
    layers = list(_layers(network))
    groups: list[dict[str, object]] = []
    for i, layer in enumerate(layers):
        rate = config.lr * config.layer_decay ** (len(layers) - 1 - i)
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
    """Parameters by layer from the input up: children in order, containers opened up."""
    own = list(module.parameters(recurse=False))
    if own:
        yield own
    for child in module.children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
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
