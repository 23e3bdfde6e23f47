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
from shards import rows_of, score_here
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


def test_score(
    tiny_onnx: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("moue.scale.score.score_locally", score_here)
    out = tmp_path / f"out{ODD}"
    command = ["score", str(faces), "--out", str(out), "--model", str(tiny_onnx), "--detector", "none"]
    assert main([*command, "--format", "csv"]) == 0
    assert main(command) == 0
    # Goes on with what is there, and refuses other sources, in words.
    assert main(["score", str(faces / "sad"), *command[1:]]) == 2
    assert f"{tmp_path}/out{SHOWN} has scores of" in capsys.readouterr().err
    # pyarrow opens no file by a name that is no text.
    sources = [row["source"] for row in rows_of(out.rename(tmp_path / "out"))]
    assert sources[0] == f"{tmp_path}/set{SHOWN}/happy/0{SHOWN}.png"
    assert len(sources) == 8


TINY = ["--set", "optim.epochs=1", "--set", "optim.steps=2", "--set", "model.options={widths: [8, 16]}"]


def test_train_and_boost(faces: Path, tmp_path: Path) -> None:
    command = ["compact", "--data", str(faces), "--labels", "folders", *TINY, "--out"]
    assert main(["train", *command, str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["data"]["name"] == f"set{SHOWN}"
    # Noise may end the second round; the weights of the first are written before.
    main(["ensemble", "boost", *command, str(tmp_path / "boosted"), "--rounds", "2"])
    with (tmp_path / "boosted" / "weights.csv").open(newline="", encoding="utf-8") as file:
        assert {row["source"].partition(SHOWN)[2] for row in csv.DictReader(file)} == {".png"}


@pytest.mark.parametrize(
    "command",
    [
        ["train", "compact"],
        ["compare", "compact"],
        ["cross-validate", "compact"],
        ["search", "compact", "--minutes", "1", "--set", "optim.lr=1e-4..1e-2"],
        ["ensemble", "bag", "compact", "--members", "2"],
        ["ensemble", "boost", "compact", "--rounds", "2"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_folder_of_weights_needs_a_name_that_is_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    out = tmp_path / f"run{ODD}"
    assert main([*command, "--data", "synth:80:0", "--out", str(out)]) == 2
    assert f"the name {tmp_path}/run{SHOWN} is no valid text" in (error := capsys.readouterr().err)
    assert "Give another --out." in error
    assert not out.exists()


def test_a_run_that_was_renamed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "compact", "--data", "synth:80:0", *TINY, "--out", str(tmp_path / "run")]) == 0
    run = (tmp_path / "run").rename(tmp_path / f"run{ODD}")
    assert main(["evaluate", str(run), "--data", "synth:80:0", "--split", "train"]) == 2
    assert "is no valid text, which files of weights need. Rename it." in capsys.readouterr().err
