"""`moue predict --out`: files in the folder that moue did not write stay as they are, and its own are not read."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sets import jpeg

from moue.cli.main import main


def sources(folder: Path) -> list[str]:
    with open(folder / "index.csv", newline="", encoding="utf-8") as file:
        return [Path(row["source"]).name for row in csv.DictReader(file)]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos, in ``photos`` of the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.jpg", "z.jpg")):
        (folder / name).write_bytes(jpeg(i))
    return folder


def test_files_of_the_user_are_not_replaced(photos: Path) -> None:
    out = photos.parent / "edited"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"mine")
    (out / "z.json").write_bytes(b"mine, too")
    for _ in range(2):
        # The second time, moue's own are replaced and no third ones are written.
        assert main(["predict", "photos", "--out", "edited", "--detector", "none"]) == 0
        names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        assert names == ["a-2.jpg", "a-2.json", "a.jpg", "index.csv", "people.csv", "z-2.jpg", "z-2.json", "z.json"]
    assert (out / "a.jpg").read_bytes() == b"mine"
    assert (out / "z.json").read_bytes() == b"mine, too"


@pytest.mark.parametrize("name", ["index.csv", "people.csv"])
def test_tables_of_the_user_are_not_replaced(photos: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "mine"
    out.mkdir()
    (out / name).write_bytes(b"my,own\n")
    assert main(["predict", "photos", "--out", "mine", "--detector", "none"]) == 2
    assert f"mine has {name} that moue did not write" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == b"my,own\n"


@pytest.mark.parametrize("given", ["photos/*", "photos/**/*.jpg", "photos"])
def test_results_among_the_inputs_are_not_read_when_it_is_done_again(photos: Path, given: str) -> None:
    for resume in ([], ["--resume"], []):
        assert main(["predict", given, "--out", "photos/out", "--detector", "none", *resume]) == 0
        assert sources(photos / "out") == ["a.jpg", "z.jpg"]


def test_a_shell_expands_to_the_folder_of_the_results_too(photos: Path) -> None:
    for _ in range(2):
        given = sorted(str(path) for path in photos.iterdir())
        assert main(["predict", *given, "--out", "photos/out", "--detector", "none", "--resume"]) == 0
        assert sources(photos / "out") == ["a.jpg", "z.jpg"]


def test_a_pattern_that_matches_results_alone_is_a_usage_error(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos)
    assert main(["predict", "*.jpg", "--out", ".", "--detector", "none"]) == 2
    assert "all that *.jpg matches lies in .: choose another folder" in capsys.readouterr().err
    assert sorted(path.name for path in photos.iterdir()) == ["a.jpg", "z.jpg"]


def test_only_the_folder_of_the_results_is_a_usage_error(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos", "--out", "./photos", "--detector", "none"]) == 2
    assert "photos is what is read: choose another folder" in capsys.readouterr().err
    assert sorted(path.name for path in photos.iterdir()) == ["a.jpg", "z.jpg"]
