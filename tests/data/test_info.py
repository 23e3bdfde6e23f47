"""Counts, duplicates, conflicts; and the images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from sets import table_of

from moue.data import LeftOut
from moue.data.info import describe
from moue.data.readers.synth import synthetic
from moue.labels import FER2013, LabelSet
from moue.report.charts import draw


def test_describe() -> None:
    digits = [1, 1, 1, 2, 3, 1, 4, 4, 5]
    labels = [0, 0, 3, 1, 2, 0, 5, 6, 2]
    table = table_of(digits, labels, ["train"] * 5 + ["public_test"] * 4)
    description = describe(replace(table, left_out=(LeftOut("a.csv, row 3", "bad"),)))
    assert json.loads(json.dumps(description)) == description
    assert description["n"] == 9
    assert description["image_size"] == 2
    assert list(description["splits"]) == ["train", "public_test"]
    assert description["splits"]["train"] == {
        "angry": 2, "disgust": 1, "fear": 1, "happy": 1, "sad": 0, "surprise": 0, "neutral": 0,
    }  # fmt: skip
    assert description["duplicates"] == {
        "within": {"train": 2, "public_test": 1},
        "across": {"train-public_test": 1},
        "conflicting": 6,
    }
    assert description["left_out"] == [{"source": "a.csv, row 3", "reason": "bad"}]


def test_images(tmp_path: Path) -> None:
    table = synthetic(200)
    seen: list[NDArray[np.uint8]] = []

    def invert(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(images)
        return 255 - images

    paths = draw(table, tmp_path / "deep", invert)
    assert [p.name for p in paths] == ["classes_bar.png", "classes_pie.png", "samples.png", "augmented.png"]
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 250
            assert np.asarray(image.convert("L")).std() > 10
    assert all(images.shape == (9, 1, 48, 48) for images in seen)


def test_no_label_of_a_chart_is_cut_off_or_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: dict[str, Figure] = {}
    drawn: list[Text] = []
    draw_text = Text.draw

    def recorded(text: Text, renderer: object) -> None:
        drawn.append(text)
        draw_text(text, renderer)  # type: ignore[arg-type]

    # A figure has labels that it does not draw, as those of ticks beyond its axes.
    monkeypatch.setattr(Text, "draw", recorded)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.update({path.stem: figure}))
    fer = np.repeat(np.arange(7), (3995, 436, 4097, 7215, 4830, 3171, 4965)) % 7
    rare = [0] * 900 + list(range(1, 9))
    names = ("a class whose name is as long as a sentence", "happily surprised and a bit afraid", *"cdefghi")
    for labels, classes in ((fer.tolist(), FER2013), (rare, LabelSet("folders", names))):
        draw(replace(table_of([1] * len(labels), labels, classes=classes), name="a_long_name_of_a_set" * 9), tmp_path)
        for figure in figures.values():
            drawn.clear()
            FigureCanvasAgg(figure).draw()
            texts = [text for text in dict.fromkeys(drawn) if text.get_text() and text.get_visible()]
            boxes = [text.get_window_extent() for text in texts]
            assert all(box.x0 >= -1 and box.x1 <= figure.bbox.width + 1 for box in boxes)
            assert all(box.y0 >= -1 and box.y1 <= figure.bbox.height + 1 for box in boxes)
            level = [box for text, box in zip(texts, boxes, strict=True) if not text.get_rotation()]
            assert not any(a.overlaps(b) for i, a in enumerate(level) for b in level[:i])
    assert set(figures) == {"classes_bar", "classes_pie", "samples"}


def test_images_without_augmentation_and_with_few_rows(tmp_path: Path) -> None:
    assert len(draw(table_of([1, 2], [0, 3]), tmp_path)) == 3
