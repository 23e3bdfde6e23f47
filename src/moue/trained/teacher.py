"""What a teacher is, before it is opened; needs no torch."""

from __future__ import annotations

from moue.runtime.weights import TORCH, is_known
from moue.spec import ModelSpec
from moue.trained.network import network_spec
from moue.trained.open import spec_of


def teacher_spec(name: str) -> ModelSpec:
    """The spec of a teacher.

    Args:
        name: of ``moue models`` or of a member of `full`, a run folder, or an ONNX file.

    Raises:
        UnknownName, ModelError, MissingExtra: as :func:`moue.trained.open.open_any`.
    """
    return network_spec(name) if is_member(name) else spec_of(name)


def is_member(name: str) -> bool:
    """Whether this is a member of a shipped ensemble, which only torch opens."""
    return name in TORCH and not is_known(name)
