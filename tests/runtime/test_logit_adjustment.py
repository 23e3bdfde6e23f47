from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import moue
from moue.cli.main import main
from moue.errors import ModelError, UsageError
from moue.runtime.results import class_probabilities, softmax
from moue.spec import ModelSpec
from moue.trained.open import WithSpec, open_any

SPEC = ModelSpec("m", "n", ("common", "rare"), temperature=2.0, class_frequencies=(0.9, 0.1))


def test_probabilities_are_divided_by_the_frequencies_to_the_power_of_the_adjustment() -> None:
    logits = np.array([[2.0, 0.0], [-1.0, 3.0]])
    plain = softmax(logits, 2.0)
    assert np.array_equal(class_probabilities(logits, SPEC), plain)
    expected = plain / np.array([0.9, 0.1]) ** 0.7
    expected /= expected.sum(1, keepdims=True)
    assert np.allclose(class_probabilities(logits, SPEC.replace(logit_adjustment=0.7)), expected, atol=1e-6)


def test_a_spec_without_frequencies_cannot_be_adjusted() -> None:
    with pytest.raises(ModelError, match="how frequent its classes were"):
        SPEC.replace(class_frequencies=(), logit_adjustment=0.5)
    with pytest.raises(ModelError, match="one for each of the 2 labels"):
        SPEC.replace(class_frequencies=(0.5, 0.3, 0.2))
    with pytest.raises(ModelError, match="between 0 and 2"):
        SPEC.replace(logit_adjustment=3)
    with pytest.raises(UsageError, match="logit_adjustment"):
        moue.Recognizer("tiny", logit_adjustment=-1)
    saved = SPEC.replace(logit_adjustment=0.5)
    assert ModelSpec.from_dict(json.loads(json.dumps(saved.to_dict()))) == saved


@pytest.mark.parametrize("model", ["tiny", "default", "ferplus", "full", "googlenet", "resnet50v2", "vit"])
def test_a_shipped_model_calls_more_faces_by_a_rare_name(model: str) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (16, 1, 48, 48), dtype=np.uint8)
    plain = moue.Recognizer(model, detector="none").classify(crops)
    adjusted = moue.Recognizer(model, detector="none", logit_adjustment=1.0).classify(crops)
    disgust = plain.labels.index("disgust")
    assert (adjusted.probabilities[:, disgust] > plain.probabilities[:, disgust]).all()
    # The order of the classes' frequencies is that of their labels.
    spec = open_any(model).spec
    assert min(spec.class_frequencies) == spec.class_frequencies[disgust]
    assert sum(spec.class_frequencies) == pytest.approx(1, abs=1e-4)


def test_predict_and_evaluate_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "ferplus", "--data", "synth:60:1", "--split", "public_test", "--format", "json"]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*command, "--logit-adjustment", "1.5"]) == 0
    adjusted = json.loads(capsys.readouterr().out)
    disgust, contempt = (plain["labels"].index(name) for name in ("disgust", "contempt"))

    def rare(result: dict[str, list[list[int]]]) -> int:
        return sum(row[disgust] + row[contempt] for row in result["confusion"])

    assert rare(adjusted) > rare(plain)
    assert WithSpec(open_any("ferplus"), logit_adjustment=1.5).spec.logit_adjustment == 1.5
    assert main([*command, "--logit-adjustment", "9"]) == 2
    assert "--logit-adjustment must be a number from 0 to 2" in capsys.readouterr().err
