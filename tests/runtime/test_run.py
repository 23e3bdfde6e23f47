"""The loop behind ``moue predict``: which sink gets what, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import make_video, scene

from moue.errors import UsageError
from moue.preprocess import ImageArray
from moue.runtime.inputs.resolve import resolve
from moue.runtime.inputs.source import Source
from moue.runtime.options import VideoOptions
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.runtime.run import run
from moue.runtime.video.decode import open_video


class Recorder(ResultSink):
    """Records its calls; may fail at a result, and may ask for annotated videos."""

    def __init__(self, fail_at: int | None = None, annotated: Path | None = None) -> None:
        self.calls: list[str] = []
        self.images: list[ImageArray | None] = []
        self._fail_at, self._annotated = fail_at, annotated

    def begin(self, source: Source) -> Path | None:
        self.calls.append(f"begin {source.kind}")
        return self._annotated

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        if len(self.images) == self._fail_at:
            raise OSError(28, "No space left on device")
        self.calls.append(faces.status)
        self.images.append(image)

    def end(self) -> None:
        self.calls.append("end")

    def close(self, complete: bool = True) -> None:
        self.calls.append(f"close {complete}")


@pytest.fixture(scope="module")
def recognizer(tiny_onnx: Path) -> Recognizer:
    return Recognizer(tiny_onnx, "none", threads=1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)).save(path)
    return path


def test_each_sink_gets_every_result_and_the_image_of_an_image(
    recognizer: Recognizer, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no image")
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(3)])
    sinks, reports = [Recorder(), Recorder()], []
    sources = [Source("text", "skipped", "neither an image nor a video"), *resolve([image, tmp_path / "gone", video])]
    failed = run(sources, recognizer, sinks, report=lambda *report: reports.append(report))
    assert failed == 1, "what is skipped is no failure"
    assert sinks[0].calls == [
        *("begin skipped", "skipped", "end"),
        *("begin image", "ok", "end"),
        *("begin image", "unreadable", "end"),
        *("begin video", "ok", "ok", "ok", "end"),
        "close True",
    ]
    assert sinks[1].calls == sinks[0].calls
    np.testing.assert_array_equal(sinks[0].images[1], np.asarray(Image.open(image)))
    assert [i for i, given in enumerate(sinks[0].images) if given is not None] == [1, 3, 4, 5]
    frames = [frame.image for frame in open_video(video).frames()]
    for given, frame in zip(sinks[0].images[3:], frames, strict=True):
        np.testing.assert_array_equal(given, frame)
    assert reports == [(3, 3)]


def test_the_first_sink_that_asks_has_the_annotated_video(recognizer: Recognizer, tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(3)])
    paths = [None, tmp_path / "first.mp4", tmp_path / "second.mp4"]
    run(resolve(video), recognizer, [Recorder(annotated=path) for path in paths], VideoOptions(every=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.mp4", "video.mp4"]


def test_after_an_error_every_sink_is_closed(recognizer: Recognizer, image: Path) -> None:
    sinks = [Recorder(), Recorder(fail_at=1), Recorder()]
    with pytest.raises(OSError, match="No space left"):
        run(resolve([image, image, image]), recognizer, sinks)
    first, begun = ["begin image", "ok", "end"], ["begin image"]
    assert sinks[0].calls == [*first, *begun, "ok", "close False"]
    assert sinks[1].calls == sinks[2].calls == [*first, *begun, "close False"]


@pytest.mark.parametrize("options", [{"every": 0}, {"fps": 0.0}, {"every": 2, "fps": 2.0}, {"smooth": -1.0}])
def test_unusable_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        VideoOptions(**options)  # type: ignore[arg-type]
