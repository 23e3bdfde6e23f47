"""Images as base64 in JSON: ``{"image": …}`` or ``{"images": […]}``."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fastapi import HTTPException

from moue.errors import quoted
from moue.server.settings import Settings
from moue.server.upload import image_name, too_large

#: What a body may hold besides base64: names, the heads of data: URLs.
_EXTRA_BYTES = 1 << 16
_SHAPE = (
    'the body must be {"image": IMAGE} or {"images": [IMAGE, …]}. An IMAGE is base64, a data: URL, or '
    '{"data": one of them, "name": "a.jpg"}'
)
_PARAMETERS = frozenset({"model", "detector"})
_PARAMETERS_ADVICE = " Parameters are part of the URL, as in: /v1/faces?model=ferplus"
_WHITE_SPACE = str.maketrans({"-": "+", "_": "/", **dict.fromkeys("\t\n\r ")})


def max_json_bytes(max_bytes: int) -> int:
    """How many bytes a body may have whose images have ``max_bytes``: nothing larger is decoded.

    Base64 takes a third more, and a twentieth of that for line ends where they are escaped.
    """
    return max_bytes + max_bytes // 2 + _EXTRA_BYTES


def decode_json(body: bytes, settings: Settings) -> list[tuple[str, bytes]]:
    """Name and content of each image.

    Args:
        body: JSON, of :func:`max_json_bytes` at most.
        settings: the limits of files and bytes.

    Raises:
        HTTPException: 400 or 413, with a message.
    """
    images = _images(body)
    if len(images) > settings.max_files:
        raise HTTPException(413, f"a request must hold {settings.max_files} files at most. Got {len(images)} instead.")
    named = [_image(image, i) for i, image in enumerate(images, 1)]
    decoded = [(name, _decode(data, name)) for name, data in named]
    size = sum(len(content) for _, content in decoded)
    if size > settings.max_bytes:
        raise too_large(settings.max_bytes, f"{size:,}")
    return decoded


def _images(body: bytes) -> list[Any]:
    if not body:
        raise HTTPException(400, f"the body is empty: {_SHAPE}.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, f"the body is not valid JSON: {_SHAPE}.") from None
    if not isinstance(value, dict) or value.keys() not in ({"image"}, {"images"}):
        keys = sorted(value) if isinstance(value, dict) else value
        more = "" if not isinstance(keys, list) or not _PARAMETERS & set(keys) else _PARAMETERS_ADVICE
        raise HTTPException(400, f"{_SHAPE}. Got {quoted(keys)} instead.{more}")
    if "image" in value:
        return [value["image"]]
    images = value["images"]
    if not isinstance(images, list) or not images:
        raise HTTPException(400, f"{_SHAPE}. Got {quoted(images)} as images instead.")
    return images


def _image(value: Any, number: int) -> tuple[str, str]:
    """Name and base64 of an image."""
    name = None
    if isinstance(value, dict) and "data" in value and value.keys() <= {"data", "name"}:
        name, value = value.get("name"), value["data"]
    if not isinstance(value, str) or not isinstance(name, str | None):
        raise HTTPException(400, f"{_SHAPE}. Image {number} is {quoted(value)} instead.")
    return image_name(name, number), _without_head(value, number)


def _without_head(value: str, number: int) -> str:
    """The base64 in a ``data:`` URL, or ``value`` itself. The type that the URL names does not matter."""
    scheme, colon, rest = value[:_EXTRA_BYTES].partition(":")
    if not colon:
        return value
    head, comma, _ = rest.partition(",")
    if scheme.strip().lower() != "data" or not comma:
        raise HTTPException(400, f"image {number} must be base64 or a data: URL: other URLs and paths are never read.")
    if not head.strip().lower().endswith(";base64"):
        raise HTTPException(400, f"the data: URL of image {number} must be base64, as in: data:image/png;base64,…")
    return value[len(scheme) + 1 + len(head) + 1 :]


def _decode(data: str, name: str) -> bytes:
    # White space is not part of the data, both alphabets are in use (RFC 4648), and some encoders leave out padding.
    data = data.translate(_WHITE_SPACE).rstrip("=")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        detail = f"{name}: not valid base64. Encode the bytes of the image, as with: base64 -w0 FILE"
        raise HTTPException(400, detail) from None
