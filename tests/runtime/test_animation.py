"""Animated images are read as the videos they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from pictures import saved
from PIL import Image
from videos import SquareReader, scene

from moue.errors import Unreadable
from moue.runtime.inputs.resolve import resolve
from moue.runtime.recognizer import Recognizer
from moue.runtime.video.animation import open_film
from moue.runtime.video.decode import open_video
from moue.runtime.video.stream import stream_video

FRAMES = [Image.fromarray(scene(4 * i)) for i in range(6)]
MILLISECONDS = [40, 80, 40, 200, 0, 100]


def animation(format: str, frames: Sequence[Image.Image] = FRAMES, **options: object) -> bytes:
    options = {"duration": MILLISECONDS[: len(frames)], "lossless": True, **options}
    return saved(frames[0], format, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_every_image_is_a_frame_at_its_time(format: str, tmp_path: Path) -> None:
    content = animation(format)
    path = tmp_path / "moving"
    path.write_bytes(content)
    for given in (path, content, io.BytesIO(content)):
        rows = list(stream_video(SquareReader(), given, annotated=tmp_path / "out.mp4"))
        assert [row.status for row in rows] == ["ok"] * 6
        # One that is shown for no time is shown for a tenth of a second, as browsers do.
        assert [round(row.timestamp or 0, 3) for row in rows] == [0, 0.04, 0.12, 0.16, 0.36, 0.46]
        assert [row.boxes[0, 0] for row in rows] == [10 + 8 * i for i in range(6)]
        assert {row.tracks[0] for row in rows if row.tracks is not None} == {1}
    assert [frame.index for frame in open_video(tmp_path / "out.mp4").frames()] == list(range(6))
    assert [row.frame for row in stream_video(SquareReader(), content, every=4)] == [0, 4]


def test_an_image_for_programs_without_animations_is_no_frame() -> None:
    content = animation("PNG", default_image=True, duration=50)
    film = open_film(content)
    assert film.frame_count == 5
    assert [row.boxes[0, 0] for row in stream_video(SquareReader(), film)] == [18, 26, 34, 42, 50]


@pytest.mark.parametrize("format", ["GIF", "PNG"])
def test_one_that_breaks_off_has_the_images_before_and_a_last_row(format: str) -> None:
    content = animation(format)
    rows = list(stream_video(SquareReader(), content[: len(content) * 3 // 5]))
    assert len(rows) > 2
    assert {row.status for row in rows[:-1]} == {"ok"}
    assert (rows[-1].status, rows[-1].frame) == ("unreadable", None)


def test_what_moves_is_a_video_and_what_does_not_is_an_image(tmp_path: Path, tiny_onnx: Path) -> None:
    for name, format, count in [("a", "GIF", 6), ("b", "WEBP", 6), ("c", "PNG", 6), ("d", "GIF", 1), ("e", "PNG", 1)]:
        (tmp_path / f"{name}.{format.lower()}").write_bytes(animation(format, FRAMES[:count]))
    (tmp_path / "f.webp").write_bytes(saved(FRAMES[0], "WEBP"))
    kinds = ["video"] * 3 + ["image"] * 3
    assert [source.kind for source in resolve(tmp_path)] == kinds
    contents = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert [source.kind for source in resolve(contents)] == kinds
    assert [source.kind for source in resolve([io.BytesIO(content) for content in contents])] == kinds
    recognizer = Recognizer(tiny_onnx, "none", engine="onnxruntime", threads=1)
    moving, still = recognizer.read(contents[0]), recognizer.read(contents[3])
    assert isinstance(moving, list)
    assert len(moving) == 6
    assert not isinstance(still, list)
    assert (still.status, still.reason) == ("ok", None)
    # An image that is open already is one image.
    with Image.open(tmp_path / "a.gif") as image:
        first = recognizer.faces(recognizer.open(image))
    assert first.reason == "only the first of its images was read"


def test_too_many_pixels_and_no_images() -> None:
    with pytest.raises(Unreadable, match="160×96 pixels are more") as error:
        open_film(animation("GIF"), max_pixels=160 * 96)
    assert error.value.status == "too_large"
    assert open_film(animation("GIF"), max_pixels=2 * 160 * 96).width == 160
    with pytest.raises(Unreadable):
        open_film(animation("GIF")[:20])
