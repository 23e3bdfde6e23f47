from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import jpeg
from skimage import data

from moue.cli.explain import METHODS
from moue.cli.main import main
from moue.data.readers.synth import synthetic
from moue.explain import explainer
from moue.image import read_image
from moue.training.config import Config
from moue.training.loop import fit


def explain(*words: str | Path) -> int:
    return main(["explain", *map(str, words)])


def test_the_methods_are_those_of_the_library() -> None:
    """Named twice: the library's module would make `--help` wait for numpy."""
    assert METHODS == explainer.METHODS


def test_a_smile_is_in_the_mouth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = tmp_path / "astronaut.png", tmp_path / "out"
    Image.fromarray(data.astronaut()).save(photo)
    assert explain(photo, "--model", "tiny", "--out", out, "--format", "json") == 0
    captured = capsys.readouterr()
    [row] = json.loads(captured.out)
    [face] = row["faces"]
    assert (row["status"], face["label"], face["explanation"]["label"]) == ("ok", "happy", "happy")
    explanation = face["explanation"]
    assert explanation["probability"] == face["probabilities"]["happy"]
    assert explanation["regions"]["mouth"] == max(explanation["regions"].values())
    assert explanation["deletion"] < explanation["random"]
    # The same prediction as `moue predict` gives.
    assert main(["predict", str(photo), "--model", "tiny", "--format", "json"]) == 0
    [read] = json.loads(capsys.readouterr().out)
    assert read["faces"] == [{key: value for key, value in face.items() if key != "explanation"}]
    assert json.loads((out / "explain.json").read_text(encoding="utf-8")) == [row]
    assert str(out / "astronaut.explain.png") in captured.err
    assert read_image(out / "astronaut.explain.png").shape == (192, 624, 3)


def test_every_input_has_its_row(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces, out = tmp_path / "faces", tmp_path / "out"
    faces.mkdir()
    (faces / "a.jpg").write_bytes(jpeg(1))
    (faces / "b.jpg").write_bytes(b"no image")
    (faces / "c.txt").write_text("words", encoding="utf-8")
    command = (faces, "--model", tiny_onnx, "--detector", "none", "--label", "sad", "--out", out, "--format", "csv")
    assert explain(*command) == 3
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["source"]).name for row in rows[:2]] == ["a.jpg", "b.jpg"]
    assert rows[0]["label"] == "sad"
    assert 0 <= float(rows[0]["probability"]) < 1
    assert rows[0]["mouth"] == "", "without a detector there are no landmarks"
    assert rows[1]["remark"].startswith("unreadable: ")
    assert not (out / "b.explain.png").exists()
    assert [row["status"] for row in json.loads((out / "explain.json").read_text())][:2] == ["ok", "unreadable"]


def test_a_photo_without_a_face_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "wall.png"
    Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(photo)
    assert explain(photo, "--model", "tiny") == 0
    assert "no face" in capsys.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_classes_of_a_set(
    method: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["model.network=compact", "model.options.widths=[8,16]", "optim.epochs=2", "optim.lr=0.01"]
    run = fit(Config().override(settings), synthetic(400, seed=1), tmp_path / "run").folder
    out = tmp_path / "out"
    command = ("--model", run, "--method", method, "--data", "synth:210:1", "--split", "public_test")
    assert explain(*command, "--per-class", "2", "--out", out, "--format", "json") == 0
    captured = capsys.readouterr()
    classes = json.loads(captured.out)
    assert classes
    assert all(1 <= row["n"] <= 2 and 0 <= row["passed"] <= row["n"] for row in classes)
    assert {row["method"] for row in classes} == {method}
    assert read_image(out / "classes.explain.png").shape == (192 * len(classes), 624, 3)
    assert explain(*command, "--per-class", "1") == 0
    assert "deletion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "explain takes photos, or a data set"),
        (["a.jpg", "--data", "synth", "--split", "test"], "explain takes photos, or a data set"),
        (["--data", "synth"], "--data and --split go together"),
        (["a.jpg", "--split", "test"], "--data and --split go together"),
        (["a.jpg", "--label", "joyful"], "joyful"),
        (["a.jpg", "--method", "gradcam"], "needs a run folder"),
        (["--data", "synth", "--split", "test", "--label", "sad"], "--label is for photos"),
        (["--data", "synth", "--split", "test", "--per-class", "0"], "per-class must be a whole number from 1"),
    ],
)
def test_usage_errors_are_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(*words, "--model", "tiny") == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_interrupted_run_prints_completed_rows(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(jpeg(1))

    def stopped(self: explainer.Explainer, *arguments: Any) -> Any:
        if (tmp_path / "out" / "a.explain.png").exists():
            raise KeyboardInterrupt
        return whole(self, *arguments)

    whole = explainer.Explainer.explain
    monkeypatch.setattr(explainer.Explainer, "explain", stopped)
    command = (tmp_path / "a.jpg", tmp_path / "b.jpg", "--model", tiny_onnx, "--detector", "none", "--format", "json")
    assert explain(*command, "--out", tmp_path / "out") == 130
    [row] = json.loads(capsys.readouterr().out)
    assert row["source"].endswith("a.jpg")
    assert json.loads((tmp_path / "out" / "explain.json").read_text(encoding="utf-8")) == [row]


def test_a_terminal_shows_which_face_is_explained(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    command = (tmp_path / "a.jpg", "--model", tiny_onnx, "--detector", "none")
    assert explain(*command) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("moue.cli.progress.INTERVAL", 0)
    assert explain(*command) == 0
    drawn = capsys.readouterr().err.split("\r\x1b[K")
    assert drawn[1:3] == ["explaining inputs …", "explaining face 1/1, inputs 0/1"]
    assert drawn[3].startswith("explaining inputs [####")
    assert drawn[4:] == [""]
