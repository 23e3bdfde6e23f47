"""Replacements for other packages: their calls, their keys, their color order, moue's results.

``from moue.compat import FER, Video`` replaces ``from fer import FER, Video``, and
``from moue.compat import DeepFace`` replaces ``from deepface import DeepFace``.
"""

from __future__ import annotations

from moue.compat import deepface as DeepFace
from moue.compat.fer import FER, Video

__all__ = ["FER", "DeepFace", "Video"]
