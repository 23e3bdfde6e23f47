"""Fonts of figures (Matplotlib, the extra ``report``), whatever script a name in them is written in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moue.errors import require

#: The font that matplotlib brings.
LAYOUT_FONT = "DejaVu Sans"
#: For other scripts, where they are installed.
FALLBACK_FONTS = ("Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic", "Noto Sans Devanagari")


@contextmanager
def figure_fonts(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw figures with matplotlib's settings ``style`` and all fonts that are installed for other scripts.

    A character that no font has is an empty box, without a warning: the reader sees it, and can do nothing else.

    Raises:
        MissingExtra: without Matplotlib.
    """
    matplotlib = require("matplotlib", "report")
    installed = set(require("matplotlib.font_manager", "report").get_font_names())
    fonts = [LAYOUT_FONT, *(name for name in FALLBACK_FONTS if name in installed)]
    with matplotlib.rc_context({**(style or {}), "font.sans-serif": fonts}), no_glyph_warnings():
        yield


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """Drop matplotlib's warnings of characters that a font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield
