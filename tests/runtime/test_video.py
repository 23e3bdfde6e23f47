from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from videos import drain, make_song, make_sound, make_video, mp4_boxes, scene

from moue.errors import Unreadable, UsageError
from moue.runtime.video.container import is_video
from moue.runtime.video.decode import Decoder, open_video
from moue.runtime.video.writer import VideoWriter

NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def ntsc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at 29.97."""
    path = tmp_path_factory.mktemp("videos") / "ntsc video.mp4"
    return make_video(path, [scene(i) for i in range(60)], rate=NTSC, options={"movflags": "faststart"})


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi", "mov"])
def test_a_rate_of_29_97_stays_exact_in_every_container(tmp_path: Path, kind: str) -> None:
    video = open_video(make_video(tmp_path / f"video.{kind}", [scene(i) for i in range(30)], rate=NTSC))
    assert video.frame_rate == NTSC
    times = [frame.timestamp for frame in video.frames()]
    # Matroska counts in milliseconds, MPEG-TS in 1/90000 s; nobody may drift.
    np.testing.assert_allclose(times, np.arange(30) * 1001 / 30000, atol=1.1e-3 if kind == "mkv" else 1.2e-5)
    assert times[0] == 0.0


def test_a_video_is_read_from_path_bytes_and_file_alike(ntsc: Path) -> None:
    with open(ntsc, "rb") as file:
        for source in (ntsc, str(ntsc), ntsc.read_bytes(), io.BytesIO(ntsc.read_bytes()), file):
            video = open_video(source)
            frames = list(video.frames())
            assert [f.index for f in frames] == list(range(60)) == [f.index for f in video.frames()]
            assert frames[7].timestamp == pytest.approx(7 * 1001 / 30000, abs=1e-9)
            assert frames[0].image.shape == (96, 160, 3)
            assert frames[0].image.dtype == np.uint8
            assert (video.frame_count, video.width, video.height, video.codec, video.has_sound) == (
                60,
                160,
                96,
                "h264",
                False,
            )
            assert video.duration == pytest.approx(60 * 1001 / 30000, abs=1e-4)
    assert np.abs(frames[0].image.astype(int) - scene(0)).mean() < 8


def test_colors_come_as_rgb(tmp_path: Path) -> None:
    red = np.full((64, 64, 3), (200, 20, 30), np.uint8)
    image = next(open_video(make_video(tmp_path / "red.mp4", [red] * 3)).frames()).image
    np.testing.assert_allclose(image.mean(axis=(0, 1)), (200, 20, 30), atol=6)


@pytest.mark.parametrize(
    ("aspect", "shown"), [("16/15", (171, 96)), ("3/4", (160, 128)), ("2", (320, 96)), ("1000", (160, 96))]
)
def test_images_have_square_pixels_as_players_show_them(tmp_path: Path, aspect: str, shown: tuple[int, int]) -> None:
    video = open_video(make_video(tmp_path / "in.mp4", [scene(5)] * 3, sample_aspect_ratio=Fraction(aspect)))
    assert (video.width, video.height) == shown
    image = next(video.frames()).image
    assert image.shape == (shown[1], shown[0], 3)
    expected = np.asarray(Image.fromarray(scene(5)).resize(shown, Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(image - expected).mean() < 8
    if aspect == "2":
        with pytest.raises(Unreadable, match="320×96 pixels are more than the limit"):
            open_video(tmp_path / "in.mp4", max_pixels=160 * 96)


@pytest.mark.parametrize("matrix", [8, 10, 12])
def test_color_matrices_that_cannot_be_converted_are_taken_for_unspecified(tmp_path: Path, matrix: int) -> None:
    video = make_video(tmp_path / "odd.mp4", [scene(0)] * 3, colorspace=matrix)
    images = [frame.image for frame in open_video(video).frames()]
    assert len(images) == 3
    np.testing.assert_allclose(images[0].mean(), scene(0).mean(), atol=8)


def test_variable_rates_keep_their_own_times(tmp_path: Path) -> None:
    ticks = [0, 40, 80, 500, 510, 1200, 1240, 3000]
    path = make_video(tmp_path / "variable.mp4", [scene(i) for i in range(8)], times=ticks, time_base=Fraction(1, 1000))
    assert [round(f.timestamp * 1000) for f in open_video(path).frames()] == ticks
    # At most two a second: the first frame of each half second that has one.
    assert [f.index for f in open_video(path).frames(fps=2)] == [0, 3, 5, 7]


def test_every_and_fps_choose_frames(ntsc: Path) -> None:
    video = open_video(ntsc)
    assert [f.index for f in video.frames(every=25)] == [0, 25, 50]
    assert [f.index for f in video.frames(fps=10)][:4] == [0, 3, 6, 9]
    assert len(list(video.frames(fps=30))) == len(list(video.frames(fps=1000))) == 60


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"every": 1.5}, {"fps": 0}, {"fps": float("nan")}, {"every": 2, "fps": 5}]
)
def test_unusable_choices_are_refused_at_once(ntsc: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_video(ntsc).frames(**wrong)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_in_the_metadata_is_applied(tmp_path: Path, turn: int) -> None:
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48] = 255
    coded = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    video = open_video(make_video(tmp_path / "turned.mp4", [coded] * 3, rotation=turn))
    image = next(video.frames()).image
    assert (video.width, video.height, video.rotation) == (96, 64, turn)
    assert np.abs(image.astype(int) - upright).mean() < 8


@pytest.mark.parametrize("kind", ["mirrored", "flipped", "transposed", "turned over"])
def test_a_mirror_in_the_metadata_is_applied(tmp_path: Path, kind: str) -> None:
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48] = 255
    # What the video holds, and how its columns and rows are then shown: (a, b, c, d) of x = a p + c q, y = b p + d q.
    coded, matrix = {
        "mirrored": (upright[:, ::-1], (-1, 0, 0, 1)),
        "flipped": (upright[::-1], (1, 0, 0, -1)),
        "transposed": (upright.transpose(1, 0, 2), (0, 1, 1, 0)),
        "turned over": (upright.transpose(1, 0, 2)[::-1, ::-1], (0, -1, -1, 0)),
    }[kind]
    path = make_video(tmp_path / "mirror.mp4", [np.ascontiguousarray(coded)] * 3)
    data = bytearray(path.read_bytes())
    offset = data.index(b"tkhd") + 44
    for i, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[offset + 4 * i : offset + 4 * i + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    video = open_video(path)
    image = next(video.frames()).image
    assert (video.width, video.height, video.mirrored) == (96, 64, True)
    assert np.abs(image.astype(int) - upright).mean() < 8


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi", "flv"])
def test_timestamps_that_start_late_are_no_video_cut_off(tmp_path: Path, kind: str) -> None:
    times, tenth = range(100, 130), Fraction(1, 10)
    images = [scene(i) for i in range(30)]
    video = open_video(make_video(tmp_path / f"late.{kind}", images, rate=1 / tenth, times=times, time_base=tenth))
    assert [f.timestamp for f in video.frames()] == pytest.approx(np.arange(30) / 10, abs=1e-4)
    assert video.duration is None or 2.9 <= video.duration <= 3.0
    # AVI fills the time before with images of no bytes, and counts them.
    assert video.frame_count in ((130,) if kind == "avi" else (None, 30))


@pytest.mark.parametrize("count", [3, 40])
def test_b_frames_have_their_times_where_the_file_numbers_frames_as_decoded(tmp_path: Path, count: int) -> None:
    path = make_video(tmp_path / "video.avi", [scene(i) for i in range(count)], b_frames=3)
    copy = tmp_path / "copy.mkv"
    with av.open(str(path)) as file, av.open(str(copy), "w") as copied:
        stream = copied.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copied.mux(packet)
    for video in (path, copy):
        assert [f.timestamp for f in open_video(video).frames()] == pytest.approx(np.arange(count) / 25, abs=1e-4)


def test_b_frames_keep_the_gaps_between_them(tmp_path: Path) -> None:
    ticks = [*range(15), *range(40, 60)]
    for kind in ("avi", "mp4", "ts"):
        path = make_video(tmp_path / f"video.{kind}", [scene(i) for i in range(35)], times=ticks, b_frames=3)
        assert [round(25 * f.timestamp) for f in open_video(path).frames()] == ticks


def test_the_frame_size_may_change_in_mid_video(tmp_path: Path) -> None:
    small = make_video(tmp_path / "a.ts", [scene(i) for i in range(10)]).read_bytes()
    large = make_video(tmp_path / "b.ts", [scene(i, 320, 192) for i in range(10)]).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    frames = list(open_video(tmp_path / "both.ts").frames())
    assert [f.image.shape for f in frames] == [(96, 160, 3)] * 10 + [(192, 320, 3)] * 10
    # The second part's timestamps start again; the video's go on.
    assert [f.timestamp for f in frames] == pytest.approx(np.arange(20) / 25, abs=1e-4)


def test_frames_that_an_edit_list_hides_are_read_too(tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", [scene(i) for i in range(30)])
    data = bytearray(path.read_bytes())
    offset = data.index(b"elst")
    # Version, flags, count, duration, then where in the media the showing starts: three frames further on.
    start = int.from_bytes(data[offset + 16 : offset + 20], "big")
    with av.open(str(path)) as file:
        tick = file.streams.video[0].time_base
    data[offset + 16 : offset + 20] = (start + round(Fraction(3, 25) / tick)).to_bytes(4, "big")
    assert [f.timestamp for f in open_video(bytes(data)).frames()] == pytest.approx(np.arange(30) / 25)


def test_a_video_that_is_cut_off_gives_what_is_there_and_then_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 160, 3), np.uint8)
    for name, options in (("a.mp4", {"movflags": "faststart"}), ("a.mkv", {})):
        path = make_video(tmp_path / name, list(noise), options=options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        frames, error = drain(open_video(path).frames())
        assert 10 < len(frames) < 40
        assert [f.index for f in frames] == list(range(len(frames)))
        assert "cut off" in str(error)


def test_damage_in_the_middle_is_an_error_at_the_end(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 160, 3), np.uint8)
    path = make_video(tmp_path / "a.mp4", list(noise))
    data = bytearray(path.read_bytes())
    at, size = mp4_boxes(bytes(data))[b"mdat"]
    data[at + size // 3 : at + size // 2] = bytes(size // 2 - size // 3)
    frames, error = drain(open_video(bytes(data)).frames())
    assert len(frames) > 10
    assert "damaged" in str(error)


def test_an_error_says_why_a_file_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "words.mp4").write_text("this is no video\n" * 50)
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.jpg")
    make_sound(tmp_path / "song.mp4")
    make_song(tmp_path / "song.mp3")
    whole = make_video(tmp_path / "whole.mp4", [scene(i) for i in range(10)])
    (tmp_path / "headless.mp4").write_bytes(whole.read_bytes()[:-900])
    for name, words in {
        "empty.mp4": "file is empty",
        "noise.mp4": "cannot be opened",
        "words.mp4": "cannot be opened",
        "photo.jpg": "not a video",
        "song.mp4": "sound alone",
        "song.mp3": "sound alone",
        "headless.mp4": "incomplete",
    }.items():
        with pytest.raises(Unreadable, match=words):
            open_video(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_video(tmp_path / "missing.mp4")


def test_videos_are_told_from_other_files_by_their_content(tmp_path: Path, ntsc: Path) -> None:
    (tmp_path / "video.jpg").write_bytes(ntsc.read_bytes())
    make_video(tmp_path / "video.ts", [scene(i) for i in range(5)]).rename(tmp_path / "video")
    make_video(tmp_path / "video.h264", [scene(i) for i in range(5)]).rename(tmp_path / "raw")
    make_video(tmp_path / "video.mkv", [scene(i) for i in range(5)])
    make_sound(tmp_path / "song.m4a")
    (tmp_path / "empty.mov").touch()
    for name in ("video.jpg", "video", "raw", "video.mkv", "song.m4a", "empty.mov", "missing.mp4"):
        assert is_video(tmp_path / name), name
    photo = Image.fromarray(scene(0))
    for ending in ("jpg", "png", "gif", "webp", "bmp", "tiff", "ppm", "tga"):
        photo.save(tmp_path / f"photo.{ending}")
    photo.save(tmp_path / "photo.mp4", format="png")
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bytes").write_bytes(np.random.default_rng(1).bytes(3000))
    np.save(tmp_path / "array.npy", scene(0))
    for path in (*tmp_path.glob("photo.*"), tmp_path / "list.csv", tmp_path / "bytes", tmp_path / "array.npy"):
        assert not is_video(path), path.name


def test_frames_with_one_timestamp_shift_no_other(tmp_path: Path) -> None:
    ticks = [0, 100, 100, 200, 300, 300, 400, 700]
    path = make_video(tmp_path / "video.mkv", [scene(i) for i in range(8)], times=ticks, time_base=Fraction(1, 1000))
    assert [frame.timestamp for frame in open_video(path).frames()] == [tick / 1000 for tick in ticks]


@pytest.mark.parametrize("name", ["12:30.mp4", "file:clip.mp4", "http:clip.mp4"])
def test_names_that_look_like_urls_are_paths(
    tmp_path: Path, ntsc: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(ntsc.read_bytes())
    assert is_video(name)
    video = open_video(name)
    assert (video.name, len(list(video.frames()))) == (name, 60)
    with VideoWriter(f"out-{name}", like=video) as writer:
        writer.write(scene(0), 0.0)
    assert len(list(open_video(f"out-{name}").frames())) == 1


def test_streams_that_appear_midway_cost_no_image(ntsc: Path) -> None:
    class Grown:
        """What PyAV does at the end of a file whose streams became more; by chance, as it reads foreign memory."""

        def demux(self, stream: object) -> Iterator[Any]:
            yield from (packet for packet in file.demux(stream) if packet.size)
            raise IndexError("list index out of range")

    with av.open(str(ntsc)) as file:
        decoder = Decoder(Grown(), file.streams.video[0])
        assert (len(list(decoder)), decoder.errors) == (60, 0)
