from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from moue.errors import DataError, UsageError
from moue.evaluation.metrics import (
    accuracy_at,
    calibration_error,
    evaluate,
    negative_log_likelihood,
    risk_coverage,
    top_k,
)
from moue.evaluation.significance import compare_pairs
from moue.labels import FER2013
from moue.runtime.results import Predictions, softmax

RNG = np.random.default_rng(0)


def made_up(n: int = 500, k: int = 7, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), truth] += 1.3
    return Predictions(softmax(logits), FER2013.labels[:k]), truth.astype(np.int64)


def test_the_majority_baseline_is_that_of_scikit_learn_and_significance_that_of_paired_rows() -> None:
    predictions, truth = made_up()
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(truth), 1)), truth)
    e, constant = evaluate(predictions, truth), dummy.predict(np.zeros((len(truth), 1)))
    assert e.majority_baseline == pytest.approx(sk.accuracy_score(truth, constant))
    assert e.majority_class == predictions.labels[constant[0]]
    for n in (4, 12, 500):
        for skill in (-1.0, 0.0, 0.7, 5.0):
            rng = np.random.default_rng(n)
            truth = np.append(rng.integers(0, 3, n), 0)
            logits = rng.normal(size=(n + 1, 3))
            logits[np.arange(n + 1), truth] += skill
            own = Predictions(softmax(logits), ("a", "b", "c"))
            e = evaluate(own, truth)
            constant = np.full(n + 1, np.bincount(truth).argmax())
            [pair] = compare_pairs({"own": own.class_ids == truth, "constant": constant == truth})
            assert e.above_majority == (pair.difference > 0 and pair.significant)


def test_scores_are_those_of_scikit_learn() -> None:
    predictions, truth = made_up()
    e, top, p = evaluate(predictions, truth), predictions.class_ids, predictions.probabilities
    assert e.accuracy == pytest.approx(sk.accuracy_score(truth, top))
    assert e.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, top))
    assert e.macro_f1 == pytest.approx(sk.f1_score(truth, top, average="macro"))
    assert e.top2 == pytest.approx(sk.top_k_accuracy_score(truth, p, k=2))
    exact = p.astype(np.float64) / p.sum(1, keepdims=True, dtype=np.float64)
    assert e.nll == pytest.approx(sk.log_loss(truth, exact), rel=1e-5)
    assert (e.confusion == sk.confusion_matrix(truth, top)).all()
    precision, recall, f1, n = sk.precision_recall_fscore_support(truth, top)
    for i, score in enumerate(e.per_class.values()):
        assert (score.precision, score.recall, score.f1, score.n) == pytest.approx(
            (precision[i], recall[i], f1[i], n[i])
        )
    assert e.accuracy_se == pytest.approx(math.sqrt(e.accuracy * (1 - e.accuracy) / 500))


def test_a_class_without_rows_is_null_and_left_out_of_the_means() -> None:
    probabilities = np.array([[0.8, 0.2, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.1, 0.8, 0]], np.float32)
    e = evaluate(Predictions(probabilities, ("a", "b", "c", "d")), np.array([0, 1, 1]))
    assert e.per_class["c"].recall is None
    assert e.per_class["c"].precision == 0
    assert e.per_class["c"].f1 == 0
    assert e.per_class["d"].f1 is None
    assert e.per_class["b"].precision is None
    assert e.per_class["b"].recall == 0
    assert e.balanced_accuracy == 0.5
    assert e.macro_f1 == pytest.approx((2 / 3) / 2)
    json.dumps(e.to_dict(), allow_nan=False)


def test_risk_falls_as_uncertain_answers_are_left_out() -> None:
    confidence = np.array([0.9, 0.5, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, False, True])
    coverage, risk = risk_coverage(confidence, correct)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert accuracy_at(confidence, correct) == pytest.approx(3 / 4)
    assert accuracy_at(confidence, correct, 1.0) == pytest.approx(3 / 5)
    predictions, truth = made_up()
    e = evaluate(predictions, truth)
    surest = np.argsort(-predictions.confidence, kind="stable")[:400]
    assert e.accuracy_at_80 == pytest.approx((predictions.class_ids == truth)[surest].mean())
    assert e.accuracy_at_80 > e.accuracy


def test_the_order_of_equally_confident_predictions_changes_no_score() -> None:
    confidence, correct = np.full(10, 0.5), np.arange(10) < 4
    for order in (slice(None), slice(None, None, -1)):
        assert accuracy_at(confidence, correct[order]) == pytest.approx(0.4)
    assert accuracy_at(np.array([0.3]), np.array([True])) == 1


def test_the_evaluation_has_the_documented_keys_in_order() -> None:
    predictions, truth = made_up(60)
    e = evaluate(
        predictions, truth, model="m", network="n", split="public_test", deduplicated=truth != 3, views=2, seconds=1.5
    )
    values = json.loads(json.dumps(e.to_dict(), allow_nan=False))
    assert list(values) == [
        "model",
        "network",
        "data",
        "split",
        "label_set",
        "n",
        "accuracy",
        "accuracy_se",
        "majority_baseline",
        "balanced_accuracy",
        "macro_f1",
        "top2",
        "nll",
        "ece",
        "accuracy_at_80",
        "per_class",
        "labels",
        "confusion",
        "deduplicated",
        "views",
        "seconds",
    ]
    assert set(values["per_class"]["happy"]) == {"n", "precision", "recall", "f1"}
    assert values["deduplicated"]["n"] == int((truth != 3).sum())
    assert values["deduplicated"]["per_class"]["happy"]["recall"] is None
    assert sum(map(sum, values["confusion"])) == 60
    assert evaluate(predictions, truth).to_dict()["deduplicated"] is None


def test_deduplicated_scores_are_those_of_the_rows_alone() -> None:
    predictions, truth = made_up(200)
    keep = np.arange(200) % 3 > 0
    alone = evaluate(Predictions(predictions.probabilities[keep], predictions.labels), truth[keep])
    clean = evaluate(predictions, truth, deduplicated=keep).deduplicated
    assert clean is not None
    assert {k: v for k, v in alone.to_dict().items() if k in clean.to_dict()} == clean.to_dict()


def test_confusion_rows_are_the_truth() -> None:
    e = evaluate(Predictions(np.array([[0.1, 0.9]], np.float32), ("a", "b")), np.array([0]))
    assert e.confusion.tolist() == [[0, 1], [0, 0]]


def test_calibration_error_by_hand() -> None:
    # Two bins hold rows: (0.6, 0.667] with accuracy 1/2, and (0.933, 1] with accuracy 1.
    confidence = np.array([0.65, 0.65, 1.0, 1.0])
    assert calibration_error(confidence, np.array([True, False, True, True])) == pytest.approx(0.5 * 0.15)
    # An edge belongs to the bin below it.
    assert calibration_error(np.array([1 / 15]), np.array([False])) == pytest.approx(1 / 15)


def test_calibrated_predictions_have_almost_no_error() -> None:
    confidence = RNG.uniform(0.2, 1, 200_000)
    assert calibration_error(confidence, RNG.uniform(size=200_000) < confidence) < 0.01


def test_the_loss_of_a_confident_error_is_finite() -> None:
    assert 87 < negative_log_likelihood(np.array([[1.0, 0.0]], np.float32), np.array([1])) < 88


def test_equal_probabilities_do_not_count_twice() -> None:
    uniform = np.full((3, 3), 1 / 3)
    assert top_k(uniform, np.array([0, 1, 2]), 2) == pytest.approx(2 / 3)
    assert top_k(uniform, np.array([0, 1, 2]), 3) == 1


def test_no_rows_and_unequal_rows_are_refused() -> None:
    predictions, truth = made_up(10)
    with pytest.raises(DataError, match="no rows"):
        evaluate(Predictions(np.zeros((0, 7), np.float32), FER2013.labels), np.zeros(0, np.int64))
    with pytest.raises(UsageError, match="Got 9"):
        evaluate(predictions, truth[:9])
    with pytest.raises(UsageError, match="between 0 and 6"):
        evaluate(predictions, truth + 7)
