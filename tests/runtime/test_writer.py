from __future__ import annotations

import errno
import io
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from videos import SquareReader, damaged_opus, drain, make_video, scene

from moue.errors import UsageError
from moue.runtime.results import Faces
from moue.runtime.video import sound as sound_module
from moue.runtime.video import writer as writer_module
from moue.runtime.video.decode import open_video
from moue.runtime.video.stream import stream_video
from moue.runtime.video.writer import VideoWriter


def times(path: Any) -> list[float]:
    return [frame.timestamp for frame in open_video(path).frames()]


def loudness(path: Path) -> tuple[float, float]:
    """When the sound starts and how much of it there is, seconds; silence is not counted."""
    with av.open(str(path)) as file:
        track = file.streams.audio[0]
        heard = [
            (float(f.pts * f.time_base), f.samples / f.sample_rate)
            for f in file.decode(track)
            if np.abs(f.to_ndarray().astype(float)).max() > (500 if "s16" in f.format.name else 0.05)
        ]
    return heard[0][0], sum(length for _, length in heard)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_the_annotated_video_keeps_times_and_marks_faces(tmp_path: Path, kind: str) -> None:
    source = make_video(tmp_path / f"in.{kind}", [scene(i) for i in range(20)], rate=Fraction(30000, 1001))
    list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    assert times(tmp_path / "out.mp4") == times(source)
    out = open_video(tmp_path / "out.mp4")
    assert (out.codec, out.width, out.height) == ("h264", 160, 96)
    before, after = (next(open_video(p).frames()).image.astype(int) for p in (source, tmp_path / "out.mp4"))
    # The box is drawn around the square (10 to 34), not far from it.
    assert np.abs(after - before)[28:56, 8:36].max() > 80
    assert np.abs(after - before)[70:].max() < 40


def test_variable_rates_and_odd_sizes_are_kept_even(tmp_path: Path) -> None:
    ticks = [0, 40, 80, 500, 510, 1200, 1240, 3000]
    source = make_video(
        tmp_path / "in.mkv", [scene(i) for i in range(8)], times=ticks, time_base=Fraction(1, 1000), rate=Fraction(25)
    )
    with VideoWriter(tmp_path / "out.mp4", like=open_video(source)) as writer:
        for frame in open_video(source).frames():
            writer.write(frame.image[:95, :159], frame.timestamp)
    out = open_video(tmp_path / "out.mp4")
    assert [round(t * 1000) for t in times(tmp_path / "out.mp4")] == ticks
    assert (out.width, out.height) == (160, 96)


@pytest.mark.parametrize("matrix", [1, 2, 5, 9])
def test_players_show_the_annotated_video_in_the_colors_of_its_source(tmp_path: Path, matrix: int) -> None:
    red = np.full((64, 64, 3), (200, 60, 40), np.uint8)
    tags: dict[str, Any] = {"colorspace": matrix, "color_primaries": 9, "color_trc": 18}
    source = make_video(tmp_path / "in.mp4", [red] * 3, **tags)
    with VideoWriter(tmp_path / "out.mp4", like=open_video(source)) as writer:
        for frame in open_video(source).frames():
            writer.write(frame.image, frame.timestamp)
    coded = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as file:
            frame = next(file.decode(video=0))
            context = file.streams.video[0].codec_context
            assert {name: getattr(context, name) for name in tags} == tags
            coded.append([np.frombuffer(plane, np.uint8)[0] for plane in frame.planes])
    np.testing.assert_allclose(coded[1], coded[0], atol=3)


@pytest.mark.parametrize(("turn", "size"), [(0, (228, 96)), (90, (96, 228))])
def test_the_annotated_video_has_square_pixels(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    wide = Fraction(64, 45)
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(3)], rotation=turn, sample_aspect_ratio=wide)
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    assert {(row.width, row.height) for row in rows} == {size}
    with av.open(str(tmp_path / "out.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio or 1) == (*size, 1)


def test_another_frame_size_is_letterboxed(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4") as writer:
        for i, shape in enumerate(((96, 160), (200, 200), (3, 1))):
            writer.write(np.full((*shape, 3), 200, np.uint8), i / 10)
    images = [f.image for f in open_video(tmp_path / "out.mp4").frames()]
    assert [p.shape for p in images] == [(96, 160, 3)] * 3
    assert images[1][48, 80].min() > 180
    assert images[1][48, 5].max() < 40


@pytest.mark.parametrize(
    ("kind", "codec", "kept"),
    [("mp4", "aac", "aac"), ("mp4", "libmp3lame", "mp3"), ("mkv", "libopus", "opus"), ("mkv", "pcm_s16le", "aac")],
)
def test_the_sound_is_kept(tmp_path: Path, kind: str, codec: str, kept: str) -> None:
    source = make_video(tmp_path / f"in.{kind}", [scene(i) for i in range(25)], sound=codec)
    list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.audio[0].codec_context.codec.canonical_name == kept
    (start, length), (old_start, old_length) = loudness(tmp_path / "out.mp4"), loudness(source)
    assert start == pytest.approx(old_start, abs=0.05)
    assert length == pytest.approx(old_length, abs=0.06)
    assert times(tmp_path / "out.mp4") == times(source)


def test_copied_sound_is_the_same_packets(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(25)], sound="aac")
    list(stream_video(SquareReader(), source.read_bytes(), annotated=tmp_path / "out.mp4"))
    packets = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as file:
            packets.append([bytes(p) for p in file.demux(file.streams.audio[0]) if p.size])
    # Only what lies wholly before the first image may be missing.
    assert packets[1] in (packets[0], packets[0][1:])


def test_sound_and_images_come_from_one_file_object(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(25)], sound="aac")
    with open(source, "rb") as file:
        assert len(list(stream_video(SquareReader(), file, annotated=tmp_path / "out.mp4"))) == 25
    assert open_video(tmp_path / "out.mp4").has_sound


def test_all_frames_are_in_the_video_where_only_some_are_read(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(30)])
    rows = list(stream_video(SquareReader(), source, every=10, annotated=tmp_path / "out.mp4"))
    assert len(rows) == 3
    assert times(tmp_path / "out.mp4") == times(source)


def test_ctrl_c_leaves_a_video_that_plays(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(60)], sound="aac")
    rows = stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4", batch_size=4)

    def interrupted() -> Iterator[Faces]:
        for row in rows:
            yield row
            if row.frame == 29:
                raise KeyboardInterrupt

    assert isinstance(drain(interrupted())[1], KeyboardInterrupt)
    rows.close()
    assert len(times(tmp_path / "out.mp4")) == 30
    # The sound ends with the images.
    assert sum(loudness(tmp_path / "out.mp4")) < 1.5


KILLED = """
import os, sys
from fractions import Fraction
import numpy as np
from moue.runtime.video.writer import VideoWriter

writer = VideoWriter(sys.argv[1], frame_rate=Fraction(10))
noise = np.random.default_rng(0)
for i in range(80):
    writer.write(noise.integers(0, 255, (32, 48, 3), np.uint8), i / 10)
os._exit(9)
"""


def test_a_killed_process_leaves_a_video_that_plays(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out.mp4")]).returncode == 9
    assert len(drain(open_video(tmp_path / "out.mp4").frames())[0]) >= 40


class FullDisk(io.BytesIO):
    """A file that takes so many bytes and not one more."""

    name = "full.mp4"

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_an_error_and_what_was_written_plays(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 32, 48, 3), np.uint8)
    source = make_video(tmp_path / "in.mp4", list(noise), rate=Fraction(10), sound="aac")
    disk = FullDisk(100_000)
    rows, error = drain(stream_video(SquareReader(), source, annotated=disk))
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.ENOSPC, "full.mp4")
    assert "No space left" in str(error)
    assert rows
    assert len(drain(open_video(disk.getvalue()).frames())[0]) >= 10


def test_wrong_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.mp4"):
        VideoWriter(tmp_path / "out.avi")
    with pytest.raises(OSError, match="No such file"):
        VideoWriter(tmp_path / "nowhere" / "out.mp4")
    VideoWriter(tmp_path / "never_written.mp4").close()


def test_without_x264_another_encoder_writes_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_ENCODERS", (("no_such_encoder", {}), ("mpeg4", {"q": "4"})))
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(10)], rate=Fraction(30000, 1001))
    list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    assert open_video(tmp_path / "out.mp4").codec == "mpeg4"
    assert times(tmp_path / "out.mp4") == times(source)


def test_sound_of_concatenated_recordings_goes_on(tmp_path: Path) -> None:
    once = make_video(tmp_path / "once.ts", [scene(i) for i in range(25)], sound="aac")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    assert len(list(stream_video(SquareReader(), twice, annotated=tmp_path / "out.mp4"))) == 50
    assert times(tmp_path / "out.mp4") == times(twice)
    _, long = loudness(tmp_path / "out.mp4")
    assert long == pytest.approx(2, abs=0.15)


def test_sound_may_go_from_stereo_to_mono(tmp_path: Path) -> None:
    parts = [
        make_video(tmp_path / f"{layout}.ts", [scene(i) for i in range(25)], sound="mp2", layout=layout)
        for layout in ("stereo", "mono")
    ]
    source = tmp_path / "both.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert len(list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))) == 50
    _, long = loudness(tmp_path / "out.mp4")
    assert long == pytest.approx(2, abs=0.15)


def test_damaged_sound_ends_and_the_images_go_on(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.ts", [scene(i) for i in range(25)], sound="aac")
    whole = source.read_bytes()
    sound = [at for at in range(0, len(whole), 188) if int.from_bytes(whole[at + 1 : at + 3], "big") & 0x1FFF == 257]
    for seed in range(6):
        damaged, chance = bytearray(whole), np.random.default_rng(seed)
        for at in chance.choice(sound[5:], 20, replace=False):
            damaged[at + chance.integers(20, 188)] = chance.integers(256)
        source.write_bytes(damaged)
        rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
        assert (len(rows), rows[-1].status) == (25, "ok")
        assert times(tmp_path / "out.mp4") == times(source)


def test_sound_ends_where_its_timestamps_jump(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.ts", [scene(i) for i in range(50)], sound="aac")
    data = bytearray(source.read_bytes())
    sound = [at for at in range(0, len(data), 188) if int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF == 257]
    for at in sound[len(sound) // 2 :]:
        begun = data.find(b"\0\0\1\xc0", at + 4, at + 188) if data[at + 1] & 0x40 else -1
        if begun >= 0:
            # The 32nd bit of a time that counts 90,000 a second: 13 hours.
            data[begun + 9] |= 8
    source.write_bytes(data)
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    assert (len(rows), rows[-1].status) == (50, "ok")
    assert 0.5 < loudness(tmp_path / "out.mp4")[1] < 1.5


@pytest.mark.parametrize("kind", ["unknown codec", "announced alone"])
def test_sound_that_cannot_be_read_is_left_out(tmp_path: Path, kind: str) -> None:
    suffix = "mp4" if kind == "unknown codec" else "ts"
    source = make_video(tmp_path / f"in.{suffix}", [scene(i) for i in range(25)], sound="aac")
    data = source.read_bytes()
    if kind == "unknown codec":
        source.write_bytes(data.replace(b"mp4a", b"").replace(b"esds", b"zsds"))
    else:
        packets = [data[at : at + 188] for at in range(0, len(data), 188)]
        source.write_bytes(b"".join(p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF != 257))
    assert not open_video(source).has_sound
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))
    assert (len(rows), rows[-1].status) == (25, "ok")
    assert times(tmp_path / "out.mp4") == times(source)


def test_the_video_that_is_read_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(10)])
    before = source.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="another name"):
        list(stream_video(SquareReader(), source, annotated="in.mp4"))
    assert source.read_bytes() == before


def test_sound_that_mp4_cannot_hold_is_left_out_with_a_remark(tmp_path: Path) -> None:
    source = damaged_opus(tmp_path / "in.mkv")
    remarks: list[str] = []
    assert open_video(source).has_sound
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4", on_remark=remarks.append))
    assert (len(rows), rows[-1].status) == (25, "ok")
    assert times(tmp_path / "out.mp4") == times(source)
    assert not open_video(tmp_path / "out.mp4").has_sound
    [remark] = remarks
    assert remark.startswith(f"{source}: the sound is damaged")
    with pytest.warns(UserWarning, match="the sound is damaged"):
        list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4"))


@pytest.mark.parametrize("error", [OverflowError("too large"), IndexError(), av.error.InvalidDataError(1, "invalid")])
@pytest.mark.parametrize(("codec", "step"), [("aac", "read"), ("pcm_s16le", "read"), ("pcm_s16le", "encode")])
def test_whatever_the_sound_raises_the_images_go_on(
    error: Exception, codec: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(items: Any) -> Iterator[Any]:
        for i, item in enumerate(items):
            if i == 20:
                raise error
            yield item

    name = "Packets" if step == "read" else "_aac_frames"
    original = getattr(sound_module, name)
    monkeypatch.setattr(sound_module, name, lambda *given: failing(original(*given)))
    source = make_video(tmp_path / "in.mkv", [scene(i) for i in range(50)], sound=codec)
    remarks: list[str] = []
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4", on_remark=remarks.append))
    assert (len(rows), rows[-1].status, len(remarks)) == (50, "ok", 1)
    assert times(tmp_path / "out.mp4") == times(source)
    assert 0.2 < loudness(tmp_path / "out.mp4")[1] < 1


@pytest.mark.parametrize(("at", "left"), [(1, 0), (11, 10)])
def test_images_that_cannot_be_encoded_end_the_annotated_video_and_not_the_rows(
    at: int, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, images = writer_module._letterboxed, []

    def refuse(image: Any, width: int, height: int) -> Any:
        images.append(image)
        if len(images) == at:
            raise ValueError("no such image")
        return original(image, width, height)

    monkeypatch.setattr(writer_module, "_letterboxed", refuse)
    source = make_video(tmp_path / "in.mp4", [scene(i) for i in range(25)], sound="aac")
    remarks: list[str] = []
    rows = list(stream_video(SquareReader(), source, annotated=tmp_path / "out.mp4", on_remark=remarks.append))
    assert (len(rows), rows[-1].status) == (25, "ok")
    seconds = (left - 1) / 25 if left else 0
    assert remarks == [f"{tmp_path / 'out.mp4'}: the annotated video ends at {seconds:.1f} s: no such image"]
    assert (len(times(tmp_path / "out.mp4")) if left else int((tmp_path / "out.mp4").exists())) == left
