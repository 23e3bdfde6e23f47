from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import SquareReader, make_sound, make_video, scene

from moue.errors import MissingExtra, UsageError
from moue.runtime.outputs import timeline
from moue.runtime.outputs.people import summarize
from moue.runtime.outputs.timeline import plot_timeline
from moue.runtime.results import Predictions
from moue.runtime.video.decode import open_video
from moue.runtime.video.stream import stream_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 25 frames/s; the face is away from 0.4 to 0.8 s."""
    images = [scene(i, square=not 10 <= i < 20) for i in range(50)]
    return make_video(tmp_path_factory.mktemp("videos") / "video.mp4", images)


def test_one_result_a_frame_with_number_time_and_track(video: Path) -> None:
    rows = list(stream_video(SquareReader(), video, smooth=0))
    assert [r.frame for r in rows] == list(range(50))
    assert [r.timestamp for r in rows] == pytest.approx(np.arange(50) / 25)
    assert [r.status for r in rows] == ["ok"] * 10 + ["no_face"] * 10 + ["ok"] * 30
    assert {int(t) for r in rows if r.tracks is not None for t in r.tracks} == {1}
    row = json.loads(json.dumps(rows[40].to_dict(), allow_nan=False))
    assert row["source"] == str(video)
    assert (row["width"], row["height"], row["frame"], row["timestamp"]) == (160, 96, 40, 1.6)
    assert row["faces"][0]["track"] == 1
    assert row["faces"][0]["box"][0] == pytest.approx(90, abs=2)
    assert json.loads(json.dumps(rows[15].to_dict()))["faces"] == []


def test_batches_change_nothing_but_the_number_of_calls(video: Path) -> None:
    results = []
    for batch in (1, 8, 64):
        reader = SquareReader()
        results.append([r.to_dict() for r in stream_video(reader, video, batch_size=batch)])
        assert max(reader.sizes) == min(batch, 50)
        assert sum(reader.sizes) == 50
    assert results[0] == results[1] == results[2]


def test_frames_are_read_no_faster_than_they_are_asked_for(video: Path) -> None:
    reader = SquareReader()
    rows = stream_video(reader, video, batch_size=4)
    next(rows)
    assert reader.sizes == [4]
    rows.close()


def test_smoothing_delays_a_change_by_about_its_constant(video: Path) -> None:
    quick = [r.predictions.probabilities[0, 3] for r in stream_video(SquareReader(), video, smooth=0) if len(r)]
    slow = [r.predictions.probabilities[0, 3] for r in stream_video(SquareReader(), video, smooth=0.3) if len(r)]
    turn = next(i for i, p in enumerate(quick) if p < 0.5)
    assert quick[0] == slow[0]
    assert slow[turn] > 0.7
    # 0.3 s is 7.5 frames: by then 63 % of the way is gone.
    assert (slow[turn] - slow[turn + 7]) / (slow[turn] - 0.02) == pytest.approx(0.6, abs=0.06)
    raw = list(stream_video(SquareReader(), video, track=False))
    assert all(r.tracks is None for r in raw)


def test_every_and_fps_read_fewer_frames(video: Path) -> None:
    assert [r.frame for r in stream_video(SquareReader(), video, every=20)] == [0, 20, 40]
    assert [r.frame for r in stream_video(SquareReader(), video, fps=2)] == [0, 13, 25, 38]
    unusable: list[dict[str, Any]] = [{"every": 0}, {"fps": -1}, {"smooth": -1}, {"batch_size": 0}]
    for wrong in unusable:
        with pytest.raises(UsageError):
            stream_video(SquareReader(), video, **wrong)


def test_what_cannot_be_read_is_a_result_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    make_sound(tmp_path / "song.mp4")
    for name, words in (("empty.mp4", "empty"), ("song.mp4", "sound alone"), ("missing.mp4", "no such file")):
        (row,) = stream_video(SquareReader(), tmp_path / name, annotated=tmp_path / "out.mp4")
        assert row.status == "unreadable"
        assert words in str(row.reason)
        assert row.source == str(tmp_path / name)
        assert not (tmp_path / "out.mp4").exists()


def test_a_video_of_more_pixels_than_allowed_is_a_row_before_any_of_it_is_decoded(video: Path) -> None:
    opened = open_video(video)
    pixels = opened.width * opened.height
    (row,) = stream_video(SquareReader(), video, max_pixels=pixels - 1)
    assert row.status == "too_large"
    assert "raise --max-pixels (max_pixels in Python)" in str(row.reason)
    assert len(list(stream_video(SquareReader(), video, max_pixels=pixels, every=25))) == 2


def test_a_video_cut_off_in_the_middle_gives_its_rows_and_a_last_one_with_the_reason(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 120, (50, 96, 160, 3), np.uint8)
    path = make_video(tmp_path / "cut.mp4", list(noise), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *rows, last = stream_video(SquareReader(), path, annotated=tmp_path / "out.mp4")
    assert len(rows) > 10
    assert {r.status for r in rows} == {"no_face"}
    assert [r.frame for r in rows] == list(range(len(rows)))
    assert (last.status, last.frame, last.width) == ("unreadable", None, 160)
    assert "cut off" in str(last.reason)
    assert len(list(open_video(tmp_path / "out.mp4").frames())) == len(rows)


def test_progress_is_reported_to_the_end(video: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    list(stream_video(SquareReader(), video, every=5, report=lambda done, total: reports.append((done, total))))
    assert reports[-1] == (50, 50) or reports[-1] == (46, 50)
    assert reports == sorted(reports)


def test_summary_has_a_row_a_track(video: Path) -> None:
    rows = list(stream_video(SquareReader(), video, smooth=0))
    (row,) = summarize(rows)
    assert (row["track"], row["start"], row["end"], row["frames"]) == (1, 0.0, 1.96, 40)
    happy = sum(r.predictions.class_names[0] == "happy" for r in rows if len(r))
    assert row["shares"]["happy"] == pytest.approx(happy / 40)
    assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    assert sum(row["shares"].values()) == pytest.approx(1)
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    json.dumps(row, allow_nan=False)
    assert summarize([]) == []
    with pytest.raises(UsageError, match="no tracks"):
        summarize(stream_video(SquareReader(), video, track=False))


def test_summary_keeps_the_people_of_different_videos_apart(video: Path, tmp_path: Path) -> None:
    other = make_video(tmp_path / "other $1.mp4", [scene(i) for i in range(10)])
    content = other.read_bytes()
    rows = [row for source in (video, other, other, content, content) for row in stream_video(SquareReader(), source)]
    found = [(row["source"], row["track"], row["frames"], row["end"]) for row in summarize(rows)]
    again = (1, 10, 0.36)
    assert found == [(str(video), 1, 40, 1.96), *[(str(other), *again)] * 2, *[("<video>", *again)] * 2]
    plot_timeline(rows, tmp_path / "both.svg")
    labels = (tmp_path / "both.svg").read_text()
    assert labels.count("<!-- other $1.mp4, person 1: happy, ") == 2


def test_a_timeline_names_its_video_its_people_and_its_axes(video: Path, tmp_path: Path) -> None:
    plot_timeline(stream_video(SquareReader(), video), tmp_path / "one.svg")
    # Matplotlib notes each text that it draws.
    texts = re.findall(r"<!-- (.*?) -->", (tmp_path / "one.svg").read_text())
    person = summarize(stream_video(SquareReader(), video))[0]
    assert video.name in texts
    assert f"person 1: happy, {100 * person['probabilities']['happy']:.0f} % on average" in texts
    assert {"seconds", "0 %", "25 %", "50 %", "75 %", "100 %", "happy", "sad"} <= set(texts)


def test_a_timeline_shows_every_label_as_it_is_written(video: Path, tmp_path: Path) -> None:
    names = ("_happy", "$\\x$", *"abcde")
    rows = [
        row.replace(predictions=Predictions(row.predictions.probabilities, names))
        for row in stream_video(SquareReader(), video)
        if len(row)
    ]
    plot_timeline(rows, tmp_path / "odd.svg")
    assert set(names) <= set(re.findall(r"<!-- (.*?) -->", (tmp_path / "odd.svg").read_text()))


def test_a_name_in_any_script_costs_no_warning(tmp_path: Path) -> None:
    rows = stream_video(SquareReader(), make_video(tmp_path / "\u674e\u0e01\U0001f600.mp4", [scene(0)] * 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_timeline(rows, tmp_path / "line.png")


def test_the_timeline_is_an_image(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    plot_timeline(stream_video(SquareReader(), video), tmp_path / "line.png")
    plot_timeline([], tmp_path / "none.png")
    with Image.open(tmp_path / "line.png") as image:
        assert image.width == 1000
        # The two classes that came up are drawn in their colors.
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert (np.abs(pixels.astype(int) - (240, 200, 40)).max(axis=1) < 12).sum() > 100

    def absent(module: str, extra: str) -> None:
        raise MissingExtra(module, extra)

    monkeypatch.setattr(timeline, "require", absent)
    with pytest.raises(MissingExtra, match=r"moue\[report\]"):
        plot_timeline([], tmp_path / "x.png")


def test_large_frames_go_to_the_recognizer_in_smaller_batches(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.runtime.video.stream.BATCH_PIXELS", 3 * 160 * 96)
    reader = SquareReader()
    assert len(list(stream_video(reader, video))) == 50
    assert max(reader.sizes) == 3
