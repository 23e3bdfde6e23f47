"""`moue models` on the command line."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from moue.cli.main import main
from moue.labels import FER2013
from moue.spec import ModelSpec


@pytest.fixture
def folder(tiny_onnx: Path, tmp_path: Path) -> Path:
    """A folder with one model that works."""
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"mine{suffix}")
    return tmp_path


@pytest.fixture
def _local_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the installed models, whose speed takes seconds to measure."""
    monkeypatch.setattr("moue.runtime.weights.BUNDLED", ())
    monkeypatch.setattr("moue.runtime.weights.EXTRA", ())


@pytest.mark.usefixtures("_local_alone")
def test_it_lists_a_local_model_with_its_speed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(folder), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    row = next(m for m in json.loads(out) if m["origin"] == "local")
    assert row["name"] == str(folder / "mine.onnx")
    assert row["labels"] == list(FER2013.labels)
    assert row["faces_per_second"] > 0
    assert row["remark"] is None
    assert err == ""


@pytest.mark.usefixtures("_local_alone")
def test_the_table_names_size_and_scores(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["models"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    columns = ["name", "origin", "network", "input", "classes", "parameters", "megabytes", "faces_per_second", "engine"]
    scores = ["public_test", "±", "balanced", "deduplicated", "calibration_error", "views", "further_views"]
    assert head.split() == columns + scores
    [line] = [text for text in lines if text.startswith("mine.onnx")]
    assert "48×48 gray" in line
    assert "1,008" in line


@pytest.mark.usefixtures("_local_alone")
def test_columns_of_csv_have_the_names_of_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "mine.json"
    scores = {"public_test": 0.66, "public_test_se": 0.008, "public_test_ece": 0.02}
    ModelSpec.load(path).replace(scores=scores).save(path)
    assert main(["models", str(folder), "--no-speed", "--format", "csv"]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in row)
    assert {name: float(row[name]) for name in scores} == scores
    assert main(["models", str(folder), "--no-speed"]) == 0
    assert "66.00%" in (shown := capsys.readouterr().out), "a table has percent, as those of the other commands"
    assert "0.80%" in shown
    assert "2.00%" in shown


def test_the_speed_can_be_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(folder), "--no-speed", "--format", "json"]) == 0
    assert not any("faces_per_second" in row for row in json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("_local_alone")
def test_gain_and_cost_of_further_views(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"public_test": 0.66, "public_test_views_1": 0.65, "public_test_views_2": 0.66}
    further = {"public_test_views_6": 0.664, "public_test_views_10": 0.658}
    path = folder / "mine.json"
    ModelSpec.load(path).replace(views=2, scores=scores | further).save(path)
    assert main(["models", str(folder)]) == 0
    [line] = [text for text in capsys.readouterr().out.splitlines() if "mine.onnx" in text]
    assert line.endswith("6: +0.4 points, 3× the time; 10: −0.2 points, 5× the time")
    assert main(["models", str(folder), "--format", "json"]) == 0
    row = next(m for m in json.loads(capsys.readouterr().out) if m["origin"] == "local")
    assert row["further_views"][1] == {"views": 10, "accuracy": 0.658, "gain": -0.002, "cost": 5.0}


@pytest.mark.usefixtures("_local_alone")
def test_a_broken_model_is_a_row_with_a_remark(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.json").write_text("{}")
    assert main(["models", str(folder), "--format", "csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    row = next(r for r in rows if r["origin"] == "local")
    assert row["faces_per_second"] == ""
    assert "needs labels, name, network" in row["remark"]


@pytest.mark.usefixtures("_local_alone")
def test_a_damaged_model_does_not_hide_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(folder / f"mine{suffix}", folder / f"torn{suffix}")
    (folder / "torn.onnx").write_bytes(b"torn")
    assert main(["models", str(folder), "--format", "json"]) == 0
    rows = {Path(m["name"]).name: m for m in json.loads(capsys.readouterr().out)}
    assert "damaged" in rows["torn.onnx"]["remark"]
    assert rows["mine.onnx"]["faces_per_second"] > 0


@pytest.mark.usefixtures("_local_alone")
def test_a_model_that_fails_as_it_runs_does_not_hide_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moue.runtime.engine.OpenVinoGraph.__call__", lambda *_, **__: 1 / 0)
    assert main(["models", str(folder), "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert "fails as it runs: division by zero" in row["remark"]
    assert row["faces_per_second"] is None


def test_a_missing_folder_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["models", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
