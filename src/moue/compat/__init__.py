"""Stand-ins for other packages: their calls, their keys, their color order, moue's answers.

``from moue.compat import FER, Video`` takes the place of ``from fer import FER, Video``, and
``from moue.compat import DeepFace`` that of ``from deepface import DeepFace``.
"""

from __future__ import annotations

from moue.compat import deepface as DeepFace
from moue.compat.fer import FER, Video

__all__ = ["FER", "DeepFace", "Video"]
