"""Explanations as images: what stands beside a face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from moue.explain.explainer import Explanation
from moue.explain.faithfulness import Faithfulness
from moue.explain.panel import SIDE, TEXT_WIDTH, panel

REGIONS = {"eyes": 0.7, "nose": 0.1, "mouth": 0.1, "elsewhere": 0.1}


@pytest.mark.parametrize("label", ["happy", "contempt or disgust", "a class with a name of many words and letters"])
def test_all_text_stands_whole_beside_the_face(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, tuple[float, ...]]] = []
    write = ImageDraw.ImageDraw.text

    def text(self: Any, at: tuple[float, float], words: str, **options: Any) -> None:
        written.append((words, self.textbbox(at, words, font=options["font"])))
        write(self, at, words, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    # Its test found it no better than a random one.
    explanation = Explanation(
        label, 0.9996, "occlusion", np.zeros((48, 48), np.float32), Faithfulness(0.6, 0.5), REGIONS
    )
    assert panel([(np.zeros((1, 48, 48), np.uint8), explanation)]).shape == (SIDE, 2 * SIDE + TEXT_WIDTH, 3)
    for words, (left, top, right, bottom) in written:
        assert left >= 2 * SIDE, words
        assert right <= 2 * SIDE + TEXT_WIDTH, words
        assert 0 <= top < bottom <= SIDE, words
    prediction, *rest = (words for words, _ in written)
    assert prediction.endswith(" 99%")
    assert explanation.remark
    assert explanation.remark in " ".join(rest)
    for i, (words, (left, top, right, bottom)) in enumerate(written):
        for others, (x0, y0, x1, y1) in written[:i]:
            assert min(right, x1) <= max(left, x0) or min(bottom, y1) <= max(top, y0), (words, others)
