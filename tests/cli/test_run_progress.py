"""Progress of many inputs: a live line on a terminal, a line an input elsewhere; what is counted is named."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from videos import SquareReader, make_video, scene

from moue.cli.main import main
from moue.cli.run_progress import RunProgress, _fitted
from moue.image import Photo, read_photo
from moue.runtime.inputs.resolve import resolve
from moue.runtime.inputs.source import Source
from moue.runtime.options import RecognizerOptions
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.results import Faces
from moue.runtime.run import run
from moue.runtime.workload import Workload


class Clock:
    """Each look at it is so many seconds after the last one."""

    def __init__(self, step: float = 0.0) -> None:
        self.seconds, self.step = 0.0, step

    def __call__(self) -> float:
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    make_video(tmp_path / "film.mp4", [scene(i) for i in range(40)])
    for name in ("a.png", "b.png"):
        Image.fromarray(scene(3)).save(tmp_path / name)
    Image.new("RGB", (40, 40)).save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("milk")
    return [tmp_path]


LOADS = [Workload("photo", 1, 1.0)] * 4 + [Workload("frame", 40, 8.0), Workload("photo", None, 0.0)]


def load_of(source: Source) -> Workload:
    raise AssertionError("the loads are given")


class Slow(ResultSink):
    """A second passes with each photo, four with one without faces, and a fifth of one with each frame."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def write(self, faces: Faces, image: object = None) -> None:
        self.clock.seconds += 0.2 if faces.timestamp is not None else 4 if faces.status == "no_face" else 1


def shown(inputs: list[Path], live: bool) -> str:
    stream, clock = io.StringIO(), Clock()
    progress = RunProgress(LOADS, load_of, live=live, stream=stream, now=clock)
    run(resolve(inputs), cast(Any, Opener()), [Slow(clock), progress], report=progress.report)
    return stream.getvalue()


class Opener(SquareReader):
    """A recognizer that reads photos, too."""

    options = RecognizerOptions()

    def open(self, data: str) -> Photo:
        return read_photo(data)

    def faces(self, image: Any, source: str = "") -> Faces:
        return super().faces(image.pixels if isinstance(image, Photo) else image, source)


def test_a_line_an_input_names_what_was_found_and_the_time_left(inputs: list[Path]) -> None:
    folder = f"{inputs[0]}{os.sep}"
    lines = [line.removeprefix("[").replace(folder, "") for line in shown(inputs, live=False).splitlines()]
    assert lines == [
        "1/6] a.png: 1 face; 0:11 left",
        "2/6] b.png: 1 face; 0:10 left",
        "3/6] c.png: no face; 0:10 left",
        "4/6] d.jpg: unreadable: the file is empty; 0:08 left",
        "5/6] film.mp4: 40 frames, 1 person in 8.0 s; 0:00 left",
        "6/6] notes.txt: skipped: neither an image nor a video",
    ]


def test_a_terminal_has_one_line_that_changes(inputs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = shown(inputs, live=True)
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
    drawn = [line.removeprefix("\x1b[K") for line in text.split("\r")]
    assert max(map(len, drawn)) < 100
    assert "[##..............] 2/6  b.png  1 photos/s  0:10 left" in drawn
    assert "[###########.....] 5/6  film.mp4  frame 24/40  0:05 of about 0:08  5 frames/s  0:03 left" in drawn
    # The last drawing of a film counts its own seconds.
    assert [line for line in drawn if "frame 40/40" in line][-1].split("  ")[3:5] == ["0:08", "5 frames/s"]
    # The share of the work never goes back, and ends with all of it.
    shares = [line.count("#") for line in drawn if line.startswith("[")]
    assert shares == sorted(shares)
    assert shares[-1] == 16


def test_a_narrow_terminal_shortens_the_name(inputs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(len(line.removeprefix("\x1b[K")) for line in shown(inputs, live=True).split("\r")) < 60
    assert _fitted("holiday-in-the-mountains.mp4", 12) == "holid…s.mp4"
    assert _fitted("short.mp4", 12) == "short.mp4"
    # Such letters take two columns each.
    assert len(_fitted("夏休みの動画夏休みの動画.mp4", 12)) <= 8


def test_the_time_left_is_there_in_a_terminal_of_usual_width(
    inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    drawn = [line.removeprefix("\x1b[K") for line in shown(inputs, live=True).split("\r")]
    assert "[###########.....] 5/6  film.mp4  frame 24/40  0:05 of about 0:08  0:03 left" in drawn
    monkeypatch.setenv("COLUMNS", "60")
    drawn = [line.removeprefix("\x1b[K") for line in shown(inputs, live=True).split("\r")]
    assert "[###########.....] 5/6  film.mp4  frame 24/40  0:03 left" in drawn


def test_the_width_is_that_of_the_terminal_of_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout is a file, as in ``moue predict films/ --format csv > faces.csv``."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(
        "os.get_terminal_size", lambda descriptor=0: os.terminal_size((130 if descriptor == 7 else 9, 24))
    )
    stream = io.StringIO()
    monkeypatch.setattr(stream, "fileno", lambda: 7, raising=False)
    progress = RunProgress([Workload("frame", 10, 1.0)], load_of, live=True, stream=stream, now=Clock(1))
    progress.begin(Source("a" * 50 + ".mp4", "video"))
    progress.report(5, 10)
    assert "a" * 50 in stream.getvalue()


def test_a_remark_does_not_tear_the_line() -> None:
    stream = io.StringIO()
    progress = RunProgress([Workload("frame", 10, 1.0)] * 2, load_of, live=True, stream=stream, now=Clock(1))
    progress.begin(Source("film.mp4", "video"))
    progress.report(5, 10)
    progress.note("the sound is damaged")
    assert re.search(r"frame 5/10[^\n]*\r\x1b\[Kthe sound is damaged\n$", stream.getvalue())


def test_inputs_of_a_list_have_no_time_left() -> None:
    stream = io.StringIO()
    load = Workload("frame", 10, 1.0)
    progress = RunProgress(None, lambda source: load, live=True, stream=stream, now=Clock(1))
    progress.begin(Source("a\x1b[31m.mp4", "video"))
    progress.report(5, 10)
    assert stream.getvalue().split("\r\x1b[K")[-1] == "1  a\\x1b[31m.mp4  frame 5/10  0:03 of about 0:05  1.67 frames/s"


def test_one_film_needs_no_line_where_stderr_is_a_file(
    tmp_path: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_video(tmp_path / "film.mp4", [scene(i) for i in range(10)])
    command = ["predict", str(path), "--model", str(tiny_onnx), "--detector", "none", "--start", "0.2"]
    assert main([*command, "--format", "jsonl"]) == 0
    printed = capsys.readouterr()
    assert (len(printed.out.splitlines()), printed.err) == (5, "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals of this kind here")
def test_on_a_real_terminal_the_results_stand_alone_at_the_end(tmp_path: Path, tiny_onnx: Path) -> None:
    make_video(tmp_path / "film.mp4", [scene(i) for i in range(60)])
    for name in "abc":
        Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / f"{name}.png")
    outer, inner = os.openpty()
    command = [sys.executable, "-m", "moue", "predict", str(tmp_path), "--model", str(tiny_onnx), "--detector", "none"]
    with subprocess.Popen(command, stdout=inner, stderr=inner, stdin=subprocess.DEVNULL) as process:
        os.close(inner)
        chunks = []
        while True:
            try:
                chunk = os.read(outer, 65536)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(outer)
    text = b"".join(chunks).decode()
    assert process.returncode == 0
    live, _, table = text.rpartition("\x1b[K")
    assert "4/4  film.mp4" in live
    assert table.lstrip().startswith("source")
    assert len(table.strip().splitlines()) == 5
