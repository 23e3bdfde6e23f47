"""Weights in TensorFlow.js's layout, and the network that starts from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.data.readers.synth import synthetic
from moue.errors import ModelError, WeightsMissing
from moue.models import create, face_mobilenet
from moue.models.face_resnet import BLOCKS, MANIFEST
from moue.models.tfjs import read_tfjs
from moue.training.loop import fit


def write(folder: Path, arrays: dict[str, np.ndarray], name: str = MANIFEST, cut: int = 0) -> Path:
    """Float arrays as a manifest and two files, as a converter writes them."""
    data = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    half = len(data) // 2 + 1
    folder.mkdir(exist_ok=True)
    (folder / "a.bin").write_bytes(data[:half])
    (folder / "b.bin").write_bytes(data[half : len(data) - cut])
    entries = [{"name": n, "shape": list(a.shape), "dtype": "float32"} for n, a in arrays.items()]
    (folder / name).write_text(json.dumps([{"paths": ["a.bin", "b.bin"], "weights": entries}]))
    return folder / name


def published(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the published names and in the published shapes."""
    random = np.random.default_rng(seed)
    shapes = {"conv32_down": (7, 7, 3, 32)}
    for name, inputs, outputs in BLOCKS:
        shapes |= {f"{name}/conv1": (3, 3, inputs, outputs), f"{name}/conv2": (3, 3, outputs, outputs)}
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}/conv/filters"] = random.normal(0, 0.05, shape)
        arrays[f"{name}/conv/bias"] = random.normal(0, 0.1, shape[-1])
        arrays[f"{name}/scale/weights"] = random.uniform(0.5, 1.5, shape[-1])
        arrays[f"{name}/scale/biases"] = random.normal(0, 0.1, shape[-1])
    return arrays | {"fc": random.normal(0, 0.05, (256, 128))}


def test_floats_and_quantized_values_in_several_files(tmp_path: Path) -> None:
    floats, codes = np.array([[1.5, -2.0]], "<f4"), np.array([0, 3, 255], np.uint8)
    data = floats.tobytes() + codes.tobytes()
    (tmp_path / "1.bin").write_bytes(data[:5])
    (tmp_path / "2.bin").write_bytes(data[5:])
    quantized = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    entries = [
        {"name": "a", "shape": [1, 2], "dtype": "float32"},
        {"name": "b", "shape": [3], "dtype": "float32", "quantization": quantized},
    ]
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps([{"paths": ["1.bin", "2.bin"], "weights": entries}]))
    weights = read_tfjs(manifest)
    np.testing.assert_array_equal(weights["a"], floats)
    np.testing.assert_array_equal(weights["b"], np.array([-1.0, 0.5, 126.5], np.float32))


def test_missing_short_and_other_files_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no file .*none\.json"):
        read_tfjs(tmp_path / "none.json")
    arrays = {"a": np.zeros(5, np.float32)}
    with pytest.raises(ModelError, match="ends at byte 20 of 16"):
        read_tfjs(write(tmp_path / "short", arrays, cut=4))
    manifest = write(tmp_path / "long", arrays)
    with open(tmp_path / "long" / "b.bin", "ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match="names 20 bytes of weights, and its files hold 24"):
        read_tfjs(manifest)
    (tmp_path / "long" / "a.bin").unlink()
    with pytest.raises(WeightsMissing, match=r"a\.bin"):
        read_tfjs(manifest)
    for text in (
        "{",
        "3",
        "{}",
        '{"weightsManifest": 3}',
        '[{"weights": 1}]',
        '[{"paths": [], "weights": [{"name": "a", "shape": [1], "dtype": "x"}]}]',
    ):
        manifest.write_text(text)
        with pytest.raises(ModelError, match="not a manifest"):
            read_tfjs(manifest)


def test_a_face_resnet_computes_what_the_published_layers_do(tmp_path: Path) -> None:
    arrays = {name: torch.from_numpy(a.astype(np.float32)) for name, a in published().items()}
    write(tmp_path / "model", {name: a.numpy() for name, a in arrays.items()})
    network = create("face-resnet", 7, weights=tmp_path / "model", blocks=5, upsample=64).eval()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()

    # The layers one by one, with the scale layers beside the convolutions.
    def layer(x: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        filters = arrays[f"{name}/conv/filters"].permute(3, 2, 0, 1)
        y = torch.nn.functional.conv2d(x, filters, arrays[f"{name}/conv/bias"], stride, padding)
        scale, bias = arrays[f"{name}/scale/weights"], arrays[f"{name}/scale/biases"]
        return y * scale[:, None, None] + bias[:, None, None]

    x = (pixels - torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)) / 256
    x = torch.nn.functional.max_pool2d(layer(x, "conv32_down", 2, 0).relu(), 3, 2)
    assert x.shape[2] == 14
    for i in (1, 2, 3):
        y = layer(layer(x, f"conv32_{i}/conv1", 1, 1).relu(), f"conv32_{i}/conv2", 1, 1)
        x = (x + y).relu()
    y = layer(layer(x, "conv64_down/conv1", 2, 0).relu(), "conv64_down/conv2", 1, 1)
    assert y.shape[2] == 6, "without padding the map is one shorter than the average's"
    short = torch.zeros(2, 64, 7, 7)
    short[:, :, :6, :6] = y
    short[:, :32] += torch.nn.functional.avg_pool2d(x, 2)
    x = short.relu()
    y = layer(layer(x, "conv64_1/conv1", 1, 1).relu(), "conv64_1/conv2", 1, 1)
    x = (x + y).relu()
    with torch.no_grad():
        features = network.forward_features(network.prepare(pixels))
    torch.testing.assert_close(features, x, atol=2e-4, rtol=1e-4)
    assert features.std() > 0.1, "features that are all alike would prove nothing"


def published_mobilenet(folder: Path, blocks: int) -> dict[str, torch.Tensor]:
    """Random weights as `face-mobilenet` is published: in a model's file, whose first entry is its graph."""
    random = np.random.default_rng(0)
    arrays = {"conv1/convolution/merged_input": random.normal(0, 0.02, (3, 3, 3, 32))}
    arrays["conv1_bn/batchnorm_1/sub"] = random.normal(0, 0.1, 32)
    inputs = 32
    for i, (outputs, _) in enumerate(face_mobilenet.BLOCKS[:blocks], 1):
        arrays[f"conv_dw_{i}/depthwise_kernel"] = random.normal(0, 0.5, (3, 3, inputs, 1))
        arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"] = random.uniform(0.5, 1.5, inputs)
        arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"] = random.normal(0, 0.1, inputs)
        arrays[f"conv_pw_{i}/convolution/merged_input"] = random.normal(0, 0.3, (1, 1, inputs, outputs))
        arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"] = random.normal(0, 0.1, outputs)
        inputs = outputs
    manifest = write(folder, arrays, face_mobilenet.MANIFEST)
    manifest.write_text(json.dumps({"modelTopology": {}, "weightsManifest": json.loads(manifest.read_text())}))
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


@pytest.mark.parametrize("side", [64, 66])
def test_a_face_mobilenet_computes_what_the_published_layers_do(tmp_path: Path, side: int) -> None:
    arrays = published_mobilenet(tmp_path, blocks=4)
    network = create("face-mobilenet", 7, weights=tmp_path, blocks=4, upsample=side, batch_norm=False).eval()
    pixels = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0)).float()

    # A convolution of a step of 2 gives half the map, rounded up, and misses one row at the end, or one at either end.
    def layer(x: torch.Tensor, filters: torch.Tensor, bias: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
        before, wanted = int(stride == 1 or x.shape[3] % 2), -(-x.shape[3] // stride)
        x = torch.nn.functional.pad(x, (before, 4, before, 4)) if filters.shape[3] == 3 else x
        y = torch.nn.functional.conv2d(x, filters, bias, stride, groups=groups)[:, :, :wanted, :wanted]
        return y.clamp(0, 6)

    x = pixels - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    x = layer(x, arrays["conv1/convolution/merged_input"].permute(3, 2, 0, 1), arrays["conv1_bn/batchnorm_1/sub"], 2)
    for i, (_, stride) in enumerate(face_mobilenet.BLOCKS[:4], 1):
        scale = arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"].view(-1, 1, 1, 1)
        filters = arrays[f"conv_dw_{i}/depthwise_kernel"].permute(2, 3, 0, 1) * scale
        x = layer(x, filters, arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"], stride, groups=len(filters))
        filters = arrays[f"conv_pw_{i}/convolution/merged_input"].permute(3, 2, 0, 1)
        x = layer(x, filters, arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"], 1)
    with torch.no_grad():
        features = network.forward_features(network.prepare(pixels))
    assert features.shape == (2, 256, -(-side // 8), -(-side // 8))
    torch.testing.assert_close(features, x, atol=1e-3, rtol=1e-3)
    assert features.std() > 0.1, "features that are all alike would prove nothing"


def test_a_face_mobilenet_says_what_its_weights_lack(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"faceres-deep\.json"):
        create("face-mobilenet", 7, weights=tmp_path)
    published_mobilenet(tmp_path, blocks=3)
    create("face-mobilenet", 7, weights=tmp_path, blocks=3)
    with pytest.raises(ModelError, match=r"conv_dw_4_bn/batchnorm_1/mul"):
        create("face-mobilenet", 7, weights=tmp_path, blocks=4)


@pytest.mark.parametrize("name", ["face-resnet", "face-mobilenet"])
def test_batch_norms_put_back_change_nothing_at_first_and_follow_from_there(tmp_path: Path, name: str) -> None:
    if name == "face-resnet":
        write(tmp_path, published())
    else:
        published_mobilenet(tmp_path, blocks=5)
    options = {"weights": tmp_path, "blocks": 5, "upsample": 64}
    plain, normed = (create(name, 7, **options, batch_norm=norm) for norm in (False, True))
    pixels = torch.randint(0, 256, (32, 1, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    normed.start_from(pixels)
    assert normed.training
    x = plain.prepare(pixels)
    with torch.no_grad():
        expected = plain.forward_features(x)
        for network in (normed, normed.eval()):
            torch.testing.assert_close(network.forward_features(x), expected, atol=1e-3, rtol=1e-3)
        # Brighter images are normalized in training alone.
        bright = (pixels.float() * 2).clamp(0, 255)
        used = normed.forward_features(normed.prepare(bright))
        trained = normed.train().forward_features(normed.prepare(bright))
    assert (used - trained).abs().mean() > 0.01


def test_training_shows_a_face_resnet_its_images_before_the_first_step(tmp_path: Path) -> None:
    write(tmp_path / "weights", published())
    options = f"weights: {tmp_path / 'weights'}, blocks: 1, upsample: 48, batch_norm: true"
    settings = ["model.network=face-resnet", f"model.options={{{options}}}", "optim.epochs=1", "optim.steps=1"]
    config = SMALL.override([*settings, "optim.lr=1e-9", "optim.name=sgd", "optim.ema=0"])
    run = fit(config, synthetic(70, seed=1), tmp_path / "run")
    weights = load_file(run.folder / "weights.safetensors")
    assert not torch.equal(weights["stem_norm.weight"], torch.ones(32))
    assert weights["stem_norm.bias"].abs().min() > 0


def test_a_face_resnet_says_what_its_weights_lack(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="manifest"):
        create("face-resnet", 7, weights=tmp_path)
    arrays = published()
    del arrays["conv64_2/conv1/scale/biases"]
    write(tmp_path, arrays)
    with pytest.raises(ModelError, match="conv64_2/conv1/scale/biases"):
        create("face-resnet", 7, weights=tmp_path)
    create("face-resnet", 7, weights=tmp_path, blocks=3)
