"""`moue doctor` on the command line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moue import doctor
from moue.cli.main import main
from moue.runtime import weights

ROOT = Path(__file__).resolve().parents[2]


def diagnosis(capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[dict[str, Any], str]:
    assert main(["doctor", "--format", "json"]) == code
    out, err = capsys.readouterr()
    return json.loads(out), err


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without moue-models, whose models take a second to check, and with a camera's package."""
    monkeypatch.setattr("moue.runtime.weights.EXTRA", ())
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.13.0" if name == "opencv-python" else real(name))


@pytest.mark.usefixtures("_installed")
def test_a_sound_installation(capsys: pytest.CaptureFixture[str]) -> None:
    found, err = diagnosis(capsys)
    assert err == ""
    contract = {"version", "python", "packages", "engines", "threads", "camera", "cache", "models", "telemetry"}
    assert contract <= found.keys()
    assert found["telemetry"] == "off"
    assert {"onnxruntime", "openvino"} <= set(found["engines"])
    assert {"cuda"} <= {other["name"] for other in found["other_engines"]} | set(found["engines"])
    assert [(m["name"], m["ok"]) for m in found["models"]] == [
        (name, True) for name in ("centerface", *weights.BUNDLED)
    ]
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert found["threads"] >= 1
    assert found["cache"]["ok"]
    assert found["cache"]["path"] == os.environ["MOUE_CACHE"]
    assert found["problems"] == []


@pytest.mark.usefixtures("_installed")
def test_the_table_has_a_row_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "moue: reading faces works here. What is not ok is optional\n"
    lines = out.splitlines()
    assert lines[0].split() == ["part", "name", "ok", "remark"]
    parts = {line.split()[0] for line in lines[1:]}
    assert parts == {"moue", "package", "engine", "model", "camera", "cache", "telemetry", "extra"}


@pytest.mark.usefixtures("_installed")
def test_a_missing_extra_is_no_problem_and_says_what_to_type(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: ({}, {"parquet": {"moue-never-made": "17"}}))
    found, _ = diagnosis(capsys)
    [extra] = [e for e in found["extras"] if e["name"] == "parquet"]
    assert extra == {
        "name": "parquet",
        "about": "results as Parquet",
        "ok": False,
        "missing": ["moue-never-made"],
        "install": "pip install 'moue[parquet]'",
    }
    assert main(["doctor"]) == 0
    assert "Type: pip install 'moue[parquet]'" in capsys.readouterr().out


@pytest.mark.usefixtures("_installed")
def test_a_package_that_is_too_old_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: ({"numpy": "99.1"}, {}))
    found, err = diagnosis(capsys, 3)
    assert "is too old: 99.1 or later is needed" in found["problems"][0]
    assert found["problems"][0] in err


@pytest.mark.usefixtures("_installed")
def test_a_damaged_model_is_a_problem_and_hides_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("default.json", "tiny.onnx", "tiny.json"):
        (tmp_path / name).write_bytes((weights.ASSETS / name).read_bytes())
    (tmp_path / "default.onnx").write_bytes(b"torn")
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    found, err = diagnosis(capsys, 3)
    assert {m["name"]: m["ok"] for m in found["models"]} == {"centerface": True, "default": False, "tiny": True}
    assert "the model default cannot be used" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("_installed")
def test_a_cache_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "file" / "cache"))
    found, err = diagnosis(capsys, 3)
    assert not found["cache"]["ok"]
    assert "set MOUE_CACHE" in err


@pytest.mark.usefixtures("_installed")
def test_a_cache_without_a_home_directory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUE_CACHE", "~nobody-of-this-name/cache")
    found, err = diagnosis(capsys, 3)
    assert found["cache"] == {"path": "~nobody-of-this-name/cache", "ok": False, "megabytes": None}
    assert "openvino" in found["engines"], "it needs none"
    assert "set MOUE_CACHE" in err


@pytest.mark.usefixtures("_installed")
def test_telemetry_that_the_user_turned_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    assert diagnosis(capsys)[0]["telemetry"] == "set by you: HF_HUB_DISABLE_TELEMETRY=0"


def test_its_extras_are_those_of_the_distribution() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = lines.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    declared = {line.split(" = [")[0] for line in table.splitlines() if " = [" in line}
    assert declared - {"dev"} == doctor.EXTRAS.keys()


def test_requirements_are_read_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1.26", 'moue[report]; extra == "train"', "torch>=2.4 ; extra == 'train'", "six; extra == 'x'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    assert doctor.requirements() == ({"numpy": "1.26"}, {"train": {"torch": "2.4"}, "x": {"six": ""}})


def test_it_needs_no_extra(tmp_path: Path) -> None:
    """In a fresh interpreter that has none of them: an answer, and no trace of torch."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'openvino', 'cv2', 'matplotlib', 'onnx', 'moue_models'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from moue.cli.main import main\n"
        "raise SystemExit(main(['doctor', '--format', 'json']))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MOUE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["engines"] == ["onnxruntime"]
    assert "pip install 'moue[fast]'" in next(e["remark"] for e in found["other_engines"] if e["name"] == "openvino")


def test_packages_that_do_not_load_are_listed(tmp_path: Path) -> None:
    for name in ("onnxruntime", "openvino"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('libgone.so.1: no such file')")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "src")))
    env = {**os.environ, "PYTHONPATH": path, "MOUE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "moue.cli.main", "doctor", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert found["engines"] == []
    remarks = {other["name"]: other["remark"] for other in found["other_engines"]}
    for name in ("onnxruntime", "openvino"):
        assert f"{name} is installed and does not load: libgone.so.1: no such file. Install it again" in remarks[name]
    assert "onnxruntime is installed and does not load" in found["problems"][0]
