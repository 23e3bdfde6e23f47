"""What the stand-ins share: images as their users hand them over, expressions as they expect them back."""

from __future__ import annotations

import base64
import binascii
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import Unreadable, UsageError
from moue.image import read_image
from moue.labels import FER2013, canonical
from moue.runtime.results import Faces, Predictions

if TYPE_CHECKING:
    from moue.runtime.recognizer import Recognizer


def to_rgb(image: Any) -> NDArray[np.uint8]:
    """An image as uint8 ``(H, W, 3)`` RGB.

    Args:
        image: uint8 array, ``(H, W, 3)`` in **BGR** as OpenCV reads it or ``(H, W)`` gray; or a path, bytes, PIL
            image, file object, or "data:image/…;base64,…".

    Raises:
        Unreadable: when it is no image.
        UsageError: for a web address: nothing is fetched from the network.
    """
    if image is None:
        # cv2.imread answers with None where there is no file.
        raise Unreadable("there is no image: None came. cv2.imread gives None when it cannot read a file.")
    if isinstance(image, str):
        if image.startswith("data:"):
            image = _decoded(image)
        elif image.startswith(("http://", "https://")):
            raise UsageError(f"{image}: images are not fetched from the network. Load it first and pass the bytes.")
    try:
        return read_image(image, color="bgr")
    except Unreadable as error:
        where = f"{os.fspath(image)}: " if isinstance(image, (str, os.PathLike)) else ""
        raise Unreadable(f"{where}{error}", error.status) from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise Unreadable("the data: address holds no base64 image.") from error


def by_name(predictions: Predictions, row: int) -> dict[str, float]:
    """One face's probabilities under FER-2013's names and in its order; a model's further classes come after them."""
    values = dict(zip((canonical(n) for n in predictions.labels), predictions.probabilities[row].tolist(), strict=True))
    names = [*FER2013.labels, *(n for n in values if n not in FER2013.labels)]
    return {name: float(values.get(name, 0.0)) for name in names}


def whole_box(box: NDArray[np.float32], faces: Faces) -> tuple[int, int, int, int]:
    """A box of an answer as whole pixels x, y, width, height that lie in its image, so that they can cut it."""
    x, y, w, h = (round(float(v)) for v in box)
    left, top = max(0, x), max(0, y)
    return left, top, min(x + w, faces.width) - left, min(y + h, faces.height) - top


@functools.lru_cache(maxsize=2)
def shared_recognizer(detector: str = "centerface") -> Recognizer:
    """The bundled model, loaded once."""
    from moue.runtime.recognizer import Recognizer

    return Recognizer(detector=detector)
