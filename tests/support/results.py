"""Made-up results of models, for pages and tables that no training is needed for."""

from __future__ import annotations

from typing import Any

import numpy as np

from moue.evaluation.metrics import evaluate
from moue.evaluation.model_result import ModelResult
from moue.labels import FER2013
from moue.runtime.results import Predictions, softmax

TRUTH = np.random.default_rng(0).integers(0, 7, 600).astype(np.int64)


def made_up(name: str, skill: float, seed: int = 0, **changes: Any) -> ModelResult:
    """A model that is right the more often the larger its ``skill``, and seldom for fear."""
    logits = np.random.default_rng(seed).normal(size=(600, 7))
    logits[np.arange(600), TRUTH] += np.where(TRUTH == 2, skill / 3, skill)
    predictions = Predictions(softmax(logits), FER2013.labels)
    evaluation = evaluate(predictions, TRUTH, model=name, network=name, split="public_test", deduplicated=TRUTH != 1)
    values: dict[str, Any] = {"hours": 0.5, "epochs": 3, "parameters": 1_200_000, "gflop": 0.2, "latency_ms": 3.0}
    values |= {"engine": "onnxruntime", "threads": 1}
    return ModelResult(name, name, evaluation=evaluation, predictions=predictions, truth=TRUTH, **{**values, **changes})


def history(epochs: int, seed: int = 0, diverged: int | None = None) -> list[dict[str, Any]]:
    """Curves of a training that converges; ``diverged`` is the epoch from which on its loss is above a million."""
    noise = np.random.default_rng(seed).normal(0, 0.01, epochs)
    decay = np.exp(-np.arange(1, epochs + 1) / max(epochs / 4, 1))
    loss = 0.9 + decay + noise
    if diverged is not None:
        loss[diverged:] = 1e6 * np.arange(1, epochs - diverged + 1)
    accuracy = 0.65 - 0.5 * decay + noise
    return [
        {
            "epoch": i + 1,
            "train_loss": float(loss[i]) - 0.1,
            "train_accuracy": float(accuracy[i]) + 0.05,
            "validation_loss": float(loss[i]),
            "validation_accuracy": float(accuracy[i]),
        }
        for i in range(epochs)
    ]
