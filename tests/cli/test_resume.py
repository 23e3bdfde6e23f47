"""``moue predict --out DIR --resume``: what is read again, and what the tables hold whatever ended the run before."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import make_video, scene

from moue.cli.main import main
from moue.runtime.outputs.journal import Journal
from moue.runtime.recognizer import Recognizer
from moue.runtime.video.decode import open_video
from moue.signatures import JOURNAL
from moue.spec import ModelSpec

Read = Callable[..., list[str]]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Photos and a film in folders, of which one has the same names."""
    folder = tmp_path / "media"
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "sub/a.png", "sub/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 50, 3), np.uint8)).save(folder / name)
    make_video(folder / "sub" / "clip.mp4", [scene(i) for i in range(6)])
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("milk\n")
    return folder


@pytest.fixture
def read(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Read:
    """Runs the command with an output folder; gives the names of the inputs that were read, each once."""

    def run(*arguments: object, code: int = 3) -> list[str]:
        model = [] if "--model" in arguments else ["--model", tiny_onnx]
        command = ["predict", *arguments, *model, "--detector", "none", "--format", "jsonl", "--out", tmp_path / "out"]
        capsys.readouterr()
        assert main([*map(str, command)]) == code
        sources = [json.loads(line)["source"] for line in capsys.readouterr().out.splitlines()]
        return [Path(source).name for source in dict.fromkeys(sources)]

    return run


def table(path: Path) -> list[dict[str, str]]:
    text = path.read_text()
    assert text.endswith("\n")
    return list(csv.DictReader(io.StringIO(text)))


def snapshot(out: Path) -> dict[str, bytes]:
    """All files but the journal, by name; of films, how many frames: encoders need not be deterministic."""
    files = {
        path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file() and path.name != JOURNAL
    }
    return {
        name: str(len(list(open_video(path).frames()))).encode() if path.suffix == ".mp4" else path.read_bytes()
        for name, path in files.items()
    }


#: In the order of a folder's files; those that have no complete results, as they could not be read.
EVERYTHING = ["a.png", "b.jpg", "broken.mp4", "notes.txt", "a.png", "c.png", "clip.mp4"]
ALWAYS = ["broken.mp4", "notes.txt"]


def test_the_tables_have_every_input_and_person(read: Read, media: Path, tmp_path: Path) -> None:
    read(media)
    out = tmp_path / "out"
    index = table(out / "index.csv")
    assert (out / "index.csv").read_text().splitlines()[0] == "source,status,reason,faces,seconds,answer"
    assert [Path(row["source"]).relative_to(media).as_posix() for row in index] == [
        *("a.png", "b.jpg", "broken.mp4", "notes.txt", "sub/a.png", "sub/c.png", "sub/clip.mp4")
    ]
    assert [row["status"] for row in index] == ["ok", "ok", "unreadable", "skipped", "ok", "ok", "ok"]
    assert [bool(row["reason"]) for row in index] == [row["status"] not in ("ok", "no_face") for row in index]
    assert [row["answer"] for row in index] == [
        *("a.jsonl", "b.jsonl", "broken.jsonl", "", "sub/a.jsonl", "sub/c.jsonl", "sub/clip.jsonl")
    ]
    assert all((out / row["answer"]).is_file() for row in index if row["answer"])
    assert (index[0]["faces"], index[0]["seconds"], index[-1]["faces"], index[-1]["seconds"]) == ("1", "", "1", "0.24")
    [person] = table(out / "people.csv")
    labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    shares = [f"{label}_share" for label in labels]
    assert [*person] == [
        *("source", "track", "start", "end", "seconds", "frames", "label", *labels, *shares, "uncertain_share")
    ]
    assert person["source"] == index[-1]["source"]
    rows = [json.loads(line) for line in (out / "sub" / "clip.jsonl").read_text().splitlines()]
    faces = [face for row in rows for face in row["faces"]]
    for label in labels:
        mean = np.mean([face["probabilities"][label] for face in faces])
        assert float(person[label]) == pytest.approx(mean, abs=1e-3)
        assert float(person[f"{label}_share"]) == pytest.approx(np.mean([f["label"] == label for f in faces]), abs=1e-5)
    assert float(person["uncertain_share"]) == pytest.approx(np.mean([face["uncertain"] for face in faces]), abs=1e-5)
    assert (person["start"], person["end"], person["seconds"], person["frames"]) == ("0.0", "0.2", "0.24", "6")


def test_what_is_complete_is_not_read_again_and_stays_in_the_tables(read: Read, media: Path, tmp_path: Path) -> None:
    assert read(media) == EVERYTHING
    whole = snapshot(tmp_path / "out")
    for again in ((media,), ("--threads", 1, media), ("--engine", "onnxruntime", "--start", 0, media)):
        assert read(*again, "--resume") == ALWAYS
        assert snapshot(tmp_path / "out") == whole
    assert read(f"{media}/../media/", "--resume") == ALWAYS
    # A part of the inputs; the others keep their lines, too.
    assert read(media / "a.png", "--resume", "--format", "table", code=0) == [], "no empty table either"
    assert len(table(tmp_path / "out" / "index.csv")) == 6, "all but the text, which has no results"


@pytest.mark.parametrize("option", [("--uncertain", "0.99"), ("--smooth", "0"), ("--every", "2"), ("--start", "0.1")])
def test_other_options_read_everything_again(option: tuple[str, str], read: Read, media: Path, tmp_path: Path) -> None:
    read(media)
    assert read(media, "--resume", *option) == EVERYTHING
    assert len(table(tmp_path / "out" / "index.csv")) == 7
    assert read(media, "--resume", *option) == ALWAYS


def test_another_model_reads_everything_again_and_the_tables_are_of_it_alone(
    read: Read, media: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    read(media)
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"own{suffix}")
    assert read(media, "--resume", "--model", tmp_path / "own.onnx") == ALWAYS, "a copy is the same model"
    ModelSpec.load(tmp_path / "own.json").replace(labels=tuple("abcdefg")).save(tmp_path / "own.json")
    assert read(media / "sub", "--resume", "--model", tmp_path / "own.onnx", code=0) == ["a.png", "c.png", "clip.mp4"]
    [person] = table(tmp_path / "out" / "people.csv")
    assert {"a", "g_share"} <= person.keys()
    assert len(table(tmp_path / "out" / "index.csv")) == 3
    # What it did not touch is still that of the first model.
    assert read(media, "--resume") == [*ALWAYS, "a.png", "c.png", "clip.mp4"]


def test_a_changed_input_or_result_is_read_again(read: Read, media: Path, tmp_path: Path) -> None:
    read(media)
    out = tmp_path / "out"
    whole = snapshot(out)
    photo, times = media / "a.png", (media / "a.png").stat()
    # Another photo of the same size in bytes, with the same time.
    content = bytearray(photo.read_bytes())
    content[-30] ^= 1
    photo.write_bytes(content)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(media / "b.jpg")
    (out / "sub" / "c.jsonl").write_text("edited\n")
    (out / "sub" / "clip.timeline.png").unlink()
    Image.open(media / "b.jpg").save(media / "new.png")
    make_video(media / "broken.mp4", [scene(i) for i in range(3)])
    found = read(media, "--resume")
    assert found == ["a.png", "b.jpg", "broken.mp4", "new.png", "notes.txt", "c.png", "clip.mp4"]
    assert [Path(row["source"]).name for row in table(out / "index.csv")] == [
        *("a.png", "b.jpg", "broken.mp4", "new.png", "notes.txt", "a.png", "c.png", "clip.mp4")
    ]
    assert [Path(row["source"]).name for row in table(out / "people.csv")] == ["broken.mp4", "clip.mp4"]
    assert {
        name for name, content in snapshot(out).items() if name.startswith("sub/") and whole[name] != content
    } == set()


def test_saved_faces_are_part_of_the_results(read: Read, media: Path, tmp_path: Path) -> None:
    """Also where a folder of the sources is called like that of an input's faces."""
    out = tmp_path / "out"
    for name, photo in (("a.faces/1.png", "b.jpg"), ("clip.faces/000000-1.png", "a.png")):
        (media / "sub" / name).parent.mkdir()
        Image.open(media / photo).save(media / "sub" / name)
    make_video(media / "sub" / "zoo.mp4", [scene(i) for i in range(3)])
    (media / "sub" / "zoo.faces").mkdir()
    shutil.copy(media / "a.png", media / "sub" / "zoo.faces" / "7.png")
    read(media, "--save-faces")
    whole = snapshot(out)
    assert {"sub/a.faces/1.png", "a.faces/1.png"} <= whole.keys()
    answers = [row["answer"] for row in table(out / "index.csv") if row["answer"]]
    assert len(set(answers)) == len(answers) == 10
    faces = {name for name in whole if ".faces/" in name.removeprefix("sub/") and name.endswith(".png")}
    rows = {name: json.loads(whole[name].splitlines()[0])["source"] for name in answers}
    assert {Path(source).relative_to(media).as_posix() for source in rows.values()} >= {
        *("sub/a.faces/1.png", "sub/clip.faces/000000-1.png", "sub/zoo.faces/7.png")
    }
    assert read(media, "--resume", "--save-faces") == ALWAYS
    assert snapshot(out) == whole
    lost = next(name for name in sorted(faces) if name.startswith("a.faces"))
    (out / lost).unlink()
    assert read(media, "--resume", "--save-faces") == ["a.png", *ALWAYS]
    assert snapshot(out) == whole
    assert len(read(media, "--resume")) == 11, "without saved faces the results are others"


def test_without_resume_everything_is_read_again_and_nothing_is_lost(read: Read, media: Path, tmp_path: Path) -> None:
    everything = read(media)
    whole = snapshot(tmp_path / "out")
    assert read(media) == everything
    assert snapshot(tmp_path / "out") == whole
    # The tables are of this run; a file of the same name from elsewhere takes none of the earlier files.
    (tmp_path / "other").mkdir()
    shutil.copy(media / "b.jpg", tmp_path / "other" / "a.jpg")
    read(tmp_path / "other", code=0)
    assert [row["answer"] for row in table(tmp_path / "out" / "index.csv")] == ["a-2.jsonl"]
    assert read(media, tmp_path / "other", "--resume") == ALWAYS
    assert len(table(tmp_path / "out" / "index.csv")) == 8


def test_an_interrupt_keeps_what_is_complete(
    read: Read, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(media)
    whole = snapshot(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    original, opened = Recognizer.open, []

    def third_is_interrupted(self: Recognizer, x: object, *rest: object) -> object:
        opened.append(x)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return original(self, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Recognizer, "open", third_is_interrupted)
    read(media, code=130)
    index = table(tmp_path / "out" / "index.csv")
    assert [Path(row["source"]).name for row in index] == ["a.png", "b.jpg", "broken.mp4", "notes.txt"]
    assert read(media, "--resume") == [*ALWAYS, "a.png", "c.png", "clip.mp4"]
    assert snapshot(tmp_path / "out") == whole


def test_a_line_that_was_being_written_is_written_again(read: Read, media: Path, tmp_path: Path) -> None:
    read(media)
    out = tmp_path / "out"
    whole, journal = snapshot(out), (out / JOURNAL).read_bytes()
    begin = journal.rindex(b"\n", 0, -1) + 1
    for end in np.linspace(begin, len(journal) - 1, 9).astype(int):
        (out / JOURNAL).write_bytes(journal[:end])
        for name in ("index.csv", "people.csv"):
            (out / name).write_bytes(whole[name][:-7])
        assert read(media, "--resume") == [*ALWAYS, "clip.mp4"]
        assert snapshot(out) == whole


def test_a_damaged_journal_costs_no_more_than_its_lines(read: Read, media: Path, tmp_path: Path) -> None:
    read(media)
    whole = snapshot(tmp_path / "out")
    path = tmp_path / "out" / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    complete = [i for i, line in enumerate(lines) if b'"files"' in line]
    lines[complete[0]] = b'{"key": \xff\n'
    lines[complete[1]] = b'["no", "entry"]\n'
    path.write_bytes(b"".join(lines))
    assert read(media, "--resume") == ["a.png", "b.jpg", *ALWAYS]
    assert snapshot(tmp_path / "out") == whole


def test_two_processes_do_not_write_to_one_folder(
    read: Read, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    journal = Journal(tmp_path / "out")
    try:
        assert read(media, code=2) == []
    finally:
        journal.close()
    assert main(["predict", str(media), "--resume"]) == 2
    assert capsys.readouterr().err.endswith("--resume goes on with a folder of results. Name it with --out.\n")
    assert read(media / "a.png", code=0) == ["a.png"]


def test_results_never_leave_their_folder_nor_take_another_s_place(
    read: Read, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative, absolute and upward paths, globs, lists, links, folders called like results."""
    away = tmp_path / "away" / "deep"
    (away / "a.jsonl").mkdir(parents=True)
    (away / "A.JSONL").mkdir(exist_ok=True)
    for name in ("a.png", "a.jpg", "A.webp", "a.jsonl/a.png", "A.JSONL/a.png", "index.png", "people.jpg"):
        shutil.copy(media / "a.png", away / name)
    (away / "link").symlink_to(media)
    monkeypatch.chdir(media / "sub")
    before = set(tmp_path.rglob("*"))
    listed = f"../../away/deep/link/b.jpg\n{away}/people.jpg\n/dev/null/../../{'x' * 300}.png\n\0.png\n..\n."
    monkeypatch.setattr("sys.stdin", io.StringIO(listed))
    read("a.png", "../a.png", media / "b.jpg", "../../away/deep", f"{away}/*.jpg", "../../away/**/index.png", "-")
    out = tmp_path / "out"
    written = set(tmp_path.rglob("*")) - before
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {"out"}
    index = table(out / "index.csv")
    answers = [row["answer"].lower() for row in index if row["answer"]]
    assert len(set(answers)) == len(answers)
    for row in index:
        if row["answer"] and row["status"] != "skipped":
            [first, *_] = (out / row["answer"]).read_text().splitlines()
            assert json.loads(first)["source"] == row["source"]
    kept = [row["source"] for row in index if row["status"] == "ok"]
    assert len(kept) == 3 + 7 + 5 + 2, "the first three; those of the folder; those of its link; c.png and the film"


KILLS = """
import os, signal, sys
from pathlib import Path
from test_durability import SPEC, Recognizer as Films
from moue.image import read_photo
from moue.runtime.inputs.resolve import resolve
from moue.runtime.outputs import folder as outputs
from moue.runtime.outputs.folder import FolderOptions, FolderSink, OutputFolder
from moue.runtime.run import run

# Drawing timelines takes most of the time, and they are written as annotated photos are.
outputs.find_spec = lambda name: None

class Recognizer(Films):
    def open(self, data):
        return read_photo(data)
    def faces(self, image, source=""):
        return super().faces(getattr(image, "pixels", image), source)

media, out = map(Path, sys.argv[1:])

def read(folder, kill_at=None):
    '''Resume in a process of its own, killed before it opens for writing, renames or deletes a file the nth time.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    events = 0
    def count(event, arguments):
        nonlocal events
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.truncate", "os.mkdir"):
            if str(arguments[0]).startswith(str(out)):
                events += 1
                if events == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    sink = FolderSink(OutputFolder(folder, sources=[media]), SPEC, FolderOptions("jsonl"), resume=True)
    run(sink.index.pending(resolve(media, exclude=folder)), Recognizer(), [sink])
    os._exit(0)

assert read(out / "whole") == 0
kill_at = 0
while True:
    kill_at += 1
    folder = out / str(kill_at)
    killed = read(folder, kill_at)
    if killed == 0:
        break
    assert killed == -signal.SIGKILL, killed
    # Killed again while it resumes, and then left alone.
    assert read(folder, 5) in (0, -signal.SIGKILL)
    assert read(folder) == 0
    print(kill_at, flush=True)
"""


def test_killed_before_any_write_it_resumes_to_the_same_results(tmp_path: Path) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    (media / "sub").mkdir(parents=True)
    Image.fromarray(scene(3)).save(media / "a.png")
    make_video(media / "sub" / "b.mp4", [scene(i) for i in range(9)])
    Image.fromarray(scene(5)).save(media / "sub" / "c.jpg")
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests / "runtime"), str(tests / "support"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(media), str(out)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout.split()[-1])
    assert kills > 20
    whole = snapshot(out / "whole")
    assert len(table(out / "whole" / "index.csv")) == 3
    for kill in range(1, kills + 1):
        assert snapshot(out / str(kill)) == whole, f"killed at write {kill}"


def test_it_says_what_is_read_again_and_what_is_gone(
    media: Path, tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", media, "--model", tiny_onnx, "--detector", "none", "--out", tmp_path / "out", "--quiet"]

    def remarks(*options: str) -> str:
        capsys.readouterr()
        assert main([*map(str, command), *options]) == 3
        return capsys.readouterr().err

    assert "again" not in remarks()
    assert "5 inputs are read again: the results are there, which --resume would keep" in remarks()
    assert " read again" not in remarks("--resume").replace("not read again", "")
    assert "5 inputs are read again: the results are of other options or another model" in remarks(
        "--resume", "--every", "2"
    )
    command[1] = media / "sub"
    capsys.readouterr()
    assert main([*map(str, command)]) == 0
    left = "4 inputs are of earlier runs and not in the tables: "
    assert f"{left}--resume would keep those of the same options" in capsys.readouterr().err
    assert main([*map(str, command), "--resume", "--every", "3"]) == 0
    assert f"{left}their options or model are others" in capsys.readouterr().err
    command[1] = media
    remarks("--resume", "--every", "2")
    (media / "b.jpg").rename(media / "d.jpg")
    gone = remarks("--resume", "--every", "2")
    assert f"1 input is gone or renamed and still in the tables, such as {media / 'b.jpg'}" in gone
    assert "4 inputs are not read again: the results are there" in gone
