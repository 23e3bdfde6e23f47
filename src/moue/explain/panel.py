"""Explanations as images: each face as the model sees it, the same under its heatmap, and the prediction as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from moue.errors import shortened
from moue.explain.explainer import Explanation
from moue.fonts import Font, image_font

#: Side of a face on the panel, in pixels.
SIDE = 192
#: Width of the text beside it.
TEXT_WIDTH = 240
#: Sizes of the prediction, of other text, and the smallest one that can be read, in pixels.
LARGE, SMALL, SMALLEST = 18, 13, 11
#: From one line of text to the next.
LINE = 16
#: For a class and against it (after Okabe and Ito, "Color Universal Design", 2008).
FOR, AGAINST = (213, 94, 0), (0, 114, 178)


def panel(faces: Sequence[tuple[NDArray[np.uint8], Explanation]]) -> NDArray[np.uint8]:
    """One row a face: the crop, the crop under its heatmap (orange is evidence for the class, blue against it), text.

    Args:
        faces: crops, uint8 ``(C, S, S)``, with their explanations; at least one.

    Returns:
        uint8 ``(192 n, 624, 3)`` RGB.
    """
    return np.concatenate([_row(crop, explanation) for crop, explanation in faces])


def overlay(crop: NDArray[np.uint8], heatmap: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A crop ``(C, S, S)`` under its heatmap ``(S, S)``: uint8 ``(192, 192, 3)`` RGB; the strongest value is opaque."""
    top = float(np.abs(heatmap).max())
    strength = np.asarray(heatmap, np.float32) / top if top > 0 else np.zeros_like(heatmap, np.float32)
    large = np.asarray(Image.fromarray(strength).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(-1, 1)
    paint = np.where(large[..., None] > 0, np.array(FOR), np.array(AGAINST))
    opaque = 0.75 * np.abs(large)[..., None]
    # In gray below the paint, so that all colors are the heatmap's.
    mixed: NDArray[np.uint8] = (_enlarged(crop, gray=True) * (1 - opaque) + paint * opaque).round().astype(np.uint8)
    return mixed


def _row(crop: NDArray[np.uint8], explanation: Explanation) -> NDArray[np.uint8]:
    page = Image.new("RGB", (2 * SIDE + TEXT_WIDTH, SIDE), "white")
    page.paste(Image.fromarray(_enlarged(crop)), (0, 0))
    page.paste(Image.fromarray(overlay(crop, explanation.heatmap)), (SIDE, 0))
    pen = ImageDraw.Draw(page)
    left, line = 2 * SIDE + 12, 20
    room = TEXT_WIDTH - 24
    # As the web page shows it: a network is never certain.
    prediction, font = _fitted(explanation.label, f" {min(explanation.probability, 0.99):.0%}", room)
    pen.text((left, 8), prediction, fill="black", font=font)
    small = image_font(SMALL, "")
    lines = [
        explanation.method,
        f"deletion {explanation.faithfulness.deletion:.2f}, random {explanation.faithfulness.random:.2f}",
    ]
    for i, text in enumerate(lines):
        pen.text((left, 34 + i * line), text, fill=(90, 90, 90), font=small)
    remark = _wrapped(explanation.remark or "", small, room)
    for i, text in enumerate(remark):
        pen.text((left, SIDE - LINE * (len(remark) - i) - 2), text, fill="black", font=small)
    for i, (region, share) in enumerate((explanation.regions or {}).items()):
        top = 78 + i * line
        pen.rectangle((left + 76, top + 2, left + 76 + share * (TEXT_WIDTH - 100), top + 14), fill=FOR)
        pen.text((left, top), region, fill="black", font=small)
    return np.asarray(page)


def _fitted(name: str, end: str, room: int) -> tuple[str, Font]:
    """A name with what follows it, in the largest font that fits into ``room`` pixels; longer names are shortened."""
    for size in range(LARGE, SMALLEST - 1, -1):
        font = image_font(size, name + end)
        if font.getlength(name + end) <= room:
            return name + end, font
    texts = (shortened(name, n) + end for n in range(len(name), 0, -1))
    return next((text for text in texts if font.getlength(text) <= room), end), font


def _wrapped(text: str, font: Font, room: int) -> list[str]:
    """A text in lines of at most ``room`` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _enlarged(crop: NDArray[np.uint8], gray: bool = False) -> NDArray[np.uint8]:
    image = Image.fromarray(crop[0] if len(crop) == 1 else np.ascontiguousarray(crop.transpose(1, 2, 0)))
    image = image.convert("L").convert("RGB") if gray else image.convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
