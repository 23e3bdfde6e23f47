"""``moue predict``: what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from disk import room
from PIL import Image
from predictions import Predict, listed
from videos import damaged_opus, make_video, scene

from moue.cli.main import main
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.folder import OutputFolder
from moue.runtime.recognizer import Recognizer
from moue.spec import ModelSpec


def test_stdout_holds_the_json_alone(predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(photos, "--format", "json") == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [Path(r["source"]).name for r in rows] == ["a.png", "b ü.jpg", "a.png"]
    [face] = rows[0]["faces"]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert (rows[0]["status"], rows[0]["width"], rows[0]["height"]) == ("ok", 50, 60)
    assert len(err.splitlines()) == 3
    assert predict(photos, "--format", "json", "--quiet") == 0
    assert capsys.readouterr() == (out, "")
    assert predict(photos / "a.png", "--format", "json") == 0
    assert capsys.readouterr().err == "", "one photo needs no progress"


def test_bad_inputs_have_rows_and_end_with_3(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.jpg").write_bytes(b"")
    assert predict(photos, photos / "gone.png", "--format", "csv") == 3
    head, *_ = out = capsys.readouterr().out.splitlines()
    assert head.startswith("source,model,status,reason,frame,timestamp,track,face,x,y,w,h,score,label,uncertain,angry,")
    rows = list(csv.DictReader(out))
    assert [r["status"] for r in rows] == ["ok", "ok", "unreadable", "ok", "unreadable"]
    assert (rows[2]["face"], rows[2]["x"], rows[2]["reason"]) == ("", "", "the file is empty")
    assert rows[4]["reason"] == "no such file"
    assert {r["model"] for r in rows} == {"tiny_random"}


def test_a_usage_error_prints_nothing_on_stdout(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format in ("json", "csv", "table"):
        assert predict(photos, "--out", photos, "--format", format) == 2
        printed = capsys.readouterr()
        assert (printed.out, bool(printed.err)) == ("", True)
    assert predict(photos, "--smooth", "-1") == 2
    assert "smooth must be" in capsys.readouterr().err


def test_a_missing_model_is_named_as_what_it_is(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, message in (("defualt", "Did you mean default"), ("runs/nope", "no such model"), ("my.onnx", "missing")):
        assert main(["predict", str(photos), "--model", name]) == 2
        assert message in capsys.readouterr().err


def test_jsonl_is_a_line_an_input(predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(photos, "--format", "jsonl") == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 3


def test_text_beside_the_photos_is_no_failure(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "notes.txt").write_text("milk\n")
    assert predict(photos) == 0
    assert "neither an image nor a video" in capsys.readouterr().out


def test_a_missing_file_is_a_usage_error(predict: Predict, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("gone.png") == 2
    assert capsys.readouterr().err == "moue: gone.png: no such file or folder.\n"


def test_out_has_rows_and_images_under_names_of_their_own(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "results"
    assert predict(photos, "--out", out) == 0
    assert listed(out) == sorted(
        [*("a.json", "a.png", "b ü.jpg", "b ü.json", "index.csv", "people.csv"), "sub/a.json", "sub/a.png"]
    )
    with Image.open(out / "a.png") as shown:
        assert shown.size == (50, 60)
    assert json.loads((out / "sub/a.json").read_text())[0]["source"].endswith("sub/a.png")
    assert capsys.readouterr().err.splitlines()[-1] == f"moue: the results are in {out}"


def test_the_files_of_a_video_and_of_images_never_share_a_name(tmp_path: Path) -> None:
    names = ("clip.mp4", "clip.timeline.png", "clip.jpg", "Clip.png", "index.jpg", "people.png")
    for order in (names, names[::-1]):
        output_folder, written = OutputFolder(tmp_path / "out"), []
        for name in order:
            video = name.endswith(".mp4")
            stem = output_folder.stem(Source(name, "video" if video else "image"))
            endings = ("json", "mp4", "timeline.png") if video else ("json", "png")
            written += [f"{stem}.{ending}".lower() for ending in endings]
        assert not {name.partition(".")[0] for name in written} & {"index", "people"}
        assert len(set(written)) == len(written)


def test_a_model_in_the_output_folder_keeps_its_files(tiny_onnx: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), out / f"a{suffix}")
    before = (out / "a.json").read_bytes()
    command = [
        "predict",
        str(photos / "a.png"),
        "--out",
        str(out),
        "--model",
        str(out / "a.onnx"),
        "--detector",
        "none",
    ]
    assert main(command) == 0
    assert (out / "a.json").read_bytes() == before
    assert json.loads((out / "a-2.json").read_text())[0]["source"].endswith("a.png")


def test_the_longest_file_names_have_their_results(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / "long"
    long.mkdir()
    for name in ("a" * 250 + ".png", "ü" * 125 + ".png", "ü" * 125 + "x.png"):
        shutil.copy(photos / "a.png", long / name)
    shutil.copy(make_video(tmp_path / "video.mp4", [scene(i) for i in range(4)]), long / ("a" * 251 + ".mp4"))
    assert predict(long, photos / "a.png", "--out", tmp_path / "out", "--format", "jsonl") == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
    written = listed(tmp_path / "out")
    assert len(written) == 4 * 2 + 3 + 2
    assert f"long/{'ü' * 121}.png" in written
    assert f"long/{'ü' * 120}-2.png" in written
    assert f"long/{'a' * 240}-2.timeline.png" in written


@pytest.mark.parametrize("wrong", [["--every", "0"], ["--fps", "0"], ["--every", "2", "--fps", "2"]])
def test_unusable_choices_of_frames_end_it_before_any_work(
    wrong: list[str], predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(photos, "--format", "json", "--out", tmp_path / "out", *wrong) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert wrong[0].strip("-") in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_is_read_once_and_drawn_all_the_same(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[(photos / "a.png").read_bytes()])
    writer.start()
    assert predict(pipe, photos / "a.png", "--out", tmp_path / "out", "--format", "json") == 0
    writer.join()
    first, second = json.loads(capsys.readouterr().out)
    assert first | {"source": ""} == second | {"source": ""}
    assert (tmp_path / "out" / "pipe.jpg").is_file()


def test_names_that_no_file_can_have_get_their_row(
    predict: Predict, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = f"\n{'a' * 600}.jpg\na\0.jpg\na\0.mp4\n{photos / 'a.png'}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(names.encode()))))
    assert predict("-", "--format", "json", "--out", tmp_path / "out") == 3
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == [*["unreadable"] * 3, "ok"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="stdin has no name here")
def test_an_image_on_stdin_is_read_under_its_name_and_is_no_list(tiny_onnx: Path, photos: Path) -> None:
    def piped(source: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "moue", "predict", source, "--model", str(tiny_onnx), "--detector", "none"]
        return subprocess.run(
            [*command, "--format", "json"], input=(photos / "a.png").read_bytes(), capture_output=True, check=False
        )

    wrong = piped("-")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr.count(b"\n") == 1
    assert wrong.stderr.endswith(b"moue predict /dev/stdin\n")
    [row] = json.loads(piped("/dev/stdin").stdout)
    assert (row["status"], row["width"]) == ("ok", 50)


def test_a_name_cannot_write_on_the_terminal(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "a.png", photos / "esc\x1b[31mred\nü.png")
    assert predict(photos) == 0
    assert "esc\\x1b[31mred\\nü.png" in capsys.readouterr().out
    assert predict(photos, "--format", "json") == 0
    assert any(row["source"].endswith("esc\x1b[31mred\nü.png") for row in json.loads(capsys.readouterr().out))


def test_an_address_of_another_kind_is_a_usage_error(predict: Predict, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("ftp://bob:secret@example.org/a.jpg") == 2
    error = capsys.readouterr().err
    assert "rtsp, rtsps, http, https addresses" in error
    assert "secret" not in error


def test_results_never_overwrite_inputs(predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (photos / "a.png").read_bytes()
    assert predict(photos / "a.png", "--out", photos) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert (photos / "a.png").read_bytes() == before


def test_results_of_an_earlier_run_are_no_inputs(predict: Predict, photos: Path) -> None:
    for _ in range(2):
        assert predict(photos, "--out", photos / "results", "--format", "jsonl") == 0
    rows = [name for name in listed(photos / "results") if name.endswith(".jsonl")]
    assert rows == ["a.jsonl", "b ü.jsonl", "sub/a.jsonl"]


def test_names_that_are_not_valid_text_are_shown_as_escapes(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "a.png", photos / os.fsdecode(b"caf\xe9.png"))
    assert predict(photos, "--out", photos.parent / "results", "--format", "csv") == 0
    assert "caf\\udce9.png" in capsys.readouterr().out
    [path] = (photos.parent / "results").glob("caf*.csv")
    assert "caf\\udce9.png" in path.read_text(encoding="utf-8")


def test_classes_named_like_columns_have_columns_of_their_own(
    tiny_onnx: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"own{suffix}")
    labels = ("uncertain", "score", "c", "d", "e", "f", "g")
    ModelSpec.load(tmp_path / "own.json").replace(labels=labels).save(tmp_path / "own.json")
    command = ["predict", str(photos / "a.png"), "--model", str(tmp_path / "own.onnx"), "--detector", "none"]
    assert main([*command, "--format", "csv", "--out", str(tmp_path / "out")]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["uncertain"] in ("True", "False")
    assert 0 <= float(row["p(uncertain)"]) <= 1
    with redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        assert main([*command, "--format", "parquet", "--out", str(tmp_path / "out")]) == 0


def test_a_full_disk_is_one_sentence_and_leaves_no_incomplete_file(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with room(600):
        assert predict(photos / "a.png", "--out", out) == 2
    assert capsys.readouterr().err.endswith("a.json: File too large\n")
    assert listed(out) == ["index.csv", "people.csv"]
    with room(1500):
        assert predict(photos / "a.png", "--out", out) == 2
    assert capsys.readouterr().err.endswith("a.png: File too large\n")
    assert listed(out) == ["a.json", "index.csv", "people.csv"]
    assert len(json.loads((out / "a.json").read_text())) == 1
    assert (out / "index.csv").read_text() == "source,status,reason,faces,seconds,answer\n"
    assert predict(photos / "a.png", "--out", out, "--resume") == 0
    assert listed(out) == ["a.json", "a.png", "index.csv", "people.csv"]


def test_parquet_goes_down_a_pipe_and_into_files(
    predict: Predict, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    import pyarrow.parquet as parquet

    assert predict(photos, "--format", "parquet", "--out", tmp_path / "out") == 0
    printed = parquet.read_table(io.BytesIO(capfdbinary.readouterr().out)).to_pylist()
    assert [Path(row["source"]).name for row in printed] == ["a.png", "b ü.jpg", "a.png"]
    assert parquet.read_table(tmp_path / "out" / "a.parquet").to_pylist() == printed[:1]


def test_damaged_sound_is_a_remark_and_the_next_input_is_read(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = damaged_opus(tmp_path / "in.mkv")
    assert predict(video, photos / "a.png", "--out", tmp_path / "out", "--format", "jsonl") == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 25 + 1
    assert f"moue: {video}: the sound is damaged" in printed.err
    assert {"in.mp4", "in.jsonl", "photos/a.png"} <= set(listed(tmp_path / "out"))


def test_interrupted_it_prints_what_was_read(
    predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Recognizer.open
    opened: list[object] = []

    def second_is_interrupted(self: Recognizer, x: object, *rest: object) -> object:
        opened.append(x)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return original(self, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Recognizer, "open", second_is_interrupted)
    assert predict(photos, "--format", "json") == 130
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_list_on_stdin(
    predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"# photos\n\n {photos / 'a.png'} \n{photos / 'sub'}\n"))
    assert predict("-", "--format", "jsonl") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_output_folder_must_be_a_folder(tmp_path: Path, predict: Predict, photos: Path) -> None:
    (tmp_path / "file").write_text("")
    assert predict(photos, "--out", tmp_path / "file") == 2
    assert OutputFolder(tmp_path / "fresh").path.is_dir()


def test_options_are_named_as_they_are_typed(
    predict: Predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, value in (("--uncertain", "2"), ("--min-score", "-1"), ("--max-pixels", "0"), ("--fps", "0")):
        assert predict(photos, option, value) == 2
        assert capsys.readouterr().err.startswith(f"moue: {option} must be ")
    with pytest.raises(SystemExit) as ended:
        predict(photos, "--uncertian", "0.5")
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("moue: unrecognized arguments: --uncertian")
    assert "Did you mean --uncertain?" in printed
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    groups = ("results:", "model:", "faces:", "videos, cameras and streams:", "large and damaged inputs:")
    page = capsys.readouterr().out
    assert [group for group in groups if f"\n{group}\n" not in page] == []
