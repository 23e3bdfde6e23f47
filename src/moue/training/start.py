"""Weights from one network to another: the start from a finished run, and the end without a second head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from moue.errors import UsageError
from moue.models.base import Network
from moue.models.load import TorchModel


def start_from(network: Network, theirs: TorchModel, run: str) -> list[str]:
    """Copy a finished run's weights into a network; a last layer for another number of classes is left as it is.

    Args:
        network: to fill.
        theirs: a finished run of the same network.
        run: where it came from, for the error.

    Returns:
        The names of the weights that were left as they were.

    Raises:
        UsageError: when the run is of another network.
    """
    own = network.state_dict()
    state = theirs.network.state_dict()
    classes = (theirs.network.num_classes, network.num_classes)
    left = [
        name
        for name, value in own.items()
        if name in state and state[name].shape != value.shape and _is_head(state[name].shape, value.shape, classes)
    ]
    fits = own.keys() == state.keys() and all(state[n].shape == own[n].shape for n in own if n not in left)
    if not fits:
        raise UsageError(
            f"model.init must be a run of the same network with the same options. {run} is of {theirs.spec.network}, "
            f"whose weights do not fit."
        )
    network.load_state_dict({name: own[name] if name in left else value for name, value in state.items()})
    return left


def first_outputs(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The weights for ``network`` out of those of the same network with more outputs, whose first ones are kept."""
    return {
        name: weights[name][: len(own)] if own.ndim else weights[name] for name, own in network.state_dict().items()
    }


def _is_head(theirs: tuple[int, ...], ours: tuple[int, ...], classes: tuple[int, int]) -> bool:
    return (theirs[0], ours[0]) == classes and theirs[1:] == ours[1:]
