"""Predictions in files, in place of the model that made them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import DataError, MoueError
from moue.evaluation.evaluate_model import evaluate_model, rows_of
from moue.evaluation.metrics import Evaluation
from moue.evaluation.saved_predictions import load_predictions
from moue.trained.open import spec_of


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return synthetic(300, seed=3)


@pytest.fixture(scope="module")
def part(table: ImageTable) -> ImageTable:
    return rows_of(table, "public_test")[0]


@pytest.fixture(scope="module")
def scored(table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    """The predictions of `tiny` as CSV and as Parquet, beside each other, and its scores."""
    folder = tmp_path_factory.mktemp("predictions")
    save(table, folder / "faces.npz")
    for name in ("tiny.csv", "tiny.parquet"):
        found = evaluate_model("tiny", folder / "faces.npz", "public_test", predictions=folder / name)
    return folder, found


def scores(evaluation: Evaluation) -> dict[str, Any]:
    return {**evaluation.to_dict(), "seconds": 0, "network": "", "views": 0}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_of_predictions_has_the_scores_of_its_model(
    suffix: str, scored: tuple[Path, Evaluation], table: ImageTable
) -> None:
    folder, evaluation = scored
    part, reference = rows_of(table, "public_test")
    part = replace(part, name=evaluation.data)
    found = load_predictions(folder / f"tiny.{suffix}", part, reference=reference, split="public_test")
    read, own = scores(found.evaluation), scores(evaluation)
    assert read["confusion"] == own["confusion"]
    assert read["deduplicated"]["accuracy"] == own["deduplicated"]["accuracy"]
    assert read["nll"] == pytest.approx(own["nll"], abs=1e-4)
    assert read["ece"] == pytest.approx(own["ece"], abs=1e-3)
    assert found.evaluation.split == "public_test"


def test_a_parquet_file_says_which_model_it_is_of(scored: tuple[Path, Evaluation], part: ImageTable) -> None:
    found, spec = load_predictions(scored[0] / "tiny.parquet", part), spec_of("tiny")
    assert found.spec == spec
    assert found.evaluation.network == spec.network
    assert found.evaluation.views == scored[1].views
    assert load_predictions(scored[0] / "tiny.csv", part).spec.labels == part.label_set.labels


def rows(scored: tuple[Path, Evaluation]) -> list[dict[str, Any]]:
    with open(scored[0] / "tiny.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, changed: list[dict[str, Any]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(changed[0]) if changed else [])
        writer.writeheader()
        writer.writerows(changed)
    return path


def test_other_programs_may_name_and_order_columns_and_rows_as_they_like(
    scored: tuple[Path, Evaluation], part: ImageTable, tmp_path: Path
) -> None:
    own = load_predictions(scored[0] / "tiny.csv", part)
    names = {"happy": "Happiness", "sad": "SADNESS", "angry": "anger", "disgust": "disgusted"}
    kept = ("source", *part.label_set.labels)
    changed = [{names.get(key, key): row[key] for key in reversed(kept)} for row in reversed(rows(scored))]
    path = write(tmp_path / "theirs.csv", [*changed, {**changed[0], "source": "of another split", "fear": "?"}])
    found = load_predictions(path, part)
    assert np.array_equal(found.predictions.probabilities, own.predictions.probabilities)
    assert found.evaluation.model == "theirs"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "no row for 1 of"),
        (lambda rows: [*rows, rows[0]], "two rows for"),
        (lambda rows: [{k: v for k, v in row.items() if k != "fear"} for row in rows], "each class"),
        (lambda rows: [{k: v for k, v in row.items() if k != "source"} for row in rows], "column source"),
        (lambda rows: [{**rows[0], "fear": "high"}, *rows[1:]], "numbers as probabilities"),
        (lambda rows: [{**rows[0], "fear": "nan"}, *rows[1:]], "add up to 1"),
        (lambda rows: [{**rows[0], "fear": "-0.2", "sad": "1.2"}, *rows[1:]], "add up to 1"),
        (lambda rows: [{**rows[0], "fear": "3"}, *rows[1:]], "add up to 1"),
        (lambda rows: [], "no rows"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    change: Any, said: str, scored: tuple[Path, Evaluation], part: ImageTable, tmp_path: Path
) -> None:
    path = write(tmp_path / "wrong.csv", change(rows(scored)))
    with pytest.raises(DataError, match=said):
        load_predictions(path, part)


def test_damaged_files_are_refused(scored: tuple[Path, Evaluation], part: ImageTable, tmp_path: Path) -> None:
    whole = (scored[0] / "tiny.parquet").read_bytes()
    for name, content in [
        ("broken.parquet", whole[: len(whole) // 2]),
        ("empty.parquet", b""),
        ("bytes.csv", b"source,happy\n\xff\xfe\x00"),
        ("empty.csv", b""),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            load_predictions(tmp_path / name, part)
    with pytest.raises(DataError, match="is missing"):
        load_predictions(tmp_path / "nowhere.csv", part)


def test_sources_that_are_no_text_are_of_no_image(
    scored: tuple[Path, Evaluation], part: ImageTable, tmp_path: Path
) -> None:
    table = pyarrow.parquet.read_table(scored[0] / "tiny.parquet")
    lists = pyarrow.array([[name] for name in table["source"].to_pylist()])
    path = tmp_path / "lists.parquet"
    pyarrow.parquet.write_table(table.set_column(0, "source", lists), path)
    with pytest.raises(DataError, match="no row for"):
        load_predictions(path, part)


@pytest.mark.parametrize(
    "origin",
    [b"{", b"[]", b"{}", b'{"spec": {}, "views": 2}', b'{"spec": 3, "views": null}', b'{"spec": {}, "views": 7}'],
)
def test_a_file_whose_origin_is_damaged_is_refused(
    origin: bytes, scored: tuple[Path, Evaluation], part: ImageTable, tmp_path: Path
) -> None:
    table = pyarrow.parquet.read_table(scored[0] / "tiny.parquet")
    assert json.loads(table.schema.metadata[b"moue"])["views"] == scored[1].views
    path = tmp_path / "changed.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({b"moue": origin}), path)
    with pytest.raises(MoueError, match=r"changed\.parquet does not say|needs|views"):
        load_predictions(path, part)
