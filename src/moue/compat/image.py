"""What the replacements share: images as their users pass them, expressions as they expect them."""

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
from moue.runtime.face import Face
from moue.runtime.results import Faces

if TYPE_CHECKING:
    from moue.runtime.recognizer import Recognizer


def to_rgb(image: Any) -> NDArray[np.uint8]:
    """An image as uint8 ``(H, W, 3)`` RGB.

    Args:
        image: uint8 array, ``(H, W, 3)`` in **BGR** as OpenCV reads it or ``(H, W)`` gray; or a path, bytes, PIL
            image, file object, or "data:image/…;base64,…".

    Raises:
        Unreadable: when it is no image.
        UsageError: for a URL: nothing is downloaded.
    """
    if image is None:
        # cv2.imread returns None where there is no file.
        raise Unreadable("the image is None, which cv2.imread returns when it cannot read a file.")
    if isinstance(image, str):
        if image.startswith("data:"):
            image = _decoded(image)
        elif image.startswith(("http://", "https://")):
            raise UsageError(f"{image}: URLs are not downloaded. Download the image first and pass its bytes.")
    try:
        return read_image(image, color="bgr")
    except Unreadable as error:
        where = f"{os.fspath(image)}: " if isinstance(image, (str, os.PathLike)) else ""
        raise Unreadable(f"{where}{error}", error.status) from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise Unreadable("the data: URL contains no base64 image.") from error


def emotions(face: Face) -> dict[str, float]:
    """A face's probabilities under FER-2013's names and in its order; a model's other classes come after them."""
    values = {canonical(name): p for name, p in face.probabilities.items()}
    return dict.fromkeys(FER2013.labels, 0.0) | values


def best_first(faces: Faces) -> Faces:
    """The faces by falling score, the order of the packages that are replaced; moue's own is from left to right."""
    return faces[np.argsort(-faces.scores, kind="stable")]


def pixel_box(face: Face, faces: Faces) -> tuple[int, int, int, int]:
    """A face's box as whole pixels x, y, width, height inside its image, so that they can slice it."""
    x, y, w, h = (round(v) for v in face.box.tolist())
    left, top = min(max(0, x), faces.width - 1), min(max(0, y), faces.height - 1)
    # A given box may lie beyond the border, or be thinner than a pixel.
    return left, top, max(1, min(x + w, faces.width) - left), max(1, min(y + h, faces.height) - top)


@functools.lru_cache(maxsize=2)
def shared_recognizer(detector: str = "centerface") -> Recognizer:
    """The bundled model, loaded once."""
    from moue.runtime.recognizer import Recognizer

    return Recognizer(detector=detector)
