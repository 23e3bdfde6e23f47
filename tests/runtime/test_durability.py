"""What damaged inputs and killed programs leave behind: everything that was counted as done, and the next input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from videos import SquareReader, drain, make_video, scene

from moue.labels import FER2013
from moue.preprocess import ImageArray
from moue.runtime.inputs.resolve import resolve
from moue.runtime.outputs.folder import FolderOptions, FolderSink, OutputFolder
from moue.runtime.outputs.sinks import MIN_PENDING, ResultSink
from moue.runtime.results import Faces
from moue.runtime.run import run
from moue.runtime.video import container, decode
from moue.runtime.video.decode import open_video
from moue.spec import ModelSpec

SPEC = ModelSpec("squares", "none", FER2013.labels)


class Recognizer(SquareReader):
    """What :func:`run` needs for videos."""

    options = SimpleNamespace(max_pixels=10_000_000)


class Results(ResultSink):
    """Keeps the results."""

    def __init__(self) -> None:
        self.rows: list[Faces] = []

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        self.rows.append(faces)


def read(out: Path, *sources: Path) -> tuple[list[Faces], list[str]]:
    """The results and the remarks of a run that writes a folder."""
    results = Results()
    remarks: list[str] = []
    folder = FolderSink(OutputFolder(out), SPEC, FolderOptions("jsonl"))
    run(resolve(sources), Recognizer(), [folder, results], on_remark=remarks.append)  # type: ignore[arg-type]
    return results.rows, remarks


def saved_frames(path: Path) -> list[int]:
    """The frame numbers of a file of rows."""
    rows: list[Any]
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
    else:
        text = path.read_text()
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [int(row["frame"]) for row in rows]


KILLED = """
import os, signal, sys
from pathlib import Path
from test_durability import SPEC, Recognizer
from moue.runtime.inputs.resolve import resolve
from moue.runtime.outputs.folder import FolderOptions, FolderSink, OutputFolder
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.run import run

class Kill(ResultSink):
    def write(self, faces, image=None):
        if faces.frame == 99:
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self):
        print("complete", *sorted(path.name for path in Path(out).iterdir()), flush=True)

*sources, out, format = sys.argv[1:]
folder = FolderSink(OutputFolder(out), SPEC, FolderOptions(format))
report = lambda done, total: print("progress", done, flush=True)
run(resolve(sources), Recognizer(), [folder, Kill()], report=report)
"""


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "parquet"])
def test_a_killed_run_has_what_it_counted_as_done(format: str, tmp_path: Path) -> None:
    short = make_video(tmp_path / "short.mp4", [scene(i) for i in range(10)], sound="aac")
    long = make_video(tmp_path / "long.mp4", [scene(i) for i in range(110)], sound="aac")
    paths = os.pathsep.join([*map(str, (Path(__file__).parent, Path(__file__).parents[1] / "support")), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, short, long, tmp_path / "out", format],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL
    out = tmp_path / "out"
    # Its timeline is there when the video ends, not when the run does.
    assert re.search(r"^complete .*\bshort.timeline.png$", killed.stdout, re.MULTILINE)
    assert saved_frames(out / f"short.{format}") == list(range(10))
    assert len(list(open_video(out / "short.mp4").frames())) == 10
    assert len((out / "people.csv").read_text().splitlines()) > 1
    done = int(killed.stdout.split()[-1])
    assert done == 96, "batches of eight frames"
    rows = saved_frames(out / f"long.{format}")
    assert rows == list(range(len(rows)))
    assert len(rows) > done - (MIN_PENDING if format == "parquet" else 0)
    with av.open(str(out / "long.mp4")) as file:
        stream = file.streams.video[0]
        # It lacks what the encoder still held, and the last second at most.
        seconds = float(stream.duration * stream.time_base)
        assert seconds > 2
        file.seek(1_000_000)
        assert next(file.decode(stream)).time <= 1
    assert len(drain(open_video(out / "long.mp4").frames())[0]) == pytest.approx(25 * seconds, abs=1)


@pytest.mark.parametrize(
    ("kind", "sound"), [("mp4", "aac"), ("mkv", "libopus"), ("mkv", "pcm_s16le"), ("ts", "ac3"), ("avi", "libmp3lame")]
)
def test_damage_anywhere_costs_at_most_that_video(kind: str, sound: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / f"in.{kind}", [scene(i, 96, 64) for i in range(8)], sound=sound)
    other = make_video(tmp_path / "other.mp4", [scene(i, 96, 64) for i in range(2)])
    with av.open(str(source)) as file:
        packets = [(p.pos, p.size) for p in file.demux(file.streams.audio[0]) if p.size and p.pos and p.pos > 0]
    whole = source.read_bytes()
    for seed in range(8):
        rng, damaged = np.random.default_rng(seed), bytearray(whole)
        for _ in range(rng.integers(1, 10)):
            # In the header, in the sound, anywhere.
            at, size = [(0, min(len(whole), 1500)), packets[rng.integers(len(packets))], (0, len(whole))][seed % 3]
            damaged[min(at + rng.integers(size), len(whole) - 1)] ^= 1 << rng.integers(8)
        source.write_bytes(damaged[: rng.integers(1, len(whole))] if seed % 4 == 3 else damaged)
        rows, _ = read(tmp_path / f"out{seed}", source, other)
        assert [row.status for row in rows if row.source == str(other)] == ["ok", "ok"]
        first = [row.status for row in rows if row.source == str(source)]
        assert first
        assert set(first[:-1]) <= {"ok", "no_face"}
        if first[0] == "ok":
            read_frames = [row for row in rows if row.source == str(source) and row.frame is not None]
            assert len(drain(open_video(tmp_path / f"out{seed}" / "in.mp4").frames())[0]) >= len(read_frames)


@pytest.mark.parametrize("error", [OverflowError("too large"), ValueError(), MemoryError(), OSError(5, "input/output")])
@pytest.mark.parametrize("step", ["open", "decode", "convert"])
def test_whatever_a_video_raises_is_its_row_and_the_next_one_is_read(
    error: Exception, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make_video(tmp_path / f"{name}.mp4", [scene(i) for i in range(9)]) for name in "ab")
    calls: list[object] = []

    def failing(*given: Any, **options: Any) -> Any:
        calls.append(given)
        if len(calls) == failing_call:
            raise error
        return original(*given, **options)

    module, name, failing_call = {
        "open": (container, "_open", 1),
        "decode": (decode._PtsCorrector, "correct", 6),
        "convert": (decode, "to_rgb", 5),
    }[step]
    original = getattr(module, name)
    monkeypatch.setattr(module, name, failing)
    rows, _ = read(tmp_path / "out", first, second)
    frames, end = rows[:-10], rows[-10]
    assert len(frames) == (0 if step == "open" else 4)
    assert {row.status for row in frames} <= {"ok"}
    assert (end.source, end.status, end.frame) == (str(first), "unreadable", None)
    assert end.reason
    assert [(row.source, row.status) for row in rows[-9:]] == [(str(second), "ok")] * 9
