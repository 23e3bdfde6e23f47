from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from moue.data.splits import stratified_sample
from moue.data.table import ImageTable
from moue.errors import ModelError, UnknownName, UsageError
from moue.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.evaluation.scoring_robustness import score_robustness
from moue.labels import LabelSet
from moue.spec import ModelSpec

LIGHT = LabelSet("folders", ("dark", "bright"))


def faces(n: int = 4, channels: int = 1, size: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth random images, so that blur and compression leave most of them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (n, channels, size // 8, size // 8)).astype(np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_corruption_grows_with_its_severity(name: str, channels: int) -> None:
    images = faces(12, channels)
    before = images.copy()
    changes = []
    for severity in range(1, SEVERITIES + 1):
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8
        changes.append(float(np.abs(changed.astype(float) - images).mean()))
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_the_same_way_whatever_comes_after_it(name: str) -> None:
    images = faces(5)
    assert np.array_equal(corrupt(images, name, 3)[:2], corrupt(images[:2], name, 3))
    assert np.array_equal(corrupt(images, name, 3, seed=1), corrupt(images, name, 3, seed=1))


def test_a_tight_crop_is_the_middle_of_the_image() -> None:
    ramp = np.tile(np.linspace(0, 240, 48).round().astype(np.uint8), (48, 1))[None, None]
    tight = corrupt(ramp, "tight_crop", 5)[0, 0, 0].astype(int)
    loose = corrupt(ramp, "loose_crop", 5)[0, 0, 0].astype(int)
    # 0.7 of the side: what was at 15 % is now at the border; a looser crop repeats its border pixels.
    assert abs(tight[0] - 0.15 * 240) <= 4
    assert (loose[:5] == loose[0]).all()
    assert loose[12] > loose[5]


def test_unknown_corruptions_and_severities_are_refused() -> None:
    with pytest.raises(UnknownName, match="blur"):
        corrupt(faces(), "blurr", 1)
    with pytest.raises(UsageError, match="between 1 and 5"):
        corrupt(faces(), "blur", 6)


class Mean:
    """Calls an image bright by its mean, the less certain the closer to the middle."""

    spec = ModelSpec("mean", "none", LIGHT.labels, size=48, uncertain_below=0.7)

    def logits(self, images: np.ndarray) -> np.ndarray:
        light = images.mean(axis=(1, 2, 3), dtype=np.float32) / 255 - 0.5
        return np.stack([-6 * light, 6 * light], axis=1).astype(np.float32)


def test_a_model_that_goes_by_brightness_fails_in_the_dark_alone() -> None:
    images = np.concatenate([np.full((6, 1, 48, 48), 60, np.uint8), np.full((6, 1, 48, 48), 200, np.uint8)])
    labels = np.repeat([0, 1], 6).astype(np.int64)
    table = ImageTable(images, labels, np.full(12, "test"), [f"{i}" for i in range(12)], LIGHT, name="set")
    steps = []
    found = score_robustness(Mean(), table, progress=lambda done, total: steps.append((done, total)))
    accuracy = {(s.corruption, s.severity): s.accuracy for s in found.corrupted}
    assert found.n == 12
    assert found.clean.accuracy == 1
    assert accuracy["darkness", 5] == 0.5
    assert accuracy["rotation", 5] == accuracy["shift", 3] == 1
    assert len(accuracy) == len(CORRUPTIONS) * SEVERITIES
    assert found.mean_corruption_error == pytest.approx(np.mean([1 - a for a in accuracy.values()]))
    assert steps[-1] == (66 * 12, 66 * 12)
    dark = next(s for s in found.corrupted if (s.corruption, s.severity) == ("darkness", 1))
    # At 0.7 of the light the bright faces' mean is 140 of 255: just called bright.
    assert dark.uncertain == 0.5
    assert dark.selective_accuracy == 1


def test_a_sample_has_each_class_in_its_share_and_the_same_rows_for_every_model() -> None:
    images = np.concatenate([np.full((30, 1, 48, 48), 60, np.uint8), np.full((90, 1, 48, 48), 200, np.uint8)])
    labels = np.repeat([0, 1], [30, 90]).astype(np.int64)
    rows = stratified_sample(labels, 20)
    assert np.bincount(labels[rows]).tolist() == [5, 15]
    assert rows.tolist() == sorted(set(rows.tolist())) == stratified_sample(labels, 20).tolist()
    assert rows.tolist() != stratified_sample(labels, 20, seed=1).tolist()
    assert stratified_sample(labels, 500).tolist() == list(range(120))
    with pytest.raises(UsageError, match="at least 1"):
        stratified_sample(labels, 0)
    table = ImageTable(images, labels, np.full(120, "test"), [f"{i}" for i in range(120)], LIGHT, name="set")
    assert score_robustness(Mean(), table, sample=20).n == 20


def test_the_record_keeps_four_digits_and_comes_back() -> None:
    def condition(name: str | None, severity: int, accuracy: float, selective: float | None) -> CorruptedScore:
        return CorruptedScore(name, severity, 0.5 if name else None, accuracy, accuracy, 0.01, 0.2, selective)

    corrupted = [
        condition(name, s, 0.91234567 - s / 10, None if s == 5 else 0.9)
        for name in ("blur", "jpeg")
        for s in range(1, 6)
    ]
    found = Robustness(9, condition(None, 0, 0.95, 0.97), tuple(corrupted))
    record = json.loads(json.dumps(found.to_record()))
    assert record["corrupted"]["blur"]["accuracy"] == [0.8123, 0.7123, 0.6123, 0.5123, 0.4123]
    assert record["corrupted"]["jpeg"]["selective_accuracy"] == [0.9, 0.9, 0.9, 0.9, None]
    back = Robustness.from_record(record)
    assert back.to_record() == record
    assert back.clean == found.clean
    assert ModelSpec("m", "n", ("a", "b"), robustness=record).robustness == record
    with pytest.raises(ModelError, match="robustness must be scores by corruption"):
        ModelSpec("m", "n", ("a", "b"), robustness={**record, "corrupted": {"blur": {"accuracy": "high"}}})


def test_the_correlation_is_of_ranks() -> None:
    def condition(accuracy: float, uncertain: float) -> CorruptedScore:
        return CorruptedScore("blur", 1, 1.0, accuracy, accuracy, 0.0, uncertain, None)

    follows = Robustness(9, condition(0.9, 0.1), (condition(0.8, 0.11), condition(0.2, 0.9)))
    assert follows.uncertainty_correlation == pytest.approx(1)
    against = replace(follows, corrupted=(condition(0.8, 0.05), condition(0.2, 0.01)))
    assert against.uncertainty_correlation == pytest.approx(-1)
    assert replace(follows, corrupted=(condition(0.9, 0.3),)).uncertainty_correlation is None
