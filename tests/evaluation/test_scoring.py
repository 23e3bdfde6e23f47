from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError, ModelError, UnknownName, UsageError
from moue.evaluation.evaluate_model import evaluate_model, rows_of
from moue.evaluation.predictions_file import prediction_rows, write_rows
from moue.evaluation.scoring import predict, score, truth_of
from moue.labels import FER2013, FERPLUS, LabelSet
from moue.runtime.results import softmax
from moue.spec import ModelSpec
from moue.trained.open import open_any


class Brightness:
    """Predicts the class that an image's first pixel encodes; the left half decides, so that mirroring matters."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.calls = spec, 0

    def logits(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (self.spec.channels, self.spec.size, self.spec.size)
        self.calls += 1
        k = len(self.spec.labels)
        distance = np.abs(images[:, 0, 0, :1].astype(np.float32) - 30 * np.arange(k, dtype=np.float32))
        return -distance / 10


def table(labels: list[int], split: str = "public_test", size: int = 8, names: LabelSet = FER2013) -> ImageTable:
    images = np.zeros((len(labels), 1, size, size), np.uint8)
    images[:, 0] = 30 * np.array(labels)[:, None, None]
    # The last column tells rows of one class apart.
    images[:, 0, :, -1] = np.arange(len(labels))[:, None]
    rows = [f"row {i}" for i in range(len(labels))]
    return ImageTable(images, np.array(labels, np.int64), np.array([split] * len(labels)), rows, names, name="set")


SPEC = ModelSpec("m", "n", FER2013.labels, size=8)


def test_classes_are_mapped_by_name() -> None:
    model = Brightness(SPEC)
    mapped = table([0, 1, 2, 3], names=LabelSet("folders", ("Happiness", "sad", "Anger", "fear")))
    assert truth_of(mapped, SPEC).tolist() == [3, 4, 0, 2]
    evaluation, _ = score(model, mapped)
    assert evaluation.per_class["happy"].n == 1
    assert evaluation.labels == FER2013.labels


def test_classes_of_ones_own_that_are_synonyms_stay_apart() -> None:
    own = LabelSet("folders", ("Happy", "happy", "joy", "sad"))
    assert [own.index(name) for name in own.labels] == [0, 1, 2, 3]
    assert own.index("JOY") == 0


def test_a_class_that_the_model_lacks_is_named_but_an_empty_one_is_not() -> None:
    with pytest.raises(UsageError, match="contempt"):
        score(Brightness(SPEC), table([0, 7], names=FERPLUS))
    evaluation, _ = score(Brightness(SPEC), table([0, 1], names=FERPLUS))
    assert evaluation.n == 2


def test_images_of_another_size_and_color_reach_the_model_in_its_own() -> None:
    expected = SPEC.replace(size=5, color="rgb")
    evaluation, predictions = score(Brightness(expected), table([0, 1, 2, 6]))
    assert evaluation.accuracy == 1
    assert len(predictions) == 4


def test_two_views_average_logits_before_the_temperature() -> None:
    spec, part = SPEC.replace(temperature=2.0), table([1, 2, 3])
    model = Brightness(spec)
    both = (model.logits(part.images) + model.logits(np.ascontiguousarray(part.images[..., ::-1]))) / 2
    got = predict(model, part.images, views=2)
    np.testing.assert_allclose(got.probabilities, softmax(both, 2.0), atol=1e-6)
    assert score(model, part)[0].views == 1
    assert score(Brightness(spec.replace(views=2)), part)[0].views == 2


def test_the_batch_size_changes_nothing_and_progress_ends_at_the_end() -> None:
    part, seen = table([i % 7 for i in range(23)]), []
    one, a = score(Brightness(SPEC), part, batch=23)
    two, b = score(Brightness(SPEC), part, batch=4, progress=lambda done, total: seen.append((done, total)))
    assert (a.probabilities == b.probabilities).all()
    assert replace(one, seconds=0).to_dict() == replace(two, seconds=0).to_dict()
    assert seen[0] == (4, 23)
    assert seen[-1] == (23, 23)


def test_rows_with_a_duplicate_in_training_are_left_out_of_the_second_score() -> None:
    part = table([0, 1, 2, 3])
    training = part.take(np.array([1, 3]))
    evaluation, _ = score(Brightness(SPEC), part, reference=training)
    assert evaluation.deduplicated is not None
    assert evaluation.deduplicated.n == 2
    assert score(Brightness(SPEC), part)[0].deduplicated is None
    assert score(Brightness(SPEC), part, reference=part)[0].deduplicated is None


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = Brightness(SPEC)
    model.logits = lambda images: np.full((len(images), 7), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="finite"):
        score(model, table([0]))


def test_a_runs_own_split_is_used_and_its_duplicates_are_looked_for_in_its_training_part(tmp_path: Path) -> None:
    full = table([i % 7 for i in range(70)], split="train")
    saved = stratified_split(full, 0.2, seed=3)
    saved.save(tmp_path / "split.json")
    part, reference = rows_of(full, "validation", tmp_path)
    assert reference is not None
    assert list(part.source) == [full.source[i] for i in saved.validation]
    assert len(reference) == len(saved.train)
    assert len(rows_of(full, "train", tmp_path)[0]) == len(saved.train)
    with pytest.raises(DataError, match="saved split"):
        rows_of(full.take(np.arange(69)), "validation", tmp_path)
    with pytest.raises(DataError, match="run folder"):
        rows_of(full, "validation")


def test_a_run_whose_classes_are_too_small_to_hold_out_says_what_was_asked_for(tmp_path: Path) -> None:
    full = table([0, 0, 1, 1], "train")
    split = stratified_split(full, 0.2)
    split.save(tmp_path / "split.json")
    assert not len(split.validation)
    with pytest.raises(DataError, match=r"held out no validation rows \(data.validation = 0.2\)"):
        rows_of(full, "validation", tmp_path)


def test_a_row_an_image_as_csv_and_parquet(tmp_path: Path) -> None:
    part = table([0, 3, 3])
    _, predictions = score(Brightness(SPEC), part)
    rows = prediction_rows(part, predictions, truth_of(part, SPEC), np.array([True, False, True]))
    with open(write_rows(tmp_path / "p.csv", rows), newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["source", "split", "truth", "predicted", "correct", "duplicate", *FER2013.labels]
    assert [r["duplicate"] for r in read] == ["False", "True", "False"]
    assert read[1]["truth"] == read[1]["predicted"] == "happy"
    assert read[1]["source"] == "row 1"
    assert sum(float(read[0][name]) for name in FER2013.labels) == pytest.approx(1, abs=1e-4)
    import pyarrow.parquet

    back = pyarrow.parquet.read_table(write_rows(tmp_path / "p.parquet", rows)).to_pylist()
    assert back == rows


def test_a_class_called_like_a_column_keeps_both() -> None:
    names = LabelSet("folders", ("truth", "happy"))
    part = table([0, 1], names=names)
    spec = ModelSpec("m", "n", names.labels, size=8)
    _, predictions = score(Brightness(spec), part)
    row = prediction_rows(part, predictions, truth_of(part, spec))[0]
    assert row["truth"] == "truth"
    assert "p(truth)" in row
    assert row["duplicate"] is None


def test_a_model_file_is_assessed_from_its_path(tiny_onnx: Path, tmp_path: Path) -> None:
    model = open_any(tiny_onnx)
    assert model.spec.name == "tiny_random"
    out = tmp_path / "rows.csv"
    evaluation = evaluate_model(tiny_onnx, "synth:210:1", "public_test", predictions=out)
    assert evaluation.model == "tiny_random"
    assert 0 < evaluation.n < 210
    assert len(out.read_text().splitlines()) == evaluation.n + 1
    assert evaluation.deduplicated is not None


def test_wrong_names_and_suffixes_are_refused_before_any_work(tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="public_test"):
        evaluate_model(tiny_onnx, tmp_path / "none.csv", "public")
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        evaluate_model(tiny_onnx, tmp_path / "none.csv", "public_test", predictions="rows.xlsx")
    with pytest.raises(UnknownName):
        open_any("no-such-model")
