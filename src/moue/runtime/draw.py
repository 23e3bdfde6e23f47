"""Draws results onto their image: boxes, tracks, labels and a bar for each expression."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moue.image import ImageLike, read_photo
from moue.labels import color
from moue.runtime.face import Face


def draw(
    image: ImageLike, faces: Iterable[Face], *, bars: bool = True, caption: str = "", width: int = 0
) -> NDArray[np.uint8]:
    """A copy of an image with its faces marked.

    Each face gets a box in the color of its expression, its track (in videos), the label with its probability ("?"
    where the prediction is uncertain), and, where the face is large enough for them to be read, a bar for each class.

    Args:
        image: a path, an array in RGB, or whatever else :func:`moue.read_image` takes.
        faces: its faces, such as a :class:`moue.Faces`.
        bars: whether to draw the bars.
        caption: text for the upper left corner.
        width: that of the image in which the faces were found, where this one is smaller or larger.

    Returns:
        uint8 ``(H, W, 3)`` RGB; a JPEG that is too large for memory is drawn at half its size.

    Raises:
        Unreadable: when there is no image to be had from ``image``.
    """
    photo = read_photo(image)
    canvas = Image.fromarray(photo.pixels)
    scale = canvas.width / (width or photo.width)
    pen = ImageDraw.Draw(canvas, "RGBA")
    stroke = max(2, round(max(canvas.size) / 400))
    # Text follows the image, so that it can be read on a thumbnail and on a poster.
    size = int(np.clip(max(canvas.size) / 50, 11, 60))
    for face in faces:
        _draw_face(pen, canvas.width, face, face.box * scale, stroke, size, bars)
    if caption:
        _draw_text(pen, (stroke, stroke), caption, (40, 40, 40), size)
    return np.array(canvas)


def _draw_face(
    pen: ImageDraw.ImageDraw,
    image_width: int,
    face: Face,
    box: NDArray[np.float32],
    stroke: int,
    size: int,
    bars: bool,
) -> None:
    x, y, width, height = box.tolist()
    outline = color(face.label)
    pen.rectangle((x, y, x + max(width, 1), y + max(height, 1)), outline=outline, width=stroke)
    text = f"{face.label} {face.confidence:.0%}" + (" ?" if face.uncertain else "")
    if face.track is not None:
        text = f"{face.track}: {text}"
    text_height = round(1.4 * size)
    # Above the box where there is room, else inside its upper edge.
    _draw_text(pen, (x, y - text_height if y >= text_height else y), text, outline, size)
    line = round(0.8 * size)
    if not bars or height < 2 * line * len(face.probabilities):
        return
    font = _font(round(0.7 * size))
    bar = min(width / 2, 9.0 * size)
    left = x + width + stroke if x + width + stroke + bar <= image_width else x + stroke
    for k, (label, p) in enumerate(face.probabilities.items()):
        top = y + stroke + k * line
        pen.rectangle((left, top, left + bar, top + line - 2), fill=(0, 0, 0, 110))
        pen.rectangle((left, top, left + bar * p, top + line - 2), fill=(*color(label), 200))
        pen.text((left + 2, top - 1), label, fill=(255, 255, 255), font=font)


def _draw_text(
    pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, background: tuple[int, int, int], size: int
) -> None:
    """Text on a filled background, black or white by the background's brightness."""
    font = _font(size)
    x, y = max(0.0, corner[0]), max(0.0, corner[1])
    red, green, blue = background
    ink = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
    pen.rectangle((x, y, x + pen.textlength(text, font=font) + size / 2, y + 1.4 * size), fill=(*background, 230))
    pen.text((x + size / 4, y + size / 8), text, fill=ink, font=font)


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
