"""Names of files that are no valid text, as archives of other systems leave them: read, and written as escapes."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import make_video, scene

from moue.cli.main import main

#: A byte that no text begins with, and how it is written.
ODD, SHOWN = os.fsdecode(b"\xff"), "\\udcff"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A set of two classes, with a name that is no text, of images with such names."""
    folder = tmp_path / f"set{ODD}"
    for i in range(8):
        image = np.random.default_rng(i).integers(0, 256, (48, 48), np.uint8)
        path = folder / ("happy", "sad")[i % 2] / f"{i}{ODD}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def test_evaluate_audit_and_charts(tiny_onnx: Path, faces: Path, tmp_path: Path) -> None:
    out = {name: tmp_path / f"{ODD}.{name}" for name in ("csv", "parquet", "md", "html")}
    command = ["evaluate", str(tiny_onnx), "--data", str(faces), "--split", "train", "--labels", "fer2013"]
    assert main([*command, "--predictions", str(out["csv"]), "--card", str(out["md"])]) == 0
    assert main([*command, "--predictions", str(out["parquet"]), "--errors", str(out["html"])]) == 0
    with out["csv"].open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["source"] == f"happy/0{SHOWN}.png"
    assert all(path.stat().st_size for path in out.values())
    assert f"set{SHOWN}" in out["md"].read_text(encoding="utf-8")
    (tmp_path / "groups.csv").write_text("row,light\n1,day\n2,night\n", encoding="utf-8")
    command = ["audit", str(faces), "--groups", str(tmp_path / "groups.csv"), "--model", str(tiny_onnx)]
    assert main([*command, "--labels", "fer2013", "--detector", "none", "-o", str(tmp_path / f"audit{ODD}")]) == 0
    assert main(["data", "info", str(faces), "--labels", "folders", "--out", str(tmp_path / f"charts{ODD}")]) == 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_model_and_a_photo(tiny_onnx: Path, faces: Path, tmp_path: Path, engine: str) -> None:
    model = tmp_path / f"m{ODD}.onnx"
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), model.with_suffix(suffix))
    photo, out = faces / "happy" / f"0{ODD}.png", tmp_path / f"out{ODD}"
    command = [str(photo), "--model", str(model), "--detector", "none"]
    assert main(["predict", *command, "--engine", engine, "--out", str(out)]) == 0
    assert json.loads((out / f"0{ODD}.json").read_text(encoding="utf-8"))[0]["source"].endswith(f"0{ODD}.png")


def test_explain_and_timeline(
    tiny_onnx: Path, faces: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    photo, out = faces / "happy" / f"0{ODD}.png", tmp_path / "out"
    command = ["explain", str(photo), "--model", str(tiny_onnx), "--detector", "none"]
    assert main([*command, "--out", str(out)]) == 0
    assert json.loads((out / "explain.json").read_text(encoding="utf-8"))[0]["source"] == str(photo)
    assert main([*command, "--format", "parquet"]) == 0
    video = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(4)]).rename(tmp_path / f"{ODD}.mp4")
    command = ["predict", str(video), "--model", str(tiny_onnx), "--detector", "none", "--out", str(tmp_path / "films")]
    assert main(command) == 0
    capfdbinary.readouterr()
    assert main(["timeline", str(tmp_path / "films"), "--format", "json"]) == 0
    [row] = json.loads(capfdbinary.readouterr().out)
    assert row["frames"] == 4
