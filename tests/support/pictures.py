"""Image files made on the spot."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """An image as a file of some format."""
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that declares any number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def wide_png(array: np.ndarray) -> bytes:
    """A PNG of 16 bits: gray ``(H, W)``, or ``(H, W, C)`` of gray with alpha, RGB or RGBA."""
    height, width = array.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.size // (height * width)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide_tiff(array: np.ndarray, order: str, more: dict[int, int] | None = None) -> bytes:
    """An uncompressed TIFF of 16 bits, gray, RGB or RGBA, in either order of bytes, with further tags of one number."""
    height, width = array.shape[:2]
    channels = array.size // (height * width)
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 2 if channels > 2 else 1, 273: 0}
    tags |= {277: channels, 278: height, **({338: 2} if channels == 4 else {}), **(more or {})}
    tags[273] = 8 + 2 + len(tags) * 12 + 4
    short = order[0] + "HHIHH"
    entries = b"".join(struct.pack(short, tag, 3, 1, value, 0) for tag, value in tags.items())
    start = (b"II*\0" if order == "<u2" else b"MM\0*") + struct.pack(order[0] + "IH", 8, len(tags))
    return start + entries + bytes(4) + array.astype(order).tobytes()
