"""Numbers of weights and FLOPs of a network, without training or downloading it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from moue.models import NETWORKS, create, options_of
from moue.spec import channels_of


def describe(name: str, num_classes: int = 7, **options: Any) -> dict[str, Any]:
    """The row of ``moue networks`` for one network; no pixel is computed and no weight read.

    Args:
        name: as for :func:`moue.models.create`.
        num_classes: number of logits.
        **options: the network's own.

    Returns:
        ``{name, parameters, trainable, gflop, input, options}``: numbers of weights, without those of
        auxiliary classifiers; two operations for each multiplication of one forward pass, in 10⁹; the input as
        "1×48×48", with " → 224" where pixels are scaled up inside; and what ``model.options`` takes, with its defaults.

    Raises:
        UnknownName: when there is no such network.
        UsageError: when the network does not take one of the options.
        WeightsMissing: for "hf:…" whose configuration cannot be found or fetched.
    """
    from moue.models.load import without_weights

    # On the meta device tensors have shapes and no values.
    with torch.device("meta"):
        network = create(name, num_classes, **{**options, **without_weights(name)}).eval()
    channels = channels_of(network.input.color)
    size, inside = network.input.size, network.input.upsample
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, channels, size, size, device="meta"))
    return {
        "name": name,
        "parameters": sum(p.numel() for p in network.inference_parameters()),
        "trainable": sum(p.numel() for p in network.inference_parameters() if p.requires_grad),
        "gflop": round(counter.get_total_flops() / 1e9, 4),
        "input": f"{channels}×{size}×{size}" + (f" → {inside}" if inside and inside != size else ""),
        "options": {**options_of(name), **options},
    }


def networks(num_classes: int = 7) -> list[dict[str, Any]]:
    """:func:`describe` of every network with its default options."""
    return [describe(name, num_classes) for name in NETWORKS]
