"""Weights from one network to another: from a finished run at the start, and without a second head at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moue.errors import UsageError
from moue.labels import label_permutation
from moue.models import create
from moue.models.base import Network
from moue.models.load import TorchModel, without_weights
from moue.training.config import ModelConfig


def warm_start(network: Network, source: TorchModel, model: ModelConfig, labels: Sequence[str]) -> None:
    """Copy a finished run's weights into a network; a last layer for other classes is left as it is.

    Args:
        network: to fill.
        source: a finished run of the same network. The rows of its last layer are mapped by the classes' names.
        model: what ``network`` was built from, and which run ``source`` is.
        labels: the classes of ``network``; it may have further outputs.

    Raises:
        UsageError: when the run is of another network.
    """
    own, state, heads = network.state_dict(), source.network.state_dict(), _heads(network, model)

    def body(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape[name in heads :]) for name, value in weights.items()}

    if body(own) != body(state):
        raise UsageError(
            f"model.init must be a run of the same network with the same options. {model.init} is of "
            f"{source.spec.network}, whose weights do not fit."
        )
    order = label_permutation(labels, source.spec.labels) if network.num_classes == len(labels) else None
    if order is not None:
        state |= {name: state[name][order] for name in heads}
    else:
        state |= {name: own[name] for name in heads}
    network.load_state_dict(state)


def first_outputs(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The weights for ``network`` out of those of the same network with more outputs, whose first ones are kept."""
    return {
        name: weights[name][: len(own)] if own.ndim else weights[name] for name, own in network.state_dict().items()
    }


def _heads(network: Network, model: ModelConfig) -> set[str]:
    """The weights with a row for each output: those that one output more would make larger."""
    options = {**model.options, **without_weights(model.network), **network.rebuild}
    with torch.device("meta"):
        larger = create(model.network, network.num_classes + 1, **options).state_dict()
    return {name for name, value in network.state_dict().items() if larger[name].shape != value.shape}
