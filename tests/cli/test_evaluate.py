from __future__ import annotations

import csv
import functools
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import folder_of, jpeg, simple_csv

from moue.cli.evaluate import SPLITS
from moue.cli.main import main
from moue.data import table
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.labels import FER2013
from moue.runtime.weights import find_model
from moue.spec import ModelSpec
from moue.trained.open import open_any, spec_of


def evaluate(*extra: str, model: Path, data: str = "synth:210:1") -> int:
    return main(["evaluate", str(model), "--data", data, "--split", "public_test", *extra])


def test_the_splits_are_those_of_the_table() -> None:
    """Named twice: the table's module would make `--help` wait for numpy and the readers."""
    assert SPLITS == table.SPLITS


def test_json_is_all_of_stdout(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--format", "json", model=tiny_onnx) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "tiny_random"
    assert result["views"] == 1
    assert 0 <= result["accuracy"] <= 1
    assert sum(map(sum, result["confusion"])) == result["n"]


def test_robustness_is_in_every_format(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--robustness", "--format", "json", model=tiny_onnx, data="synth:40:1") == 0
    result = json.loads(capsys.readouterr().out)
    found = result["robustness"]
    assert found["clean"]["accuracy"] == result["accuracy"]
    assert {score["corruption"] for score in found["corrupted"]} >= {"blur", "darkness", "covered_mouth", "loose_crop"}
    assert evaluate("--robustness-sample", "2", "--format", "json", model=tiny_onnx, data="synth:40:1") == 0
    assert json.loads(capsys.readouterr().out)["robustness"]["n"] == 2
    assert evaluate("--robustness-sample", "0", model=tiny_onnx, data="synth:40:1") == 2
    capsys.readouterr()
    assert evaluate("--robustness", model=tiny_onnx, data="synth:40:1") == 0
    text = capsys.readouterr().out
    assert f"Mean corruption error {found['mean_corruption_error']:.1%}" in text
    assert "covered_eyes" in text
    assert evaluate("--robustness", "--format", "csv", model=tiny_onnx, data="synth:40:1") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(row["mean_corruption_error"]) == pytest.approx(found["mean_corruption_error"])


def test_scores_without_near_copies_are_in_every_format(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 1, 48, 48), np.uint8)
    # Ten of the test images are training images in another light.
    noise[60:70] = noise[:10] // 2
    split = np.array(["train"] * 60 + ["public_test"] * 20)
    save(replace(synthetic(80, seed=0), images=noise, split=split), tmp_path / "set.npz")
    ask = functools.partial(evaluate, model=tiny_onnx, data=str(tmp_path / "set.npz"))
    assert ask("--without-near-copies", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    strict = result["without_near_copies"]
    assert (result["n"], result["deduplicated"]["n"], strict["n"]) == (20, 20, 10)
    assert ask("--without-near-copies") == 0
    assert re.search(r"without near copies +10 ", capsys.readouterr().out)
    assert ask("--without-near-copies", "--format", "csv") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(row["without_near_copies_accuracy"]) == pytest.approx(strict["accuracy"])
    assert ask("--format", "json") == 0
    assert "without_near_copies" not in json.loads(capsys.readouterr().out)
    assert main(["data", "info", str(tmp_path / "set.npz"), "--near-copies"]) == 0
    assert "images of public_test with a near copy in train, or an exact one: 10" in capsys.readouterr().out


def test_classes_that_are_numbers_or_parts_of_file_names(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = folder_of(tmp_path / "n", {f"test/{k}/image.jpg": jpeg(k) for k in (1, 4, 4, 7)})
    names = folder_of(tmp_path / "j", {"KA.SU1.36.jpg": jpeg(1), "KA.HA1.29.jpg": jpeg(4), "KA.NE1.26.jpg": jpeg(7)})
    for data, split, *options in (
        (numbers, "test", "--classes", "raf-db"),
        (names, "train", "--label-pattern", "jaffe"),
    ):
        command = ["evaluate", str(tiny_onnx), "--data", str(data), "--split", split, "--format", "json"]
        assert main([*command, *options]) == 0
        counts = {name: score["n"] for name, score in json.loads(capsys.readouterr().out)["per_class"].items()}
        assert {name for name, n in counts.items() if n} == {"surprise", "happy", "neutral"}
        assert main(command) == 2


def test_the_table_is_readable_and_the_row_flat(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(model=tiny_onnx) == 0
    text = capsys.readouterr().out
    assert "accuracy" in text
    assert "surprise" in text
    assert "±" in text
    assert evaluate("--format", "csv", model=tiny_onnx) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["recall_happy"]) <= 1
    assert "deduplicated_accuracy" in row
    assert f"{float(row['majority_baseline']):.2%}" in text
    # Random weights.
    assert "Not significantly better than the majority baseline: always “" in text


@pytest.mark.parametrize("views", [2, 6, 10])
def test_views_and_predictions(views: int, tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.csv"
    assert evaluate("--views", str(views), "--predictions", str(out), "--format", "json", model=tiny_onnx) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["views"] == views
    assert str(out) in captured.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["n"]
    assert sum(r["correct"] == "True" for r in rows) == round(result["accuracy"] * result["n"])


def test_the_card_holds_these_scores(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "card.md"
    assert evaluate("--card", str(card), "--format", "json", model=tiny_onnx) == 0
    printed = capsys.readouterr()
    assert f"moue: wrote {card}\n" in printed.err
    result = json.loads(printed.out)
    assert f"**{result['accuracy']:.1%} ± {result['accuracy_se']:.1%}**" in card.read_text(encoding="utf-8")


def test_bad_images_can_be_left_out_and_are_named(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = folder_of(tmp_path / "faces", {"test/happy/a.jpg": jpeg(1), "test/happy/b.jpg": b"no image"})
    asked = ["evaluate", str(tiny_onnx), "--data", str(faces), "--split", "test"]
    assert main(asked) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert main([*asked, "--skip-bad"]) == 3
    assert "left out" in capsys.readouterr().err


def test_the_page_of_errors_shows_the_surest_first(tiny_onnx: Path, tmp_path: Path) -> None:
    page = tmp_path / "errors.html"
    rows = tmp_path / "rows.csv"
    assert evaluate("--errors", str(page), "--predictions", str(rows), model=tiny_onnx) == 0
    text = page.read_text(encoding="utf-8")
    wrong = [row for row in csv.DictReader(io.StringIO(rows.read_text(encoding="utf-8"))) if row["correct"] == "False"]
    assert wrong
    assert text.count('src="data:image/png;base64,') == len(wrong)
    assert all(f"labeled {row['truth']}, predicted {row['predicted']}" in text.replace("L", "l") for row in wrong)
    assert "http" not in text.replace("http://www.w3.org", "")
    for section in text.split("<section")[1:]:
        shares = [int(share) for share in re.findall(r"<figcaption>\w+ (\d+)%", section)]
        assert shares == sorted(shares, reverse=True)
    assert evaluate("--errors", str(tmp_path), model=tiny_onnx) == 2


def test_the_model_says_whose_labels_are_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, votes = tmp_path / "fer.csv", tmp_path / "votes.csv"
    data.write_text(simple_csv())
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    usage = ["Training"] * 14 + ["PublicTest"] * 7
    votes.write_text(head + "".join(f"{u},f.png,0,0,0,10,0,0,0,0,0,0\n" for u in usage))

    def evaluation_of(*extra: str) -> dict[str, Any]:
        assert evaluate("--format", "json", *extra, model=Path("ferplus"), data=str(data)) == 0
        out, err = capsys.readouterr()
        # Labels that it was not trained for are remarked on.
        assert ("score it with --labels ferplus --votes" in err) == (not extra)
        result: dict[str, Any] = json.loads(out)
        return result

    voted = evaluation_of("--votes", str(votes))
    assert voted["label_set"] == "ferplus"
    assert {name: s["n"] for name, s in voted["per_class"].items() if s["n"]} == {"sad": 7}
    labeled = evaluation_of()
    assert labeled["label_set"] == "fer2013"
    assert {s["n"] for name, s in labeled["per_class"].items() if name != "contempt"} == {1}
    # Votes that nothing would use are refused.
    assert evaluate("--votes", str(votes), model=Path("tiny"), data=str(data)) == 2
    assert "leave --votes out" in capsys.readouterr().err


def test_a_model_of_own_classes_reads_the_folders_own_names(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(tiny_onnx.read_bytes())
    replace(ModelSpec.load(tiny_onnx.with_suffix(".json")), labels=tuple("abcdefg")).save(own.with_suffix(".json"))
    faces = folder_of(tmp_path / "faces", {"test/a/a.jpg": jpeg(1), "test/b/b.jpg": jpeg(2)})
    assert main(["evaluate", str(own), "--data", str(faces), "--split", "test", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["label_set"] == "folders"


@pytest.mark.parametrize("classes", [("happy", "joy", "sad"), ("happy", "contempt"), FER2013.labels])
def test_a_run_of_own_folders_is_read_with_their_names(
    classes: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for name in classes:
        (tmp_path / "own" / "train" / name).mkdir(parents=True)
        (tmp_path / "own" / "test" / name).mkdir(parents=True)
        for i in range(8):
            pixels = draw.integers(0, 256, (48, 48), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / ("test" if i < 2 else "train") / name / f"{i}.png")
    words = ["train", "compact", "--data", str(tmp_path / "own"), "--labels", "folders", "--out", str(tmp_path / "run")]
    for setting in ("optim.epochs=1", "model.options={widths: [8, 16]}", "optim.ema=0", "run.threads=1"):
        words += ["--set", setting]
    assert main(words) == 0
    for split in ("validation", "test"):
        capsys.readouterr()
        words = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "own"), "--split", split]
        rows = tmp_path / "rows.csv"
        assert main([*words, "--format", "json", "--predictions", str(rows)]) == 0
        result = json.loads(capsys.readouterr().out)
        with rows.open(newline="", encoding="utf-8") as file:
            assert {row["split"] for row in csv.DictReader(file)} == {split}
        assert result["label_set"] == "folders"
        assert set(result["labels"]) == set(classes)
        assert len({score["n"] for score in result["per_class"].values()}) == 1


def test_the_table_says_what_was_averaged(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for views, words in ((2, "mirror image"), (6, "shifts"), (10, "ten crops")):
        assert evaluate("--views", str(views), model=tiny_onnx) == 0
        assert words in capsys.readouterr().out.splitlines()[0]
    with pytest.raises(SystemExit):
        evaluate("--views", "3", model=tiny_onnx)


def test_a_usage_error_is_one_line(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(model=tmp_path / "none.onnx") == 2
    assert evaluate(model=tiny_onnx, data=str(tmp_path / "none.csv")) == 2
    assert evaluate("--predictions", "rows.xlsx", model=tiny_onnx) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("moue: ") for line in lines)


def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # There is no such model and no such set: which error is reported shows what is checked first.
    def error(*extra: str) -> str:
        assert evaluate(*extra, model=tmp_path / "none.onnx", data="none.csv") == 2
        return capsys.readouterr().err

    (tmp_path / "file").write_text("mine")
    for option, suffix in (("--predictions", "csv"), ("--card", "md")):
        assert f"as {tmp_path / 'file'} is a file" in error(option, str(tmp_path / "file" / "deeper" / f"a.{suffix}"))
        assert "is a folder" in error(option, str(tmp_path))
        assert "none.onnx" in error(option, str(tmp_path / "new" / f"a.{suffix}"))
    assert not (tmp_path / "new").exists()
    with monkeypatch.context() as locked:
        locked.setattr("os.access", lambda *_: False)
        assert f"no write permission for {tmp_path}" in error("--card", str(tmp_path / "new" / "card.md"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for extra in (["--predictions", str(tmp_path / "rows.parquet")], ["--format", "parquet"]):
        assert "pip install 'moue[parquet]'" in error(*extra)


def test_what_is_read_is_never_written_over(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data := tmp_path / "set.csv").write_text(simple_csv())
    (votes := tmp_path / "votes.csv").write_text("votes")
    (link := tmp_path / "link.csv").symlink_to(data)
    faces = folder_of(tmp_path / "faces", {"test/happy/a.jpg": jpeg(1)})
    model = Path(shutil.copy(tiny_onnx, tmp_path / "m.onnx"))
    spec = Path(shutil.copy(tiny_onnx.with_suffix(".json"), tmp_path / "m.json"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def error(*extra: str, data: Path = data) -> str:
        assert evaluate(*extra, model=model, data=str(data)) == 2
        return capsys.readouterr().err

    for path in (data, link, tmp_path / "x" / ".." / "set.csv"):
        assert f"{path} is read or written by this command" in error("--predictions", str(path))
    assert "is read or written" in error("--predictions", str(data), data=link)
    for path in (data, model, spec):
        assert f"{path} is read or written by this command" in error("--card", str(path))
    assert "is read or written" in error("--predictions", str(votes), "--votes", str(votes))
    out = str(tmp_path / "out.csv")
    assert f"{out} is read or written" in error("--predictions", out, "--card", out)
    # All files of an image folder are inputs; of a folder with the FER-2013 CSV, only the CSV is.
    assert "lies in" in error("--predictions", str(faces / "test" / "happy" / "p.csv"), data=faces)
    inside = folder_of(tmp_path / "inside", {"fer.csv": simple_csv().encode()})
    assert "is read or written" in error("--predictions", str(inside / "fer.csv"), data=inside)
    assert {path: path.read_bytes() for path in before} == before
    assert evaluate("--predictions", str(inside / "p.csv"), model=model, data=str(inside)) == 0


def test_the_name_of_a_bundled_model_is_that_model_and_a_run_of_that_name_is_a_path(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["train", "compact", "--data", "synth:210:1", "--out", "tiny", "--set", "optim.epochs=1"]
    for setting in ("optim.steps=1", "model.options={widths: [8, 16]}", "run.threads=1", "data.labels=fer2013"):
        run += ["--set", setting]
    assert main(run) == 0
    capsys.readouterr()

    def parameters(name: str) -> int:
        assert main(["evaluate", name, "--data", "synth:210:1", "--split", "public_test", "--card", "c.md"]) == 0
        return open_any(name).spec.parameters

    own = ModelSpec.load(Path("tiny/spec.json")).parameters
    bundled = find_model("tiny").spec.parameters
    assert own != bundled == parameters("tiny")
    assert "For the run of that name type ./tiny" in capsys.readouterr().err
    assert parameters("./tiny") == own == spec_of("./tiny").parameters == open_any(Path("tiny")).spec.parameters
    assert spec_of("tiny").parameters == bundled
    assert "type ./tiny" not in capsys.readouterr().err
    # What is exported can only be the run.
    for name in ("tiny", "./tiny"):
        assert main(["export", name, "-o", "out.onnx"]) == 0
        assert ModelSpec.load(Path("out.json")).parameters == own
    merged = ["export", "tiny", "./tiny", "-o", "both.onnx"]
    assert main(merged) == 0
    assert ModelSpec.load(Path("both.json")).parameters == own + bundled
    monkeypatch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.write.model_figures", lambda *_: [])
    compared = ["compare", "tiny", "./tiny", "--data", "synth:210:1", "--out", "c", "--format", "json"]
    capsys.readouterr()
    assert main(compared) == 0
    assert [row["parameters"] for row in json.loads(capsys.readouterr().out)] == [bundled, own]
