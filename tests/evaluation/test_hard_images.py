from __future__ import annotations

from dataclasses import replace

import numpy as np
from sets import table_of

from moue.data.votes import vote_shares
from moue.evaluation.hard_images import hardest, most_confused
from moue.evaluation.label_agreement import accuracy_by_agreement, label_agreement
from moue.evaluation.metrics import evaluate
from moue.evaluation.model_result import ModelResult
from moue.labels import FER2013, FERPLUS
from moue.runtime.results import Predictions

LABELS = ("a", "b", "c")
TRUTH = np.array([0, 0, 0, 1, 1, 2])


def model(name: str, rows: list[list[float]], labels: tuple[str, ...] = LABELS) -> ModelResult:
    predictions = Predictions(np.array(rows, np.float32), labels)
    return ModelResult(name, name, evaluation=evaluate(predictions, TRUTH), predictions=predictions, truth=TRUTH)


FIRST = model(
    "first", [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9], [0.3, 0.3, 0.4]]
)
SECOND = model(
    "second", [[0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
)


def test_the_hardest_images_are_those_whose_truth_is_least_probable_over_all_models() -> None:
    found = hardest([FIRST, SECOND], 10)
    # Means of ln p(truth): row 1 has ln .1 twice, row 4 ln .05 and ln .8, row 2 ln .2 and ln .8, row 0 ln .8 and ln .4.
    assert [image.row for image in found] == [1, 4, 2, 0]
    assert [image.wrong for image in found] == [2, 1, 1, 1]
    assert (found[1].truth, found[1].predicted, round(found[1].probability, 2)) == ("b", "c", 0.9)
    assert hardest([FIRST, SECOND], 1) == found[:1]
    assert hardest([], 3) == []


def test_a_model_of_other_classes_does_not_count() -> None:
    other = model("other", [[0.9, 0.05, 0.05]] * 6, ("a", "b", "d"))
    assert hardest([FIRST, other], 10) == hardest([FIRST], 10)


def test_confusions_are_by_share_of_the_class_and_the_most_confident_first() -> None:
    first, second = most_confused([FIRST, SECOND], 5, 5)
    assert (first.truth, first.predicted, first.n, round(first.share, 3)) == ("a", "b", 2, 0.667)
    assert [image.row for image in first.images] == [1, 2]
    assert (second.truth, second.predicted, second.share) == ("b", "c", 0.5)


def test_agreement_of_labels_with_votes_by_hand() -> None:
    happy, sad = FERPLUS.index("happy"), FERPLUS.index("sad")
    counts = np.zeros((4, 10), np.int64)
    counts[0, happy] = 10  # Labeled happy: agrees.
    counts[1, [happy, sad]] = [3, 7]  # Labeled happy: most see sad.
    counts[2, [happy, sad]] = 5  # No majority.
    counts[3, sad] = 9  # Labeled sad: agrees.
    labels = [FER2013.index(name) for name in ("happy", "happy", "happy", "sad")]
    table = table_of([1, 2, 3, 4], labels)
    assert label_agreement(table) is None
    found = label_agreement(replace(table, votes=vote_shares(counts)))
    assert found is not None
    assert (found.n, found.majority, found.agreeing, found.share) == (4, 3, 2, 2 / 3)
    assert (found.by_class["happy"], found.by_class["sad"], found.by_class["fear"]) == (0.5, 1.0, None)
    assert found.table[FER2013.index("happy"), [happy, sad, 8]].tolist() == [1, 1, 1]
    assert accuracy_by_agreement(np.array([True, False, True, True]), found) == (1.0, 0.5)
