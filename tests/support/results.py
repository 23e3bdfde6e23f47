"""Made-up results of models, for pages and tables that no training is needed for."""

from __future__ import annotations

from typing import Any

import numpy as np

from moue.data.table import ImageTable
from moue.evaluation.ensemble_result import ensemble_result
from moue.evaluation.metrics import evaluate
from moue.evaluation.model_result import ModelResult
from moue.labels import FER2013
from moue.runtime.results import Predictions, softmax
from moue.spec import ModelSpec

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


def faces() -> ImageTable:
    """The images of the made-up results."""
    images = np.random.default_rng(1).integers(0, 256, (600, 1, 12, 12), dtype=np.uint8)
    names = [f"image {i}" for i in range(600)]
    return ImageTable(images, TRUTH, np.full(600, "public_test"), names, FER2013)


def ensemble(kind: str = "vote") -> ModelResult:
    """The mean of three models' logits, the second of which is the best."""
    rng = np.random.default_rng(3)
    logits = []
    for skill in (1.2, 2.0, 1.5):
        z = rng.normal(size=(600, 7))
        z[np.arange(600), TRUTH] += skill
        logits.append(z)
    result = made_up("both", 2, 5)
    members = [{"name": f"member-{i}", "network": "compact", "weight": 1 / 3} for i in range(3)]
    spec = ModelSpec(
        name="both",
        network="ensemble",
        labels=FER2013.labels,
        size=12,
        parameters=3,
        trained={"ensemble": kind, "members": members},
    )
    assert result.predictions is not None
    found = ensemble_result(spec, result.predictions, logits, TRUTH, faces())
    return made_up("both", 2, 5, ensemble=found)
