"""Draws results onto their image: boxes, numbers, labels and a bar for each expression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from moue.fonts import image_font
from moue.image import MAX_PIXELS, ImageLike, read_photo
from moue.labels import color
from moue.runtime.face import Face
from moue.runtime.placement import overlaps, place_labels, places

#: The font of small images, and the smallest one, in pixels.
FONT, MIN_FONT = 14, 11
#: A caption's background.
_CAPTION = (40, 40, 40)


@dataclass(frozen=True)
class _Label:
    text: str
    size: int
    """Of the font, in pixels."""

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels, with the background."""
        return round(image_font(self.size, self.text).getlength(self.text) + self.size / 2), round(1.4 * self.size)


def draw(
    image: ImageLike,
    faces: Iterable[Face],
    *,
    bars: bool = True,
    caption: str = "",
    width: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """A copy of an image with its faces marked.

    Each face gets a box in the color of its expression and a label: its number, the expression, and its probability
    ("?" where the prediction is uncertain). The number is the track in videos, else the place in ``faces``, from 1:
    the column ``face`` of the rows. Labels lie where :func:`moue.runtime.placement.place_labels` puts them; in a crowd
    they become smaller, and at last numbers alone. A large face with room beside it has a bar for each class.

    Args:
        image: a path, an array in RGB, or whatever else :func:`moue.read_image` takes.
        faces: its faces, such as a :class:`moue.Faces`.
        bars: whether to draw the bars.
        caption: text for the upper left corner.
        width: that of the image in which the faces were found, where this one is smaller or larger.
        max_pixels: the largest image that is decoded, width times height.

    Returns:
        uint8 ``(H, W, 3)`` RGB; a JPEG that is too large for memory is drawn at half its size.

    Raises:
        Unreadable: when there is no image to be had from ``image``.
    """
    photo = read_photo(image, max_pixels=max_pixels)
    canvas = Image.fromarray(photo.pixels)
    scale = canvas.width / (width or photo.width)
    pen = ImageDraw.Draw(canvas, "RGBA")
    stroke = max(2, round(max(canvas.size) / 400))
    # Text follows the image, so that it can be read on a thumbnail and on a poster; not on a strip's long side alone.
    size = max(FONT, round(min(max(canvas.size) / 45, min(canvas.size) / 8)))
    marked = list(faces)
    boxes = np.array([face.box for face in marked], float).reshape(-1, 4) * scale
    taken = np.zeros((0, 4))
    if caption:
        title = _Label(caption, size)
        taken = np.array([[stroke, stroke, *title.extent]], float)
        _draw_label(pen, title, (stroke, stroke), _CAPTION)
    for face, (x, y, w, h) in zip(marked, boxes.tolist(), strict=True):
        pen.rectangle((x, y, x + max(w, 1), y + max(h, 1)), outline=color(face.label), width=stroke)
    labels, corners = _layout(marked, boxes, canvas.size, size, taken)
    for face, label, (x, y) in zip(marked, labels, corners.tolist(), strict=True):
        _draw_label(pen, label, (x, y), color(face.label))
    if bars:
        extents = np.array([label.extent for label in labels], float).reshape(-1, 2)
        _draw_bars(pen, marked, boxes, np.vstack([taken, np.column_stack([corners, extents])]), canvas.size, size)
    return np.array(canvas)


def _layout(
    faces: Sequence[Face], boxes: NDArray[np.float64], picture: tuple[int, int], size: int, taken: NDArray[np.float64]
) -> tuple[list[_Label], NDArray[np.float64]]:
    """A label for each face and its upper left corner.

    The labels are the largest that cover nothing, else the largest that cover their own face alone, else those that
    cover least.
    """
    fonts = sorted({max(MIN_FONT, round(size * part)) for part in (1, 0.7, 0.5)}, reverse=True)
    levels = [(font, 3) for font in fonts] + [(fonts[-1], 2), (fonts[-1], 1)]
    tried: list[tuple[float, list[_Label], NDArray[np.float64]]] = []
    for font, words in levels:
        labels = [_Label(_text(face, number, words), font) for number, face in enumerate(faces, start=1)]
        extents = np.array([label.extent for label in labels], float).reshape(-1, 2)
        corners = place_labels(boxes, extents, *picture, taken)
        placed = np.column_stack([corners, extents])
        own = overlaps(placed, boxes).trace()
        covered = overlaps(placed, np.vstack([boxes, taken])).sum() - own
        covered += overlaps(placed, placed).sum() - np.prod(extents, axis=1).sum()
        # What reaches over the border cannot be read either.
        covered += np.maximum(0, placed[:, 0] + placed[:, 2] - picture[0]).sum()
        tried.append((round(covered, 3), labels, corners))
        # The number of a single face tells nothing.
        if covered + own < 1e-3 and (words > 1 or len(faces) > 1):
            return labels, corners
    # The first of the least.
    return min(tried, key=lambda level: level[0])[1:]


def _text(face: Face, number: int, words: int) -> str:
    """ "3: happy 87% ?", or less of it."""
    number = number if face.track is None else face.track
    if words == 1:
        return str(number)
    # As the page shows it: a network is never certain.
    end = f" {min(face.confidence, 0.99):.0%}" if words == 3 else ""
    return f"{number}: {face.label}{end}" + (" ?" if face.uncertain else "")


def _draw_bars(
    pen: ImageDraw.ImageDraw,
    faces: Sequence[Face],
    boxes: NDArray[np.float64],
    taken: NDArray[np.float64],
    picture: tuple[int, int],
    size: int,
) -> None:
    """A bar a class beside each face that is large enough and has room for it."""
    text = max(MIN_FONT, round(0.7 * size))
    line = round(1.15 * text)
    taken = np.vstack([boxes, taken])
    for face, box in zip(faces, boxes, strict=True):
        extent = np.array([min(box[2] / 2, 9.0 * size), line * len(face.probabilities)])
        if box[3] < 2 * extent[1]:
            continue
        # Those to the right and to the left of the face.
        beside = places(box, extent, *picture)[6:12]
        free = beside[overlaps(beside, taken).sum(axis=1) == 0]
        if not len(free):
            continue
        taken = np.vstack([taken, free[:1]])
        left, top, width = free[0, :3].tolist()
        for label, p in face.probabilities.items():
            pen.rectangle((left, top, left + width, top + line - 2), fill=(0, 0, 0, 110))
            pen.rectangle((left, top, left + width * p, top + line - 2), fill=(*color(label), 200))
            pen.text((left + 2, top - 1), label, fill=(255, 255, 255), font=image_font(text, label))
            top += line


def _draw_label(
    pen: ImageDraw.ImageDraw, label: _Label, corner: tuple[float, float], background: tuple[int, int, int]
) -> None:
    """Text on a filled background, black or white by the background's brightness."""
    x, y = round(corner[0]), round(corner[1])
    width, height = label.extent
    red, green, blue = background
    ink = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=(*background, 230))
    pen.text((x + label.size / 4, y + label.size / 8), label.text, fill=ink, font=image_font(label.size, label.text))
