"""Trained networks in torch: a run's, or those whose weights ``moue-models`` carries.

Importing this needs no torch; calling its functions does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.errors import ModelError, UnknownName, UsageError, require
from moue.run_folder import SPEC, is_run
from moue.runtime.weights import TORCH, find_torch_weights, is_known
from moue.spec import ModelSpec

if TYPE_CHECKING:
    from moue.models.base import Network
    from moue.models.load import TorchModel


def load_network(name: str | Path, device: str = "cpu") -> Network:
    """A trained network as a torch module, in evaluation mode.

    It takes raw pixels, uint8 or float ``(N, C, size, size)`` in 0..255, in the size and color of its spec, and gives
    logits ``(N, K)``. Divide them by the spec's temperature before a softmax.

    Args:
        name: a run folder, or one of :data:`moue.runtime.weights.TORCH`: "default", "ferplus", "tiny", "googlenet",
            "resnet50v2", "vit", or a member of `full`: "full/mobile" or "full/votes". These names need ``moue-models``,
            and have precedence over a folder, which is then ``./default``, or a ``Path``.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".

    Returns:
        The network; its ``spec`` has labels, input and temperature.

    Raises:
        UnknownName: when there is no such model; names the nearest.
        UsageError: for an ensemble, an ONNX file, or a device that the machine lacks.
        ModelError: when a file is missing, damaged or changed.
        MissingExtra: without torch, or without ``moue-models`` for a name.
    """
    return open_network(name, device).network.requires_grad_(True)


def open_network(name: str | Path, device: str = "cpu") -> TorchModel:
    """What :func:`load_network` opens, with its spec and device, as a model that gives logits.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`load_network`.
    """
    require("torch", "train")
    from moue.models.load import load_file, load_run

    run = _run(name)
    return load_file(*find_torch_weights(str(name)), device) if run is None else load_run(run, device)


def architecture_of(name: str | Path) -> tuple[str, dict[str, Any]]:
    """The network that :func:`load_network` would open, as a name of ``moue networks``, and its options.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`load_network`.
    """
    require("torch", "train")
    from moue.models.load import architecture_of_file, architecture_of_run, spec_of_run

    run = _run(name)
    if run is None:
        return architecture_of_file(find_torch_weights(str(name)).path)
    spec_of_run(run)  # Says so where it is not finished.
    return architecture_of_run(run)


def network_spec(name: str | Path) -> ModelSpec:
    """The spec of what :func:`load_network` would open; needs no torch.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`load_network`.
    """
    run = _run(name)
    if run is None:
        return find_torch_weights(str(name)).spec
    if not is_run(run):
        raise ModelError(f"there is no finished run {run}.")
    return ModelSpec.load(run / SPEC)


def _run(name: str | Path) -> Path | None:
    """The run folder that a name stands for; None for the name of a shipped model."""
    if isinstance(name, str) and (name in TORCH or is_known(name)):
        return None
    path = Path(name)
    if path.suffix == ".onnx":
        raise UsageError(f"{path} is exported: it has no weights for torch. Give the folder of its run.")
    if isinstance(name, str) and not path.is_dir() and (path.name == name or path.parts[:1] == ("full",)):
        raise UnknownName("run folder or model with weights for torch", name, TORCH)
    return path
