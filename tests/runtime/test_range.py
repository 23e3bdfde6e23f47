"""A part of a video: the frames that reading all of it gives, decoded from a keyframe near them."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from videos import SquareReader, drain, make_video, scene

import moue
from moue.errors import Unreadable, UsageError
from moue.runtime.video.animation import open_film
from moue.runtime.video.decode import open_video
from moue.runtime.video.seek import find_keyframe
from moue.runtime.video.stream import stream_video

IMAGES = [scene(i) for i in range(100)]


def gappy(n: int) -> list[int]:
    """Timestamps in ticks of 1/1000 s: 40 or 90 ms apart, as a phone's."""
    return np.cumsum([40 + 50 * (i % 7 == 3) for i in range(n)]).tolist()


@pytest.fixture(
    scope="module",
    params=["mp4", "b-frames", "open", "mkv", "variable.mp4", "variable.mkv", "late", "frag", "ts", "avi"],
)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind = request.param
    path = tmp_path_factory.mktemp("range") / f"clip.{kind if kind in ('mkv', 'ts', 'avi') else 'mp4'}"
    variable: dict[str, Any] = {"times": gappy(100), "time_base": Fraction(1, 1000)}
    match kind:
        case "b-frames":
            return make_video(path, IMAGES, b_frames=3)
        case "open":
            return make_video(path, IMAGES, b_frames=3, x264={"x264-params": "open-gop=1"})
        case "variable.mp4" | "variable.mkv":
            return make_video(path.with_suffix(Path(kind).suffix), IMAGES, b_frames=2, **variable)
        case "late":
            return make_video(path, IMAGES, times=[1000 + i for i in range(100)], time_base=Fraction(1, 25))
        case "frag":
            return make_video(path, IMAGES, options={"movflags": "frag_keyframe+empty_moov"})
    return make_video(path, IMAGES, b_frames=2 * (kind == "ts"))


@pytest.mark.parametrize(("start", "end"), [(0, 1.3), (0.3, 2), (1.5, 1.7), (2.41, None), (3.9, 99)])
def test_a_range_has_the_frames_of_the_whole_video(video: Path, start: float, end: float | None) -> None:
    opened = open_video(video)
    whole = [f for f in opened.frames() if start <= f.timestamp < (end or 1000)]
    part = list(opened.frames(start=start, end=end))
    assert [(f.index, f.timestamp) for f in part] == [(f.index, f.timestamp) for f in whole]
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize(("suffix", "seeks"), [(".mp4", True), (".mkv", True), (".ts", False)])
def test_decoding_begins_at_a_keyframe_where_the_container_can(tmp_path: Path, suffix: str, seeks: bool) -> None:
    # A keyframe is every tenth frame: 60 is the last one that is half a second before the 75th.
    path = make_video(tmp_path / f"clip{suffix}", IMAGES)
    keyframe = find_keyframe(path, open_video(path).start_time + 3)
    assert (keyframe and keyframe.index) == (60 if seeks else None)


def test_what_is_before_the_keyframe_need_not_be_readable(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", IMAGES)
    with av.open(str(path)) as file:
        damaged = [packet.pos + 40 for packet in file.demux(video=0) if packet.pos and packet.pts < 12800]
    data = bytearray(path.read_bytes())
    for at in damaged:
        data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    frames, error = drain(open_video(path).frames(start=3))
    assert ([frame.index for frame in frames], error) == (list(range(75, 100)), None)
    assert isinstance(drain(open_video(path).frames())[1], Unreadable)


def test_one_result_a_frame_of_the_range(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", IMAGES)
    reports: list[tuple[int, int | None]] = []
    rows = list(stream_video(SquareReader(), path, start=1, end=2, every=10, report=lambda *r: reports.append(r)))
    assert [(row.frame, row.timestamp) for row in rows] == [(25, 1), (35, 1.4), (45, 1.8)]
    assert reports[-1] == (25, 25)
    # The 15 frames after the first are read, but no image a second is before its slot.
    assert [row.frame for row in stream_video(SquareReader(), path, start=1.5, fps=1)] == [38, 50, 75]
    (row,) = stream_video(SquareReader(), path, start=4)
    assert (row.status, row.reason) == (
        "unreadable", "there is nothing to read: it ends at 3.96 s, before the start at 4 s"
    )  # fmt: skip
    (row,) = stream_video(SquareReader(), path, start=1.001, end=1.002)
    assert row.reason == "there is nothing to read: no frame is before 1.002 s and after the start at 1.001 s"


def test_what_lies_behind_the_end_is_not_missed(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mkv", IMAGES)
    path.write_bytes(path.read_bytes()[:-1500])
    whole = [row.status for row in stream_video(SquareReader(), path)]
    assert whole[-1] == "unreadable"
    assert {row.status for row in stream_video(SquareReader(), path, end=2)} == {"ok"}


def test_the_annotated_part_begins_at_zero_with_the_sound_of_its_time(tmp_path: Path) -> None:
    for suffix, sound in ((".mp4", "aac"), (".mkv", "libopus"), (".avi", "mp2")):
        path = make_video(tmp_path / f"clip{suffix}", [scene(i) for i in range(250)], sound=sound)
        list(stream_video(SquareReader(), path, start=6, end=8, annotated=tmp_path / "out.mp4"))
        written = open_video(tmp_path / "out.mp4")
        assert [frame.timestamp for frame in written.frames()] == pytest.approx([i / 25 for i in range(50)], abs=1e-3)
        with av.open(str(tmp_path / "out.mp4")) as file:
            times = [float(p.pts * p.time_base) for p in file.demux(audio=0) if p.pts is not None]
        assert times[0] == pytest.approx(0, abs=0.05)
        assert times[-1] == pytest.approx(2, abs=0.1)


def test_a_part_of_an_animation() -> None:
    frames = [Image.fromarray(scene(i)) for i in range(0, 60, 6)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100)
    film = open_film(file.getvalue())
    assert [(f.index, round(f.timestamp, 6)) for f in film.frames(start=0.25, end=0.5)] == [(3, 0.3), (4, 0.4)]
    with pytest.raises(Unreadable, match="before the start"):
        list(film.frames(start=1))


def test_the_library_takes_a_range(tmp_path: Path, tiny_onnx: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", IMAGES[:50])
    options: dict[str, Any] = {"model": tiny_onnx, "detector": "none"}
    frames = moue.read(path, start=1, end=1.2, **options)
    assert isinstance(frames, list)
    assert [frame.frame for frame in frames] == list(range(25, 30))
    recognizer = moue.Recognizer(**options)
    assert [row.timestamp for row in recognizer.stream(path, start=1.9)] == [1.92, 1.96]
    wrong: dict[str, Any]
    for wrong in ({"start": 2, "end": 2}, {"start": -1}, {"end": 0}, {"start": float("nan")}):
        with pytest.raises(UsageError, match=r"^(start|end) must"):
            next(recognizer.stream(path, **wrong))
