"""Weights from one network to another: from a trained one at the start, and without a second head at the end."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from moue.errors import UsageError
from moue.labels import canonical
from moue.models import create
from moue.models.base import Network
from moue.models.load import TorchModel, without_weights
from moue.training.config import ModelConfig


def warm_start(network: Network, source: TorchModel, model: ModelConfig, labels: Sequence[str]) -> None:
    """Copy a trained network's weights into another; rows of the last layer for new classes are left as they are.

    Args:
        network: to fill.
        source: a trained network of the same architecture. The rows of its last layer are mapped by the classes' names.
        model: what ``network`` was built from, and what ``source`` is.
        labels: the classes of ``network``; it may have further outputs.

    Raises:
        UsageError: when the two are of other architectures.
    """
    own, state, heads = network.state_dict(), source.network.state_dict(), heads_of(network, model)
    # What trains alone, auxiliary classifiers, is not in every file of weights.
    used = {id(p) for p in network.inference_parameters()}
    auxiliary = {name.split(".")[0] for name, p in network.named_parameters() if id(p) not in used}
    state |= {name: value for name, value in own.items() if name not in state and name.split(".")[0] in auxiliary}

    def body(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape[name in heads :]) for name, value in weights.items()}

    if body(own) != body(state):
        raise UsageError(
            f"model.init must be a model of the same network with the same options: {model.init} is a "
            f"{source.spec.network} whose weights do not fit this {model.network}. To take its network, too, type: "
            "--set model.network=init --set model.options={}"
        )
    rows = label_rows(labels, source.spec.labels)
    for name in heads & source.network.state_dict().keys():
        head = own[name].clone()
        for row, known in rows.items():
            head[row] = state[name][known]
        state[name] = head
    network.load_state_dict(state)


def average(network: Network, source: TorchModel, model: ModelConfig, labels: Sequence[str], share: float) -> None:
    """Move a network's weights toward those that :func:`warm_start` gave it.

    Args:
        network: changed in place; rows of the last layer for classes that are new stay as they are.
        source, model, labels: as of :func:`warm_start`.
        share: of the former weights in the mean.
    """
    start = copy.deepcopy(network)
    warm_start(start, source, model, labels)
    former = start.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(former[name], share)


def label_rows(target: Sequence[str], source: Sequence[str]) -> dict[int, int]:
    """Which classes of ``target`` are which of ``source``, by position: those of one name, each at most once."""
    rows = {i: source.index(name) for i, name in enumerate(target) if name in source}
    left = {canonical(name): i for i, name in enumerate(source) if i not in rows.values()}
    for i, name in enumerate(target):
        if i not in rows and canonical(name) in left:
            rows[i] = left.pop(canonical(name))
    return rows


def freeze(network: Network, trainable: Iterable[nn.Parameter], head: Collection[str], frozen: bool) -> None:
    """Put a network into training mode, or, ``frozen``, into evaluation mode with its last layer alone to be trained.

    Args:
        network: changed in place.
        trainable: its weights that are trained at all.
        head: the names of the last layer's.
        frozen: whether the others, batch norms' statistics among them, stay as they are.
    """
    network.train(not frozen)
    for child in network.fresh:
        network.get_submodule(child).train()
    last = {id(p) for name, p in network.named_parameters() if name in head}
    for parameter in trainable:
        parameter.requires_grad_(not frozen or id(parameter) in last)


def first_outputs(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The weights for ``network`` out of those of the same network with more outputs, whose first ones are kept."""
    return {
        name: weights[name][: len(own)] if own.ndim else weights[name] for name, own in network.state_dict().items()
    }


def heads_of(network: Network, model: ModelConfig) -> set[str]:
    """The weights with a row for each output: those that one output more would make larger."""
    options = {**model.options, **without_weights(model.network), **network.rebuild}
    with torch.device("meta"):
        larger = create(model.network, network.num_classes + 1, **options).state_dict()
    return {name for name, value in network.state_dict().items() if larger[name].shape != value.shape}
