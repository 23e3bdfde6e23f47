"""``moue predict`` with a small model, and photos for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predictions import Predict

from moue.cli.main import main


@pytest.fixture
def predict(tiny_onnx: Path) -> Predict:
    def run(*arguments: object) -> int:
        return main(
            ["predict", *map(str, arguments), "--model", str(tiny_onnx), "--detector", "none", "--threads", "1"]
        )

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b ü.jpg", "sub/a.png"):
        Image.fromarray(rng.integers(0, 256, (60, 50, 3), np.uint8)).save(folder / name)
    return folder
