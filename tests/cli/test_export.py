"""`moue export` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import folder_of, jpeg

import moue.export
from moue.cli.main import main
from moue.data.table import ImageTable
from moue.labels import FER2013
from moue.runtime.weights import find_model
from moue.spec import ModelSpec


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that has of a run what the command itself reads."""
    folder = tmp_path / "run"
    folder.mkdir()
    ModelSpec("mine", "compact", FER2013.labels).save(folder / "spec.json")
    (folder / "weights.safetensors").touch()
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches `moue.export.export`, which the library's own tests cover."""
    seen: list[dict[str, Any]] = []

    def export(run: Path, out: Path, **options: Any) -> ModelSpec:
        seen.append({"run": run, "out": out, **options})
        out.write_bytes(b"0" * 2_000_000)
        scores = {"test": 0.65, "test_fp32": 0.66} if options["int8"] else {"public_test": 0.66}
        return ModelSpec(out.stem, "compact", FER2013.labels, sha256="ab", scores=scores)

    monkeypatch.setattr(moue.export, "export", export)
    return seen


def test_it_prints_the_file(run: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--store", "float16", "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row == {"file": str(run / "model.onnx"), "name": "model", "megabytes": 2.0, "sha256": "ab"}
    assert calls[0]["store"] == "float16"
    assert calls[0]["data"] is None


def test_it_prints_the_loss_by_quantization(
    run: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for i, split in enumerate(("train", "test")):
        for name in FER2013.labels:
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((48, 48), 20 * i + len(name), np.uint8)).save(folder / "a.png")
    out = tmp_path / "small.onnx"
    assert (
        main(["export", str(run), "-o", str(out), "--int8", "--data", str(tmp_path / "set"), "--format", "json"]) == 0
    )
    [row] = json.loads(capsys.readouterr().out)
    assert (row["split"], row["accuracy"], row["accuracy_fp32"], row["loss"]) == ("test", 0.65, 0.66, 0.01)
    table = calls[0]["data"]
    assert isinstance(table, ImageTable)
    assert table.images.shape == (14, 1, 48, 48)


@pytest.mark.parametrize("merged", [False, True])
def test_bad_images_can_be_left_out_and_are_named(
    merged: bool,
    run: Path,
    calls: list[dict[str, Any]],
    tiny_onnx: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    sources = [str(tiny_onnx), str(tiny_onnx)] if merged else [str(run)]
    faces = folder_of(tmp_path / "faces", {"val/happy/a.jpg": jpeg(1), "val/happy/b.jpg": b"no image"})
    command = ["export", *sources, "-o", str(tmp_path / "out.onnx"), "--data", str(faces)]
    assert main(command) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 3
    printed = capsys.readouterr().err
    assert f"moue: left out {faces}, val/happy/b.jpg: " in printed
    assert ("its temperature stays 1: " in printed) == merged
    if not merged:
        assert len(calls[0]["data"]) == 1


def test_what_cannot_be_exported_is_one_sentence(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", str(tmp_path / "none")]) == 2
    assert "there is no run folder" in capsys.readouterr().err
    assert main(["export", str(run), "--int8"]) == 2
    assert "Add --data SET" in capsys.readouterr().err
    assert main(["export", str(run), "--split", "nope"]) == 2
    assert "--split: there is no split named 'nope'. Known: private_test, public_test" in capsys.readouterr().err


def test_the_run_is_checked_before_data_are_read(
    tiny_onnx: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for source, words in {
        "default": f"default is exported already: its file is {find_model('default').path}",
        str(tiny_onnx): "is exported already",
        str(tmp_path / "none"): "there is no run folder",
        str(tmp_path): "it is not finished",
    }.items():
        for more in ([], ["--data", "absent.csv"]):
            assert main(["export", source, *more]) == 2
            assert words in capsys.readouterr().err


def test_several_models_become_one(tiny_onnx: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "full.onnx"
    sources = [str(tiny_onnx), str(tiny_onnx)]
    assert main(["export", *sources, "-o", str(out), "--weights", "3,1", "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["file"], row["name"]) == (str(out), "full")
    assert [m["weight"] for m in ModelSpec.load(out.with_suffix(".json")).trained["members"]] == [0.75, 0.25]
    wrong = {"needs a file": [], "--int8 is for one": ["--int8"], "--split is for": ["--split", "test"]}
    for sentence, options in wrong.items():
        where = ["-o", str(tmp_path / "other.onnx")] if options else []
        assert main(["export", *sources, *where, *options]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["export", sources[0], "--weights", "1"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["export", *sources, "--weights", "a,b"])
    assert "must be numbers above 0, as in 2,1. Got 'a,b' instead" in capsys.readouterr().err
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_shows_what_goes_on(
    run: Path,
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert main(["export", str(run)]) == 0
    with calls[0]["progress"]("tracing the network", ""):
        pass
    steps = [step for step in capsys.readouterr().err.split("\r\x1b[K") if step]
    assert steps == (["opening the run …", "tracing the network …"] if terminal else [])
