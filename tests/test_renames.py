"""Models and runs of version 0.1.0, whose specs and settings had other names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moue.models import create
from moue.models.load import load_run, save_weights
from moue.renames import SETTINGS, SPEC, current_settings, current_spec
from moue.runtime.engine import open_model
from moue.spec import VERSION, ModelSpec
from moue.training.config import Config

#: A spec as 0.1.0 wrote it.
OLD_SPEC: dict[str, Any] = {
    "name": "old",
    "network": "compact",
    "labels": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
    "size": 48,
    "colour": "grey",
    "margin": 0.1,
    "level": False,
    "temperature": 1.2,
    "uncertain": 0.45,
    "views": 2,
    "sha256": "",
    "licence": "MIT for the weights",
    "parameters": 10,
    "scores": {"public_test": 0.68, "public_test_twin_free": 0.67, "public_test_twin_free_se": 0.01},
    "trained": {"epochs": 2, "curves": {"train_loss": [1.5, 1.2]}},
}

#: What a ``config.json`` of 0.1.0 said in other words.
OLD_CONFIG: dict[str, Any] = {
    "data": {"erase": 0.3, "erase_size": 0.4, "validation": 0.2, "fold": 1},
    "model": {"network": "compact", "options": {"widths": [8, 16], "fold": 1}},
    "optim": {"batch": 32, "clip": 2.0, "sizes": [40, 48], "votes": 0.5, "lr": 0.01},
    "run": {"seed": 3},
}


def test_a_spec_of_the_first_version_means_the_same() -> None:
    spec = ModelSpec.from_dict(OLD_SPEC)
    assert (spec.color, spec.align, spec.uncertain_below, spec.license) == ("gray", False, 0.45, "MIT for the weights")
    assert spec.scores == {"public_test": 0.68, "public_test_deduplicated": 0.67, "public_test_deduplicated_se": 0.01}
    same = ("name", "network", "size", "margin", "temperature", "views", "sha256", "parameters", "trained")
    assert all(getattr(spec, name) == OLD_SPEC[name] for name in same)
    assert spec.labels == tuple(OLD_SPEC["labels"])


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_specs_are_written_in_the_current_version_alone(color: str, tmp_path: Path) -> None:
    spec = ModelSpec.from_dict(OLD_SPEC | {"colour": color})
    spec.save(tmp_path / "spec.json")
    text = (tmp_path / "spec.json").read_text(encoding="utf-8")
    values = json.loads(text)
    assert values["version"] == VERSION == 2
    assert not SPEC.keys() & values.keys()
    assert "grey" not in text
    assert "twin_free" not in text
    assert ModelSpec.load(tmp_path / "spec.json") == spec
    assert current_spec(values) == values, "current names stay as they are"


def test_an_exported_model_of_the_first_version_opens(tiny_onnx: Path, tmp_path: Path) -> None:
    model = tmp_path / "old.onnx"
    model.write_bytes(tiny_onnx.read_bytes())
    old = OLD_SPEC | {"sha256": ModelSpec.load(tiny_onnx.with_suffix(".json")).sha256}
    model.with_suffix(".json").write_text(json.dumps(old), encoding="utf-8")
    images = np.zeros((2, 1, 48, 48), np.uint8)
    opened = open_model(model)
    np.testing.assert_array_equal(opened.logits(images), open_model(tiny_onnx).logits(images))
    assert opened.spec.uncertain_below == 0.45


def test_settings_of_the_first_version_mean_the_same() -> None:
    config = Config.from_dict(current_settings(OLD_CONFIG))
    assert (config.data.random_erasing, config.data.random_erasing_size) == (0.3, 0.4)
    assert (config.data.validation, config.data.fold) == (0.2, 1), "a fold of cross-validation keeps its name"
    assert config.model.options == {"widths": [8, 16], "space_to_depth": 1}
    optim = config.optim
    assert (optim.batch_size, optim.grad_clip, optim.votes_weight, optim.lr) == (32, 2.0, 0.5, 0.01)
    assert tuple(optim.progressive_sizes) == (40, 48)
    assert config.run.seed == 3
    options = {"colour": "grey", "folded": True}
    old = {"model": {"network": "effnet-lite0", "options": options}}
    assert Config.from_dict(current_settings(old)).model.options == {"color": "gray", "fuse_bn": True}
    assert options == {"colour": "grey", "folded": True}, "what was read is not changed"


def test_settings_are_written_under_their_current_names_alone() -> None:
    written = json.loads(json.dumps(Config.from_dict(current_settings(OLD_CONFIG)).to_dict()))
    for section, names in SETTINGS.items():
        outer, _, inner = section.partition(".")
        keys = written[outer][inner] if inner else written[outer]
        assert not names.keys() & keys.keys()
    assert current_settings(written) == written


def test_a_run_of_the_first_version_opens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create("compact", 7, widths=[8, 16], space_to_depth=1).eval()
    (tmp_path / "config.json").write_text(json.dumps(OLD_CONFIG), encoding="utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(OLD_SPEC), encoding="utf-8")
    save_weights(network.state_dict(), tmp_path / "weights.safetensors", network.rebuild)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48), dtype=np.uint8)
    run = load_run(tmp_path, device="cpu")
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(run.logits(images), expected, atol=1e-5)
    assert run.spec == ModelSpec.from_dict(OLD_SPEC)


def test_options_that_rebuild_a_network_are_renamed_too(tmp_path: Path) -> None:
    """Weights of the first version carry the old names in their header."""
    network = create("googlenet", 7, width=0.25, color="rgb", aux=False)
    config = {"model": {"network": "googlenet", "options": {"width": 0.25, "aux": False}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(OLD_SPEC | {"colour": "rgb"}), encoding="utf-8")
    save_weights(network.state_dict(), tmp_path / "weights.safetensors", {"colour": "rgb"})
    assert load_run(tmp_path, device="cpu").network.input.color == "rgb"
