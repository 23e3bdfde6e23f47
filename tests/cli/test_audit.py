from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sets import folder_of, jpeg
from skimage import data

from moue.cli.main import main


def write_groups(path: Path, rows: int, extra: str = "") -> Path:
    lines = [f"{i},{'day' if i % 2 else 'night'},p{i // 3}\n" for i in range(1, rows + 1)]
    path.write_text("row,light,person\n" + "".join(lines) + extra, encoding="utf-8")
    return path


def test_the_page_its_markdown_and_json_say_the_same(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups, out = write_groups(tmp_path / "groups.csv", 210), tmp_path / "out"
    common = [str(groups), "--model", str(tiny_onnx), "--resamples", "199"]
    assert main(["audit", "synth:210:1", "--groups", *common, "-o", str(out), "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    written.pop("provenance")
    assert printed == written
    assert printed["split"] == "test"
    day = next(g for g in printed["columns"][0]["groups"] if g["group"] == "day")
    assert day["n"] == sum(map(sum, day["confusion"]))
    html, markdown = ((out / f"audit.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    for text in (html, markdown):
        assert f"{100 * day['accuracy']['share']:.0f} (" in text
        assert "none was inferred from a face" in text
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"?https?:", html)
    for name in re.findall(r"\(figures/([\w-]+\.svg)\)", markdown):
        assert (out / "figures" / name).is_file()


def test_every_format(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = write_groups(tmp_path / "groups.csv", 70)
    command = ["audit", "synth:70:1", "--groups", str(groups), "--model", str(tiny_onnx), "--resamples", "99"]
    assert main([*command, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["group"] for row in rows if row["kind"] == "groups"} == {"day", "night"}
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "mean recall %" in captured.out
    assert "Gaps: " in captured.out
    assert "that are of no image of its test rows" in captured.err, "of the training rows, which are not audited"
    assert "56 images of train are left out beside the test rows: --split train audits them" in captured.err
    assert main([*command, "--split", "train"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_of_a_folder_whose_names_are_partly_fer2013_s_all_images_are_audited(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{'happy' if i % 2 else 'sad'}/{'PublicTest_' if i < 10 else 'own_'}{i}.jpg" for i in range(40)]
    folder = folder_of(tmp_path / "set", {name: jpeg(i) for i, name in enumerate(names)})
    groups = tmp_path / "groups.csv"
    groups.write_text("file,light\n" + "".join(f"{n},{'day' if i % 3 else 'night'}\n" for i, n in enumerate(names)))
    command = ["audit", str(folder), "--groups", str(groups), "--model", str(tiny_onnx), "--resamples", "99"]
    with pytest.warns(UserWarning, match="no name says a split, and all are train images"):
        assert main([*command, "--detector", "none", "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert sum(group["n"] for group in json.loads(captured.out)["columns"][0]["groups"]) == 40
    assert "left out" not in captured.err


def test_no_empty_table_is_printed_where_no_gap_is_tested(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("row,light\n" + "".join(f"{i},day\n" for i in range(1, 71)), encoding="utf-8")
    command = ["audit", "synth:70:1", "--groups", str(groups), "--model", str(tiny_onnx), "--resamples", "99"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "(none)" not in output
    assert "Gaps: None was tested" in output


def test_the_largest_face_of_a_photo_is_read_and_a_photo_without_one_is_unread(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    both = np.hstack([data.astronaut(), np.full_like(data.astronaut(), 200)])
    image = Image.fromarray(both)
    image.paste(Image.fromarray(data.astronaut()).resize((300, 300)), (600, 60))
    image.save(file, "JPEG", quality=90)
    noise = jpeg(3, (200, 200), "RGB")
    folder = folder_of(
        tmp_path / "set", {"happy/two.jpg": file.getvalue(), "sad/none.jpg": noise, "sad/bad.jpg": b"no"}
    )
    groups = tmp_path / "groups.csv"
    groups.write_text("file,light\nhappy/two.jpg,day\nsad/none.jpg,night\n", encoding="utf-8")
    command = ["audit", str(folder), "--groups", str(groups), "--model", str(tiny_onnx), "--format", "json"]
    assert main(command) == 2
    assert "sad/bad.jpg" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 3
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    day, night = found["columns"][0]["groups"]
    assert (day["unread"]["share"], night["unread"]["share"]) == (0.0, 1.0)
    assert found["images_of_several_faces"] == 1
    # The larger face, not the one of about 60 pixels.
    assert day["medians"]["size"] > 80
    assert night["accuracy"]["share"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--groups", "missing.csv"], "missing.csv does not exist"),
        (["--columns", "age"], "no column of groups in"),
        (["--resamples", "3"], "--resamples must be a whole number from 99"),
        (["--detector", "centerface"], "faces are found in folders and zips"),
        (["--min-score", "2"], "--min-score must be"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    groups = write_groups(tmp_path / "groups.csv", 30)
    command = ["audit", "synth:30:1", "--groups", str(groups), "--model", str(tiny_onnx), *options]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_no_output_replaces_the_groups(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = write_groups(tmp_path / "audit.json", 30)
    before = groups.read_bytes()
    assert main(["audit", "synth:30:1", "--groups", str(groups), "--model", str(tiny_onnx), "-o", str(tmp_path)]) == 2
    assert groups.read_bytes() == before
