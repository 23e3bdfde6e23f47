"""Optimizers and learning-rate schedules out of an `OptimConfig`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import nn

from moue.models.base import Network
from moue.training.config import OptimConfig
from moue.training.muon import Muon


def build(network: Network, config: OptimConfig, head: Collection[str] = ()) -> torch.optim.Optimizer:
    """The optimizer over a network's trainable weights; biases and norms are not decayed.

    Args:
        network: whose weights it steps.
        config: its kind and rates.
        head: the names of the last layer's weights, which have the full rate where ``trunk_lr`` is lower.
    """
    optimizer = _build(network, config)
    if config.trunk_lr < 1:
        last = {id(p) for name, p in network.named_parameters() if name in head}
        optimizer.param_groups[:] = [
            {**group, "params": chosen, "lr": group["lr"] * factor}
            for group in optimizer.param_groups
            for factor, chosen in (
                (1.0, [p for p in group["params"] if id(p) in last]),
                (config.trunk_lr, [p for p in group["params"] if id(p) not in last]),
            )
            if chosen
        ]
    return optimizer


def _build(network: Network, config: OptimConfig) -> torch.optim.Optimizer:
    if config.name == "muon":
        hidden = {id(p) for p in network.hidden_matrices()}
        trainable = [p for p in network.parameters() if p.requires_grad]
        others = [p for p in trainable if id(p) not in hidden]
        return Muon(
            filters=[p for p in others if p.ndim == 4],
            matrices=[p for p in trainable if id(p) in hidden],
            others=[p for p in others if p.ndim != 4],
            lr=config.lr,
            other_momentum=config.momentum,
            other_weight_decay=config.weight_decay,
            # Published weights were learned at their own scale.
            keep_norms=bool(network.rebuild),
        )
    groups = parameter_groups(network, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def parameter_groups(network: Network, config: OptimConfig) -> list[dict[str, Any]]:
    """Groups with their own decay and, with ``layer_decay`` below 1, a rate that falls toward the input.

    Auxiliary classifiers have the full rate, as the classifier has.
    """
    inference = {id(p) for p in network.inference_parameters()}
    layers = sorted(_layers(network), key=lambda layer: id(layer[0]) not in inference)
    last = sum(id(layer[0]) in inference for layer in layers) - 1
    # Fewer groups are fewer kernel launches: without layer decay two will do.
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for i, layer in enumerate(layers):
        rate = config.lr * config.layer_decay ** max(0, last - i)
        trainable = [p for p in layer if p.requires_grad]
        for decay, chosen in (
            (config.weight_decay, [p for p in trainable if p.ndim > 1]),
            (0.0, [p for p in trainable if p.ndim <= 1]),
        ):
            if chosen:
                key = (i if config.layer_decay < 1 else 0, decay)
                groups.setdefault(key, {"params": [], "lr": rate, "weight_decay": decay})["params"] += chosen
    return list(groups.values())


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


def suit(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let torch's own optimizers step all weights in one kernel on CUDA, in a form that a graph can hold, and nowhere
    else; a state that was loaded may be another device's.
    """
    cuda = device.type == "cuda"
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = True if cuda else None
        if "capturable" in group:
            group["capturable"] = cuda
        if cuda and isinstance(optimizer, torch.optim.SGD) and group["momentum"] > 0:
            # One kernel takes no weights that have stepped beside others that were frozen so far.
            for p in group["params"]:
                if optimizer.state[p].get("momentum_buffer") is None:
                    optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    for p, state in optimizer.state.items():
        if isinstance(step := state.get("step"), torch.Tensor):
            state["step"] = step.to(p.device if cuda else "cpu")


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
