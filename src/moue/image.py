"""Reads an image of any kind into one upright RGB array.

A path, its bytes and its decoded array give the same pixels; for that, no decoder is asked for a smaller image.
"""

from __future__ import annotations

import io
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from moue.errors import Unreadable, UsageError, require
from moue.preprocess import ImageArray
from moue.signatures import HEIF_BRANDS, kind_of

#: What :func:`read_image` takes.
ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]"
)
Order = Literal["rgb", "bgr"]

#: Larger images are refused unless a caller raises the limit: a file of some kilobytes can decode to many gigabytes.
MAX_PIXELS = 178_956_970

#: Seconds to wait for the first byte of a pipe.
PIPE_TIMEOUT = 10.0

#: TIFF's NewSubfileType, which is 1 for the smaller version of another image in the file.
_SUBFILE = 254

#: Formats that are never tried: decoding these starts another program or loads a font.
UNSAFE_FORMATS = frozenset({"EPS", "WMF", "PDF", "MPEG", "BUFR", "GRIB", "HDF5"})


def check_order(color: object) -> None:
    """Raise UsageError unless this is an :data:`Order` of channels."""
    if color not in get_args(Order):
        raise UsageError(f"color must be 'rgb' or 'bgr'. Got {color!r} instead.")


def read_image(x: ImageLike, *, color: Order = "rgb", max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read one image.

    Files and PIL images are turned upright by their EXIF orientation; of an animation (GIF, WebP, APNG) or a
    multi-image file the first frame counts; transparent pixels show white; 16-bit values are scaled to 8; CMYK and
    palettes become RGB. HEIF (HEIC) is read where pillow-heif is installed.

    Args:
        x: path of a file or pipe, bytes, binary file object, PIL image, or array. Arrays are ``(H, W)`` or
            ``(H, W, 1)`` gray, ``(H, W, 3)`` or ``(H, W, 4)`` with alpha; bool, uint8 0..255, uint16 0..65535, another
            integer type 0..255, or floats 0..1, of which a thousandth more or less is rounding.
        color: order of an array's channels, "rgb" or "bgr" (OpenCV's); files and PIL images know their own.
        max_pixels: the largest width × height to accept from a file or PIL image.

    Returns:
        uint8 ``(H, W, 3)`` RGB, 0..255. An RGB uint8 array is returned as it is, not copied.

    Raises:
        Unreadable: when ``x`` holds no image; its message says why, and its status is "unreadable" or, above
            ``max_pixels``, "too_large".
        UsageError: when ``x`` is of no type that could hold an image, or ``color`` is unknown.
    """
    check_order(color)
    if isinstance(x, Image.Image):
        return _decode(x, max_pixels)
    if isinstance(x, (str, os.PathLike)):
        with _open(Path(x)) as file:
            return _decode(_identify(file), max_pixels)
    if isinstance(x, (bytes, bytearray, memoryview)):
        return _decode(_identify(io.BytesIO(x)), max_pixels)
    if hasattr(x, "read"):
        # Read to the end: the object may be a pipe, and Pillow needs to seek.
        content = None if isinstance(x, io.TextIOBase) else x.read()
        if not isinstance(content, bytes):
            raise UsageError("a file object must be open in binary mode, as in open(path, 'rb').")
        return _decode(_identify(io.BytesIO(content)), max_pixels)
    if hasattr(x, "__array__"):
        return _from_array(np.asarray(x), color)
    raise UsageError(
        f"an image must be a path, bytes, a binary file, a PIL image or an array. Got {type(x).__name__} instead."
    )


def _open(path: Path) -> IO[bytes]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode):
            return io.BytesIO(_read_pipe(path))
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Unreadable("neither a file nor a pipe")
        return open(path, "rb")
    except Unreadable:
        raise
    except FileNotFoundError:
        is_address = "://" in str(path) or ":/" in str(path)[1:8]
        raise Unreadable(
            "moue reads local files, not addresses: download it first" if is_address else "no such file"
        ) from None
    except IsADirectoryError:
        raise Unreadable("a folder, not an image") from None
    except PermissionError:
        raise Unreadable("a folder, not an image" if path.is_dir() else "permission denied") from None
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None


def _read_pipe(path: Path) -> bytes:
    """All that comes through a pipe."""
    # Opened without blocking: without a writer it would block for ever.
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as pipe:
        select.select([pipe], [], [], PIPE_TIMEOUT)
        # None means that there is a writer, which has written nothing yet.
        first = pipe.read(1)
        if first == b"":
            raise Unreadable("the pipe is empty")
        os.set_blocking(pipe.fileno(), True)
        return (first or b"") + pipe.read()


def _identify(file: IO[bytes]) -> Image.Image:
    """Open an image by its content, reading no more than its header.

    This is what ``Image.open`` does, without its warning, without its own limit on pixels, which can only be raised for
    the whole process, and without the formats in :data:`UNSAFE_FORMATS`.
    """
    try:
        prefix = file.read(16)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    if not prefix:
        raise Unreadable("the file is empty")
    heif_unsupported = prefix[4:8] == b"ftyp" and prefix[8:12] in HEIF_BRANDS and not _register_heif()
    damage = ""
    for name in _formats():
        factory, accept = Image.OPEN[name]
        if accept and not _accepts(accept, prefix):
            continue
        file.seek(0)
        try:
            image: Image.Image = factory(file, "")
        except Image.DecompressionBombError as error:
            raise Unreadable(f"it holds too many pixels: {_one_line(error)}", "too_large") from None
        except Exception as error:  # Decoders raise whatever a damaged header makes them trip over.
            damage = damage or (f"a damaged {name} file: {_one_line(error)}" if accept else "")
        else:
            # To Pillow, raw photos are TIFF files with a preview, often of 160 pixels.
            if getattr(image, "tag_v2", {}).get(_SUBFILE) == 1:
                raise Unreadable("a raw photo, of which only a small preview can be read: convert it to JPEG or TIFF")
            return image
    if heif_unsupported:
        raise Unreadable("a HEIF image, which needs a package that is not installed: pip install pillow-heif")
    if kind_of(prefix) == "video" and not damage:
        raise Unreadable("a video, not an image: videos are read from a file, bytes or a file object that can seek")
    raise Unreadable(damage or "not an image of a known format")


def _register_heif() -> bool:
    """Let Pillow read HEIF; False where the package that can is not installed."""
    if "HEIF" not in Image.OPEN:
        # After Pillow's own decoders, which read AVIF.
        Image.init()
        try:
            require("pillow_heif", "").register_heif_opener()
        except ImportError:
            return False
    return True


def _accepts(accept: Callable[[bytes], bool | str], prefix: bytes) -> bool:
    try:
        return accept(prefix) is True
    except Exception:  # Some expect more bytes than the file has.
        return False


def _formats() -> Iterator[str]:
    """The names of the decoders: the common ones first; the others are loaded when none of these knows the file."""
    Image.preinit()
    first = [name for name in Image.ID if name not in UNSAFE_FORMATS]
    yield from first
    Image.init()
    yield from (name for name in Image.ID if name not in UNSAFE_FORMATS and name not in first)


def check_pixels(width: int, height: int, most: int) -> None:
    """Refuse a photo or video by its declared size, before anything is decoded.

    Raises:
        Unreadable: when it has more than ``most`` pixels, of status "too_large".
    """
    if width * height > most:
        raise Unreadable(
            f"{width}×{height} pixels are more than the limit of {most:,}; with a higher max_pixels it would be read",
            "too_large",
        )


def _decode(image: Image.Image, max_pixels: int) -> ImageArray:
    width, height = image.size
    check_pixels(width, height, max_pixels)
    try:
        image.load()
        return _to_rgb(_upright(image))
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable(f"{width}×{height} pixels do not fit in memory", "too_large") from None
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it holds too many pixels: {_one_line(error)}", "too_large") from None
    except Exception as error:  # As above; a truncated file ends here.
        raise Unreadable(f"a damaged {image.format or 'image'} file: {_one_line(error)}") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Without valid EXIF data the orientation is unknown; the pixels are fine.
        return image


def _to_rgb(image: Image.Image) -> ImageArray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        array = np.asarray(image)
        # Pillow decodes 16-bit gray into 32-bit integers in some formats and versions; values up to 255 are 8 bits
        # in a wide type, as they are in an array.
        sixteen = image.mode == "I" and not _within(array, 255) and _within(array, 65535)
        return _from_array(array.astype(np.uint16) if sixteen else array, "rgb")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(array: NDArray[Any], color: Order) -> ImageArray:
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise Unreadable(f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Got {array.shape} instead.")
    if not array.size:
        raise Unreadable(f"an array must have at least one pixel. Got {array.shape} instead.")
    array = _to_uint8(array)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    channels = array[:, :, 2::-1] if color == "bgr" else array[:, :, :3]
    if array.shape[2] == 4:
        # Over white, rounded as Pillow does for files.
        blended = Image.fromarray(np.dstack([channels, array[:, :, 3]]))
        return _to_rgb(blended)
    return np.ascontiguousarray(channels)


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.newbyteorder("=") == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        if not _within(array, 255):
            raise Unreadable(
                f"integers must be 0..255, or uint16. Got {array.dtype} {array.min()}..{array.max()} instead."
            )
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not _within(array, 1, slack=1e-3):
            raise Unreadable(
                f"floats must be 0..1. Got {array.min():g}..{array.max():g} instead: divide by 255, or pass uint8."
            )
        scaled: NDArray[np.uint8] = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
        return scaled
    raise Unreadable(f"an array must hold numbers. Got {array.dtype} instead.")


def _within(array: NDArray[Any], most: float, slack: float = 0) -> bool:
    # NaN compares false on both sides, so it is refused here too.
    return bool(array.min() >= -slack and array.max() <= most + slack)


def _one_line(error: BaseException) -> str:
    """An error's message on one line, without its full stop."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
