"""The page and the command line put labels in the same places, and number faces in the same way."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from moue.runtime.placement import overlaps, place_labels

pytestmark = pytest.mark.xdist_group("browser")
PLACE = """async (cases) => {
    const { placeLabels } = await import("/labels.js");
    return cases.map((one) => placeLabels(...one));
}"""


def layout(seed: int) -> tuple[list[list[int]], list[list[int]], int, int]:
    """Faces and labels in whole pixels, in which both languages compute without rounding."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(80, 1500, 2).tolist()
    n = rng.integers(1, 25)
    side = (rng.uniform(0.03, rng.choice([0.1, 0.2, 0.5]), n) * min(width, height)).astype(int) + 1
    x, y = (rng.uniform(-0.1, 1, n) * width).astype(int), (rng.uniform(-0.1, 1, n) * height).astype(int)
    sizes = np.column_stack([2 * rng.integers(10, 70, n), np.full(n, 2 * rng.integers(6, 15))])
    return np.column_stack([x, y, side, side + side // 5]).tolist(), sizes.tolist(), width, height


def test_the_places_are_those_of_the_command_line(page: Page) -> None:
    cases = [layout(seed) for seed in range(150)]
    for case, placed in zip(cases, page.evaluate(PLACE, [list(case) for case in cases]), strict=True):
        np.testing.assert_array_equal(placed, place_labels(*case))


def test_labels_of_a_crowd_cover_nothing(page: Page) -> None:
    """Drawn by the page: people side by side, whose labels would lie over each other above them."""
    drawn = page.evaluate(
        """async () => {
            const { drawFaces } = await import("/drawing.js");
            const canvas = document.createElement("canvas");
            const source = new OffscreenCanvas(640, 400);
            source.getContext("2d");
            const faces = Array.from({ length: 8 }, (_, i) => ({
                box: [10 + 78 * i, 150, 60, 70], label: "surprise", uncertain: true,
                probabilities: { surprise: 0.5 } }));
            const labels = [];
            const real = CanvasRenderingContext2D.prototype.roundRect;
            CanvasRenderingContext2D.prototype.roundRect = function (...box) {
                labels.push(box.slice(0, 4));
                return real.apply(this, box);
            };
            const texts = [];
            const write = CanvasRenderingContext2D.prototype.fillText;
            CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
                texts.push(text);
                return write.call(this, text, ...at);
            };
            drawFaces(canvas, source, [{ width: 640, height: 400, faces }]);
            CanvasRenderingContext2D.prototype.roundRect = real;
            CanvasRenderingContext2D.prototype.fillText = write;
            return { labels, texts, boxes: faces.map((face) => face.box) };
        }"""
    )
    labels, boxes = np.array(drawn["labels"]), np.array(drawn["boxes"], float)
    assert len(labels) == 8
    between = overlaps(labels, labels)
    np.fill_diagonal(between, 0)
    assert between.sum() == 0
    assert overlaps(labels, boxes).sum() == 0
    assert [text.partition(":")[0] for text in drawn["texts"]] == [str(i) for i in range(1, 9)]
