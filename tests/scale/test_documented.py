"""The lines of docs/scale.md, word for word, over a data set that `moue score` has made."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.dataset
import pytest
from shards import image, rows_of, samples, score_here, tar_of

from moue.cli.main import main
from moue.scale import score as module

DOCS = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def scores(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set that they read: three faces, then one file that cannot be read."""
    monkeypatch.setattr(module, "score_locally", score_here)
    monkeypatch.chdir(tmp_path)
    tar_of(Path("a.tar"), samples(3))
    Path("b.jpg").write_bytes(b"\xff\xd8\xffdamaged")
    command = ["score", "a.tar", "b.jpg", "--out", "scores", "--model", str(tiny_onnx), "--detector", "none"]
    assert main(command) == 3
    return tmp_path / "scores"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def test_the_lines_of_pandas_give_the_mean_of_each_source(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    exec(blocks("python")[0], {})
    told = dict(re.findall(r"(a\.tar/\d+\.png) +([\d.]+)", capsys.readouterr().out))
    happy = {row["source"]: row["faces"][0]["probabilities"]["happy"] for row in rows_of(scores) if row["faces"]}
    assert len(happy) == 3
    assert {name: float(value) for name, value in told.items()} == pytest.approx(happy, abs=1e-4)


def test_the_line_of_pyarrow_reads_the_columns_in_batches(scores: Path) -> None:
    [line] = re.findall(r"`(pyarrow\.dataset\.[^`]*)`", DOCS)
    batches = list(eval(line, {"pyarrow": pyarrow}))
    assert {tuple(batch.schema.names) for batch in batches} == {("source", "faces")}
    assert sum(batch.num_rows for batch in batches) == 4


def test_the_lines_of_sql_name_files_and_fields_that_are_there(scores: Path) -> None:
    [query] = blocks("sql")
    [pattern] = re.findall(r"'([^']*)'", query)
    assert {path.resolve() for path in Path().glob(pattern)} == set(scores.glob("part-*"))
    schema = pyarrow.dataset.dataset("scores").schema
    [column] = re.findall(r"unnest\((\w+)\)", query)
    fields = re.findall(r"face((?:\.\w+)+)", query)
    assert sorted(fields) == [".label", ".probabilities.happy", ".uncertain"]
    for path in fields:
        kind = schema.field(column).type.value_type
        for name in path.split(".")[1:]:
            kind = kind.field(name).type


def test_the_lines_that_delete_failed_parts_have_them_read_again(
    scores: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b.jpg").write_bytes(image())
    exec(blocks("python")[1], {})
    assert len(list(scores.glob("part-*"))) == 1
    options = ["--out", "scores", "--model", str(tiny_onnx), "--detector", "none"]
    assert main(["score", "a.tar", "b.jpg", *options]) == 0
    assert [row["status"] for row in rows_of(scores)] == ["ok"] * 4
