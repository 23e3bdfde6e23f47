"""Text of figures (Matplotlib, the extra ``report``), whatever characters a name in them has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
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
