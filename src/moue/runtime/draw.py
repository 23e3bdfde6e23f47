"""Answers drawn onto their image: boxes, tracks, labels and a bar for each expression."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moue.image import ImageLike, read_image
from moue.labels import color
from moue.runtime.results import Faces


def draw(image: ImageLike, faces: Faces, *, bars: bool = True, caption: str = "") -> NDArray[np.uint8]:
    """A copy of an image with its faces marked.

    Each face gets a box in the color of its expression, its track (in videos), the label with its probability ("?"
    where the answer is uncertain), and, where the face is large enough for them to be read, a bar for each class.

    Args:
        image: a path, an array in RGB, or whatever else :func:`moue.read_image` takes.
        faces: the answer for it.
        bars: whether to draw the bars.
        caption: words for the upper left corner.

    Returns:
        uint8 ``(H, W, 3)`` RGB.

    Raises:
        Unreadable: when there is no image to be had from ``image``.
    """
    canvas = Image.fromarray(read_image(image))
    if not len(faces) and not caption:
        return np.array(canvas)
    pen = ImageDraw.Draw(canvas, "RGBA")
    stroke = max(2, round(max(canvas.size) / 400))
    # Text follows the image, so that it can be read on a thumbnail and on a poster.
    size = int(np.clip(max(canvas.size) / 50, 11, 60))
    for i in range(len(faces)):
        _face(pen, canvas.size, faces, i, stroke, size, bars)
    if caption:
        _tag(pen, (stroke, stroke), caption, (40, 40, 40), size)
    return np.array(canvas)


def _face(
    pen: ImageDraw.ImageDraw, limits: tuple[int, int], faces: Faces, i: int, stroke: int, size: int, bars: bool
) -> None:
    x, y, width, height = (float(v) for v in faces.boxes[i])
    said = faces.predictions
    paint = color(said.class_names[i])
    pen.rectangle((x, y, x + max(width, 1), y + max(height, 1)), outline=paint, width=stroke)
    words = f"{said.class_names[i]} {said.confidence[i]:.0%}" + (" ?" if said.uncertain[i] else "")
    if faces.tracks is not None:
        words = f"{faces.tracks[i]}: {words}"
    tall = round(1.4 * size)
    # Above the box where there is room, else inside its upper edge.
    _tag(pen, (x, y - tall if y >= tall else y), words, paint, size)
    line = round(0.8 * size)
    if not bars or height < 2 * line * len(said.labels):
        return
    names = round(0.7 * size)
    long = min(width / 2, 9.0 * size)
    left = x + width + stroke if x + width + stroke + long <= limits[0] else x + stroke
    for k, label in enumerate(said.labels):
        top = y + stroke + k * line
        p = float(said.probabilities[i, k])
        pen.rectangle((left, top, left + long, top + line - 2), fill=(0, 0, 0, 110))
        pen.rectangle((left, top, left + long * p, top + line - 2), fill=(*color(label), 200))
        pen.text((left + 2, top - 1), label, fill=(255, 255, 255), font=_font(names))


def _tag(
    pen: ImageDraw.ImageDraw, corner: tuple[float, float], words: str, paint: tuple[int, int, int], size: int
) -> None:
    """Words on a filled ground, black or white by its brightness."""
    font = _font(size)
    x, y = max(0.0, corner[0]), max(0.0, corner[1])
    ink = (0, 0, 0) if 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2] > 140 else (255, 255, 255)
    pen.rectangle((x, y, x + pen.textlength(words, font=font) + size / 2, y + 1.4 * size), fill=(*paint, 230))
    pen.text((x + size / 4, y + size / 8), words, fill=ink, font=font)


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
