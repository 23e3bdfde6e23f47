"""Stacking learns from rows that no member has seen, and from those alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from members import Make, faces, initializers, table

from moue.cli.main import main
from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.ensembles.stacking import choose_strength, fit_linear, stack
from moue.errors import DataError, UsageError
from moue.evaluation.calibration import fit_temperature
from moue.runtime.engine import open_model
from moue.spec import ModelSpec

Stacked = tuple[ImageTable, list[Path], Split]


@pytest.fixture
def members(make: Make) -> Stacked:
    """Two models, and a set whose truth is one class after what the first says: no average can name it."""
    paths = [make("a", 1), make("b", 2)]
    images = np.random.default_rng(5).integers(0, 256, (1200, 1, 12, 12), dtype=np.uint8)
    truth = (open_model(paths[0]).logits(images).argmax(1) + 1) % 7
    truth[:70] = np.arange(70) % 7
    whole = dataclasses.replace(table(), images=images, labels=truth.astype(np.int64))
    split = stratified_split(whole, 0.4, seed=0)
    for path in paths:
        split.save(path.parent / "split.json")
    return whole, paths, split


def test_a_stack_maps_the_members_logits_and_is_one_graph(members: Stacked, tmp_path: Path) -> None:
    whole, paths, split = members
    spec = stack(paths, tmp_path / "stack.onnx", whole)
    assert spec.scores["validation"] > 0.8
    logits = np.concatenate([open_model(path, engine="onnxruntime").logits(faces()) for path in paths], axis=1)
    held_out = whole.take(split.validation)
    seen = np.concatenate([open_model(p, engine="onnxruntime").logits(held_out.images) for p in paths], axis=1)
    matrix, bias = fit_linear(seen, held_out.labels, spec.trained["penalty"], 7)
    expected = logits @ matrix + bias
    for engine in ("onnxruntime", "openvino"):
        got = open_model(tmp_path / "stack.onnx", engine=engine).logits(faces())
        assert np.allclose(got, expected, atol=1e-2 * np.abs(expected).max())


def test_a_stack_reloads_bit_equal(members: Stacked, tmp_path: Path) -> None:
    whole, paths, split = members
    spec = stack(paths, tmp_path / "stack.onnx", whole)
    assert ModelSpec.load(tmp_path / "stack.json") == spec
    held_out = whole.take(split.validation)
    seen = np.concatenate(
        [open_model(p, engine="onnxruntime").tta_logits(held_out.images, spec.views) for p in paths], axis=1
    )
    fitted = fit_linear(seen, held_out.labels, spec.trained["penalty"], 7)
    for saved, value in zip(initializers(tmp_path / "stack.onnx", "stack/(matrix|bias)"), fitted, strict=True):
        assert saved.dtype == np.float32
        assert np.array_equal(saved, value)
    first, again = (open_model(tmp_path / "stack.onnx").logits(faces()) for _ in range(2))
    assert np.array_equal(first, again)
    stack(paths, tmp_path / "twice.onnx", whole)
    assert (tmp_path / "twice.onnx").read_bytes() == (tmp_path / "stack.onnx").read_bytes()


def test_no_row_that_a_member_was_trained_on_is_looked_at(members: Stacked, tmp_path: Path) -> None:
    whole, paths, split = members
    once = stack(paths, tmp_path / "once.onnx", whole)
    labels = whole.labels.copy()
    labels[split.train] = np.roll(labels[split.train], 1)
    relabeled = dataclasses.replace(whole, labels=labels)
    for path in paths:
        dataclasses.replace(split, fingerprint=relabeled.fingerprint).save(path.parent / "split.json")
    again = stack(paths, tmp_path / "again.onnx", relabeled)
    assert (tmp_path / "once.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert once.temperature == again.temperature


def test_the_score_and_the_temperature_are_of_rows_that_the_classifier_did_not_see() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(0, 1, (400, 60)), np.arange(400) % 4
    _, crossed = choose_strength(logits, truth, strengths=(10.0,))
    matrix, bias = fit_linear(logits, truth, 10.0, 4)
    # Of noise, what it was fitted on looks right and the rest is chance.
    assert ((logits @ matrix + bias).argmax(1) == truth).mean() > 0.45
    assert (crossed.argmax(1) == truth).mean() < 0.35
    assert fit_temperature(crossed, truth) > 3
    # A row's own label cannot change its prediction.
    other = truth.copy()
    other[0] = (truth[0] + 1) % 4
    _, changed = choose_strength(logits, other, strengths=(10.0,))
    assert np.allclose(changed[0], crossed[0])
    assert not np.allclose(changed, crossed)


def test_members_whose_held_out_rows_are_unknown_are_refused(members: Stacked, tmp_path: Path) -> None:
    whole, paths, _ = members
    (paths[1].parent / "split.json").unlink()
    with pytest.raises(DataError, match="does not say which rows"):
        stack(paths, tmp_path / "s.onnx", whole)


def test_too_few_rows_and_classes_without_any_are_refused(members: Stacked, tmp_path: Path) -> None:
    whole, paths, split = members
    without = split.validation[whole.labels[split.validation] != 2]
    for path in paths:
        dataclasses.replace(split, validation=without).save(path.parent / "split.json")
    with pytest.raises(DataError, match="no image of fear was held out"):
        stack(paths, tmp_path / "s.onnx", whole)
    for path in paths:
        dataclasses.replace(split, validation=split.validation[:50]).save(path.parent / "split.json")
    with pytest.raises(DataError, match="200 images or more"):
        stack(paths, tmp_path / "s.onnx", whole)
    with pytest.raises(UsageError, match="is given twice"):
        stack([paths[0], paths[0]], tmp_path / "s.onnx", whole)
    assert not list(tmp_path.glob("s.*"))


def test_the_command_stacks(members: Stacked, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from moue.data.readers.store import save

    whole, paths, _ = members
    save(whole, tmp_path / "set.npz")
    words = ["ensemble", "stack", *map(str, paths), "--data", str(tmp_path / "set.npz"), "-o", str(tmp_path / "s.onnx")]
    assert main([*words, "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["kind"] == "stack"
    assert values["validation"] > 0.8
