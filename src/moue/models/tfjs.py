"""Weights in TensorFlow.js's layout: a JSON manifest that names arrays, and binary files beside it that hold them.

Each weight follows the one before it without padding. A quantized one is stored as whole numbers q that stand for
q · scale + min.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.damage import DECODING_ERRORS, reason
from moue.errors import ModelError, WeightsMissing

#: Types in which values are stored.
TYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "int32": np.dtype("<i4"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}


def read_tfjs(manifest: Path) -> dict[str, NDArray[np.float32]]:
    """The weights that a manifest names, by name, float32 in TensorFlow's shapes: convolutions are (h, w, in, out).

    Args:
        manifest: a file whose name ends in ``weights_manifest.json``; the binary files lie beside it.

    Raises:
        WeightsMissing: when the manifest or a file that it names is missing.
        ModelError: when the manifest is none, or the files hold more or fewer bytes than it says.
    """
    try:
        groups = json.loads(manifest.read_text(encoding="utf-8"))
        if isinstance(groups, dict):
            # The file of a whole model.
            groups = groups["weightsManifest"]
        weights = {}
        for group in groups:
            # A group is one run of bytes, however many files it is cut into.
            data = b"".join((manifest.parent / Path(name).name).read_bytes() for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                weights[str(entry["name"])], offset = _array(entry, data, offset)
            if offset != len(data):
                raise ModelError(f"{manifest} names {offset:,} bytes of weights, and its files hold {len(data):,}.")
    except FileNotFoundError as error:
        raise WeightsMissing(
            f"there is no file {error.filename}: TensorFlow.js's weights are a manifest and the files that it names."
        ) from None
    except ModelError:
        raise
    except (OSError, *DECODING_ERRORS) as error:
        raise ModelError(f"{manifest} is not a manifest of TensorFlow.js weights: {reason(error)}") from error
    return weights


def _array(entry: dict[str, Any], data: bytes, offset: int) -> tuple[NDArray[np.float32], int]:
    """One weight, and where the next one begins."""
    shape = tuple(int(side) for side in entry["shape"])
    quantized = entry.get("quantization")
    stored = TYPES[(quantized or entry)["dtype"]]
    end = offset + math.prod(shape) * stored.itemsize
    if end > len(data):
        raise ValueError(f"{entry['name']} ends at byte {end:,} of {len(data):,}")
    values = np.frombuffer(data[offset:end], stored).reshape(shape).astype(np.float32)
    if quantized:
        values = values * np.float32(quantized["scale"]) + np.float32(quantized["min"])
    return values, end
