"""`moue score` from the command to the data set: what it prints, what it refuses, what it keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shards import image, parquet_of, rows_of, score_command, score_here

from moue.cli.main import main
from moue.runtime.options import RecognizerOptions
from moue.runtime.outputs.journal import settings_of
from moue.runtime.weights import find_model
from moue.scale import score as module
from moue.scale.header import HEADER
from moue.scale.part import Tally, part_name
from moue.scale.plan import PLAN, Unit
from moue.scale.run_state import UNITS
from moue.scale.storage import Storage
from moue.scale.worker import Job

#: Without worker processes, which `test_kills` has.
pytestmark = pytest.mark.usefixtures("here")


def test_the_summary_says_what_the_data_set_holds(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score_command(archive, tiny_onnx) == 3
    summary = json.loads(capsys.readouterr().out)
    assert {name: summary[name] for name in ("inputs", "rows", "faces", "failed", "parts", "already_scored")} == {
        **{"inputs": 21, "rows": 21, "faces": 20, "failed": 1, "parts": 3, "already_scored": 0}
    }
    assert summary["statuses"] == {"ok": 20, "unreadable": 1}
    assert len(rows_of(archive / "out")) == 21
    assert json.loads((archive / "out" / "_SUCCESS").read_text()) == summary
    # Complete: nothing is read again, and the exit code is the same.
    assert score_command(archive, tiny_onnx) == 3
    assert json.loads(capsys.readouterr().out)["already_scored"] == 21


def test_the_data_set_is_read_by_its_usual_readers(archive: Path, tiny_onnx: Path) -> None:
    import pandas as pd
    import pyarrow.dataset as ds

    score_command(archive, tiny_onnx)
    frame = pd.read_parquet(archive / "out")
    assert frame["status"].value_counts().to_dict() == {"ok": 20, "unreadable": 1}
    faces = frame.explode("faces").dropna(subset="faces")
    assert faces["faces"].str["probabilities"].str["happy"].between(0, 1).all()
    labels = ds.dataset(archive / "out").to_table(columns={"label": ds.field("faces")})
    assert labels.num_rows == 21


def test_a_part_that_was_lost_is_made_again(archive: Path, tiny_onnx: Path) -> None:
    score_command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "out" / part_name(1, 0)).unlink()
    assert score_command(archive, tiny_onnx) == 3
    assert rows_of(archive / "out") == rows


def test_the_plan_of_a_data_set_does_not_change(archive: Path, tiny_onnx: Path) -> None:
    score_command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "in" / "0.png").write_bytes(image())
    (archive / "out" / part_name(0, 0)).unlink()
    score_command(archive, tiny_onnx)
    assert rows_of(archive / "out") == rows


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--views", "2"], "out was made with no --views. This command asks for --views 2."),
        (["--image-column", "x"], "was made with no --image-column. This command asks for --image-column x."),
        (["--uncertain", "0.3"], "was made with no --uncertain. This command asks for --uncertain 0.3."),
        (["--small-faces"], "was made with no --small-faces. This command asks for --small-faces."),
        (["--min-score", "0.7"], "was made with --min-score 0.5. This command asks for --min-score 0.7."),
        (["--every", "2"], "was made with --every 1. This command asks for --every 2."),
        (["--part-inputs", "7"], "was made with --part-inputs 512. This command asks for --part-inputs 7."),
        (["--model", "tiny"], "was scored by the model 'tiny_random'. This command asks for 'tiny'."),
        (["elsewhere.png"], "elsewhere.png. Name another folder, or type the same command."),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    score_command(archive, tiny_onnx)
    capsys.readouterr()
    assert score_command(archive, tiny_onnx, *more) == 2
    assert message in capsys.readouterr().err
    # What does not change rows may change.
    assert score_command(archive, tiny_onnx, "--workers", "3", "--timeout", "9") == 3


def test_a_run_goes_on_from_another_folder(archive: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "in" / "c.png").write_bytes(image())
    parquet_of(archive / "in" / "d.parquet", {"image": [image(3)]})
    (archive / "elsewhere").mkdir()
    options = ["--out", str(archive / "out"), "--model", str(tiny_onnx), "--detector", "none"]
    monkeypatch.chdir(archive)
    main(["score", "in", *options])
    rows = rows_of(archive / "out")
    for part in (archive / "out").glob("part-*"):
        part.unlink()
    monkeypatch.chdir(archive / "elsewhere")
    main(["score", "../in", *options])
    assert "no such file" not in {row["reason"] for row in rows}
    assert rows_of(archive / "out") == rows


def test_workers_of_a_cluster_may_be_in_another_folder(
    archive: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive / "elsewhere").mkdir()

    def score_there(job: Job, units: Iterable[Unit], workers: int, on_rows: Any) -> Iterator[tuple[int, Tally]]:
        work = list(units)
        with pytest.MonkeyPatch.context() as there:
            there.chdir(archive / "elsewhere")
            results = list(score_here(job, work, workers, on_rows))
        yield from results

    monkeypatch.setattr(module, "score_locally", score_there)
    monkeypatch.chdir(archive)
    model = os.path.relpath(tiny_onnx, archive)
    assert main(["score", "in", "--out", "out", "--model", model, "--detector", "none"]) == 3
    assert len(rows_of(archive / "out")) == 21
    assert not list((archive / "elsewhere").iterdir())


def test_what_only_describes_a_model_is_no_setting() -> None:
    spec = replace(find_model("tiny").spec, robustness={})
    measured = replace(
        spec, robustness={"n": 9, "clean": {"accuracy": 0.7}, "corrupted": {"blur": {"accuracy": [0.5]}}}
    )
    settings = [settings_of(one, RecognizerOptions()) for one in (spec, measured)]
    assert settings[0] == settings[1]


def test_a_folder_with_other_files_is_refused(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (archive / "out").mkdir()
    (archive / "out" / "thesis.tex").write_text("x")
    assert score_command(archive, tiny_onnx) == 2
    assert "holds other files, such as thesis.tex: name a new folder." in capsys.readouterr().err
    assert [path.name for path in (archive / "out").iterdir()] == ["thesis.tex"]


def test_a_column_can_be_named_after_it_was_asked_for(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet_of(archive / "in" / "c.parquet", {"a": [image()], "b": [b""]})
    assert score_command(archive, tiny_onnx) == 2
    assert "Choose one with --image-column." in capsys.readouterr().err
    assert score_command(archive, tiny_onnx, "--image-column", "a") == 3
    assert json.loads(capsys.readouterr().out)["inputs"] == 22


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "-1"], "--workers must be"),
        (["--engine", "spark"], "--engine must be one of"),
        (["--part-inputs", "0"], "--part-inputs must be"),
        (["--timeout", "-1"], "--timeout must be"),
        (["--model", "nosuch"], "nosuch"),
        (["--out", "memory://scores"], "memory of one process"),
        (["-"], "Save it as FILE.txt"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    try:
        code = score_command(archive, tiny_onnx, *more)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (archive / "out").exists()


def test_two_runs_do_not_write_to_one_folder(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Storage(str(archive / "out")).locked(module.LOCK):
        assert score_command(archive, tiny_onnx) == 2
    assert "another moue is writing to" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n"])
@pytest.mark.parametrize("name", [HEADER, PLAN])
def test_notes_of_a_run_that_are_damaged_are_named(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    score_command(archive, tiny_onnx)
    (archive / "out" / name).write_bytes(content)
    capsys.readouterr()
    assert score_command(archive, tiny_onnx) == 2
    assert f"{archive / 'out' / name} is " in (error := capsys.readouterr().err)
    assert "name another folder" in error


def test_a_tally_that_is_damaged_is_made_from_the_parts(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "out" / UNITS / "0000000.json").write_bytes(b"{")
    capsys.readouterr()
    assert score_command(archive, tiny_onnx) == 3
    assert json.loads(capsys.readouterr().out)["already_scored"] == 21
    assert rows_of(archive / "out") == rows


def test_a_damaged_part_is_named(archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score_command(archive, tiny_onnx)
    (archive / "out" / UNITS / "0000000.json").unlink()
    part = archive / "out" / part_name(0, 0)
    part.write_bytes(part.read_bytes()[:-9])
    capsys.readouterr()
    assert score_command(archive, tiny_onnx) == 2
    assert f"{part} is damaged" in (error := capsys.readouterr().err)
    assert "Delete it and type the same command" in error
