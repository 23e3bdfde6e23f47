"""Published numbers, for orientation beside one's own: ``published.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moue.evaluation.model_result import ModelResult, PublishedClaims


def published_results() -> list[ModelResult]:
    """The models of the study that the recipes of ``study/`` follow, with what it reports of them on FER-2013."""
    content = _content()
    details = {"source": content["source"]}
    return [
        ModelResult(**{**model, "published": PublishedClaims(**model["published"]), "details": details})
        for model in content["models"]
    ]


def published_scores() -> list[dict[str, Any]]:
    """What others report on FER-2013, the best first: ``name``, ``accuracy`` (a fraction), ``split``, ``selection``
    (how the checkpoint was chosen), ``weights`` (whether they can be had) and ``source``. Nothing was measured here.
    """
    scores: list[dict[str, Any]] = _content()["others"]
    return sorted(scores, key=lambda score: -score["accuracy"])


def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    return content
