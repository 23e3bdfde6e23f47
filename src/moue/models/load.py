"""A trained network's weights to and from files, and a run folder as a model that gives logits.

Reads what training leaves in a run folder: `config.json` (which network, with which options), `spec.json` (labels,
input) and `weights.safetensors`. The header of the latter may carry options that build the network again without
published weights, so reading a run never fetches anything. The file of a shipped model's weights also has there what a
run has in `config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moue.damage import decoding, read_json, reason
from moue.errors import ModelError, TrainingError, UnknownName, UsageError, quoted, require, shortened
from moue.files import require_text
from moue.models import create, devices, options_of
from moue.models.base import Network
from moue.models.tensors import save_file
from moue.renames import current_options
from moue.run_folder import CONFIG, SPEC, WEIGHTS
from moue.spec import ModelSpec

#: The key of the safetensors header under which a network's ``rebuild`` options travel.
REBUILD = "rebuild"

#: The key under which the file of a shipped model names its network and options, as a configuration's section "model".
MODEL = "model"

#: After the names of 8-bit weights and of the scales that they are multiplied by.
INT8, SCALE = ".int8", ".scale"


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
        if images.dtype != np.uint8 or images.shape[1:] not in spec.input_shapes:
            required = ", ".join(map(str, spec.input_shapes[0]))
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
    name, options = architecture_of_run(folder)
    state, header = _read(weights)
    rebuild = current_options(header.get(REBUILD, {}))
    try:
        network = create(name, len(spec.labels), **{**options, **without_weights(name), **rebuild})
    except UsageError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    return _filled(network, state, spec, weights, device)


def load_file(path: Path, spec: ModelSpec, device: str = "auto") -> TorchModel:
    """Open the file of a shipped model's weights.

    Args:
        path: a safetensors file whose header names its network, its hash checked.
        spec: its spec.
        device: as of :func:`moue.models.devices.choose`.

    Raises:
        ModelError: when it is damaged, or of another version of moue.
        UsageError: when the machine has no such device.
    """
    name, options = architecture_of_file(path)
    state, _ = _read(path)
    try:
        network = create(name, len(spec.labels), **options)
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from error
    return _filled(network, _widened(state), spec, path, device)


def _filled(network: Network, state: Mapping[str, Tensor], spec: ModelSpec, path: Path, device: str) -> TorchModel:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ModelError(
            f"{path} does not fit the network {quoted(spec.network)} with {len(spec.labels)} classes: "
            f"{shortened(first[0])}"
        ) from error
    chosen = devices.choose(device)
    network.spec = spec
    return TorchModel(spec, network.eval().requires_grad_(False).to(chosen), chosen)


def _widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float32, those that are stored in 8 bits multiplied by their scales."""
    wide = {name: value for name, value in state.items() if not name.endswith((INT8, SCALE))}
    for name, value in state.items():
        if name.endswith(INT8):
            plain = name.removesuffix(INT8)
            wide[plain] = value.float() * state[plain + SCALE]
    return wide


def spec_of_run(folder: Path) -> ModelSpec:
    """The spec of a finished run.

    Raises:
        ModelError: when there is no such run, or it is not finished.
    """
    if not folder.is_dir():
        raise ModelError(f"there is no run folder {folder}. Type: moue train RECIPE --data SET --out {folder}")
    for name in (SPEC, WEIGHTS):
        if not (folder / name).is_file():
            if not (folder / CONFIG).is_file() and (runs := sorted(folder.glob(f"*/{SPEC}"))):
                raise ModelError(f"{folder} is not a run, but holds runs: give one of them, as {runs[0].parent}")
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


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, if asked for, and the parts of its header, which are JSON."""
    safetensors = require("safetensors", "train")

    def damaged(why: str) -> ModelError:
        return ModelError(f"{path} is no readable safetensors file ({why}). Copy it again, or train the run again.")

    require_text(path, "Rename it.")
    try:
        with decoding(path, damaged), safetensors.safe_open(path, framework="pt") as file:
            header = {key: json.loads(text) for key, text in (file.metadata() or {}).items() if key in (REBUILD, MODEL)}
            return {key: file.get_tensor(key) for key in file.keys() if tensors}, header  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise damaged(reason(error)) from error


def architecture_of_run(folder: Path) -> tuple[str, dict[str, Any]]:
    """The network that a run trained, with its options.

    Raises:
        ModelError: when its configuration is missing or damaged.
    """
    path = folder / CONFIG

    def damaged(why: str) -> ModelError:
        return ModelError(
            f"{path} is not a run's configuration ({why}). Restore it from a copy, or train the run again."
        )

    try:
        values = read_json(path, damaged)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: it says which network the run trained.") from None
    except OSError as error:
        raise damaged(reason(error)) from error
    return _architecture(values.get("model"), damaged)


def architecture_of_file(path: Path) -> tuple[str, dict[str, Any]]:
    """The network whose weights a shipped file holds, with its options.

    Raises:
        ModelError: when the file is damaged or its header does not say.
    """
    _, header = _read(path, tensors=False)
    return _architecture(
        header.get(MODEL), lambda why: ModelError(f"{path} is no file of a shipped model's weights ({why}).")
    )


def _architecture(model: Any, damaged: Callable[[str], ModelError]) -> tuple[str, dict[str, Any]]:
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
