"""The pixels of image files, upright, in little memory.

No photo takes more than 700 MB under the default limit on pixels. Decoders hold an image in 4 bytes a pixel, some in
more; it is converted into the array a strip at a time, and a large JPEG is decoded at half its size.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from moue.damage import lacks_memory
from moue.errors import Unreadable
from moue.image_format import identify, one_line
from moue.pixels import converter, over_white, strips
from moue.preprocess import ImageArray

#: What becomes of a JPEG that breaks off.
Truncated = Literal["read", "refuse"]

#: Larger images are refused unless a caller raises the limit: a file of some bytes can decode to gigabytes.
MAX_PIXELS = 50_000_000

#: What to do about a larger one, for the message: in a shell and in Python.
REMEDY = "scale it down, or raise --max-pixels (max_pixels in Python)"

#: A pixel counts so many times in these formats, whose decoders take more than 12 bytes for it.
_WEIGHT = {"WEBP": 2, "JPEG2000": 2, "AVIF": 2}

#: A JPEG of up to so many times the limit is decoded at half its size.
_REDUCIBLE = 4

#: Memory that decoding and conversion take at most, times the format's weight.
_BYTES_PER_PIXEL = 12

#: Of a JPEG that breaks off, at least this part of the rows must be there.
_ROWS_NEEDED = 0.9

#: TIFF's tags for the sides of its tiles.
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

_ORIENTATION = 0x0112

#: Pillow's name for pixels of which all four bytes are kept.
_GRAY_ALPHA = "RGBA"

#: Pillow's names for pixels of 16 bits a channel that are decoded to their upper bytes, and for their lower ones.
_LOWER = {
    **{f"{mode};16B": f"{mode};16L" for mode in ("RGB", "RGBA")},
    **{f"{mode};16L": f"{mode};16B" for mode in ("RGB", "RGBA")},
    **{f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")},
    # Nothing decodes the lower bytes of gray with alpha: those of both, as four channels, have all of it.
    "LA;16B": _GRAY_ALPHA,
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that was read."""

    pixels: ImageArray
    """uint8 ``(H, W, 3)`` RGB, upright. Of a photo that was too large for memory, at half its size."""
    width: int
    """Of the whole upright photo."""
    height: int
    """Of the whole upright photo."""
    remark: str | None = None
    """What of the file was not read; None where all was."""


def check_pixels(width: int, height: int, most: int, remedy: str = REMEDY, weight: int = 1) -> None:
    """Refuse a photo or video by its declared size, before anything is decoded.

    Args:
        width: in pixels.
        height: in pixels.
        most: the largest width × height to accept.
        remedy: what to do, for the message.
        weight: how often a pixel counts, as its decoder takes so much more memory.

    Raises:
        Unreadable: when it has more pixels, of status "too_large".
    """
    if width * height * weight > most:
        raise Unreadable(
            f"{width}×{height} pixels are more than the limit of {most // weight:,}"
            f"{' of this format' if weight > 1 else ''}; {remedy}",
            "too_large",
        )


def read_file(file: IO[bytes], max_pixels: int, remedy: str, truncated: Truncated, reduce: bool) -> Photo:
    """Read the image in a file.

    Args:
        file: at its start.
        max_pixels: the limit on width × height; see :data:`MAX_PIXELS`.
        remedy: what to do about a larger image, for the message.
        truncated: what becomes of a JPEG that breaks off.
        reduce: whether a JPEG above the limit may be decoded at half its size.

    Raises:
        Unreadable: when it cannot be read, whatever happens in the decoder.
    """
    image = identify(file)
    with reasons(image):
        full = image.size
        reduced = reduce and full[0] * full[1] > max_pixels and _is_reducible(image, file)
        if reduced:
            check_pixels(*full, _REDUCIBLE * max_pixels, remedy)
            image.draft(None, (full[0] // 2, full[1] // 2))
        end = _EndOfFile(image) if truncated == "read" and image.format in ("JPEG", "MPO") else None
        lower = _lower_tiles(image)
        photo = decode(image, max_pixels, remedy)
        if lower and _is_dark(image):
            _add_low_bytes(photo.pixels, image, file, lower)
        if reduced:
            width, height = full[::-1] if _orientation(image) >= 5 else full
            photo = replace(photo, width=width, height=height)
        if end is not None and end.reached:
            photo = replace(photo, remark=_truncation(image, photo.pixels))
    return photo


def decode(image: Image.Image, max_pixels: int, remedy: str = "", *, single: bool = True) -> Photo:
    """The pixels of an image that was opened.

    Args:
        image: a file of any format, or an image of any mode.
        max_pixels: as for :func:`read_file`.
        remedy: as for :func:`read_file`.
        single: whether this is the only image that is read of its file, which is remarked where there are more.

    Raises:
        Unreadable: when it cannot be decoded, whatever happens in the decoder.
    """
    with reasons(image):
        check_pixels(*_largest_part(image), max_pixels, remedy, _WEIGHT.get(image.format or "", 1))
        image.load()
        orientation = _orientation(image)
        width, height = image.size[::-1] if orientation >= 5 else image.size
        pixels = np.empty((height, width, 3), np.uint8)
        stored = _as_stored(pixels, orientation)
        convert = _converter(image)
        for top, bottom in strips(*image.size):
            stored[top:bottom] = convert(image.crop((0, top, image.width, bottom)))
        has_more = single and _is_animated(image)
        return Photo(pixels, width, height, "only the first of its images was read" if has_more else None)


@contextmanager
def reasons(image: Image.Image) -> Iterator[None]:
    """Turns whatever a decoder raises into Unreadable with the reason."""
    try:
        yield
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it holds too many pixels: {one_line(error)}", "too_large") from None
    except Exception as error:  # Decoders raise whatever damaged data makes them trip over.
        width, height = image.size
        if isinstance(error, MemoryError) or lacks_memory(
            _BYTES_PER_PIXEL * width * height * _WEIGHT.get(image.format or "", 1)
        ):
            raise Unreadable(f"not enough memory for {width}×{height} pixels") from None
        raise Unreadable(f"a damaged {image.format or 'image'} file: {one_line(error)}") from None


def _is_reducible(image: Image.Image, file: IO[bytes]) -> bool:
    """Whether a JPEG is decoded a row of blocks at a time, and not held as a whole in its decoder."""
    if image.format not in ("JPEG", "MPO") or "progressive" in image.info:
        return False
    # The header ends with that of the first scan: marker, length, and the number of channels that the scan has.
    channels = len(image.getbands())
    after = file.tell()
    file.seek(max(0, after - 8 - 2 * channels))
    scan = file.read(5)
    file.seek(after)
    return scan == b"\xff\xda" + struct.pack(">HB", 6 + 2 * channels, channels)


def _largest_part(image: Any) -> tuple[int, int]:
    """Width and height of what the decoder holds, which in some formats is more than the image."""
    width, height = image.size
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
        if all(isinstance(side, int) for side in tile):
            return max((width, height), tile, key=lambda size: size[0] * size[1])
    elif image.format == "ICO" and hasattr(image, "ico"):
        # An icon holds a file of another format, whose size may be another than the icon says.
        width, height = image.ico.getimage(image.size).size
    return width, height


class _EndOfFile:
    """Ends a JPEG that breaks off, so that its decoder returns what there is.

    Pillow's own option for that, ``LOAD_TRUNCATED_IMAGES``, is one for the whole process and does not say that it was
    needed.
    """

    def __init__(self, image: Any) -> None:
        self.reached = False
        self._read = image.load_read
        image.load_read = self

    def __call__(self, size: int) -> bytes:
        data: bytes = self._read(size)
        if data or self.reached:
            return data
        self.reached = True
        return b"\xff\xd9"


def _truncation(image: Image.Image, pixels: ImageArray) -> str:
    """What to say about a JPEG that breaks off.

    Raises:
        Unreadable: when too few of its rows are there.
    """
    stored = _as_stored(pixels, _orientation(image))
    # The decoder leaves a block that is not there at the middle of each channel's range.
    missing = 64 if image.mode == "CMYK" else 128
    rows = height = len(stored)
    while rows and (stored[rows - 1] == missing).all():
        rows -= 1
    if rows < _ROWS_NEEDED * height:
        raise Unreadable(f"a damaged JPEG file: it breaks off after {rows} of {height} rows")
    if rows < height:
        return f"the file breaks off: {rows} of {height} rows were read"
    return "the file breaks off: its last bytes, with some detail or a part of the last rows, are missing"


def _is_animated(image: Image.Image) -> bool:
    # The further images of a JPEG are previews and depth maps.
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # As above; the first image is there.
        return False


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where it is unknown."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # As above; the pixels are fine.
        return 1
    return orientation if orientation in range(1, 9) else 1


def _as_stored(upright: ImageArray, orientation: int) -> ImageArray:
    """A view of an upright image as the file with this orientation stores it."""
    if orientation in (2, 3):
        upright = upright[:, ::-1]
    if orientation in (3, 4):
        upright = upright[::-1]
    if orientation == 7:
        upright = upright[::-1, ::-1]
    if orientation in (5, 7):
        upright = upright.transpose(1, 0, 2)
    return np.rot90(upright, {6: 1, 8: -1}.get(orientation, 0))


def _converter(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """What makes RGB of a strip of an image."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _wide_converter(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return lambda strip: over_white(strip.convert("RGBA"))
    return lambda strip: np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _wide_converter(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """What makes RGB of a strip of gray values of 16 or 32 bits, by the range of the whole image."""
    ends = []
    for top, bottom in strips(*image.size):
        array = np.asarray(image.crop((0, top, image.width, bottom)))
        ends += [array.min(), array.max()]
    low, high = min(ends), max(ends)
    # Pillow decodes 16-bit gray into 32-bit integers in some formats and versions.
    dtype = np.dtype(np.uint16) if image.mode == "I" and low >= 0 and high <= 65535 else array.dtype
    convert = converter(dtype, low, high)
    return lambda strip: convert(np.asarray(strip))[:, :, None]


def _lower_tiles(image: Any) -> list[Any]:
    """What makes the decoder of an image with 16 bits a channel return the lower byte of each value.

    Returns:
        For ``image.tile``; empty for any other image. In a PNG or TIFF file with colors or alpha, Pillow keeps the
        upper bytes alone.
    """
    # Before Pillow 11 a tile was a plain tuple.
    tile = getattr(ImageFile, "_Tile", lambda *fields: fields)
    tiles = []
    for name, extents, offset, args in getattr(image, "tile", ()):
        rawmode, *rest = (args,) if isinstance(args, str) else args
        if rawmode not in _LOWER or "transparency" in image.info:
            return []
        tiles.append(tile(name, extents, offset, (_LOWER[rawmode], *rest) if rest else _LOWER[rawmode]))
    return tiles


def _is_dark(image: Any) -> bool:
    """Whether the upper bytes of 16-bit colors are so small that the values may be of 12, 10 or 8 bits."""
    return bool(max(highest for _, highest in image.getextrema()[:3]) < 16)


def _add_low_bytes(pixels: ImageArray, image: Image.Image, file: IO[bytes], tiles: list[Any]) -> None:
    """Put 16-bit values of 12, 10 or 8 bits in the place of their upper bytes, scaled to 8 bits.

    Args:
        pixels: of the image, upright; they are replaced.
        image: decoded, with the upper bytes.
        file: that it is in.
        tiles: as of :func:`_lower_tiles`.
    """
    file.seek(0)
    low: Any = identify(file)
    low.tile = tiles
    low.load()
    is_gray = _GRAY_ALPHA in (tiles[0][3], tiles[0][3][0])
    stored = _as_stored(pixels, _orientation(image))

    def words() -> Iterator[tuple[slice, NDArray[np.uint16]]]:
        # Smaller strips, as each is held several times and two images are, too.
        for top, bottom in strips(8 * image.width, image.height):
            box = (0, top, image.width, bottom)
            lower = np.asarray(low.crop(box))
            upper = lower[:, :, ::2] if is_gray else np.asarray(image.crop(box))
            wide = upper.astype(np.uint16) * 256 + (lower[:, :, 1::2] if is_gray else lower)
            yield slice(top, bottom), wide[:, :, [0, 0, 0, 1]] if is_gray else wide

    highest = np.max([wide.max(axis=(0, 1)) for _, wide in words()], axis=0)
    colors = converter(np.dtype(np.uint16), 0, highest[:3].max())
    if image.mode == "RGB":
        for rows, wide in words():
            stored[rows] = colors(wide)
        return
    alpha = converter(np.dtype(np.uint16), 0, highest[3])
    for rows, wide in words():
        both = np.dstack([colors(wide[:, :, :3]), alpha(wide[:, :, 3])])
        stored[rows] = over_white(Image.fromarray(both))
