"""Text of figures (Matplotlib, the extra ``report``) and of images, whatever characters a name in them has."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from PIL import ImageFont

from moue.errors import require

#: The font that matplotlib brings.
LAYOUT_FONT = "DejaVu Sans"
#: For other scripts, where they are installed.
FALLBACK_FONTS = ("Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic", "Noto Sans Devanagari")
#: Files of fonts, where they are installed, for text of images that Pillow's own font lacks: it has ASCII alone.
IMAGE_FONTS = (
    *("DejaVuSans.ttf", "arial.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc"),
    *("NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def image_font(size: int, text: str) -> Font:
    """The font for a text of an image: Pillow's own, or the installed one that has most of the text's characters.

    Args:
        size: in pixels.
        text: what is written; a character that no font has is an empty box.
    """
    # An installed font may be laid out by Raqm, which takes no end of a line.
    own = text.isascii() or not text.isprintable()
    return _font_of(size, "" if own else "".join(sorted(set(text))))


@functools.lru_cache(maxsize=256)
def _font_of(size: int, characters: str) -> Font:
    own = ImageFont.load_default(size)
    return min((own, *_installed(size)), key=lambda font: _missing(font, characters)) if characters else own


@functools.lru_cache(maxsize=16)
def _installed(size: int) -> tuple[Font, ...]:
    found = []
    for name in IMAGE_FONTS:
        # Pillow looks in the system's folders.
        with suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return tuple(found)


def _missing(font: Font, characters: str) -> int:
    """How many characters a font draws as it draws what is no character."""
    box = bytes(font.getmask("\uffff"))
    return sum(bytes(font.getmask(character)) == box for character in characters)


@contextmanager
def figure_fonts(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw figures with matplotlib's settings ``style`` and all fonts that are installed for other scripts.

    Text is no formula, whatever dollar signs it has. A character that no font has is an empty box, without a warning:
    the reader sees it, and can do nothing else.

    Raises:
        MissingExtra: without Matplotlib.
    """
    matplotlib = require("matplotlib", "report")
    installed = set(require("matplotlib.font_manager", "report").get_font_names())
    fonts = [LAYOUT_FONT, *(name for name in FALLBACK_FONTS if name in installed)]
    settings = {**(style or {}), "font.sans-serif": fonts, "text.parse_math": False}
    with matplotlib.rc_context(settings), no_glyph_warnings():
        yield


def add_legend(figure: Any, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """A legend of a figure, with every name.

    Args:
        figure: a Matplotlib figure.
        handles: what was drawn, for its color and form.
        names: one each.
        **options: of ``Figure.legend``.
    """
    # Names are set afterwards: matplotlib leaves out what begins with an underscore.
    legend = figure.legend(handles, [str(i) for i in range(len(handles))], **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """Drop matplotlib's warnings of characters that a font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield
