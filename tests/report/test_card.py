"""A model's card says what it was trained on, how it scores and what it cannot."""

from __future__ import annotations

from pathlib import Path

from moue.labels import FER2013
from moue.report.card import model_card
from moue.runtime.weights import list_models
from moue.spec import ModelSpec
from results import made_up


def test_the_card_holds_training_scores_and_limitations() -> None:
    spec = ModelSpec("m", "compact", FER2013.labels, parameters=3_100_000, license="MIT", trained={"seed": 0})
    card = model_card(spec, made_up("m", 2.5, 2).evaluation)
    assert "3,100,000 parameters" in card
    assert "seed: 0" in card
    assert "| fear |" in card
    assert "not what a person feels" in card
    assert "public test: 0.6800" in model_card(spec.replace(scores={"public_test": 0.68}))
    assert "Not measured." in model_card(spec)


def test_the_card_speaks_of_the_set_that_was_used() -> None:
    data = {"name": "mine", "train": 120, "validation": 30, "classes": {"bored": 80, "keen": 40}, "fingerprint": "f"}
    spec = ModelSpec("m", "compact", ("bored", "keen"), trained={"data": data, "remarks": ["its temperature stays 1"]})
    card = model_card(spec)
    assert "- `mine`: trained on 120 images (bored 80, keen 40); 30 more were held out for validation" in card
    assert "other people, cameras and light than those of `mine`" in card
    assert "- its temperature stays 1." in card
    assert "FER-2013" not in card
    assert "Its probabilities are not calibrated: too few images were held out." in card
    assert "are calibrated for data like the training data alone." in model_card(spec.replace(temperature=1.2))
    fer = spec.replace(license="MIT for the weights; the training images (FER-2013) were published for research")
    assert "FER-2013 holds images from web searches" in model_card(fer)
    # Fine-tuned from FER-2013's weights.
    both = model_card(fer.replace(trained={"data": {**data, "fer2013": False}}))
    assert "FER-2013 holds" in both
    assert "than those of `mine`" in both
    members = [{"name": n, "weight": 0.5, "trained": {"data": {**data, "name": n}}} for n in ("a", "b", "a")]
    card = model_card(spec.replace(trained={"members": members}))
    assert card.count(": trained on 120 images") == 2
    assert "- members: a (weight 0.5), b (weight 0.5), a (weight 0.5)" in card
    assert "than those of `a` and `b`" in card


def test_the_card_of_every_shipped_model_names_its_set() -> None:
    for model in list_models():
        card = model_card(ModelSpec.load(Path(model["path"]).with_suffix(".json")))
        assert "- `fer2013.csv.zip`: trained on 2" in card
        assert "FER-2013 holds" in card
