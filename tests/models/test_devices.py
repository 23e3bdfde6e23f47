"""Which device and precision are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from moue.errors import UsageError
from moue.models import create, devices


def test_machine_auto_precision_is_never_slower_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx512_bf16, wanted in ((False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx512_bf16: has, raising=False)
        assert devices.precision("auto", torch.device("cpu"), nn.Conv2d(1, 8, 3)) == wanted
    with pytest.raises(UsageError, match="cpu, cuda or mps"):
        devices.choose("gpu0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("cuda:1").index == 1
    with pytest.raises(UsageError, match=r"one of the 2 that torch finds, counted from cuda:0\. Got 'cuda:2'"):
        devices.choose("cuda:2")


def test_networks_whose_gradients_are_slow_in_bf16_train_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "multiplies_bf16", lambda: True)
    cpu, efficient = torch.device("cpu"), create("effnet-lite0", 7, pretrained=False, upsample=48)
    assert devices.precision("auto", cpu, efficient) == "fp32"
    assert devices.precision("bf16", cpu, efficient) == "bf16"
    assert devices.precision("auto", cpu, create("compact", 7)) == "bf16"
    # Neither depthwise without a stride, nor grouped with one.
    others = nn.Sequential(nn.Conv2d(8, 8, 7, groups=8), nn.Conv2d(8, 8, 3, stride=2, groups=2))
    assert devices.precision("auto", cpu, others) == "bf16"


def test_matrix_products_of_a_training_on_cuda_alone_are_of_less_precision() -> None:
    before = torch.get_float32_matmul_precision()
    with devices.tuned(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == before
    with devices.tuned(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before, "the setting is the process's"
