"""The moving average of weights."""

from __future__ import annotations

import torch

from moue.models import create
from moue.training.ema import EMA


def test_the_average_follows_fast_at_first_and_slowly_later() -> None:
    network = create("compact", 7, widths=[8, 16])
    ema = EMA(network, 0.9)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    ema.weigh(1)
    ema.update(network)  # By 1 - 2/11.
    for name, p in ema.network.named_parameters():
        torch.testing.assert_close(p, before[name] + 9 / 11)
    ema.weigh(10_000)
    ema.update(network)
    for name, p in ema.network.named_parameters():
        torch.testing.assert_close(p, before[name] + 1 - 2 / 11 * 0.9)
    assert not any(p.requires_grad for p in ema.network.parameters())


def test_without_decay_the_average_is_the_network_itself() -> None:
    network = create("compact", 7, widths=[8, 16])
    ema = EMA(network, 0)
    assert ema.network is network
    assert ema.state_dict() == {}
