"""Which device and precision are chosen."""

from __future__ import annotations

import pytest
import torch

from moue.errors import UsageError
from moue.models import devices


def test_machine_auto_precision_is_never_slower_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx512_bf16, wanted in ((False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx512_bf16: has, raising=False)
        assert devices.precision("auto", torch.device("cpu")) == wanted
    with pytest.raises(UsageError, match="cpu, cuda or mps"):
        devices.choose("gpu0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("cuda:1").index == 1
    with pytest.raises(UsageError, match=r"one of the 2 that torch finds, counted from cuda:0\. Got 'cuda:2'"):
        devices.choose("cuda:2")
