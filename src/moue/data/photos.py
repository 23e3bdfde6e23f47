"""A picture file of one's own to upright pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from moue.preprocess import Picture

#: A picture of more pixels than this is refused before it is decoded: a small file can hold a huge one.
MAX_PIXELS = 100_000_000


def decode(data: bytes) -> Picture:
    """Decode a picture file, turned upright by its EXIF orientation.

    Args:
        data: the file's bytes, in any format that Pillow reads; of an animation the first frame.

    Returns:
        uint8 ``(H, W)`` for grey pictures, ``(H, W, 3)`` RGB for all others; transparent parts are white.

    Raises:
        ValueError: when it is no picture, is truncated, or is beyond :data:`MAX_PIXELS`; without a full stop.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow's own warning comes earlier than our limit, its error later.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"a picture may have {MAX_PIXELS:,} pixels. Got {width:,} × {height:,} instead")
                return _pixels(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise ValueError(f"a picture may have {MAX_PIXELS:,} pixels. Got more than that instead") from None
    except UnidentifiedImageError:
        raise ValueError("this is no picture that can be opened") from None
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"the picture is truncated or damaged ({error})") from error


def _pixels(image: Image.Image) -> Picture:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        # Sixteen bits use their whole range, and so does anything brighter than eight.
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=0)), 255.0)
        return np.clip(np.rint(values * (255 / top)), 0, 255).astype(np.uint8)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))
