"""Models are found by name or path, and only what its spec describes is opened."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from moue.errors import MissingExtra, ModelError, UnknownName, UsageError
from moue.runtime import weights
from moue.runtime.weights import find_model, list_models
from moue.spec import ModelSpec


def copy(model: Path, target: Path) -> Path:
    """A model and its spec under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(model, target)
    shutil.copy(model.with_suffix(".json"), target.with_suffix(".json"))
    return target


@pytest.fixture
def moue_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A second distribution with an empty folder."""
    folder = tmp_path / "moue_models"
    folder.mkdir()
    module = ModuleType("moue_models")
    module.folder = lambda: folder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moue_models", module)
    return folder


def test_a_path_and_a_run_folder_name_a_model(tiny_onnx: Path, tmp_path: Path) -> None:
    for name in (tiny_onnx, str(tiny_onnx)):
        assert find_model(name).path == tiny_onnx
        assert find_model(name).spec.name == "tiny_random"
    copy(tiny_onnx, tmp_path / "run" / "model.onnx")
    assert find_model(tmp_path / "run").path == tmp_path / "run" / "model.onnx"


def test_a_changed_file_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = copy(tiny_onnx, tmp_path / "changed.onnx")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"changed\.onnx is damaged or was changed: its sha256 must be [0-9a-f]{12}…\. Got"
    ):
        find_model(path)


def test_a_spec_without_hash_or_a_missing_spec_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = copy(tiny_onnx, tmp_path / "bare.onnx")
    spec = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**spec, "sha256": ""}))
    with pytest.raises(ModelError, match="names no sha256"):
        find_model(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"bare\.json is missing: a model's \.onnx travels with a \.json"):
        find_model(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, "nested more than 32 deep"),
        ('{"name": ' * 100_000, "nested more than 32 deep"),
        ('{"trained": ' + '{"a": [' * 16 + "]}" * 16 + "}", "nested more than 32 deep"),
        ('{"name": "' + "[" * (1 << 20) + '"}', "larger than 1,048,576 bytes"),
        ('"' * 99_999, "not a model's JSON"),
        ('{"name": "' + "\\" * 99_999, "not a model's JSON"),
        # An hour's work where each quote is taken for the beginning of a text.
        ('"' + '\\"' * 500_000, "not a model's JSON"),
    ],
    ids=["lists", "objects", "both", "large", "quotes", "backslashes", "escaped quotes"],
)
def test_a_spec_has_limits_of_depth_and_size(content: str, words: str, tiny_onnx: Path, tmp_path: Path) -> None:
    path = copy(tiny_onnx, tmp_path / "model.onnx")
    path.with_suffix(".json").write_text(content)
    with pytest.raises(ModelError, match=rf"model\.json.*{words}") as raised:
        find_model(path)
    assert len(str(raised.value)) < 200 + len(str(path))


def test_brackets_in_texts_are_no_depth(tiny_onnx: Path, tmp_path: Path) -> None:
    path = copy(tiny_onnx, tmp_path / "model.onnx")
    name = '["{\\' * 100
    ModelSpec.load(path.with_suffix(".json")).replace(name=name).save(path.with_suffix(".json"))
    assert find_model(path).spec.name == name


def test_what_is_no_model_says_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean default"):
        find_model("defualt")
    with pytest.raises(UnknownName, match="Known: default, default-int8, ferplus"):
        find_model("xyz")
    with pytest.raises(ModelError, match="no such model file or run folder"):
        find_model(tmp_path / "nothing" / "xyz.qqq")
    with pytest.raises(ModelError, match=r"holds no model\.onnx\. If it is a run, type: moue export"):
        find_model(tmp_path)
    with pytest.raises(ModelError, match=r"moue export .* -o my\.onnx, and --model my\.onnx"):
        find_model(tmp_path)
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ModelError, match=r"must end in \.onnx"):
        find_model(tmp_path / "weights.pt")


def test_bundled_models_go_by_name(monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="lacks the bundled model 'default'; it has none"):
        find_model("default")
    copy(tiny_onnx, tmp_path / "tiny.onnx")
    assert find_model("tiny").path == tmp_path / "tiny.onnx"
    with pytest.raises(ModelError, match="it has tiny"):
        find_model("default")


def test_the_second_distribution_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moue_models", None)
    with pytest.raises(MissingExtra, match=r"pip install 'moue\[models\]'"):
        find_model("full")
    assert weights.models_folder() is None


def test_the_second_distribution_brings_models(moue_models: Path, tiny_onnx: Path) -> None:
    with pytest.raises(ModelError, match=r"no 'full' yet; it has .*`moue models`.*pip install --upgrade moue-models"):
        find_model("full")
    copy(tiny_onnx, moue_models / "full.onnx")
    assert find_model("full").path == moue_models / "full.onnx"
    assert [(m["name"], m["origin"]) for m in list_models() if m["origin"] != "bundled"] == [("full", "moue-models")]


def test_models_are_listed_with_what_is_wrong_with_them(tiny_onnx: Path, tmp_path: Path, moue_models: Path) -> None:
    copy(tiny_onnx, tmp_path / "mine" / "a" / "good.onnx")
    bad = copy(tiny_onnx, tmp_path / "mine" / "bad.onnx")
    bad.with_suffix(".json").write_text('{"name": "x"}')
    (tmp_path / "mine" / "no_spec.onnx").touch()
    rows = {Path(m["name"]).name: m for m in list_models([tmp_path / "mine"]) if m["origin"] == "local"}
    assert list(rows) == ["bad.onnx", "good.onnx"]
    good = rows["good.onnx"]
    assert good["remark"] is None
    assert good["labels"][3] == "happy"
    assert good["parameters"] == 1008
    assert good["megabytes"] == round(tiny_onnx.stat().st_size / 1e6, 3)
    assert "needs labels, network" in rows["bad.onnx"]["remark"]
    assert find_model(good["path"]).spec.network == "linear"
    with pytest.raises(UsageError, match="is not a folder"):
        list_models([tmp_path / "none"])


def test_a_spec_with_a_text_where_a_number_belongs_is_refused() -> None:
    with pytest.raises(ModelError, match="uncertain_below must be a number"):
        ModelSpec.from_dict({"name": "m", "network": "compact", "labels": ["a", "b"], "uncertain_below": "0.5"})
