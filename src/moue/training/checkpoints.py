"""Checkpoints without pickles: one safetensors file, its JSON inside, replaced in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
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


def save_state(path: Path, epoch: int, parts: Mapping[str, Any]) -> None:
    """Write the state of a run after ``epoch`` epochs.

    Args:
        path: the file.
        epoch: how many epochs are trained.
        parts: by name, what has a ``state_dict``: network, optimizer, scheduler.

    Raises:
        TrainingError: as :func:`save`.
    """
    save({"epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}, path)


def resume(path: Path, parts: Mapping[str, Any]) -> int:
    """Take up what :func:`save_state` wrote, if anything.

    Returns:
        How many epochs are trained; 0 where there is no such file.

    Raises:
        TrainingError: when it cannot be read, or was written by version 0.1.0.
    """
    if not path.exists():
        return 0
    state = load(path)
    if state.keys() != {"epoch", *parts}:
        raise TrainingError(
            f"{path} was written by another version of moue, whose unfinished runs cannot be resumed: start the run "
            "again in another folder, or finish it with the version that its run.json names."
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["epoch"])


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
