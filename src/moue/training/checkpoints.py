"""Checkpoints without pickles: one safetensors file, its JSON inside, replaced in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open

from moue.errors import TrainingError
from moue.models.tensors import save_file

_TENSOR, _TUPLE, _PAIRS = "__tensor__", "__tuple__", "__pairs__"


def save(state: Any, path: Path | str) -> None:
    """Write nested dictionaries, lists, numbers, texts and tensors as one file, atomically.

    Raises:
        TrainingError: when it cannot be written (no space left); what was there before stays.
    """
    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, path, {"tree": tree})
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be written ({error}); the one before it is kept.") from error


def load(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """Read what :func:`save` wrote.

    Raises:
        TrainingError: when the file is missing or no checkpoint of ours.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            tree = (file.metadata() or {}).get("tree")
            if tree is None:
                raise TrainingError(f"{path} is no checkpoint of moue: it holds weights alone.")
            return _unpack(json.loads(tree), file.get_tensor)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: {error}") from error


class SafeCheckpointIO(CheckpointIO):
    """Lightning's seam for checkpoints, on :func:`save` and :func:`load`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        save(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint onto the CPU."""
        checkpoint: dict[str, Any] = load(path)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        # A copy: safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if all(isinstance(k, str) for k in value):
            return {k: _pack(v, tensors) for k, v in value.items()}
        return {_PAIRS: [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_pack(v, tensors) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TrainingError(f"a checkpoint holds numbers, texts and tensors. Got a {type(value).__name__} instead.")


def _unpack(value: Any, tensor: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(v, tensor) for v in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensor(value[_TENSOR])
        if _TUPLE in value:
            return tuple(_unpack(v, tensor) for v in value[_TUPLE])
        if _PAIRS in value:
            return {_unpack(k, tensor): _unpack(v, tensor) for k, v in value[_PAIRS]}
        return {k: _unpack(v, tensor) for k, v in value.items()}
    return value
