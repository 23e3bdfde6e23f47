"""What the figures show, read from their SVG; how they look in a browser is tested with the page."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from studies import audit_of

from moue.evaluation.audit import CellScore
from moue.evaluation.curves import loss_limit
from moue.evaluation.metrics import ClassScore
from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.report import group_plots, plots
from moue.report.canvas import Drawing, short_names, style_of

SVG = "{http://www.w3.org/2000/svg}"


def history(losses: list[float], accuracies: list[float] | None = None) -> list[dict[str, Any]]:
    accuracies = accuracies or [0.5] * len(losses)
    return [
        {"epoch": i + 1, "train_loss": x, "validation_loss": x, "train_accuracy": a, "validation_accuracy": a}
        for i, (x, a) in enumerate(zip(losses, accuracies, strict=True))
    ]


def texts(drawing: Drawing) -> list[str]:
    return [(t.text or "").strip() for t in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_a_loss_axis_ends_below_what_diverged_and_shows_all_of_a_usual_run() -> None:
    falling = np.linspace(2, 0.8, 20)
    assert loss_limit([falling, falling - 0.2]) is None
    assert loss_limit([np.geomspace(1.9, 0.01, 50), np.linspace(1.3, 4, 50)]) is None, "overfitting is no outlier"
    blown = np.concatenate([falling[:5], 1e6 * np.arange(1, 30)])
    limit = loss_limit([falling, falling - 0.2, blown])
    assert limit is not None
    assert 2 <= limit < 3
    assert loss_limit([]) is None
    first = loss_limit([np.array([40.0, 2, 1.5]), np.array([2.2, 1.8, 1.6])])
    assert first is not None
    assert first < 5, "a first epoch does not flatten the others"


def test_what_is_cut_off_is_said_with_its_highest_value() -> None:
    histories = {"sane": (0, history([1.9, 1.2, 1.0, 0.9])), "blown": (1, history([1.9, 1.5, 1e6, 3e6]))}
    drawing = plots.all_curves(histories, "loss")
    assert drawing is not None
    assert "blown cut off, up to 3e+06" in texts(drawing)
    assert not any("sane cut off" in text for text in texts(drawing))
    ticks = [float(text) for text in texts(drawing) if re.fullmatch(r"[\d.]+", text)]
    assert max(ticks) < 10, "the sane curve fills the axis"
    assert not any("cut off" in text for text in texts(plots.curves(history([1.9, 1.2, 1.0, 0.9]), "loss")))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_epochs_have_whole_numbers(n: int) -> None:
    shown = texts(plots.curves(history(list(np.linspace(2, 1, n))), "accuracy"))
    below = shown[: shown.index("epoch")]
    assert below
    assert all(re.fullmatch(r"\d+", text) and 0 <= int(text) <= 1.3 * n + 1 for text in below)
    assert n > 1 or below == ["1"]


def test_runs_without_validation_rows_have_no_common_curves() -> None:
    assert plots.all_curves({"a": (0, [{"epoch": 1, "train_loss": 1.0}])}, "loss") is None


def test_many_curves_and_crowded_points_are_named_in_a_key() -> None:
    few = {f"run {i}": (i, history([2, 1])) for i in range(3)}
    many = {f"run {i}": (i, history([2, 1])) for i in range(12)}
    for histories in (few, many):
        drawing = plots.all_curves(histories, "loss")
        assert drawing is not None
        assert {*histories} <= set(texts(drawing))
        assert (b'id="legend_1"' in drawing.svg) == (len(histories) > plots.NAMED_AT_ENDS)
    points = [plots.Point(f"a rather long name {i}", 1 + i / 1000, 0.6, 0.01, "#0072B2", "o") for i in range(12)]
    crowded = plots.scatter(points, "hours")
    assert b'id="legend_1"' in crowded.svg
    assert {p.name for p in points} <= set(texts(crowded))
    assert len({(style_of(i)[0], style_of(i)[1]) for i in range(50)}) == 50, "no two models look alike"
    assert len({(style_of(i)[0], str(style_of(i)[2])) for i in range(50)}) == 50


@pytest.mark.filterwarnings("error")
def test_names_of_any_kind_are_text_and_no_formula() -> None:
    names = ["$x^2$", r"a$\frac", "_hidden", "模型-表情识别", "line\nbreak\x07", "<b>&amp;", "😀"]
    expected = {"$x^2$", r"a$\frac", "_hidden", "模型-表情识别", "line break", "<b>&amp;", "😀"}
    drawing = plots.all_curves({name: (i, history([2, 1])) for i, name in enumerate(names)}, "loss")
    assert drawing is not None
    assert expected <= set(texts(drawing))
    points = [plots.Point(name, 1.0 + i, 0.3 + i / 10, 0.0, "#000", "o") for i, name in enumerate(names)]
    assert expected <= set(texts(plots.scatter(points, "hours")))
    assert expected <= set(texts(plots.confusion(np.eye(len(names), dtype=np.int64), names)))
    recalls = {name: (i, {c: ClassScore(1, 0.5, 0.5, 0.5) for c in names}) for i, name in enumerate(names)}
    assert expected <= set(texts(plots.class_recalls(recalls)))


def test_short_names_differ_and_fit() -> None:
    names = ["a" * 90, "a" * 91, "模" * 40, "fine"]
    short = short_names(names)
    assert len(set(short)) == 4
    assert short[3] == "fine"
    assert all(len(name) <= 22 for name in short)


@pytest.mark.filterwarnings("error")
def test_a_single_cost_has_an_axis_too() -> None:
    for x in (2.0, 0.001):
        assert "first" in texts(plots.scatter([plots.Point("first", x, 0.6, 0.01, "#000", "o")], "hours"))


@pytest.mark.parametrize("costs", [(3.1, 4.2), (0.5, 30.0), (0.01, 0.011), (1.0, 900.0)])
def test_cost_axes_have_ticks(costs: tuple[float, float]) -> None:
    points = [plots.Point(str(x), x, 0.6, 0.01, "#000", "o") for x in costs]
    shown = texts(plots.scatter(points, "hours"))
    ticks = [text for text in shown[: next(i for i, t in enumerate(shown) if t.startswith("hours"))] if text]
    assert len(ticks) >= 2
    assert any(t == "hours (logarithmic)" for t in shown) == (costs[1] > 4 * costs[0])


def test_figures_come_as_png_too_and_the_same_data_gives_the_same_bytes() -> None:
    table = np.diag([3, 0])
    drawing = plots.confusion(table, ("a", "b"))
    assert drawing.png.startswith(b"\x89PNG")
    assert drawing == plots.confusion(table, ("a", "b"))
    assert {"100", "–", "3"} <= set(texts(drawing))
    fonts = re.findall(rb"font-family: ([^;\"]+)", drawing.svg)
    assert fonts
    assert all(b"Arial" in names for names in fonts), "a viewer's own fonts come first"


def test_no_mark_is_cut_at_an_end_of_its_axis() -> None:
    def cell(share: float) -> CellScore:
        return CellScore(20, share, max(0.0, share - 0.1), min(1.0, share + 0.1), few=share == 0)

    ends = {"a": ClassScore(9, 1.0, 1.0, 1.0), "b": ClassScore(9, 0.0, 0.0, 0.0)}
    overall = audit_of(40).audit.overall
    recall = {"a": cell(1.0), "b": cell(0.0)}
    group = replace(overall, accuracy=cell(1.0), uncertain=cell(0.0), recall=recall)
    perfect = CorruptedScore("blur", 1, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0)
    right = np.ones(40, bool)
    drawings = {
        "recalls of models": plots.class_recalls({"m": (0, ends), "n": (1, ends)}),
        "recalls of groups": group_plots.recalls([group], ["a", "b"]),
        "accuracies of groups": group_plots.accuracies([group], "age"),
        "robustness": plots.robustness_by_severity({"m": Robustness(9, replace(perfect, severity=0), (perfect,))}),
        "reliability": plots.reliability_diagram(np.ones(40), right),
        "risk": plots.risk_coverage_curve(np.linspace(0.2, 1, 40), right, 0.3),
    }
    for name, drawing in drawings.items():
        # Marks are copies of a shape; what is in a clipping group ends at the axes.
        assert b"<use" in drawing.svg, name
        assert not re.search(rb'<g clip-path="[^"]+">\s*<use', drawing.svg), name


def test_classes_without_images_have_no_row() -> None:
    known, empty = ClassScore(9, 0.5, 0.5, 0.5), ClassScore(0, None, None, None)
    shown = texts(plots.class_recalls({"m": (0, {"happy": known, "contempt": empty})}))
    assert "happy" in shown
    assert "contempt" not in shown
