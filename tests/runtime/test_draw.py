"""Annotated images: the input untouched, the faces marked, whatever the size and wherever the box."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from moue.labels import FER2013, color
from moue.runtime.draw import draw
from moue.runtime.results import Faces, Predictions


def result(boxes: list[list[float]], top: str = "happy") -> Faces:
    p = np.full((len(boxes), 7), 0.05, np.float32)
    p[:, FER2013.index(top)] = 0.7
    return Faces("x", "ok", boxes=np.array(boxes, np.float32), scores=np.ones(len(boxes), np.float32),
                 predictions=Predictions(p, FER2013.labels))  # fmt: skip


@pytest.mark.parametrize("ground", [0, 255])
def test_box_in_the_color_of_the_expression(ground: int) -> None:
    image = np.full((300, 400, 3), ground, np.uint8)
    shown = result([[100, 80, 120, 150]]).draw(image)
    assert shown.shape == image.shape
    assert (image == ground).all()
    np.testing.assert_array_equal(shown[150, 101], color("happy"))
    np.testing.assert_array_equal(shown[200, 160], [ground] * 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (12, 12, 3), (40, 2000, 3)])
@pytest.mark.parametrize("box", [[-50, -50, 30, 30], [0, 0, 1, 1], [-5, -5, 5000, 5000]])
def test_any_size_and_any_box(shape: tuple[int, int, int], box: list[float]) -> None:
    assert result([box]).draw(np.zeros(shape, np.uint8)).shape == shape


def test_no_face_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(Faces("x", "no_face").draw(image), image)


def test_labels_are_numbered_and_leave_the_faces_free(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, **options: Any) -> None:
        texts.append(text)
        original(self, xy, text, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    boxes = [[20 + 70 * i, 5 + 45 * (i % 2), 50, 60] for i in range(8)]
    image = np.full((200, 600, 3), 128, np.uint8)
    shown = result([[float(v) for v in box] for box in boxes]).draw(image)
    assert texts == [f"{n}: happy 70%" for n in range(1, 9)]
    for x, y, w, h in boxes:
        assert (shown[y + 3 : y + h - 3, x + 3 : x + w - 3] == 128).all()
    assert (shown != 128).any()

    texts.clear()
    faces = result([[float(v) for v in box] for box in boxes[:2]])
    faces.replace(tracks=np.array([4, 9])).draw(image)
    assert texts == ["4: happy 70%", "9: happy 70%"]


def test_a_crowd_has_smaller_labels_and_at_last_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, float]] = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, xy, text, *, font, **_: drawn.append((text, font.size))
    )
    for pitch, expected in ((160, "1: happy 70%"), (90, "1: happy 70%"), (45, "1")):
        boxes = [[float(x), float(y), 30.0, 30.0] for y in range(0, 420, 50) for x in range(0, 800 - pitch, pitch)]
        drawn.clear()
        result(boxes).draw(np.zeros((450, 800, 3), np.uint8))
        assert drawn[0][0] == expected
        assert len(drawn) == len(boxes)


@pytest.mark.parametrize(("shape", "least"), [((60, 80), 11), ((600, 800), 14), ((6000, 8000), 100), ((200, 8000), 14)])
def test_text_can_be_read_at_any_size(shape: tuple[int, int], least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[float] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, text, *, font, **_: sizes.append(font.size))
    height, width = shape
    result([[0.4 * width, 0.4 * height, 0.2 * height, 0.2 * height]]).draw(np.zeros((*shape, 3), np.uint8))
    assert min(sizes) >= least
    assert max(sizes) <= height / 4 or height < 100


def test_bars_are_drawn_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, text, **_: texts.append(text))
    image = np.zeros((400, 600, 3), np.uint8)
    result([[20, 40, 200, 300]]).draw(image)
    assert texts[1:] == list(FER2013.labels)
    texts.clear()
    # The second face is where they would be, and the picture ends to the left and to the right.
    result([[20, 40, 200, 300], [225, 40, 370, 340]]).draw(image)
    assert texts == ["1: happy 70%", "2: happy 70%"]


def test_a_face_that_fills_the_picture_has_its_label_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, text, **_: texts.append(text))
    result([[0, 0, 300, 300]]).draw(np.zeros((300, 300, 3), np.uint8))
    assert texts == ["1: happy 70%"]
    texts.clear()
    # Of two, the longest texts that leave both faces free.
    result([[0, 0, 148, 100], [152, 0, 148, 100]]).draw(np.zeros((119, 300, 3), np.uint8))
    assert texts == ["1: happy 70%", "2: happy 70%"]
    texts.clear()
    result([[0, 0, 40, 100], [44, 0, 40, 100]]).draw(np.zeros((119, 84, 3), np.uint8))
    assert texts == ["1", "2"]


def test_labels_beyond_ascii_are_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    # matplotlib brings a font, wherever the tests run.
    installed = Path(find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"  # type: ignore
    monkeypatch.setattr("moue.fonts.IMAGE_FONTS", ("no such font.ttf", str(installed)))
    fonts: dict[str, Any] = {}
    write = ImageDraw.ImageDraw.text

    def text(self: Any, at: Any, words: str, **options: Any) -> None:
        fonts[words] = options["font"]
        write(self, at, words, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    # A size that no other test draws: fonts are found once for each.
    names = ("жест", "happy")
    one = result([[900, 900, 900, 900]]).replace(predictions=Predictions(np.full((1, 2), 0.5, np.float32), names))
    one.draw(np.zeros((2700, 2700, 3), np.uint8))
    assert bytes(fonts["жест"].getmask("ж")) != bytes(fonts["жест"].getmask("ш"))
    assert fonts["happy"].getname() != fonts["жест"].getname(), "ASCII is drawn in the same font on every machine"


def test_a_caption_of_several_lines_may_have_any_letters() -> None:
    image = np.zeros((90, 90, 3), np.uint8)
    assert draw(image, [], caption="Größe\n2").any()
