from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moue.data.table import ImageTable
from moue.errors import UnknownName, UsageError
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


def test_the_correlation_is_of_ranks() -> None:
    def condition(accuracy: float, uncertain: float) -> CorruptedScore:
        return CorruptedScore("blur", 1, 1.0, accuracy, accuracy, 0.0, uncertain, None)

    follows = Robustness(9, condition(0.9, 0.1), (condition(0.8, 0.11), condition(0.2, 0.9)))
    assert follows.uncertainty_correlation == pytest.approx(1)
    against = replace(follows, corrupted=(condition(0.8, 0.05), condition(0.2, 0.01)))
    assert against.uncertainty_correlation == pytest.approx(-1)
    assert replace(follows, corrupted=(condition(0.9, 0.3),)).uncertainty_correlation is None
