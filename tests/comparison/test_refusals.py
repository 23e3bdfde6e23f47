"""`compare`: what cannot be compared, as a row with the reason or an error before any training."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from comparisons import TINY
from sets import broken, simple_csv

from moue.cli.main import main
from moue.comparison import compare
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.errors import UnknownName, UsageError


def test_missing_weights_are_a_row_with_the_reason(data: str, tmp_path: Path) -> None:
    settings = [*TINY, "model.options={weights: absent.h5}"]
    rows = compare(["study/resnet50v2"], data=data, out=tmp_path, settings=settings)
    assert rows[0].status == "not run"
    assert rows[0].reason is not None
    assert "absent.h5" in rows[0].reason
    assert [row.status for row in rows[1:]] == ["quoted"] * 3
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "**Not run.** resnet50v2: needs published weights: " in markdown
    assert ".." not in markdown.partition("**Not run.**")[2].partition("\n")[0], "one full stop ends it"


def test_a_run_on_other_data_is_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    save(synthetic(300, seed=3), other)
    with pytest.raises(UsageError, match="--out"):
        compare(["demo/vit"], data=str(other), out=finished, settings=TINY)


def test_unknown_names_are_refused_before_any_training(data: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="googlenet"):
        compare(["demo/vit", "googlenot"], data=data, out=tmp_path, settings=TINY)
    with pytest.raises(UnknownName, match="Known: ") as caught:
        compare(["zzz"], data=data, out=tmp_path)
    assert str(caught.value).count(" default,") == 1
    assert not (tmp_path / "runs").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is a file"):
        compare(["tiny"], data=data, out=tmp_path / "file")
    with pytest.raises(UsageError, match="once"):
        compare(["demo/vit", "demo/vit"], data=data, out=tmp_path)


def test_the_page_replaces_nothing_that_is_compared(tiny_onnx: Path, data: str, tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"comparison{suffix}")
    shutil.copy(data, tmp_path / "comparison.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"comparison\.json is read or written by this command"):
        compare([str(tmp_path / "comparison.onnx")], data=data, out=tmp_path)
    with pytest.raises(UsageError, match=r"comparison\.csv is read or written by this command"):
        compare(["tiny"], data=str(tmp_path / "comparison.csv"), out=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rows_that_could_not_be_read_change_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (csv := tmp_path / "bad.csv").write_text(broken(simple_csv(), 4, "3,", "9,"))
    command = ["compare", "tiny", "--data", str(csv), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    capsys.readouterr()
    assert main([*command, "--skip-bad"]) == 3
    assert capsys.readouterr().err.count(f"moue: left out {csv}, row 4: ") == 1


def test_two_recipes_never_share_a_run(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exps").mkdir()
    for name in ("exps/a.yaml", "exps-a.yaml"):
        (tmp_path / name).write_text("model: {network: compact}\n")
    with pytest.raises(UsageError, match=r"exps/a\.yaml and exps-a\.yaml, .*exps-a: compare one"):
        compare(["exps/a.yaml", "exps-a.yaml"], data=data, out=tmp_path / "out", settings=TINY)
    with pytest.raises(UsageError, match="demo/vit and recipe:demo/vit"):
        compare(["demo/vit", "recipe:demo/vit"], data=data, out=tmp_path / "out", settings=TINY)
    assert not (tmp_path / "out").exists()


def test_a_known_model_that_is_not_installed_is_a_row(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "moue_models", None)
    rows = compare(["tiny", "full"], data=data, out=tmp_path)
    assert [row.status for row in rows] == ["ok", "not run"]
    assert "pip install 'moue[models]'" in str(rows[1].reason)


def test_what_a_recipe_lacks_is_an_error_before_the_first_is_trained(data: str, tmp_path: Path) -> None:
    for other, settings, words in (
        ("recipe:default", TINY, "--votes fer2013new.csv"),
        ("recipe:ferplus", TINY, "--labels ferplus"),
        ("compact", [*TINY, f"optim.teachers=[{tmp_path / 'absent'}]"], "absent"),
    ):
        with pytest.raises(UsageError, match=words):
            compare(["demo/vit", other], data=data, out=tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_run_with_other_settings_is_refused(data: str, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"optim\.lr=.*not 0\.5"):
        compare(["demo/vit"], data=data, out=finished, settings=[*TINY, "optim.lr=0.5"])
    compare(["demo/vit"], data=data, out=finished, settings=[*TINY, "run.threads=2"])
    own = tmp_path / "own.yaml"
    for rate in ("0.01", "0.02"):
        own.write_text(f"model: {{network: compact, options: {{widths: [8, 16]}}}}\noptim: {{lr: {rate}}}\n")
        if rate == "0.01":
            compare([str(own)], data=data, out=tmp_path / "own", settings=TINY)
    with pytest.raises(UsageError, match=r"a recipe with optim\.lr=0\.01, not 0\.02"):
        compare([str(own)], data=data, out=tmp_path / "own", settings=TINY)


def test_a_training_that_fails_is_a_row_and_the_others_keep_theirs(data: str, tmp_path: Path) -> None:
    blown = tmp_path / "blown.yaml"
    blown.write_text("model: {network: compact, options: {widths: [8, 16]}}\noptim: {name: sgd, lr: 1.0e+12}\n")
    rows = compare(["demo/vit", str(blown)], data=data, out=tmp_path / "out", settings=TINY)
    assert rows[0].evaluation is not None
    assert rows[1].status == "not run"
    assert "no longer finite" in str(rows[1].reason)
    assert "no longer finite" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_the_exit_code_says_whether_all_could_be_compared(data: str, tmp_path: Path) -> None:
    gone = "model.options={weights: absent.h5}"
    asked = ["--data", data, "--out", str(tmp_path / "out"), *(w for s in TINY for w in ("--set", s))]
    assert main(["compare", "study/resnet50v2", *asked, "--set", gone]) == 2
    assert main(["compare", "study/resnet50v2", "tiny", *asked, "--set", gone]) == 3
    assert main(["compare", "tiny", "--data", data, "--out", str(tmp_path / "out")]) == 0
