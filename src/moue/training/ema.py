"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from moue.models.base import Network


class EMA:
    """The average of a network's weights and running statistics, as a network in evaluation mode.

    Args:
        network: copied as the average's beginning.
        decay: per step; 0 is no average: ``EMA.network`` is the network itself.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval() if decay > 0 else network
        self.decay = decay
        self.share = torch.ones((), device=next(network.parameters()).device)
        """A tensor, as a captured step reads it."""

    def weigh(self, step: int) -> None:
        """Set how much the network's weights after ``step`` steps, counted from 1, count in the average."""
        # Early on the average would hold on to random weights: let it follow faster.
        self.share.fill_(1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Follow the network's weights."""
        if self.decay == 0:
            return
        means, values = self.network.state_dict(), network.state_dict()
        floating = [name for name, mean in means.items() if mean.is_floating_point()]
        # In few calls, as on a GPU hundreds of small tensors cost by the kernel.
        steps = torch._foreach_sub([values[name] for name in floating], [means[name] for name in floating])
        torch._foreach_mul_(steps, self.share)
        torch._foreach_add_([means[name] for name in floating], steps)
        for name in means.keys() - floating:
            means[name].copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The average's weights; nothing where there is none."""
        return self.network.state_dict() if self.decay > 0 else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what :meth:`state_dict` gave."""
        if self.decay > 0:
            self.network.load_state_dict(state)
