"""Weights in Keras' legacy H5 layout into torch modules, read with h5py and without Keras.

In that layout the file (or its group `model_weights`, in a saved whole model) has an attribute `layer_names`, each
layer's group an attribute `weight_names`, and each weight its array under that name inside the group. Attributes too
long for HDF5 are cut into `layer_names0`, `layer_names1`, … Keras 3 writes it for names ending in `.h5` but not in
`.weights.h5`.
"""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from moue.cache import cache_dir
from moue.errors import ModelError, WeightsMissing, require
from moue.files import atomic_write

#: Layers of the ImageNet classifier, which files with a top have and a network's own head replaces.
TOP = {"predictions", "probs"}

#: Keras' last part of a weight's name to torch's.
NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

Weights = dict[str, dict[str, NDArray[np.float32]]]


def read_h5(path: Path) -> Weights:
    """The weights of a file in Keras' legacy H5 layout.

    Returns:
        layer name to weight name ("kernel", "gamma", …) to array, in Keras' shapes; only layers with weights.

    Raises:
        WeightsMissing: when there is no such file.
        ModelError: when it is not in that layout.
        MissingExtra: without h5py.
    """
    h5py = require("h5py", "train")
    if not path.is_file():
        raise WeightsMissing(f"there is no Keras weight file {path}. Give the path of one.")
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            weights = {layer: _layer(root[layer]) for layer in _names(root, "layer_names")}
    except (OSError, KeyError) as error:
        raise ModelError(
            f"{path} is not in Keras' legacy H5 layout: {str(error).strip(chr(34))}. In Keras, save with "
            f"model.save('name.h5')."
        ) from error
    return {layer: arrays for layer, arrays in weights.items() if arrays}


def fetch(url: str, md5: str, remedy: str) -> Path:
    """A published weight file: from our cache, from Keras' own, or downloaded once.

    Args:
        url: where it is published.
        md5: of its content, as Keras itself checks it.
        remedy: a sentence for the error: what to do where it cannot be fetched.

    Raises:
        WeightsMissing: when it cannot be fetched, or the download has another hash.
    """
    name = url.rsplit("/", 1)[-1]
    cached = cache_dir("weights") / name
    places = [cached]
    # Where there is a home directory.
    with suppress(RuntimeError):
        places.append(Path.home() / ".keras" / "models" / name)
    for path in places:
        if path.is_file() and _md5(path) == md5:
            return path
    try:
        with atomic_write(cached) as part:
            with urllib.request.urlopen(url, timeout=30) as response, open(part, "wb") as file:
                while block := response.read(1 << 20):
                    file.write(block)
            if _md5(part) != md5:
                raise WeightsMissing(f"{url} gave another file than Keras publishes. {remedy}")
    except OSError as error:
        raise WeightsMissing(
            f"Keras' weights cannot be fetched from {url} ({getattr(error, 'reason', error)}). {remedy}"
        ) from error
    return cached


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_layers(modules: Mapping[str, nn.Module], path: Path) -> None:
    """Fill modules with the weights of the layers of the same names.

    Args:
        modules: by Keras' layer name, every layer of the file that has weights; those of :data:`TOP` may be left out.
        path: a file in Keras' legacy H5 layout.

    Raises:
        WeightsMissing: when there is no such file.
        ModelError: when a layer is missing, unknown, or has another shape.
        MissingExtra: without h5py.
    """
    weights = read_h5(path)
    missing, unknown = modules.keys() - weights.keys(), weights.keys() - modules.keys() - TOP
    if missing or unknown:
        problem = f"lacks the layer {min(missing)}" if missing else f"has an unknown layer {min(unknown)}"
        raise ModelError(f"{path} does not hold this network: it {problem}.")
    for layer, module in modules.items():
        state = {NAMES.get(name, name): torch.from_numpy(_to_torch(a)) for name, a in weights[layer].items()}
        targets = {key: value for key, value in module.state_dict().items() if key != "num_batches_tracked"}
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        expected = {key: tuple(value.shape) for key, value in targets.items()}
        if shapes != expected:
            raise ModelError(f"{path}: the layer {layer} must hold {expected}. Got {shapes} instead.")
        with torch.no_grad():
            for key, value in targets.items():
                value.copy_(state[key])


def _layer(group: Any) -> dict[str, NDArray[np.float32]]:
    # "conv1_conv/kernel:0" in files that TensorFlow wrote, "conv1_conv/kernel" in Keras 3's.
    return {
        name.split("/")[-1].split(":")[0]: np.asarray(group[name], dtype=np.float32)
        for name in _names(group, "weight_names")
    }


def _names(group: Any, attribute: str) -> list[str]:
    parts = [attribute] if attribute in group.attrs else []
    while not parts or parts[-1] != attribute:
        if (part := f"{attribute}{len(parts)}") not in group.attrs:
            break
        parts.append(part)
    if not parts:
        raise KeyError(f"no attribute {attribute}")
    return [n.decode() if isinstance(n, bytes) else str(n) for part in parts for n in group.attrs[part]]


def _to_torch(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A convolution's kernel from Keras' (height, width, in, out) to torch's (out, in, height, width)."""
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array
