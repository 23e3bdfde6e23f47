"""Tensors to one safetensors file, atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from moue.errors import require
from moue.files import atomic_write


def save_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors atomically: if this is killed at any moment, the file of that name is the old or the new one.

    Args:
        tensors: by name; on the CPU, contiguous, none sharing memory with another.
        path: the file to write or to replace; its mode is set by the umask.
        metadata: for the file's header.

    Raises:
        OSError, safetensors.SafetensorError: when it cannot be written; what was there before stays.
    """
    with atomic_write(path) as part:
        # Safetensors lets the owner alone read what it writes.
        part.touch()
        mode = part.stat().st_mode
        require("safetensors.torch", "train").save_file(dict(tensors), part, metadata=dict(metadata))
        part.chmod(mode)
        # For writing, too: Windows flushes no other.
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
