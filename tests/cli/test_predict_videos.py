"""``moue predict`` of films: rows, tables, tracks and times."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import pytest
from predictions import Predict, listed
from videos import make_video, scene

from moue.cli.main import main


def test_a_video_is_a_row_a_person_and_leaves_its_tracks(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(6)], rate=Fraction(10))
    assert predict(video, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2, "the head, and one row for one person in six frames"
    assert "track 1, mean of 6 frames" in printed[1]
    names = ["index.csv", "people.csv", "video.json", "video.mp4", "video.timeline.png"]
    assert listed(tmp_path / "out") == names
    (person,) = csv.DictReader((tmp_path / "out" / "people.csv").read_text().splitlines())
    assert (person["frames"], person["start"], person["end"], person["seconds"]) == ("6", "0.0", "0.5", "0.6")
    assert len(json.loads((tmp_path / "out" / "video.json").read_text())) == 6


def test_a_video_that_is_named_twice_is_read_twice_and_has_its_results_once(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(6)])
    assert predict(video, video) == 0
    assert capsys.readouterr().out.count("track 1, mean of 6 frames") == 2
    assert predict(video, tmp_path, tmp_path / "gone" / ".." / "video.mp4", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert printed.out.count("track 1, mean of 6 frames") == 1
    assert "moue: 2 inputs are given more than once, and read once\n" in printed.err
    assert len((tmp_path / "out" / "people.csv").read_text().splitlines()) == 2


def test_a_part_of_a_video_and_the_ways_to_write_its_times(
    predict: Predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(75)])
    for start, end in (("1", "1.2"), ("0:01", "0:1.2"), ("0:00:01", "00:00:01.2")):
        assert predict(video, "--start", start, "--end", end, "--format", "jsonl") == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["frame"], row["timestamp"]) for row in rows] == [(25 + i, 1 + i / 25) for i in range(5)]
    for wrong in ("1:60", "x", "-1", "1:2:3:4", "1.5:00", "nan"):
        with pytest.raises(SystemExit) as ended:
            predict(video, f"--start={wrong}")
        assert ended.value.code == 2
        assert "seconds, m:ss or h:mm:ss" in capsys.readouterr().err
    assert predict(video, "--start", "2", "--end", "1") == 2
    assert "start must come before end" in capsys.readouterr().err
    # A film that ends before is a row of its own, and the others are read.
    assert predict(video, photos / "a.png", "--start", "1:00", "--format", "jsonl") == 3
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["status"], second["status"]) == ("unreadable", "ok")
    assert first["reason"] == "there is nothing to read: it ends at 2.96 s, before the start at 60 s"
    assert predict(photos / "a.png", "--end", "5") == 0
    assert "--start and --end are for videos" in capsys.readouterr().err


def test_a_video_without_faces_has_no_timeline(tmp_path: Path) -> None:
    video = make_video(tmp_path / "empty.mp4", [scene(0, square=False) for _ in range(10)])
    assert main(["predict", str(video), "--out", str(tmp_path / "out"), "--model", "tiny"]) == 0
    assert listed(tmp_path / "out") == ["empty.json", "empty.mp4", "index.csv", "people.csv"]


def test_a_part_without_faces_has_its_own_times(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "empty.mp4", [scene(0, square=False) for _ in range(50)], rate=Fraction(25))
    assert main(["predict", str(video), "--start", "1", "--model", "tiny"]) == 0
    assert "1.00–1.96 s" in capsys.readouterr().out
