from __future__ import annotations

import json

import numpy as np
import pytest

from moue.evaluation.audit import AuditedImages, audit, quality_parts
from moue.evaluation.permutation import Rows, gap_test

LABELS = ("sad", "happy")


def images(truth: list[int], predicted: list[int], **quality: list[float]) -> AuditedImages:
    n = len(truth)
    values = {name: np.array(v, np.float64) for name, v in quality.items()}
    return AuditedImages(LABELS, np.array(truth), np.array(predicted), np.arange(n) % 4 == 0, values)


#: Two groups of 20 sad and 20 happy faces; b has 8 of 20 sad ones right, and 2 more images without a face.
TRUTH = [0] * 20 + [1] * 20 + [0] * 20 + [1] * 20 + [0, 1]
PREDICTED = [0] * 18 + [1] * 2 + [1] * 20 + [0] * 8 + [1] * 12 + [1] * 20 + [-1, -1]
GROUPS = ["a"] * 40 + ["b"] * 42


def test_scores_of_groups_by_hand() -> None:
    found = audit(images(TRUTH, PREDICTED), {"who": GROUPS}, resamples=999)
    [column] = found.columns
    a, b = column.groups
    assert (a.n, b.n, b.persons) == (40, 42, None)
    assert (a.recall["sad"].share, b.recall["sad"].share) == (18 / 20, 8 / 20)
    assert b.recall["happy"].n == 20
    assert (b.unread.share, b.accuracy.share, b.mean_recall) == (2 / 42, 28 / 40, 0.7)
    assert b.confusion.tolist() == [[8, 12], [0, 20]]
    assert found.overall.confusion.tolist() == [[26, 14], [0, 40]]
    assert a.uncertain.share == 10 / 40


def test_gaps_are_tested_and_corrected_together() -> None:
    found = audit(images(TRUTH, PREDICTED), {"who": GROUPS, "other": ["x", "y"] * 41}, resamples=1999, seed=1)
    by_name = {(gap.column, gap.measure, gap.label): gap for gap in found.gaps}
    assert len(found.gaps) == 10
    sad = by_name["who", "recall", "sad"]
    assert (sad.highest, sad.high, sad.lowest, sad.low) == ("a", 0.9, "b", 0.4)
    assert sad.gap == pytest.approx(0.5)
    rows = np.flatnonzero(np.array(TRUTH[:80]) == 0)
    test = Rows(np.array(PREDICTED)[rows] == 0, np.zeros(40, np.int64), (rows >= 40).astype(np.int64))
    assert sad.p == gap_test(test, resamples=1999, seed=1)[1]
    assert sad.p_holm == pytest.approx(min(1, 10 * min(gap.p for gap in found.gaps)))
    assert sad.significant
    assert not by_name["other", "recall", "sad"].significant
    assert by_name["who", "recall", "happy"].gap == 0
    assert by_name["who", "mean_recall", None].classes == LABELS


def test_small_groups_are_shown_marked_and_not_tested() -> None:
    groups = ["tiny"] * 3 + ["a"] * 37 + ["b"] * 42
    found = audit(images(TRUTH, PREDICTED), {"who": groups}, resamples=199)
    tiny = next(g for g in found.columns[0].groups if g.group == "tiny")
    assert (tiny.n, tiny.accuracy.share, tiny.accuracy.few) == (3, 1.0, True)
    assert tiny.accuracy.low is not None
    assert tiny.accuracy.low < 0.5
    assert tiny.recall["happy"].share is None
    assert all(set(gap.groups) == {"a", "b"} for gap in found.gaps)
    assert not audit(images(TRUTH, PREDICTED), {"who": ["only"] * 82}, resamples=199).gaps


def test_few_persons_are_few_however_many_images() -> None:
    persons = np.array([0] * 40 + [1 + i % 10 for i in range(42)])
    found = audit(images(TRUTH, PREDICTED), {"who": GROUPS}, persons, resamples=199)
    a, b = found.columns[0].groups
    assert (a.persons, b.persons) == (1, 10)
    assert (a.accuracy.few, b.accuracy.few) == (True, False)
    assert not found.gaps


def test_images_without_a_person_are_independent() -> None:
    persons = np.full(82, -1)
    found = audit(images(TRUTH, PREDICTED), {"who": GROUPS}, persons, resamples=199)
    assert found.overall.persons == 82
    assert found.columns[0].groups[0].accuracy.share == 38 / 40


def test_images_without_a_group_are_counted() -> None:
    found = audit(images(TRUTH, PREDICTED), {"who": [*GROUPS[:80], "", ""]}, resamples=199)
    assert (found.columns[0].n, found.columns[0].without) == (80, 2)


def test_parts_of_quality_are_quarters_named_by_their_limits() -> None:
    values = np.array([*range(1, 101), np.nan], np.float64)
    parts = quality_parts(values, "size")
    assert parts is not None
    assert parts[-1] == ""
    names = list(dict.fromkeys(parts[:-1]))
    assert names == ["1 to 26 pixels", "26 to 50 pixels", "50 to 75 pixels", "75 to 100 pixels"]
    assert [parts.count(name) for name in names] == [25] * 4
    assert quality_parts(np.full(9, 0.5), "brightness") is None
    assert quality_parts(np.full(9, np.nan), "size") is None


def test_quality_is_described_and_not_tested() -> None:
    size = [20.0 + i for i in range(80)] + [float("nan")] * 2
    found = audit(images(TRUTH, PREDICTED, size=size), {"who": GROUPS}, resamples=199)
    assert [(column.name, column.kind) for column in found.columns] == [("who", "groups"), ("size", "quality")]
    assert {gap.column for gap in found.gaps} == {"who"}
    assert found.columns[0].groups[0].medians == {"size": 39.5}
    assert found.columns[1].without == 2


def test_groups_that_begin_with_numbers_are_in_their_order() -> None:
    groups = ["18-29", "5-9", "10-17", "65+"] * 20 + ["", ""]
    found = audit(images(TRUTH, PREDICTED), {"age": groups}, resamples=99)
    assert [g.group for g in found.columns[0].groups] == ["5-9", "10-17", "18-29", "65+"]


def test_a_group_called_nan_has_its_place_in_the_order() -> None:
    groups = ["5-9", "nan", "b", "10-17"] * 20 + ["", ""]
    found = audit(images(TRUTH, PREDICTED), {"age": groups}, resamples=99)
    assert [g.group for g in found.columns[0].groups] == ["5-9", "10-17", "b", "nan"]


def test_json_holds_it_all_and_no_number_is_nan() -> None:
    found = audit(images(TRUTH, PREDICTED, size=[1.0] * 40 + [2.0] * 42), {"who": GROUPS}, resamples=99)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["columns"][0]["groups"][1]["recall"]["sad"]["share"] == 0.4
    assert values["gaps"][0]["gap"] == pytest.approx(10 / 40)
    assert values["columns"][1]["kind"] == "quality"
