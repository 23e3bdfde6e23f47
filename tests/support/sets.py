"""Files in every layout that the readers know."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.data import ImageTable
from moue.labels import FER2013, LabelSet

PIXELS = 48 * 48


def faces(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images of noise, ``(n, 2304)``, with 0 and 255 in each: no two alike."""
    values = np.random.default_rng(seed).integers(0, 256, (n, PIXELS), np.uint8)
    values[:, 0], values[:, 1] = 0, 255
    return values


def csv_text(
    pixels: NDArray[np.uint8], labels: Sequence[int], usage: Sequence[str], header: str = "emotion,pixels,Usage"
) -> str:
    """The competition's CSV, its columns in the header's order."""
    lines = [header]
    for row, label, use in zip(pixels, labels, usage, strict=True):
        cells = {"emotion": str(label), "pixels": " ".join(map(str, row)), "usage": use}
        lines.append(",".join(cells[name.strip().lower()] for name in header.split(",")))
    return "\n".join(lines) + "\n"


def simple_csv(n: int = 21) -> str:
    """Every class in turn; the last seven rows PublicTest."""
    usage = ["Training"] * (n - 7) + ["PublicTest"] * 7
    return csv_text(faces(n), [i % 7 for i in range(n)], usage)


def broken(text: str, row: int, old: str, new: str) -> str:
    """The same text with the first ``old`` in a row, counted from 1, replaced."""
    lines = text.split("\n")
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new, 1)
    return "\n".join(lines)


def jpeg(seed: int = 0, size: tuple[int, int] = (48, 48), mode: str = "L", **options: object) -> bytes:
    """A small image of noise."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(file, "JPEG", **options)
    return file.getvalue()


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder_of(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def table_of(
    digits: Sequence[int], labels: Sequence[int], split: Sequence[str] | str = "train", classes: LabelSet = FER2013
) -> ImageTable:
    """A table of tiny images; equal digits are exact duplicates."""
    n = len(digits)
    images = np.zeros((n, 1, 2, 2), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.array(digits, int) % 256, np.array(digits, int) // 256
    splits = np.array([split] * n if isinstance(split, str) else split, "<U12")
    return ImageTable(images, np.array(labels, np.int64), splits, [f"row {i + 1}" for i in range(n)], classes)
