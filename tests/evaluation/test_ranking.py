from __future__ import annotations

import numpy as np

from moue.evaluation.metrics import evaluate
from moue.evaluation.model_result import ModelResult, PublishedClaims, recalls_by_model
from moue.evaluation.ranking import best_trade_off, class_difficulty, compare_models, find_lead, find_pair, rank
from moue.runtime.results import Predictions

TRUTH = np.repeat(np.arange(2, dtype=np.int64), 100)


def result(
    name: str, errors: int, hours: float | None = None, labels: tuple[str, ...] = ("sad", "happy")
) -> ModelResult:
    """A model that takes the first ``errors`` sad faces for happy ones."""
    predicted = TRUTH.copy()
    predicted[:errors] = 1
    predictions = Predictions(np.eye(2, dtype=np.float32)[predicted], labels)
    evaluation = evaluate(predictions, TRUTH)
    return ModelResult(name, "net", evaluation=evaluation, predictions=predictions, truth=TRUTH, hours=hours)


PUBLISHED = ModelResult("paper", "net", published=PublishedClaims(0.9, recalls={"sad": 0.8}))
MISSING = ModelResult("gone", "net", reason="needs weights")


def test_a_pair_is_seen_from_the_better_model() -> None:
    results = [result("worse", 60), PUBLISHED, result("better", 5), MISSING]
    ranked, pairs = rank(results), compare_models(results)
    assert [r.name for r in ranked] == ["better", "worse"]
    [pair] = pairs
    assert (pair.a, pair.only_a, pair.only_b) == ("worse", 0, 55)
    lead = find_lead(ranked, pairs)
    assert lead is not None
    assert lead.pair is not None
    assert (lead.pair.a, lead.pair.only_a, lead.pair.only_b) == ("better", 55, 0)
    assert 0 < lead.pair.low < lead.difference < lead.pair.high
    assert (lead.pair.low, lead.pair.high) == (-pair.high, -pair.low)
    assert lead.pair.significant
    assert find_pair(pairs, "worse", "better") == pair
    assert find_pair(pairs, "worse", "paper") is None
    assert find_lead(ranked[:1], pairs) is None


def test_the_trade_off_is_the_fastest_that_is_not_significantly_worse() -> None:
    results = [result("best", 5, 3.0), result("close", 7, 0.5), result("untimed", 7), result("worse", 60, 0.1)]
    assert best_trade_off(rank(results), compare_models(results)).name == "close"
    assert best_trade_off(rank(results), []).name == "best"


def test_the_hardest_class_is_that_of_all_models_together() -> None:
    found = class_difficulty([result("a", 60), result("b", 20)])
    assert found == ("sad", 0.6, "happy", "happy", 1.0)
    assert class_difficulty([result("a", 60), result("b", 20, labels=("happy", "sad"))]) is None
    assert class_difficulty([]) is None


def test_recalls_are_those_of_models_and_publications_with_the_same_classes() -> None:
    own = result("own", 60)
    assert recalls_by_model([own, PUBLISHED, MISSING]) == {
        "own": {"sad": 0.4, "happy": 1.0},
        "paper": {"sad": 0.8, "happy": None},
    }
    assert recalls_by_model([own, result("other", 3, labels=("a", "b"))]) == {}
    assert recalls_by_model([PUBLISHED, MISSING]) == {}
