"""Facial expression recognition: train it, compare it, ship it.

::

    import moue

    for face in moue.read("photo.jpg"):
        print(face.box, face.label, face.confidence)

Importing this package loads nothing but itself; each public name loads its module when it is first used. It turns off
the telemetry of packages that moue uses: see :mod:`moue.telemetry`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from moue._version import __version__
from moue.telemetry import opt_out

if TYPE_CHECKING:
    from moue.errors import MoueError
    from moue.image import read_image
    from moue.runtime.detect import CenterFace, Detections, Detector, WholeImage
    from moue.runtime.face import Face
    from moue.runtime.recognizer import Recognizer, read
    from moue.runtime.results import Faces, Predictions
    from moue.spec import ModelSpec

_HOMES = {
    "CenterFace": "moue.runtime.detect",
    "Detections": "moue.runtime.detect",
    "Detector": "moue.runtime.detect",
    "WholeImage": "moue.runtime.detect",
    "Face": "moue.runtime.face",
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
    "Face",
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


opt_out()
