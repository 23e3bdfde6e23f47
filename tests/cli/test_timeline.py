"""``moue timeline``: from films to a table by condition, as someone types it who does not program."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from videos import make_video, scene

from moue.cli.main import main


@pytest.fixture
def results(tmp_path: Path, tiny_onnx: Path) -> Path:
    """What ``moue predict`` writes of two films and a photo."""
    films = tmp_path / "films"
    films.mkdir()
    for name, step in (("anna.mp4", 1), ("ben.mp4", 7)):
        make_video(films / name, [scene(step * i) for i in range(25)])
    (films / "broken.mp4").write_bytes(b"no film")
    out = tmp_path / "results"
    model = ["--model", str(tiny_onnx), "--detector", "none"]
    assert main(["predict", str(films), "--out", str(out), "--format", "csv", *model]) == 3
    return out


def test_a_table_by_condition_and_files_of_everything(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = tmp_path / "events.csv"
    lines = ["anna.mp4,0.2,0.6,joke", "films/ben.mp4,0.4,0.8,joke", "anna.mp4,0.6,1,rest", "broken.mp4,0,1,rest"]
    events.write_text("\n".join(["source,start,end,condition", *lines]))
    stats = tmp_path / "new" / "stats"
    capsys.readouterr()
    command = [
        "timeline",
        str(results),
        "--events",
        str(events),
        "--before",
        "0.2",
        "--after",
        "0.3",
        "--out",
        str(stats),
    ]
    assert main([*command, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["condition"], row["people"], row["frames"]) for row in rows[::7]] == [("joke", 2, 20), ("rest", 1, 10)]
    assert sorted(path.name for path in stats.iterdir()) == [
        *("conditions.csv", "conditions.png", "curves.csv", "curves.png", "people.csv")
    ]
    people = list(csv.DictReader((stats / "people.csv").read_text().splitlines()))
    assert [(row["condition"], row["frames"]) for row in people] == [("joke", "10"), ("rest", "10"), ("joke", "10")]
    curves = list(csv.DictReader((stats / "curves.csv").read_text().splitlines()))
    assert {row["time"] for row in curves} == {"-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"}
    # From the rows of one film, and by person, without events.
    assert main(["timeline", str(results / "anna.csv"), "--format", "csv"]) == 0
    [person] = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (person["track"], person["frames"], person["end"]) == ("1", "25", "0.96")
    assert main(["timeline", str(results)]) == 0
    assert capsys.readouterr().out.count(".mp4") == 2


def test_whole_films_are_compared_by_people_csv_alone(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = tmp_path / "events.csv"
    events.write_text("source;start;end;condition\nanna.mp4;;;live\nben.mp4;;;recorded\n")
    answers = []
    for given in (results, results / "people.csv"):
        capsys.readouterr()
        assert main(["timeline", str(given), "--events", str(events), "--out", str(tmp_path), "--format", "json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
        assert not (tmp_path / "curves.csv").exists(), "there is no start to average around"
    assert [row["mean"] for row in answers[0]] == pytest.approx([row["mean"] for row in answers[1]], abs=1e-4)
    events.write_text("source,start,end,condition\nanna.mp4,0.2,0.4,live\n")
    assert main(["timeline", str(results / "people.csv"), "--events", str(events)]) == 2
    assert "Read the folder that it lies in instead" in capsys.readouterr().err


def test_what_cannot_be_used_is_said(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.csv"
    events.write_text("source,start,end,condition\nana.mp4,0,1,x\n")
    for command, message in (
        ([results, "--events", events], "Did you mean"),
        ([results, "--events", tmp_path / "gone.csv"], "gone.csv cannot be read: no such file"),
        ([tmp_path], "holds no index.csv"),
        ([results / "broken.csv"], "need people in films"),
        ([results, "--out", events], "is a file"),
    ):
        assert main(["timeline", *map(str, command)]) == 2
        assert message in capsys.readouterr().err


def test_results_are_not_replaced_by_their_statistics(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (results / "people.csv").read_bytes()
    (tmp_path / "curves.csv").write_text("source,start,end,condition\nanna.mp4,0,1,x\n")
    for command in (
        [results, "--out", results],
        [results / "people.csv", "--out", results],
        [results, "--events", tmp_path / "curves.csv", "--out", tmp_path],
    ):
        assert main(["timeline", *map(str, command)]) == 2
        assert "Give another" in capsys.readouterr().err
    assert (results / "people.csv").read_bytes() == before
