"""`make check-scores` holds every shipped model to the scores in its spec, and `scripts/bundle.py` writes those."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moue.labels import FERPLUS
from moue.runtime.weights import verify
from moue.spec import VIEWS, ModelSpec

ROOT = Path(__file__).resolve().parent.parent
SET = "synth:210:1"


def script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def shipped(tiny_onnx: Path, tmp_path: Path) -> Path:
    """A model as bundle.py ships it."""
    script("bundle").main([str(tiny_onnx), "mine", "--data", SET, "--folder", str(tmp_path)])
    return tmp_path / "mine.onnx"


def changed(path: Path, **scores: Any) -> None:
    spec = ModelSpec.load(path.with_suffix(".json"))
    kept = {key: value for key, value in {**spec.scores, **scores}.items() if value is not None}
    spec.replace(scores=kept).save(path.with_suffix(".json"))


def checked(path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    module = script("check_scores")
    monkeypatch.setattr(module, "list_models", lambda: [{"name": path.stem, "path": str(path)}])
    code: int = module.main([SET, *options])
    return code


def test_what_is_shipped_carries_all_its_scores(shipped: Path, tiny_onnx: Path) -> None:
    spec = verify(shipped).spec
    assert spec.name == "mine"
    assert shipped.read_bytes() == tiny_onnx.read_bytes()
    keys = [
        "",
        "_se",
        "_ece",
        "_at_80",
        "_balanced_accuracy",
        "_macro_f1",
        "_deduplicated",
        "_deduplicated_se",
        *(f"_views_{n}" for n in VIEWS),
    ]
    assert list(spec.scores) == [f"public_test{key}" for key in keys]
    assert spec.scores["public_test_views_1"] == spec.scores["public_test"]
    json.dumps(spec.scores, allow_nan=False)


def test_scores_that_hold_pass_and_others_do_not(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(shipped, monkeypatch, "--views") == 0
    assert "yes" in capsys.readouterr().out
    right = dict(ModelSpec.load(shipped.with_suffix(".json")).scores)
    for key in ("public_test", "public_test_deduplicated", "public_test_ece"):
        for wrong in (right[key] + 0.01, None):
            changed(shipped, **{key: wrong})
            assert checked(shipped, monkeypatch) == 1
        changed(shipped, **right)
    changed(shipped, public_test_views_10=right["public_test_views_10"] + 0.01)
    assert checked(shipped, monkeypatch) == 0
    assert checked(shipped, monkeypatch, "--views") == 1


def test_a_model_of_other_labels_is_not_left_out_in_silence(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ferplus.onnx"
    shutil.copy(tiny_onnx, path)
    module = script("check_scores")
    monkeypatch.setattr(module, "list_models", lambda: [{"name": "ferplus", "path": str(path)}])
    fake = type("Fake", (), {"spec": ModelSpec("ferplus", "linear", FERPLUS.labels)})
    monkeypatch.setattr(module, "open_model", lambda *a, **k: fake())
    assert module.main([SET]) == 1
    assert "VOTES=fer2013new.csv" in capsys.readouterr().out


def test_nothing_to_check_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("check_scores")
    monkeypatch.setattr(module, "list_models", list)
    assert module.main([SET]) == 1
