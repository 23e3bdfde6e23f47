"""The shipped models as torch networks: they compute what their graphs do, and a changed file is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import moue_models
import numpy as np
import pytest
import torch
from torch import nn

from moue.data.readers.synth import synthetic
from moue.errors import MissingExtra, ModelError, UnknownName, UsageError
from moue.runtime import weights
from moue.runtime.engine import open_model
from moue.runtime.weights import TORCH, find_model, find_torch_weights
from moue.spec import ModelSpec, file_sha256
from moue.trained import load_network
from moue.trained.network import open_network

#: Weights are the graph's own numbers; the vision transformer's positions are in 8 bits in the graph alone.
TOLERANCE = {"vit": 1e-2}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Drawn faces and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 1, 48, 48)).astype(np.uint8)
    return np.concatenate([noise, synthetic(20, seed=3).images])


@pytest.mark.parametrize("name", [name for name in TORCH if "/" not in name])
def test_a_network_computes_what_its_graph_does(name: str, images: np.ndarray) -> None:
    network, graph = load_network(name), open_model(name, engine="onnxruntime")
    assert not network.training
    assert network.spec is not None
    assert (network.spec.labels, network.spec.temperature) == (graph.spec.labels, graph.spec.temperature)
    with torch.no_grad():
        logits = network(torch.from_numpy(images)).numpy()
    assert np.abs(logits - graph.logits(images)).max() < TOLERANCE.get(name, 1e-3)


def test_the_members_of_the_ensemble_add_up_to_it(images: np.ndarray) -> None:
    listed = find_model("full").spec.trained["members"]
    own = [name for name in TORCH if name.startswith("full/")]
    assert ["default", *(name.removeprefix("full/") for name in own)] == [member["name"] for member in listed]
    members = [open_network(name) for name in ("default", *own)]
    assert [member.spec.temperature for member in members] == [member["temperature"] for member in listed]
    factors = [member["weight"] / member["temperature"] for member in listed]
    together = sum(factor * member.logits(images) for factor, member in zip(factors, members, strict=True))
    graph = open_model("full", engine="onnxruntime").logits(images)
    # The ensemble's logits are at a temperature of their own.
    ratio = (together * graph).sum() / (together * together).sum()
    assert np.abs(ratio * together - graph).max() < 2e-3


@pytest.mark.parametrize("name", ["default", "ferplus"])
def test_its_batch_norms_normalize(name: str) -> None:
    network = load_network(name)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = []
    for norm in norms:
        norm.register_forward_hook(lambda module, inputs, output: seen.append((module, output)))
    with torch.no_grad():
        network(torch.from_numpy(synthetic(64, seed=4).images))
    for module, output in seen:
        # Of other faces than the statistics: about the same, and far from the identity.
        normal = (output - module.bias.detach().view(1, -1, 1, 1)) / module.weight.view(1, -1, 1, 1)
        assert 0.1 < float(normal.detach().std()) < 10
    filters = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all(torch.allclose(weight.flatten(1).norm(dim=1), torch.ones(1), atol=1e-4) for weight in filters)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", TORCH)
def test_each_file_is_the_one_that_its_spec_describes(name: str) -> None:
    path, spec = find_torch_weights(name)
    assert spec.sha256 == file_sha256(path)
    assert spec.name == name
    assert spec.license
    source = spec.trained["recovered_from"]
    assert source["sha256"] == find_model(source["model"]).spec.sha256, (
        "made from another graph: scripts/torch_weights.py"
    )


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(moue_models.folder() / "torch", tmp_path / "torch")
    monkeypatch.setattr(weights, "models_folder", lambda: tmp_path)
    path = tmp_path / "torch" / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny.safetensors is damaged or was changed: its sha256 must be"):
        load_network("tiny")
    path.unlink()
    with pytest.raises(ModelError, match=r"no weights for torch of 'tiny'.*pip install --upgrade moue-models"):
        load_network("tiny")
    # One that fits its spec, and is no file of a shipped model.
    path.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    ModelSpec.load(path.with_suffix(".json")).replace(sha256=file_sha256(path)).save(path.with_suffix(".json"))
    with pytest.raises(ModelError, match="no file of a shipped model's weights"):
        load_network("tiny")


def test_without_moue_models_the_error_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "models_folder", lambda: None)
    with pytest.raises(
        MissingExtra, match=r"'moue-models', which is not installed. Type: pip install 'moue\[models\]'"
    ):
        load_network("default")


def test_other_names_are_refused_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean ferplus"):
        load_network("ferplsu")
    with pytest.raises(UnknownName, match="Did you mean full/votes"):
        load_network("full/vots")
    with pytest.raises(UsageError, match=r"an ensemble\. Take one of its members: full/mobile, full/votes"):
        load_network("full")
    with pytest.raises(UsageError, match="Give the folder of its run"):
        load_network("mine.onnx")
    with pytest.raises(ModelError, match="there is no run folder"):
        load_network(tmp_path / "none")
    (tmp_path / "default").mkdir()
    with pytest.raises(ModelError, match="not finished"):
        load_network(tmp_path / "default")


def test_the_function_can_be_imported_without_torch() -> None:
    code = (
        "import sys; import moue.trained; assert callable(moue.trained.load_network); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
