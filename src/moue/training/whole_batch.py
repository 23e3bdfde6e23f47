"""Layers that see a whole batch, for a network that sees a part of it in each of several processes.

Batch normalization takes its statistics over all processes, and dropout draws for the whole batch, as one process
would: what is trained is then the same for any number of processes, to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from moue.models.vit_compact import DropPath
from moue.training.processes import Part, count


class Shared:
    """What the layers of a network know of the current step."""

    part: Part


def share_batches(network: nn.Module) -> Shared:
    """Let the layers of a network see the whole batch, where there are several processes; their names and weights stay
    as they are.

    Args:
        network: changed in place.

    Returns:
        What each step sets its part of the batch in.
    """
    shared = Shared()
    for module in list(network.modules()) if count() > 1 else ():
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, WholeBatchNorm(child, shared))
            elif type(child) is nn.Dropout:
                setattr(module, name, WholeDropout(child.p, shared))
            elif type(child) is DropPath:
                setattr(module, name, WholeDropPath(child.rate, shared))
    return shared


class WholeDropout(nn.Module):
    """Dropout of a part of a batch by the mask of the whole batch."""

    def __init__(self, p: float, shared: Shared) -> None:
        super().__init__()
        self.p, self.shared = p, shared

    def forward(self, x: Tensor) -> Tensor:
        """Any tensor, images first."""
        part = self.shared.part if self.training and self.p > 0 else None
        if part is None or len(x) != len(part.rows):
            # A layer that has merged images with something else draws for itself.
            return nn.functional.dropout(x, self.p, self.training)
        kept = torch.empty((part.total, *x.shape[1:]), dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * (kept[part.rows.to(x.device)] / (1 - self.p))


class WholeDropPath(DropPath):
    """Stochastic depth of a part of a batch, drawn for the whole batch."""

    def __init__(self, rate: float, shared: Shared) -> None:
        super().__init__(rate)
        self.shared = shared

    def draw(self, n: int, device: torch.device) -> Tensor:
        """Numbers of the own images."""
        part = self.shared.part
        return super().draw(part.total, device)[part.rows.to(device)]


class WholeBatchNorm(_BatchNorm):
    """Batch normalization whose statistics are those of the batch in all processes; also on CPUs, where torch's
    ``SyncBatchNorm`` does not run.
    """

    def __init__(self, own: _BatchNorm, shared: Shared) -> None:
        super().__init__(own.num_features, own.eps, own.momentum, own.affine, own.track_running_stats)
        self.weight, self.bias = own.weight, own.bias
        self.running_mean, self.running_var = own.running_mean, own.running_var
        self.num_batches_tracked = own.num_batches_tracked
        self.shared = shared
        self.train(own.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape ``(N, C, …)``."""

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`torch.nn.BatchNorm2d`."""
        if not self.training:
            return super().forward(x)
        weight = torch.ones(x.shape[1], device=x.device) if self.weight is None else self.weight
        bias = torch.zeros_like(weight) if self.bias is None else self.bias
        y, mean, var, n = _Normalize.apply(x, weight, bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None:
                assert self.num_batches_tracked is not None
                self.num_batches_tracked.add_(1)
                momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
                # Each image once, also where all processes have the whole batch.
                n = n * self.shared.part.weight
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(var * (n / (n - 1)), momentum)
        out: Tensor = y
        return out


class _Normalize(torch.autograd.Function):
    """Normalization by the mean and the variance over all processes (Ioffe and Szegedy, 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        own_var, own_mean = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
        n = own_mean.new_tensor([x.numel() / x.shape[1]])
        totals = torch.cat([own_mean * n, n])
        dist.all_reduce(totals)
        mean, total = totals[:-1] / totals[-1], totals[-1]
        # Squares around the common mean: a difference of large sums would lose digits.
        var = n * (own_var + (own_mean - mean).square())
        dist.all_reduce(var)
        var = var / total
        y = nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, var, total)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, total)
        return y, mean, var, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, var, total = ctx.saved_tensors
        through, per_weight, per_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([per_bias.float(), per_weight.float()])
        dist.all_reduce(sums)
        # What goes through the statistics, in each channel linear in x.
        scale = (var + ctx.eps).rsqrt()
        slope = -weight * scale**2 * sums[1] / total
        offset = -weight * scale * sums[0] / total - slope * mean
        slope, offset = (value.view(1, -1, *[1] * (x.ndim - 2)).to(x.dtype) for value in (slope, offset))
        return torch.addcmul(through + offset, x, slope), per_weight, per_bias, None
