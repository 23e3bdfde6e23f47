"""Facial expression recognition: train it, compare it, ship it.

::

    import moue

    faces = moue.read("photo.jpg")
    for box, label in zip(faces.boxes, faces.predictions.class_names):
        print(box, label)

Importing this package loads nothing but itself; each public name loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from moue._version import __version__

if TYPE_CHECKING:
    from moue.errors import MoueError
    from moue.image import read_image
    from moue.runtime.detect import CenterFace, Detections, Detector, WholeImage
    from moue.runtime.recognizer import Recognizer, read
    from moue.runtime.results import Faces, Predictions
    from moue.spec import ModelSpec

_HOMES = {
    "CenterFace": "moue.runtime.detect",
    "Detections": "moue.runtime.detect",
    "Detector": "moue.runtime.detect",
    "WholeImage": "moue.runtime.detect",
    "Faces": "moue.runtime.results",
    "Predictions": "moue.runtime.results",
    "ModelSpec": "moue.spec",
    "MoueError": "moue.errors",
    "Recognizer": "moue.runtime.recognizer",
    "read": "moue.runtime.recognizer",
    "read_image": "moue.image",
}

__all__ = [
    "CenterFace",
    "Detections",
    "Detector",
    "Faces",
    "ModelSpec",
    "MoueError",
    "Predictions",
    "Recognizer",
    "WholeImage",
    "__version__",
    "read",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moue' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
