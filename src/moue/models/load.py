"""A trained network's weights to and from files, and a run folder as a model that gives logits.

Reads what training leaves in a run folder: `config.json` (which network, with which options), `spec.json` (labels,
input) and `weights.safetensors`. The header of the latter may carry options that build the network again without
published weights, so reading a run never fetches anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moue.damage import decoding, read_json, reason
from moue.errors import ModelError, TrainingError, UnknownName, UsageError, quoted, require, shortened
from moue.models import create, devices, options_of
from moue.models.base import Network
from moue.models.tensors import save_file
from moue.renames import current_options
from moue.run_folder import CONFIG, SPEC, WEIGHTS
from moue.spec import ModelSpec

#: The key of the safetensors header under which a network's ``rebuild`` options travel.
REBUILD = "rebuild"


@dataclass(frozen=True)
class TorchModel:
    """A trained network with its spec; in evaluation mode, on its device."""

    spec: ModelSpec
    network: Network
    device: torch.device

    def logits(self, images: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
        """Logits float32 ``(N, K)`` of uint8 images ``(N, C, size, size)``, 0..255, in the spec's color.

        Args:
            images: the images.
            batch: how many go through the network at a time.

        Raises:
            UsageError: when the images are not of the spec's shape and type.
        """
        spec = self.spec
        shape = (spec.channels, spec.size, spec.size)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            required = ", ".join(map(str, shape))
            raise UsageError(
                f"{quoted(spec.name)} takes uint8 (N, {required}). Got {images.dtype} {images.shape} instead."
            )
        logits = [np.zeros((0, len(spec.labels)), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                part = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(self.device)
                logits.append(self.network(part).float().cpu().numpy())
        return np.concatenate(logits)


def load_run(path: Path | str, device: str = "auto") -> TorchModel:
    """Open a run folder's trained network.

    Args:
        path: the run folder.
        device: as of :func:`moue.models.devices.choose`.

    Raises:
        ModelError: when a file of the run is missing or damaged, or the files do not belong together.
        UsageError: when the machine has no such device.
    """
    folder = Path(path)
    spec = spec_of_run(folder)
    weights = folder / WEIGHTS
    name, options = _network(folder / CONFIG)
    state, rebuild = _read(weights)
    try:
        network = create(name, len(spec.labels), **{**options, **without_weights(name), **rebuild})
    except UsageError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ModelError(
            f"{weights} does not fit the network {quoted(name)} with {len(spec.labels)} classes: {shortened(first[0])}"
        ) from error
    chosen = devices.choose(device)
    return TorchModel(spec, network.eval().requires_grad_(False).to(chosen), chosen)


def spec_of_run(folder: Path) -> ModelSpec:
    """The spec of a finished run.

    Raises:
        ModelError: when there is no such run, or it is not finished.
    """
    if not folder.is_dir():
        raise ModelError(f"there is no run folder {folder}. Type: moue train RECIPE --data SET --out {folder}")
    for name in (SPEC, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(
                f"the run {folder} has no {name}: it is not finished. Resume it with: moue train … --resume"
            )
    return ModelSpec.load(folder / SPEC)


def save_weights(weights: Mapping[str, Tensor], path: Path | str, rebuild: Mapping[str, Any]) -> None:
    """Write a network's weights, by name, as safetensors; replaces the file in one step.

    Args:
        weights: the network's own or their moving average.
        path: the file to write, ``RUN/weights.safetensors`` in a run.
        rebuild: the network's :attr:`~moue.models.base.Network.rebuild`, kept in the file's header.

    Raises:
        TrainingError: when the file cannot be written; what was there before stays.
    """
    refused = require("safetensors", "train").SafetensorError
    # Copies: safetensors refuses tensors that share memory or have gaps.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}
    try:
        save_file(tensors, Path(path), {REBUILD: json.dumps(dict(rebuild))})
    except (OSError, refused) as error:
        raise TrainingError(f"{path} cannot be written ({error}). The checkpoints are kept: type --resume.") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    safetensors = require("safetensors", "train")

    def damaged(why: str) -> ModelError:
        return ModelError(f"{path} is no readable safetensors file ({why}). Copy it again, or train the run again.")

    try:
        with decoding(path, damaged), safetensors.safe_open(path, framework="pt") as file:
            rebuild = json.loads((file.metadata() or {}).get(REBUILD, "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, current_options(rebuild)  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise damaged(reason(error)) from error


def _network(path: Path) -> tuple[str, dict[str, Any]]:
    def damaged(why: str) -> ModelError:
        return ModelError(
            f"{path} is not a run's configuration ({why}). Restore it from a copy, or train the run again."
        )

    try:
        model = read_json(path, damaged).get("model")
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: it says which network the run trained.") from None
    except OSError as error:
        raise damaged(reason(error)) from error
    match model:
        case {"network": str() as name, **others}:
            options = others.get("options") or {}
            if isinstance(options, dict):
                return name, current_options(options)
    raise damaged("model.network or model.options is missing or of another type")


def without_weights(name: str) -> dict[str, Any]:
    """Options that keep a network from reading published weights, for files whose header says nothing."""
    try:
        accepted = options_of(name)
    except UnknownName:
        return {}
    neutral = {"pretrained": False, "weights": None}
    return {key: value for key, value in neutral.items() if key in accepted}
