"""Keras' published weights into ours: the legacy H5 layout, read with h5py and without Keras.

In that layout the file (or its group `model_weights`, in a saved whole model) has an attribute `layer_names`, each
layer's group an attribute `weight_names`, and each weight its array under that name inside the group. Attributes too
long for HDF5 are cut into `layer_names0`, `layer_names1`, … Keras 3 writes it for names ending in `.h5` but not in
`.weights.h5`.
"""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moue.cache import cache_dir
from moue.errors import ModelError, WeightsMissing, require
from moue.files import atomic_write
from moue.models.resnet50v2 import Bottleneck, ResNet50V2

#: Where Keras publishes ResNet50V2 without its top.
RESNET50V2_FILE = "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
RESNET50V2_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{RESNET50V2_FILE}"

#: MD5 of that file, as Keras itself checks it.
RESNET50V2_MD5 = "fac2f116257151a9d068a22e544a4917"

#: Layers of the ImageNet classifier, which files with a top have and our head replaces.
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
        raise WeightsMissing(
            f"there is no Keras weight file {path}. Fetch {RESNET50V2_URL} and give its path, or train "
            f"'resnet50v2-small', which needs no published weights."
        )
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


def published_resnet50v2(url: str = RESNET50V2_URL, md5: str = RESNET50V2_MD5) -> Path:
    """The published ImageNet weights (94 MB): from our cache, from Keras' own, or fetched once.

    Raises:
        WeightsMissing: when they cannot be fetched, or what came is something else.
    """
    name = url.rsplit("/", 1)[-1]
    own = cache_dir("weights") / name
    for path in (own, Path.home() / ".keras" / "models" / name):
        if path.is_file() and _md5(path) == md5:
            return path
    try:
        with atomic_write(own) as part:
            with urllib.request.urlopen(url, timeout=30) as answer, open(part, "wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            if _md5(part) != md5:
                raise WeightsMissing(
                    f"{url} gave another file than Keras publishes. Fetch it elsewhere and give its path."
                )
    except OSError as error:
        raise WeightsMissing(
            f"Keras' ImageNet weights cannot be fetched from {url} ({getattr(error, 'reason', error)}). "
            f"Fetch them elsewhere and type --set model.options.weights=PATH.h5, or train 'resnet50v2-small', which "
            f"needs none."
        ) from error
    return own


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_resnet50v2(network: ResNet50V2, path: Path) -> None:
    """Fill a network's stem, stacks and last normalization from a Keras file; the head is left as it is.

    Raises:
        WeightsMissing: when there is no such file.
        ModelError: when a layer lacks, is unknown, or has another shape.
        MissingExtra: without h5py.
    """
    weights = read_h5(path)
    modules = resnet50v2_layers(network)
    missing, unknown = modules.keys() - weights.keys(), weights.keys() - modules.keys() - TOP
    if missing or unknown:
        what = f"lacks the layer {min(missing)}" if missing else f"has a layer {min(unknown)}, which ResNet50V2 has not"
        raise ModelError(f"{path} does not hold a ResNet50V2: it {what}.")
    for layer, module in modules.items():
        state = {NAMES.get(name, name): torch.from_numpy(_turned(array)) for name, array in weights[layer].items()}
        own = {key: value for key, value in module.state_dict().items() if key != "num_batches_tracked"}
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        wanted = {key: tuple(value.shape) for key, value in own.items()}
        if shapes != wanted:
            raise ModelError(f"{path}: the layer {layer} must hold {wanted}. Got {shapes} instead.")
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(state[key])


def resnet50v2_layers(network: ResNet50V2) -> dict[str, torch.nn.Module]:
    """Keras' layer names to our modules, for every layer that has weights."""
    layers: dict[str, torch.nn.Module] = {"conv1_conv": network.conv1, "post_bn": network.post_bn}
    for i, stack in enumerate(network.stacks):
        assert isinstance(stack, torch.nn.Sequential)
        for j, block in enumerate(stack):
            assert isinstance(block, Bottleneck)
            name = f"conv{i + 2}_block{j + 1}"
            layers |= {
                f"{name}_preact_bn": block.preact_bn,
                f"{name}_1_conv": block.conv1,
                f"{name}_1_bn": block.bn1,
                f"{name}_2_conv": block.conv2,
                f"{name}_2_bn": block.bn2,
                f"{name}_3_conv": block.conv3,
            }
            if block.shortcut is not None:
                layers[f"{name}_0_conv"] = block.shortcut
    return layers


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


def _turned(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A convolution's kernel from Keras' (height, width, in, out) to torch's (out, in, height, width)."""
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array
