"""Which of Pillow's decoders reads a file, by its content."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

from PIL import Image

from moue.damage import lacks_memory
from moue.errors import Unreadable, require, shortened
from moue.signatures import AVIF_BRANDS, HEIF_BRANDS, PNG, kind_of

#: Formats that are never tried: decoding these starts another program or loads a font, opens an image in the file that
#: may be of any format or size, or takes minutes for a large texture of a game.
UNSAFE_FORMATS = frozenset(
    {"EPS", "WMF", "PDF", "MPEG", "BUFR", "GRIB", "HDF5"} | {"IPTC", "FITS", "ICNS"} | {"BLP", "DDS", "FTEX"}
)

#: TIFF's NewSubfileType, which is 1 for the smaller version of another image in the file.
_SUBFILE = 254


def identify(file: IO[bytes]) -> Image.Image:
    """Open an image by its content, reading no more than its header.

    This is what ``Image.open`` does, without its warning, without its own limit on pixels, which can only be raised for
    the whole process, and without the formats in :data:`UNSAFE_FORMATS`.
    """
    try:
        prefix = file.read(16)
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or one_line(error)) from None
    if not prefix:
        raise Unreadable("the file is empty")
    if prefix[4:8] == b"ftyp" and prefix[8:12] in HEIF_BRANDS:
        _register_heif()
    damage = ""
    for name in _formats():
        accept = Image.OPEN[name][1]
        if accept and not _accepts(accept, prefix):
            continue
        try:
            return _open(file, name)
        except Unreadable:
            raise
        except Exception as error:  # Decoders raise whatever a damaged header makes them trip over.
            damage = damage or (f"a damaged {name} file: {one_line(error)}" if accept else "")
    raise Unreadable(_reason(prefix, damage))


def is_animation(file: IO[bytes]) -> bool:
    """Whether a file, read from its start, is a GIF, WebP or PNG of several images."""
    head = file.read(21)
    # Pillow's decoder of WebP would read all of the file; that it is animated is a bit of its header.
    webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)
    if not (webp or head.startswith((b"GIF8", PNG))):
        return False
    try:
        file.seek(0)
        return bool(getattr(identify(file), "is_animated", False))
    except Exception:  # As above; reading it as an image says what is wrong.
        return False


def _open(file: IO[bytes], name: str) -> Image.Image:
    """Open a file with one of Pillow's decoders."""
    if name == "TIFF":
        _silence_libtiff()
    try:
        file.seek(0)
        image: Image.Image = Image.OPEN[name][0](file, "")
        is_preview = getattr(image, "tag_v2", {}).get(_SUBFILE) == 1
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it holds too many pixels: {one_line(error)}", "too_large") from None
    except Exception as error:
        if isinstance(error, MemoryError) or (name == "WEBP" and lacks_memory(8 * _webp_pixels(file))):
            raise Unreadable("not enough memory to open it") from None
        raise
    # To Pillow, raw photos are TIFF files with a preview, often of 160 pixels.
    if is_preview:
        raise Unreadable("a raw photo, of which only a small preview can be read: convert it to JPEG or TIFF")
    return image


def _reason(prefix: bytes, damage: str) -> str:
    """Why no decoder opens a file, by its first 16 bytes and what the decoder of its format says."""
    brand = prefix[8:12] if prefix[4:8] == b"ftyp" else b""
    if brand in AVIF_BRANDS and "AVIF" not in Image.OPEN:
        return "an AVIF image, which needs a newer Pillow: pip install 'pillow>=11.3'"
    if brand in HEIF_BRANDS and "HEIF" not in Image.OPEN:
        return "a HEIF image, which needs a package that is not installed: pip install 'moue[heif]'"
    if kind_of(prefix) == "video" and not damage:
        return "a video, not an image: videos are read from a file, bytes or a file object that can seek"
    return damage or "not an image of a known format"


def _register_heif() -> None:
    """Let Pillow read HEIF where the package that can is installed."""
    if "HEIF" not in Image.OPEN:
        # After Pillow's own decoders, which read AVIF.
        Image.init()
        with suppress(ImportError):
            require("pillow_heif", "heif").register_heif_opener()


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


def _webp_pixels(file: IO[bytes]) -> int:
    """The pixels that a WebP file declares: its decoder takes memory for all of them when it is made."""
    file.seek(12)
    kind, _, body = struct.unpack("<4sI10s", file.read(18).ljust(18, b"\0"))
    if kind == b"VP8X":
        return (1 + int.from_bytes(body[4:7], "little")) * (1 + int.from_bytes(body[7:10], "little"))
    bits = int.from_bytes(body[1:5] if kind == b"VP8L" else body[6:10], "little")
    height = bits >> (14 if kind == b"VP8L" else 16)
    return (1 + (bits & 0x3FFF)) * (1 + (height & 0x3FFF))


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to stderr what Pillow raises anyway; Pillow does so for its warnings."""
    # On Windows it is a part of Pillow's own library, which does not show its functions.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]


def one_line(error: BaseException) -> str:
    """An error's message on one short line, without its full stop."""
    return shortened(error).rstrip(".") or type(error).__name__
