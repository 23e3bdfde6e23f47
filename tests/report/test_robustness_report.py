"""Robustness in cards and figures, from what was recorded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from moue.evaluation.corruptions import CORRUPTIONS
from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.report.card import model_card
from moue.report.robustness import AXES, robustness_curves
from moue.runtime.weights import list_models
from moue.spec import ModelSpec
from results import made_up

SVG = "{http://www.w3.org/2000/svg}"


def robustness(accuracy: float = 0.7) -> Robustness:
    """A model whose accuracy falls by four points a severity, and which is uncertain the more often."""

    def score(name: str | None, severity: int, strength: float | None) -> CorruptedScore:
        right = accuracy - 0.04 * severity
        return CorruptedScore(name, severity, strength, right, right, 0.02, 0.1 + 0.1 * severity, right + 0.1)

    corrupted = [
        score(name, severity, strength)
        for name, (_, strengths, _) in CORRUPTIONS.items()
        for severity, strength in enumerate(strengths, 1)
    ]
    return Robustness(300, score(None, 0, None), tuple(corrupted))


def test_a_card_shows_what_is_on_record_and_a_fresh_measurement_before_it() -> None:
    spec = ModelSpec("m", "compact", ("a", "b"), robustness={**robustness().to_record(), "split": "public_test"})
    card = model_card(spec)
    assert "On 300 images of public test it is right for 70.0% as they are, and for 58.0% on average over 13" in card
    assert "(mean corruption error 42.0%)" in card
    assert "about 60% at the worst severity, where it is right for 60% of the others (50% of all)" in card
    assert "| covered mouth | 66% | 62% | 58% | 54% | 50% |" in card
    fresh = made_up("m", 1).evaluation
    assert fresh is not None
    assert "for 90.0% as they are" in model_card(spec, replace(fresh, robustness=robustness(0.9)))
    assert "for 70.0% as they are" in model_card(spec, fresh)
    assert "## Robustness\n\nNot measured." in model_card(spec.replace(robustness={}))


def test_the_card_of_every_shipped_model_has_its_robustness_if_it_was_measured() -> None:
    for model in list_models():
        spec = ModelSpec.load(Path(model["path"]).with_suffix(".json"))
        assert ("mean corruption error" in model_card(spec)) == bool(spec.robustness)


def test_each_figure_has_every_model_in_line_and_strengths_on_its_axis() -> None:
    drawings = robustness_curves({"one": robustness(), "two": robustness(0.6)})
    assert drawings.keys() == {*AXES, "uncertain"}
    for drawing in drawings.values():
        shown = [(t.text or "").strip() for t in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]
        assert {"one", "two", "accuracy, percent"} <= set(shown)
    crop = [(t.text or "").strip() for t in ElementTree.fromstring(drawings["crop"].svg).iter(f"{SVG}text")]
    ticks = [text for text in crop if re.fullmatch(r"[+−]?\d+", text)]
    assert ticks[:11] == ["−30", "−24", "−18", "−12", "−6", "0", "+6", "+12", "+18", "+24", "+30"]
    sizes = [(t.text or "").strip() for t in ElementTree.fromstring(drawings["resolution"].svg).iter(f"{SVG}text")]
    assert [text for text in sizes if text.isdigit()][:6] == ["48", "32", "28", "24", "20", "16"]
