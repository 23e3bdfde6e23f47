"""What the networks that start from face networks share: their options, and batch normalizations that are put back
where published weights have theirs folded into the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moue.errors import UsageError, quoted


def check_options(blocks: int, most: int, upsample: int) -> None:
    """Refuse what is out of range: ``blocks`` from 1 to ``most``, ``upsample`` from 48 to 256 pixels.

    Raises:
        UsageError: says what came.
    """
    if not 1 <= blocks <= most:
        raise UsageError(f"blocks must be between 1 and {most}. Got {quoted(blocks)} instead.")
    if not 48 <= upsample <= 256:
        raise UsageError(f"upsample must be between 48 and 256 pixels. Got {quoted(upsample)} instead.")


def start_at_random(network: nn.Module) -> None:
    """First weights of all convolutions, where there are no published ones."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def norm(channels: int, batch_norm: bool) -> nn.Module:
    """A batch normalization, or nothing."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


@torch.no_grad()
def change_nothing(network: nn.Module, pixels: Tensor, published: bool) -> None:
    """Run a network in evaluation mode, and let each batch normalization change nothing on these images at first.

    Args:
        network: takes ``pixels``.
        pixels: of the first training images, ``(N, C, H, W)`` in 0..255.
        published: whether its weights are; without, the normalizations stay as they are.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_change_nothing) for norm in norms if published]
    training = network.training
    network.eval()(pixels)
    network.train(training)
    for hook in hooks:
        hook.remove()


def _change_nothing(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    """Give a normalization the statistics of its input, and the scale and shift that undo it."""
    var, mean = torch.var_mean(inputs[0].float(), (0, 2, 3))
    for kept, value in (
        (norm.running_mean, mean),
        (norm.running_var, var),
        (norm.weight, (var + norm.eps).sqrt()),
        (norm.bias, mean),
    ):
        assert kept is not None
        kept.copy_(value)
