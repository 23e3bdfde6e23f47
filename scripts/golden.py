"""Write the outputs of shipped models for fixed inputs to ``tests/golden/``, which ``tests/test_bundled.py`` compares.

    python scripts/golden.py             every model of the wheel and, where it is installed, of moue-models
    python scripts/golden.py default     this one

Run it when a model is added or replaced, and check the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.runtime.engine import open_model
from moue.runtime.weights import list_models
from moue.spec import ModelSpec

FOLDER = Path(__file__).parent.parent / "tests" / "golden"


def inputs(spec: ModelSpec) -> NDArray[np.uint8]:
    """Eight images from integer arithmetic, which no version of a library changes.

    Returns:
        uint8 ``(8, C, size, size)``: three of noise, three of noise in blocks, a slope and its mirror image.
    """
    channels, size = spec.channels, spec.size
    count = channels * size * size
    noise = [np.frombuffer(hashlib.shake_128(f"{i}".encode()).digest(count), np.uint8) for i in range(6)]
    images = [n.reshape(channels, size, size) for n in noise]
    side = -(-size // 8)
    blocks = [np.kron(p[:, :side, :side], np.ones((1, 8, 8), np.uint8))[:, :size, :size] for p in images[3:]]
    slope = np.broadcast_to(np.arange(size) * 255 // max(size - 1, 1), (channels, size, size)).astype(np.uint8)
    return np.ascontiguousarray(np.stack([*images[:3], *blocks, slope, slope[..., ::-1]]))


def golden(path: str | Path) -> dict[str, Any]:
    """A model on :func:`inputs`: ``sha256``, ``logits`` from ONNX Runtime, and the ``tolerance`` of the test, which is
    wider for 8-bit models, as engines round those differently.
    """
    engine = open_model(path, engine="onnxruntime")
    images = inputs(engine.spec)
    logits = engine.logits(images)
    difference = float(np.abs(open_model(path, engine="openvino").logits(images) - logits).max())
    return {
        "sha256": engine.spec.sha256,
        "tolerance": round(max(1e-3 * max(1.0, float(np.abs(logits).max())), 3 * difference), 5),
        "logits": [[round(float(v), 5) for v in row] for row in logits],
    }


def main(names: list[str]) -> None:
    """Write the golden files of some shipped models, or of all."""
    shipped = {m["name"]: m["path"] for m in list_models()}
    if unknown := sorted(set(names) - shipped.keys()):
        sys.exit(f"not shipped: {', '.join(unknown)}. Shipped: {', '.join(shipped) or 'none'}.")
    for name in names or shipped:
        FOLDER.mkdir(exist_ok=True)
        target = FOLDER / f"{name}.json"
        target.write_text(json.dumps(golden(shipped[name]), indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
