from __future__ import annotations

from pathlib import Path

import pytest
from halves import Halves

from moue.runtime.recognizer import Recognizer
from moue.spec import ModelSpec


@pytest.fixture(scope="module")
def model(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with probabilities that are not all 0 and 1, so that a difference shows."""
    path = tmp_path_factory.mktemp("soft") / "soft.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    ModelSpec.load(tiny_onnx.with_suffix(".json")).replace(temperature=20.0).save(path.with_suffix(".json"))
    return path


@pytest.fixture(scope="module")
def halves(model: Path) -> Recognizer:
    return Recognizer(model, Halves(), threads=1)
