"""Checkpoints without pickles: one safetensors file, its JSON inside, replaced in one step."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from moue.damage import decoding, reason
from moue.errors import TrainingError
from moue.models.tensors import save_file
from moue.training.processes import from_first

#: What can be done where the state of an unfinished run cannot be taken up.
START_AGAIN = "Restore it from a copy, or delete it: the same command then starts the run again from its first epoch."

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


def load(path: Path | str, device: torch.device | str = "cpu", remedy: str = "Restore it from a copy.") -> Any:
    """Read what :func:`save` wrote.

    Args:
        path: the file.
        device: where its tensors go.
        remedy: what can be done where it is damaged, as a sentence.

    Raises:
        TrainingError: when the file is missing, damaged, or no checkpoint of ours.
    """

    def damaged(why: str) -> TrainingError:
        return TrainingError(f"the checkpoint {path} is damaged ({why}). {remedy}")

    try:
        with decoding(path, damaged), safe_open(path, framework="pt", device=str(device)) as file:
            tree = (file.metadata() or {}).get("tree")
            if tree is None:
                raise TrainingError(f"{path} is not a checkpoint of moue: it holds only weights.")
            state = _unpack(json.loads(tree), file.get_tensor)
    except SafetensorError as error:
        raise damaged(reason(error)) from error
    except OSError as error:
        raise TrainingError(f"the checkpoint {path} cannot be read ({reason(error)}).") from error
    if not isinstance(state, dict) or not _is_finite(state):
        raise damaged("it holds values that are not finite")
    return state


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
    # Only the first process writes it, and must have it.
    state = from_first(lambda: load(path, remedy=START_AGAIN) if path.exists() else None)
    if state is None:
        return 0
    if state.keys() != {"epoch", *parts}:
        raise TrainingError(
            f"{path} was written by another version of moue, whose unfinished runs cannot be resumed: start the run "
            "again in another folder, or finish it with the version that its run.json names."
        )
    # Shapes and types of a file that is not of this run.
    with decoding(path, lambda why: TrainingError(f"the checkpoint {path} is damaged ({why}). {START_AGAIN}")):
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return operator.index(state["epoch"])


def weights(path: Path, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that a run kept as its best.

    Args:
        path: of a checkpoint with a ``network``.
        like: the weights of the network that they are for.

    Raises:
        TrainingError: when it is damaged, or they are of another network.
    """
    remedy = "Restore it from a copy, or delete it: the run then keeps its last epoch, unless a later one is better."
    found = load(path, remedy=remedy).get("network")
    shapes = {name: getattr(value, "shape", None) for name, value in found.items()} if isinstance(found, dict) else {}
    if shapes != {name: value.shape for name, value in like.items()}:
        raise TrainingError(f"the checkpoint {path} is damaged (its weights are of another network). {remedy}")
    return dict(found)


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


def _is_finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(_is_finite, value))


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
