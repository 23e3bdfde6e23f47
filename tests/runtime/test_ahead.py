"""Photos are read before their turn: several at a time, with the same results in the same order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.errors import UsageError
from moue.preprocess import ImageArray
from moue.runtime import ahead
from moue.runtime import run as run_module
from moue.runtime.ahead import read_ahead
from moue.runtime.inputs.resolve import resolve
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces


@pytest.fixture
def photos(tmp_path: Path) -> list[Source]:
    draw = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(draw.integers(0, 256, (40 + i, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (tmp_path / "notes.txt").write_text("no photo")
    return list(resolve(tmp_path))


class _Rows(ResultSink):
    def __init__(self) -> None:
        self.rows: list[tuple[Faces, ImageArray | None]] = []

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        self.rows.append((faces, image))


def test_the_results_are_those_of_one_after_the_other(
    photos: list[Source], tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(tiny_onnx, "none")
    rows = []
    for threads in (0, 2, 4):
        monkeypatch.setattr(run_module, "threads_ahead", lambda _, threads=threads: threads)
        sink = _Rows()
        assert run_module.run(photos, recognizer, [sink]) == 1
        rows.append(sink.rows)
    alone, *others = rows
    assert [faces.status for faces, _ in alone] == ["ok", "ok", "ok", "unreadable", "ok", "skipped"]
    for other in others:
        for (faces, image), (expected, pixels) in zip(other, alone, strict=True):
            assert faces.to_dict() == expected.to_dict()
            np.testing.assert_array_equal(image, pixels)


def test_as_many_are_read_at_a_time_as_there_are_threads(photos: list[Source]) -> None:
    both = threading.Barrier(2, timeout=30)

    def read(source: Source) -> str:
        both.wait()
        return source.name

    # Neither of the two would return if it were alone.
    first_two = [photo for photo in photos if photo.kind == "image"][:2]
    assert [result() for _, result in read_ahead(first_two, read, 2)] == [photo.name for photo in first_two]


def test_what_is_no_photo_or_a_large_one_waits_for_its_turn(
    photos: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MAX_PIXELS_AHEAD", 40 * 42)
    read: list[str] = []
    turns = list(read_ahead(photos, lambda source: read.append(Path(source.name).name), 4))
    # Neither the large one, nor the damaged one, nor the text.
    assert sorted(read) == ["0.png", "1.png", "2.png"]
    turns[4][1]()
    assert read[-1] == "4.png"


def test_an_error_is_raised_in_its_turn_and_ends_the_rest(photos: list[Source]) -> None:
    done: list[str] = []

    def read(source: Source) -> None:
        if source.name.endswith("1.png"):
            raise UsageError("wrong")
        done.append(source.name)

    turns = read_ahead(photos, read, 1)
    next(turns)[1]()
    with pytest.raises(UsageError, match="wrong"):
        next(turns)[1]()
    turns.close()
    assert len(done) < 4
    assert not any(thread.name.startswith("moue-photo") for thread in threading.enumerate())


def test_one_thread_reads_nothing_ahead() -> None:
    assert ahead.threads_ahead(1) == 0
    assert ahead.threads_ahead(64) <= ahead.MAX_THREADS
