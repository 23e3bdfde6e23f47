"""`moue data info|import|synth`: results on stdout, notes on stderr, exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sets import broken, folder_of, jpeg, simple_csv

from moue.cli.main import main
from moue.data import load


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "fer.csv"
    path.write_text(simple_csv())
    return path


def test_info_in_json(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(csv), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    description = json.loads(out)
    assert description["n"] == 21
    assert description["splits"]["public_test"]["happy"] == 1
    assert description["duplicates"]["across"] == {"train-public_test": 0}
    assert err == ""


def test_info_as_table_and_csv(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(csv)]) == 0
    text = capsys.readouterr().out
    assert "21 images of 48×48 pixels" in text
    assert "images of public_test with an exact duplicate in train: 0" in text
    assert main(["data", "info", str(csv), "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "split,class,images,share"
    assert len(lines) == 15


def test_info_draws_images(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(csv), "--out", str(tmp_path / "out"), "--format", "json"]) == 0
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"classes_bar.png", "classes_pie.png", "samples.png", "augmented.png"}
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 21
    assert err.count("wrote") == 4


def test_info_draws_nothing_among_the_images_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folder_of(tmp_path / "f", {"happy/samples.png": jpeg(1), "sad/b.jpg": jpeg(2)})
    before = (faces / "happy" / "samples.png").read_bytes()
    assert main(["data", "info", str(faces), "--out", str(faces / "happy")]) == 2
    assert f"lies in {faces}" in capsys.readouterr().err
    assert (faces / "happy" / "samples.png").read_bytes() == before
    assert not (faces / "happy" / "classes_bar.png").exists()


def test_without_torch_a_note_replaces_the_augmentation_grid(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["data", "info", str(csv), "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "augmented.png").exists()
    assert "moue[train]" in capsys.readouterr().err


def test_a_bad_row_ends_with_one_sentence(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv.write_text(broken(simple_csv(), 4, "3,", "9,"))
    assert main(["data", "info", str(csv)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"moue: {csv}, row 4: ")
    assert len(err.splitlines()) == 1


def test_left_out_rows_are_listed_and_change_the_exit_code(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv.write_text(broken(simple_csv(), 4, "3,", "9,"))
    assert main(["data", "info", str(csv), "--skip-bad", "--format", "json"]) == 3
    out, err = capsys.readouterr()
    [row] = json.loads(out)["left_out"]
    assert row["source"] == f"{csv}, row 4"
    assert f"left out {csv}, row 4: emotion must be" in err


def test_rows_left_out_when_a_set_was_written_are_no_failure_of_later_commands(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv.write_text(broken(simple_csv(), 4, "3,", "9,"))
    out = tmp_path / "set.npz"
    assert main(["data", "import", str(csv), "--skip-bad", "-o", str(out)]) == 3
    capsys.readouterr()
    assert main(["data", "info", str(out), "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert [row["source"] for row in json.loads(printed.out)["left_out"]] == [f"{csv}, row 4"]
    assert printed.err == "moue: left out 1 rows when the set was written; --format json lists them\n"
    assert main(["evaluate", "tiny", "--data", str(out), "--split", "public_test"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_rows_without_a_majority_are_no_failure(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = tmp_path / "votes.csv"
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    usage = ["Training"] * 14 + ["PublicTest"] * 7
    votes.write_text(
        head + "".join(f"{u},f.png,{'9,1' if i else '5,5'},0,0,0,0,0,0,0,0\n" for i, u in enumerate(usage))
    )
    args = ["data", "info", str(csv), "--labels", "ferplus", "--votes", str(votes), "--format", "json"]
    assert main(args) == 0
    out, err = capsys.readouterr()
    description = json.loads(out)
    assert description["n"] == 20
    assert description["splits"]["train"]["neutral"] == 13
    assert len(description["left_out"]) == 1
    assert "left out 1 rows by the rule" in err


def test_import_writes_a_set_that_loads_as_its_source(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sets" / "mine"
    assert main(["data", "import", str(csv), "-o", str(out), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 21
    assert load(out).fingerprint == load(csv).fingerprint


def test_import_of_folders(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "f", {"bored/a.jpg": jpeg(1, (80, 70), "RGB"), "awake/b.jpg": jpeg(2)})
    args = [
        "data",
        "import",
        str(path),
        "-o",
        str(tmp_path / "set"),
        "--labels",
        "folders",
        "--size",
        "64",
        "--color",
        "rgb",
    ]
    assert main(args) == 0
    table = load(tmp_path / "set", size=64, color="rgb")
    assert table.images.shape == (2, 3, 64, 64)
    assert table.label_set.labels == ("awake", "bored")


def test_import_cuts_a_test_part_that_evaluate_takes(
    tmp_path: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}/{i}.jpg": jpeg(10 * k + i) for k, name in enumerate(("happy", "sad")) for i in range(10)}
    source, out = folder_of(tmp_path / "photos", files), tmp_path / "set.npz"
    scored = ["evaluate", str(tiny_onnx), "--split", "test", "--format", "json", "--data"]
    assert main([*scored, str(source)]) == 2
    assert "--test 0.2` cuts a test part" in capsys.readouterr().err
    imported = ["data", "import", str(source), "-o", str(out), "--format", "json"]
    seeds = []
    for seed in ([], ["--seed", "0"], ["--seed", "1"]):
        assert main([*imported, "--test", "0.2", *seed]) == 0
        description = json.loads(capsys.readouterr().out)
        counts = {split: (n["happy"], n["sad"]) for split, n in description["splits"].items()}
        assert counts == {"train": (8, 8), "test": (2, 2)}
        seeds.append(load(out).fingerprint)
    assert seeds[0] == seeds[1] != seeds[2]
    assert main([*scored, str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 4
    # A set that has a test part keeps it, and a seed of nothing is no wish that could be met.
    assert main(["data", "import", str(out), "-o", str(tmp_path / "again.npz"), "--test", "0.5"]) == 2
    assert "has test rows of its own (test). Leave --test out." in capsys.readouterr().err
    assert main([*imported, "--seed", "1"]) == 2
    assert "Add --test" in capsys.readouterr().err
    assert main([*imported, "--duplicates", "near"]) == 2
    assert "--duplicates is for --test. Add --test 0.2" in capsys.readouterr().err
    for share in ("20", "0", "nan", "much"):
        with pytest.raises(SystemExit, match="2"):
            main([*imported, "--test", share])
        assert f"must be above 0 and below 1, as in 0.2. Got '{share}'" in capsys.readouterr().err


def test_import_keeps_near_copies_on_one_side_of_a_test_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos" / "happy"
    photos.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        photo = Image.fromarray(rng.integers(0, 200, (8, 8), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
        photo.save(photos / f"{i}.png")
        photo.point(lambda value: value + 30).save(photos / f"{i}-lit.png")
    imported = ["data", "import", str(tmp_path / "photos"), "--test", "0.4", "-o"]
    across = {}
    for duplicates in ("exact", "near"):
        out = tmp_path / f"{duplicates}.npz"
        assert main([*imported, str(out), "--duplicates", duplicates]) == 0
        capsys.readouterr()
        assert main(["data", "info", str(out), "--near-copies", "--format", "json"]) == 0
        description = json.loads(capsys.readouterr().out)
        assert description["splits"]["test"]["happy"] == 8
        across[duplicates] = description["near_copies"]["across"]["train-test"]
    assert across["exact"] > 0 == across["near"]


def test_import_never_overwrites_its_source(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = csv.read_bytes()
    assert main(["data", "import", str(csv), "-o", str(csv)]) == 2
    assert "is the source itself" in capsys.readouterr().err
    assert csv.read_bytes() == before


def test_synth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", "-o", str(tmp_path / "s"), "--n", "40", "--seed", "5", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 40
    assert load(tmp_path / "s").fingerprint == load("synth:40:5").fingerprint
    assert main(["data", "synth", "-o", str(tmp_path / "s"), "--n", "3"]) == 2
    assert main(["data", "synth", "-o", str(tmp_path / "s.csv"), "--n", "40"]) == 2
    assert "Type: -o " + str(tmp_path / "s.npz") in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()


def test_debug_may_stand_last(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        main(["data", "info", str(tmp_path / "nothing"), "--debug"])


def test_import_faces_makes_a_row_of_each_face_and_lists_photos_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    for name in ("happy", "neutral"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        photo.save(tmp_path / "photos" / name / "a.png")
    Image.new("RGB", (300, 200), (90, 120, 90)).save(tmp_path / "photos" / "happy" / "lawn.png")
    out = tmp_path / "set.npz"
    code = main(["data", "import", str(tmp_path / "photos"), "-o", str(out), "--faces", "--format", "json"])
    printed = capsys.readouterr()
    description = json.loads(printed.out)
    assert code == 3
    assert description["splits"]["train"]["happy"] == description["splits"]["train"]["neutral"] == 1
    assert [row["source"].split("/")[-1] for row in description["left_out"]] == ["lawn.png"]
    assert "no face" in description["left_out"][0]["reason"]
    table = load(str(out))
    # The face alone: the whole photo, scaled, is another image.
    assert table.images.shape == (2, 1, 48, 48)
    assert np.array_equal(table.images[0], table.images[1])
    whole = np.asarray(photo.convert("L").resize((48, 48)), float)
    assert np.abs(table.images[0, 0] - whole).mean() > 20
