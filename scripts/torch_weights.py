"""Write the shipped models' weights for torch, out of their ONNX files: what fine-tuning goes on from.

    python scripts/torch_weights.py --data fer2013.csv.zip

A file ``NAME.safetensors`` holds the numbers of ``NAME.onnx``, 8-bit weights with their scales, by the names of the
torch network; its header says which network, and the spec beside it has its hash. An exported graph has no batch norms
behind its convolutions: they were fused into them. Here they come back. Each channel of such a convolution gets the
norm 1, and the batch norm behind it the mean and variance that this channel has over FER-2013's Training images, with
the weight and bias that undo them: in evaluation the network computes what the graph does, and in training its batch
norms normalize as they did. Nothing is drawn at random: the same files come out, to the byte, on a machine that rounds
alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from moue import data
from moue.models import create
from moue.models.base import Network
from moue.models.load import INT8, MODEL, SCALE, load_file
from moue.models.tensors import save_file
from moue.runtime.weights import find_model
from moue.spec import ModelSpec, file_sha256
from moue.training.recipe import load_recipe

#: Each file's model, the prefix of its weights in that model's graph, and the recipe whose network it has.
SOURCES = {
    "default": ("default", "", "mobile"),
    "ferplus": ("ferplus", "", "mobile"),
    "tiny": ("tiny", "", "tiny"),
    # The ensemble's first member is `default`.
    "full/mobile": ("full", "member1/", "full/mobile"),
    "full/votes": ("full", "member2/", "full/votes"),
    "googlenet": ("googlenet", "", "googlenet"),
    "resnet50v2": ("resnet50v2", "", "resnet50v2-small"),
    "vit": ("vit", "", "vit-compact"),
}

#: Of the network that a graph was exported from, where another option than the recipe's says so: what trains alone, and
#: is in no graph, or the networks whose features stand side by side.
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux": False},
    "full/votes": {
        "members": [
            *({"network": "face-mobilenet", "options": {"upsample": side}} for side in (128, 144)),
            {"network": "face-mobilenet", "options": {"upsample": 128, "batch_norm": False}},
            {"network": "face-resnet", "options": {"upsample": 112, "batch_norm": True}},
            {"network": "compact", "options": load_recipe("full/big").model.options},
        ]
    },
}

FOLDER = Path(__file__).parent.parent / "packages" / "moue-models" / "src" / "moue_models" / "models" / "torch"

#: How many Training images the batch norms' means and variances are taken from, evenly spaced.
IMAGES = 1024

#: Largest difference allowed between the torch network's logits and the graph's, whose constants are in 8 bits, too:
#: the vision transformer's positions differ by that.
TOLERANCE = 1e-2


def main(argv: list[str] | None = None) -> None:
    """Recover, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="the models to write (default: all)")
    parser.add_argument(
        "--data", required=True, help="FER-2013, whose Training images the batch norms' statistics are of"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to put them (default: moue-models)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # Sums in one order.
    table = data.load(args.data, labels="fer2013").part("train")
    images = torch.from_numpy(table.images[np.linspace(0, len(table) - 1, IMAGES).astype(np.int64)])
    for name in args.names or SOURCES:
        path = args.folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = file_sha256(path) if path.exists() else ""
        write(name, path, images)
        state = "unchanged" if file_sha256(path) == before else "written"
        sys.stdout.write(f"{name}: {path.stat().st_size / 1e6:.2f} MB, {state}\n")


def write(name: str, path: Path, images: Tensor) -> None:
    """Write one file with its spec, and compare it with the graph that it comes from."""
    source, prefix, recipe = SOURCES[name]
    file = find_model(source)
    graph = onnx.load(file.path).graph
    member = file.spec.trained["members"][int(prefix[6])] if prefix else {}
    model = load_recipe(recipe).model
    options = {**model.options, **OPTIONS.get(name, {})}
    network = create(model.network, len(file.spec.labels), **options).eval()
    stored = recover(network, arrays_of(graph, prefix), images)
    save_file(stored, path, {MODEL: json.dumps({"network": model.network, "options": options})})
    spec = file.spec.replace(
        name=name,
        network=model.network,
        sha256=file_sha256(path),
        parameters=sum(p.numel() for p in network.inference_parameters()),
    )
    if prefix:
        # What was measured for the ensemble does not hold for its member.
        plain = ModelSpec(name, model.network, spec.labels)
        spec = spec.replace(
            temperature=member["temperature"],
            license=member.get("license", spec.license),
            uncertain_below=plain.uncertain_below,
            scores={},
            trained=member["trained"],
        )
    origin = {"model": source, "sha256": file.spec.sha256}
    spec = spec.replace(trained={**spec.trained, "recovered_from": origin})
    spec.save(path.with_suffix(".json"))
    some = images[:256].numpy()
    difference = np.abs(load_file(path, spec, "cpu").logits(some) - logits(graph, prefix, some)).max()
    if not difference < TOLERANCE:
        raise SystemExit(f"{name}: the logits of torch and of the graph differ by {difference:.2g}.")


@dataclass(frozen=True)
class Stored:
    """An array as the graph holds it."""

    values: NDArray[Any]
    """int8 or float32."""
    scale: NDArray[np.float32] | None
    """What int8 values are multiplied by; None for others."""

    @property
    def wide(self) -> NDArray[np.float32]:
        """The numbers that the graph computes with."""
        return self.values if self.scale is None else (self.values * self.scale).astype(np.float32)


def arrays_of(graph: onnx.GraphProto, prefix: str) -> dict[str, Stored]:
    """The weights of a graph, or of an ensemble's member, by their names in torch."""
    held = {
        t.name.removeprefix(prefix): numpy_helper.to_array(t) for t in graph.initializer if t.name.startswith(prefix)
    }
    found = {}
    for name, values in held.items():
        if name.endswith("_int8"):
            name = name.removesuffix("_int8")
            found[name] = Stored(values, held[f"{name}_scale"])
        elif values.dtype == np.float32:
            found[name] = Stored(values, None)
    # The exporter transposes linear layers inside of others, and names them anew: each is known by the bias behind it.
    products = {node.output[0]: node.input[1].removeprefix(prefix) for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        if node.op_type == "Add":
            for bias, product in (node.input, reversed(node.input)):
                matrix = products.get(product)
                name = bias.removeprefix(prefix)
                if matrix in found and name in found:
                    values, scale = found[matrix].values, found[matrix].scale
                    found[name.removesuffix("bias") + "weight"] = Stored(values.T, None if scale is None else scale.T)
    return found


def recover(network: Network, arrays: dict[str, Stored], images: Tensor) -> dict[str, Tensor]:
    """What the file holds: the network's weights by name, those in 8 bits with their scales."""
    state, stored = network.state_dict(), {}
    fused: dict[str, NDArray[np.float32]] = {}
    for name, value in state.items():
        if name in arrays:
            stored[name] = arrays[name]
        elif name.endswith("num_batches_tracked"):
            stored[name] = Stored(value.numpy(), None)
    norms = {bn: conv for conv, bn in pairs(network, images[:2]) if f"{bn}.running_var" not in arrays}
    for bn, conv in norms.items():
        # In one reading of the file a channel of norm 1 has the scale 1 / norm of its whole numbers.
        held = stored[f"{conv}.weight"]
        lengths = np.sqrt((held.wide.astype(np.float64) ** 2).sum((1, 2, 3), keepdims=True))
        lengths = np.where(lengths > 0, lengths, 1)
        scale = np.float32(1) if held.scale is None else held.scale
        unit = (scale / lengths).astype(np.float32)
        wide = Stored(held.values, unit)
        stored[f"{conv}.weight"] = wide if held.scale is not None else Stored(wide.wide, None)
        fused[bn] = lengths.ravel().astype(np.float32)
        zeros = np.zeros_like(fused[bn])
        eps = network.get_submodule(bn).eps
        stored[f"{bn}.weight"] = Stored(fused[bn], None)
        # A convolution's own bias went into that of the norm behind it; where it was zero, the exporter made a new one.
        own = f"{conv}.bias" in state
        stored[f"{bn}.bias"] = arrays[name if (name := f"{conv}.bias") in arrays else f"{conv}.weight_bias"]
        stored[f"{bn}.running_mean"], stored[f"{bn}.running_var"] = Stored(zeros, None), Stored(zeros + 1 - eps, None)
        if own:
            stored[f"{conv}.bias"] = Stored(zeros, None)
    missing = state.keys() - stored.keys()
    if missing:
        raise SystemExit(f"the graph lacks {', '.join(sorted(missing))}.")
    network.load_state_dict({name: torch.tensor(held.wide) for name, held in stored.items()})
    for bn, (mean, var) in statistics(network, norms, images).items():
        eps = network.get_submodule(bn).eps
        stored[f"{bn}.running_mean"], stored[f"{bn}.running_var"] = Stored(mean, None), Stored(var, None)
        stored[f"{bn}.weight"] = Stored((fused[bn] * np.sqrt(var.astype(np.float64) + eps)).astype(np.float32), None)
        bias = stored[f"{bn}.bias"].values + fused[bn].astype(np.float64) * mean
        stored[f"{bn}.bias"] = Stored(bias.astype(np.float32), None)
    parts = {}
    for name, held in stored.items():
        whole = held.scale is not None
        parts[name + INT8 if whole else name] = torch.tensor(np.ascontiguousarray(held.values))
        if whole:
            parts[name + SCALE] = torch.tensor(np.ascontiguousarray(held.scale))
    return parts


def pairs(network: Network, images: Tensor) -> list[tuple[str, str]]:
    """The names of each layer and of the batch norm that is computed right after it."""
    order: list[tuple[str, nn.Module]] = []
    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: order.append((name, m)))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    with torch.inference_mode():
        network(images)
    for handle in handles:
        handle.remove()
    return [(a, b) for (a, _), (b, m) in itertools.pairwise(order) if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]


def statistics(
    network: Network, norms: Iterable[str], images: Tensor
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Mean and variance of each channel that goes into batch norms, over images at the network's size."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, x: Tensor) -> None:
        x = x.double()
        sums[name] = sums.get(name, torch.zeros(())) + torch.stack([x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))])
        counts[name] = counts.get(name, 0) + x.numel() // x.shape[1]

    for name in norms:
        network.get_submodule(name).register_forward_pre_hook(lambda m, inputs, name=name: add(name, inputs[0]))
    with torch.inference_mode():
        for part in torch.split(images, 64):
            network(part)
    found = {}
    for name, (first, second) in sums.items():
        mean = first / counts[name]
        found[name] = (mean.float().numpy(), (second / counts[name] - mean**2).clamp_min(0).float().numpy())
    return found


def logits(graph: onnx.GraphProto, prefix: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of a graph, or of an ensemble's member, in ONNX Runtime."""
    import onnxruntime

    model = onnx.ModelProto(graph=graph, ir_version=10, opset_import=[onnx.helper.make_opsetid("", 18)])
    del model.graph.output[:]
    name = f"{prefix}logits"
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run([name], {"images": images})
    return found


if __name__ == "__main__":
    main()
