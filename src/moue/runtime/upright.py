"""A face cut out of its image for people to look at; what a model gets is another crop."""

from __future__ import annotations

import math

import numpy as np

from moue.preprocess import ImageArray, square_window
from moue.runtime.face import Face

#: Growth of the face's box on each side, and the longest side of its image in pixels.
MARGIN, MAX_CROP = 0.2, 1024


def upright_crop(image: ImageArray, face: Face, *, scale: float = 1.0, margin: float = MARGIN) -> ImageArray:
    """A face as people look at it: upright, in the image's colors and at its size, of at most :data:`MAX_CROP` pixels.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        face: one of its faces. Without landmarks that show which way up it is, it is not rotated.
        scale: of the image, where it is smaller than the one whose pixels the face is in.
        margin: growth of the box on each side, as a fraction of its longer side.

    Returns:
        uint8 ``(S, S, 3)`` RGB; outside of the image, its nearest edge pixels are repeated.
    """
    x, y, width, height = (float(v) * scale for v in face.box)
    side = max(1.0, max(width, height) * (1 + 2 * margin))
    angle = 0.0
    # A pose is known of landmarks that form a face.
    if face.landmarks is not None and (face.quality is None or face.quality["pose"] is not None):
        across, down = (face.landmarks[1] - face.landmarks[0]).tolist()
        angle = math.atan2(down, across)
    center = np.array([x + width / 2, y + height / 2])
    return square_window(image, center, side, angle, min(math.ceil(side), MAX_CROP))
