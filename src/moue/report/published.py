"""Published numbers, for orientation beside one's own: ``published.json``."""

from __future__ import annotations

import json
from pathlib import Path

from moue.evaluation.model_result import ModelResult, PublishedClaims


def published_results() -> list[ModelResult]:
    """The models of the study that the recipes of ``study/`` follow, with what it reports of them on FER-2013."""
    content = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    details = {"source": content["source"]}
    return [
        ModelResult(**{**model, "published": PublishedClaims(**model["published"]), "details": details})
        for model in content["models"]
    ]
