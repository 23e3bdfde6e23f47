"""The page of ensembles and of recipes over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moue.evaluation.ensemble_result import SHOWN, EnsembleResult
from moue.report.write import write_comparison
from results import TRUTH, ensemble, faces, made_up


def test_the_changed_images_are_those_that_just_one_of_the_two_gets_right() -> None:
    result = ensemble()
    found, predictions = result.ensemble, result.predictions
    assert found is not None
    assert found.gain is not None
    assert predictions is not None
    assert found.gain.best == 1
    assert (len(found.gained), len(found.lost)) == (found.gain.pair.only_a, found.gain.pair.only_b)
    assert len(found.gained) > SHOWN > 0
    rows = [int(image.source.removeprefix("image ")) for image in found.gained]
    assert all(predictions.class_ids[row] == TRUTH[row] for row in rows)
    assert all(image.ensemble == image.truth != image.member for image in found.gained)
    assert all(image.member == image.truth != image.ensemble for image in found.lost)
    confidence = predictions.confidence[rows]
    assert (np.diff(confidence) <= 0).all()
    assert [image.image is not None for image in found.gained] == [i < SHOWN for i in range(len(rows))]
    first = found.gained[0]
    assert first.image is not None
    assert np.array_equal(first.image, faces().images[rows[0]])


def test_the_page_shows_members_their_disagreement_and_the_changed_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.write.model_figures", lambda *_: [])
    result = ensemble()
    write_comparison([result, made_up("alone", 1.9, 9)], tmp_path)
    found = result.ensemble
    assert found is not None
    assert found.gain is not None
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    share = f"{100 * found.gain.disagreement[0][2]:.1f}"
    assert f'<td class="n">{share}</td>' in html
    assert f"| {share} |" in markdown
    scores = (found.gain.accuracies[1], found.gain.balanced_accuracies[1])
    for text in ("Members of both", "member-2", "0.333", *(f"{100 * score:.1f}" for score in scores)):
        assert text in html
        assert text in markdown
    assert f"{len(found.gained)} gained, {len(found.lost)} lost" in html
    assert html.count('<img src="data:image/png') == min(SHOWN, len(found.gained)) + min(SHOWN, len(found.lost))
    content = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    row = content["rows"][0]["ensemble"]
    assert [image["source"] for image in row["gained"]] == [image.source for image in found.gained]
    assert row["gain"]["helps"] == found.gain.helps
    assert row["members"][0] == {"name": "member-0", "network": "compact", "weight": pytest.approx(1 / 3)}
    [finding] = [f for f in content["verdict"] if f["title"] == "Ensembles"]
    assert "its best member, member-1" in finding["text"]
    assert content["rows"][1]["ensemble"] is None


def test_an_ensemble_whose_members_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.write.model_figures", lambda *_: [])
    complete = ensemble("concat").ensemble
    assert complete is not None
    result = made_up("both", 2, ensemble=EnsembleResult("concat", complete.members))
    write_comparison([result], tmp_path)
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "How they are combined: concat." in html
    assert "member-1" in html
    assert "How often they differ" not in html
    assert "0.333" not in html, "features have no weights of a vote"


def test_the_page_shows_recipes_over_their_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.write.model_figures", lambda *_: [])
    results = []
    for name, skill in (("a", 2.0), ("b", 1.2)):
        runs = [made_up(f"{name}, seed {i}", skill, i, details={"seed": i}) for i in range(3)]
        results.append(made_up(name, skill, 0, seeds=runs))
    write_comparison([*results, made_up("alone", 1)], tmp_path)
    content = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    accuracies = [run.accuracy or 0.0 for run in results[0].seeds]
    row = content["rows"][0]
    assert [run["seed"] for run in row["seeds"]] == [0, 1, 2]
    assert [run["accuracy"] for run in row["seeds"]] == accuracies
    assert row["over_seeds"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert row["over_seeds"]["accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert content["rows"][2]["over_seeds"] == {}
    [pair] = content["seed_pairs"]
    assert (pair["a"], pair["b"], pair["significant"]) == ("a", "b", True)
    shown = f"{100 * np.mean(accuracies):.1f} ± {100 * np.std(accuracies, ddof=1):.1f}"
    for kind in ("html", "md"):
        text = (tmp_path / f"comparison.{kind}").read_text(encoding="utf-8")
        assert text.count(shown) == 2, "in the table of all models, and in that of seeds"
        assert ", ".join(f"{100 * a:.1f}" for a in accuracies if a is not None) in text
    [finding] = [f for f in content["verdict"] if f["title"] == "Over seeds"]
    assert "The lead of a over b" in finding["text"]
    assert "is significant" in finding["text"]
