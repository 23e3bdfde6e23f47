"""Archives of small images made on the spot, and the inline stand-in for worker processes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from moue.cli.main import main
from moue.scale.part import Tally
from moue.scale.plan import Unit
from moue.scale.worker import Job, Scorer


def image(seed: int = 0) -> bytes:
    """A gray PNG of noise, the same for the same seed."""
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def tar_of(path: Path, files: Mapping[str, bytes], mode: Any = "w") -> Path:
    """A tar file with these files, in this order."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(count: int) -> dict[str, bytes]:
    """Samples in WebDataset's layout: ``000.png`` and ``000.json``, and so on."""
    return {
        name: content
        for number in range(count)
        for name, content in ((f"{number:03d}.png", image(number)), (f"{number:03d}.json", b"{}"))
    }


def parquet_of(path: Path, columns: Mapping[str, list[Any]], row_group: int = 8) -> Path:
    """A Parquet file with these columns."""
    pq.write_table(pa.table(dict(columns)), path, row_group_size=row_group)
    return path


def rows_of(dataset: Path) -> list[dict[str, Any]]:
    """The rows of a data set of scores, in the order of its parts."""
    return [row for part in sorted(dataset.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def score_command(folder: Path, model: Path, *more: str) -> int:
    """``moue score`` of the folder's ``in`` to its ``out``, and the exit code.

    Args:
        folder: holds the sources.
        model: an ONNX file.
        more: options, and other sources that end in ".png" or are "-".
    """
    out = ["--out", str(folder / "out"), "--model", str(model), "--detector", "none", "--format", "json"]
    # Of two values of an option the last counts.
    sources = [name for name in more if name.endswith((".png", "-"))]
    return main(["score", str(folder / "in"), *sources, *out, *(word for word in more if word not in sources)])


def score_here(job: Job, units: Iterable[Unit], workers: int, on_rows: Any) -> Iterator[tuple[int, Tally]]:
    """:func:`moue.scale.local.score_locally` in this process."""
    scorer = Scorer(job)
    for unit in units:
        yield unit.number, scorer.score(unit)
