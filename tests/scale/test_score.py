"""`moue score` from the command to the data set: what it prints, what it refuses, what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers import content, refusal, web_server
from shards import image, parquet_of, rows_of, samples, score_here, tar_of

from moue.cli.main import main
from moue.runtime.options import RecognizerOptions
from moue.runtime.outputs.journal import settings_of
from moue.runtime.weights import find_model
from moue.scale import score as module
from moue.scale import storage as storages
from moue.scale.discover import discover
from moue.scale.header import HEADER, ScoreOptions
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.part import Tally, part_name
from moue.scale.plan import PLAN, Planner, write_plan
from moue.scale.run_state import UNITS, RunState
from moue.scale.storage import Storage


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without worker processes, which `test_kills` has."""
    monkeypatch.setattr(module, "score_locally", score_here)


def command(folder: Path, model: Path, *more: str) -> int:
    out = ["--out", str(folder / "out"), "--model", str(model), "--detector", "none", "--format", "json"]
    # Of two values of an option the last counts.
    sources = [name for name in more if name.endswith((".png", "-"))]
    return main(["score", str(folder / "in"), *sources, *out, *(word for word in more if word not in sources)])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "a.tar", samples(20))
    (tmp_path / "in" / "b.jpg").write_bytes(b"\xff\xd8\xffdamaged")
    return tmp_path


def test_the_summary_says_what_the_data_set_holds(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(archive, tiny_onnx) == 3
    summary = json.loads(capsys.readouterr().out)
    assert {name: summary[name] for name in ("inputs", "rows", "faces", "failed", "parts", "already_scored")} == {
        **{"inputs": 21, "rows": 21, "faces": 20, "failed": 1, "parts": 3, "already_scored": 0}
    }
    assert summary["statuses"] == {"ok": 20, "unreadable": 1}
    assert len(rows_of(archive / "out")) == 21
    assert json.loads((archive / "out" / "_SUCCESS").read_text()) == summary
    # Complete: nothing is read again, and the exit code is the same.
    assert command(archive, tiny_onnx) == 3
    assert json.loads(capsys.readouterr().out)["already_scored"] == 21


def test_the_data_set_is_read_by_its_usual_readers(archive: Path, tiny_onnx: Path) -> None:
    import pandas as pd
    import pyarrow.dataset as ds

    command(archive, tiny_onnx)
    frame = pd.read_parquet(archive / "out")
    assert frame["status"].value_counts().to_dict() == {"ok": 20, "unreadable": 1}
    faces = frame.explode("faces").dropna(subset="faces")
    assert faces["faces"].str["probabilities"].str["happy"].between(0, 1).all()
    labels = ds.dataset(archive / "out").to_table(columns={"label": ds.field("faces")})
    assert labels.num_rows == 21


def test_a_part_that_was_lost_is_made_again(archive: Path, tiny_onnx: Path) -> None:
    command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "out" / part_name(1, 0)).unlink()
    assert command(archive, tiny_onnx) == 3
    assert rows_of(archive / "out") == rows


def test_the_plan_of_a_data_set_does_not_change(archive: Path, tiny_onnx: Path) -> None:
    command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "in" / "0.png").write_bytes(image())
    (archive / "out" / part_name(0, 0)).unlink()
    command(archive, tiny_onnx)
    assert rows_of(archive / "out") == rows


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--views", "2"], "out was made with spec.views"),
        (["--min-score", "0.7"], "was made with min_score=0.5. This command asks for min_score=0.7."),
        (["--every", "2"], "was made with every=1. This command asks for every=2."),
        (["--part-inputs", "7"], "was made with part_inputs=512. This command asks for part_inputs=7."),
        (["--model", "tiny"], "was scored by the model 'tiny_random'. This command asks for 'tiny'."),
        (["elsewhere.png"], "elsewhere.png. Name another folder, or type the same command."),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    command(archive, tiny_onnx)
    capsys.readouterr()
    assert command(archive, tiny_onnx, *more) == 2
    assert message.replace("spec.views", "views not set. This command asks for views=2") in capsys.readouterr().err
    # What does not change rows may change.
    assert command(archive, tiny_onnx, "--workers", "3", "--timeout", "9") == 3


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
    assert command(archive, tiny_onnx) == 2
    assert "holds other files, such as thesis.tex: name a new folder." in capsys.readouterr().err
    assert [path.name for path in (archive / "out").iterdir()] == ["thesis.tex"]


def test_a_column_can_be_named_after_it_was_asked_for(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet_of(archive / "in" / "c.parquet", {"a": [image()], "b": [b""]})
    assert command(archive, tiny_onnx) == 2
    assert "Choose one with --image-column." in capsys.readouterr().err
    assert command(archive, tiny_onnx, "--image-column", "a") == 3
    assert json.loads(capsys.readouterr().out)["inputs"] == 22


def nothing(folder: Path) -> None:
    """Sources that hold nothing to score."""
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.csv").write_text("x")
    (folder / "empty.txt").write_text("# no line\n\n")
    (folder / "wrong.txt").write_text("no/such.png\n")
    tar_of(folder / "labels.tar", {"a.json": b"{}"})
    parquet_of(folder / "numbers.parquet", {"a": [1]})
    parquet_of(folder / "two.parquet", {"a": [b"x"], "b": [b"y"]})
    (folder / "damaged.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "s-{007..009}.tar",
            "nothing to score in s-{007..009}.tar. s-007.tar: no such file; s-008.tar: no such file; ",
        ),
        ("no-*.tar", "nothing to score in no-*.tar. no-*.tar: nothing matches this pattern."),
        ("empty", "empty: an empty folder."),
        ("texts", "nothing to score in texts. texts/a.csv: neither an image nor a video."),
        ("empty.txt", "nothing to score in empty.txt. It lists nothing."),
        ("wrong.txt", "nothing to score in wrong.txt. no/such.png: no such file."),
        ("labels.tar", "labels.tar: an archive without images and videos."),
        ("numbers.parquet", "numbers.parquet: a Parquet file without a column of bytes."),
        ("damaged.parquet", "damaged.parquet: it cannot be read as Parquet: "),
        ("two.parquet", "Choose one with --image-column."),
        ("memory://nothing/", "memory://nothing/: no such file."),
        ("memory://nothing/s-{0..1}.tar", "memory://nothing/s-0.tar: no such file; memory://nothing/s-1.tar: no"),
        ("http://127.0.0.1:1/a.png", "http://127.0.0.1:1/a.png: it cannot be reached: "),
        ("nosuch://host/x", "is no address that fsspec reads"),
    ],
)
def test_sources_that_hold_nothing_are_refused_and_leave_no_data_set(
    tmp_path: Path,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storages, "PAUSE", 0)
    nothing(tmp_path)
    (tmp_path / "mine").mkdir()
    for out in ("out", "mine"):
        assert main(["score", source, "--out", out, "--model", str(tiny_onnx), "--detector", "none"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # A folder that was there stays.
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_server_that_is_down_is_asked_for_one_input_and_other_servers_as_always(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storages, "PAUSE", 0)
    options = ["--out", str(tmp_path / "out"), "--model", str(tiny_onnx), "--detector", "none"]
    with web_server() as down, web_server() as up:
        paths = [f"/{number}.png" for number in range(40)]
        down.answers = dict.fromkeys(paths, refusal(503))
        up.answers["/up.png"] = content(image(), "image/png")
        (tmp_path / "down.txt").write_text("\n".join(map(down.url, paths)))
        (tmp_path / "both.txt").write_text("\n".join([*map(down.url, paths[:2]), up.url("/up.png")]))
        assert main(["score", str(tmp_path / "down.txt"), *options]) == 2
        assert {path for path, _ in down.requests} == {"/0.png"}
        error = capsys.readouterr().err
        assert f"{down.url('/0.png')}: the server answers 503" in error
        assert "39 more of the same server were not asked for. Check the address and your network, and" in error
        assert not (tmp_path / "out").exists()
        assert main(["score", str(tmp_path / "both.txt"), *options]) == 3
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["unreadable", "unreadable", "ok"]


@pytest.mark.parametrize("name", ["folder/", "a.parquet"])
def test_what_a_plan_needs_from_a_server_that_is_down_is_no_input_of_its_own(
    archive: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(storages, "PAUSE", 0)
    with web_server() as down:
        down.answers[f"/{name}"] = refusal(503)
        (archive / "in" / "list.txt").write_text(down.url(f"/{name}"))
        options = ["--out", str(archive / "out"), "--model", str(tiny_onnx), "--detector", "none"]
        assert main(["score", str(archive / "in"), str(archive / "in" / "list.txt"), *options]) == 2
    assert f"{down.url(f'/{name}')}: the server answers 503" in capsys.readouterr().err
    assert not (archive / "out").exists()


def test_what_is_missing_beside_other_inputs_has_its_row(archive: Path, tiny_onnx: Path) -> None:
    assert command(archive, tiny_onnx, str(archive / "missing.png")) == 3
    rows = rows_of(archive / "out")
    assert [row["reason"] for row in rows if row["source"].endswith("missing.png")] == ["no such file"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "-1"], "--workers must be"),
        (["--engine", "spark"], "--engine must be one of"),
        (["--part-inputs", "0"], "--part-inputs must be"),
        (["--timeout", "-1"], "--timeout must be"),
        (["--model", "nosuch"], "nosuch"),
        (["-"], "Save it as FILE.txt"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    try:
        code = command(archive, tiny_onnx, *more)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (archive / "out").exists()


def test_two_runs_do_not_write_to_one_folder(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Storage(str(archive / "out")).locked(module.LOCK):
        assert command(archive, tiny_onnx) == 2
    assert "another moue is writing to" in capsys.readouterr().err


def test_progress_counts_what_is_under_way_and_guesses_what_is_not_known(archive: Path, tiny_onnx: Path) -> None:
    tar_of(archive / "in" / "c.tgz", samples(30), "w:gz")
    tar_of(archive / "in" / "d.tgz", samples(30), "w:gz")
    told: list[tuple[int, int | None]] = []

    def score_and_look(*arguments: Any) -> Any:
        for number, tally in score_here(*arguments):
            if number < 4:
                arguments[3](number + 1, 1, 0)
            yield number, tally

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "score_locally", score_and_look)
        summary = module.score(
            [str(archive / "in")],
            str(archive / "out"),
            RecognizerOptions(str(tiny_onnx), "none"),
            progress=lambda step, unit: _Told(told if step == "scoring" else []),
        )
    assert summary.tally.inputs == 81
    assert told[0] == (0, None)
    assert told[-1] == (81, 81)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert RunState(Storage(str(archive / "out"))).progress == (81, 81)


def test_a_film_counts_as_its_frames_as_soon_as_it_tells_them(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    storage = Storage(str(tmp_path / "out"))
    write_plan(storage, Planner(512, ParquetColumns()).units(discover([str(tmp_path)], tmp_path / "out")))
    state = RunState(storage)
    assert state.progress == (0, None)
    state.complete(0, Tally(inputs=2, rows=2))
    state.begun(1, 0, None)
    assert state.progress == (2, None)
    state.begun(1, 30, 99)
    # The other film is as long as those that are known.
    assert state.progress == (32, 2 + 100 + 100)
    state.complete(1, Tally(inputs=1, rows=100))
    assert state.progress == (102, 202)
    state.begun(2, 10, 49)
    assert state.progress == (112, 152)
    state.complete(2, Tally(inputs=1, rows=50))
    assert state.progress == (152, 152)


def test_what_an_earlier_run_made_of_a_shard_counts_as_done_and_not_as_fast(tmp_path: Path, tiny_onnx: Path) -> None:
    tar_of(tmp_path / "a.tgz", samples(20), "w:gz")
    told: list[tuple[int, int | None]] = []
    scored = partial(
        module.score,
        [str(tmp_path / "a.tgz")],
        str(tmp_path / "out"),
        RecognizerOptions(str(tiny_onnx), "none"),
        scoring=ScoreOptions(part_inputs=8),
        progress=lambda step, unit: _Told(told if step == "scoring" else []),
    )
    scored()
    # As a run that was killed after its second part.
    for name in (f"{UNITS}/0000000.json", part_name(0, 2)):
        (tmp_path / "out" / name).unlink()
    told.clear()
    summary = scored()
    assert told[0] == (16, None)
    assert (summary.already_scored, summary.tally.inputs) == (16, 20)


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n"])
@pytest.mark.parametrize("name", [HEADER, PLAN])
def test_notes_of_a_run_that_are_damaged_are_named(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    command(archive, tiny_onnx)
    (archive / "out" / name).write_bytes(content)
    capsys.readouterr()
    assert command(archive, tiny_onnx) == 2
    assert f"{archive / 'out' / name} is " in (error := capsys.readouterr().err)
    assert "name another folder" in error


def test_a_tally_that_is_damaged_is_made_from_the_parts(
    archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(archive, tiny_onnx)
    rows = rows_of(archive / "out")
    (archive / "out" / UNITS / "0000000.json").write_bytes(b"{")
    capsys.readouterr()
    assert command(archive, tiny_onnx) == 3
    assert json.loads(capsys.readouterr().out)["already_scored"] == 21
    assert rows_of(archive / "out") == rows


def test_a_damaged_part_is_named(archive: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(archive, tiny_onnx)
    (archive / "out" / UNITS / "0000000.json").unlink()
    part = archive / "out" / part_name(0, 0)
    part.write_bytes(part.read_bytes()[:-9])
    capsys.readouterr()
    assert command(archive, tiny_onnx) == 2
    assert f"{part} is damaged" in (error := capsys.readouterr().err)
    assert "Delete it and type the same command" in error


class _Told:
    def __init__(self, told: list[tuple[int, int | None]]) -> None:
        self.told = told

    def __enter__(self) -> Any:
        return lambda done, total: self.told.append((done, total))

    def __exit__(self, *error: object) -> None:
        pass
