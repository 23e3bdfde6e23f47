"""Checkpoints: what goes in comes out, no pickles, and a failed write leaves the old one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from moue.errors import TrainingError
from moue.models.load import save_weights
from moue.training import checkpoints

STATE = {
    "epoch": 3,
    "lr": 1e-3,
    "name": "a",
    "none": None,
    "flags": (True, False),
    "weights": {"w": torch.arange(6.0).view(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(5.0), "m": torch.ones(3)}, 1: {}},
        "groups": [{"lr": 0.1, "params": [0, 1]}],
    },
}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_a_state_survives_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c" / "last.safetensors"
    checkpoints.save(STATE, path)
    assert equal(checkpoints.load(path), STATE)
    assert [p.name for p in path.parent.iterdir()] == ["last.safetensors"]


def test_tied_tensors_are_kept(tmp_path: Path) -> None:
    shared = torch.ones(3)
    checkpoints.save({"a": shared, "b": shared[:2]}, tmp_path / "x.safetensors")
    assert torch.equal(checkpoints.load(tmp_path / "x.safetensors")["b"], torch.ones(2))


def test_code_is_never_stored(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="function"):
        checkpoints.save({"f": equal}, tmp_path / "x.safetensors")


def test_a_failed_write_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.save({"epoch": 1}, path)

    def full(tensors: object, half: Path, metadata: object) -> None:
        half.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(TrainingError, match="No space left"):
        checkpoints.save({"epoch": 2}, path)
    assert checkpoints.load(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_others_can_read_weights_where_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        checkpoints.save(STATE, tmp_path / "last.safetensors")
        save_weights({"w": torch.ones(3)}, tmp_path / "weights.safetensors", {})
    finally:
        os.umask(before)
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {
        "last.safetensors": 0o640,
        "weights.safetensors": 0o640,
    }


def test_a_damaged_file_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.save(STATE, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoints.load(path)
    with pytest.raises(TrainingError):
        checkpoints.load(tmp_path / "absent.safetensors")
