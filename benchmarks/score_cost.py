"""What an input of ``moue score`` costs on this machine: seconds of one core, bytes read and bytes written.

    python benchmarks/score_cost.py --json build/bench/score-cost.json

The inputs are copies of one photo with a face, as JPEG files of several sizes in a tar shard, each read by the worker
of ``moue score`` with one thread. Seconds are the processor's (of this process), so that other programs add little to
them; opening the model is not counted. Each result is checked: a face in every input, or the whole input as one.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from skimage.data import astronaut

from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.part import Tally
from moue.scale.plan import Unit
from moue.scale.worker import Job, Scorer
from moue.training.machine import describe

#: Model, long side of the photo in pixels, and whether the whole input is one face.
CASES = (
    ("tiny", 48, True),
    ("default", 48, True),
    ("tiny", 640, False),
    ("default", 640, False),
    ("default", 1280, False),
)


def jpeg(side: int, whole: bool) -> bytes:
    """The photo, or its face, at a size."""
    photo = Image.fromarray(astronaut())
    if whole:
        photo = photo.crop((160, 50, 290, 180)).convert("L")
    sink = io.BytesIO()
    photo.resize((side, side)).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def measure(folder: Path, model: str, side: int, whole: bool, count: int) -> dict[str, Any]:
    """Score that many copies of it."""
    content = jpeg(side, whole)
    shard = folder / f"{model}-{side}-{whole}.tar"
    with tarfile.open(shard, "w") as tar:
        for number in range(count + 2):
            member = tarfile.TarInfo(f"{number:06d}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    options = RecognizerOptions(model, "none" if whole else "centerface", threads=1, optimize_for="throughput")
    out = folder / f"out-{model}-{side}-{whole}"
    scorer = Scorer(Job("benchmark", str(out), options, VideoOptions(), ParquetColumns(), 512))

    def score(number: int, path: Path) -> tuple[Tally, float]:
        began = time.process_time()
        tally = scorer.score(Unit(number, "tar", None, path=str(path)))
        return tally, time.process_time() - began

    warm = folder / "warm.tar"
    with tarfile.open(warm, "w") as tar:
        member = tarfile.TarInfo("0.jpg")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    score(0, warm)
    tally, seconds = score(1, shard)
    assert tally.statuses == {"ok": count + 2}, tally
    assert tally.faces >= count + 2
    written = sum(path.stat().st_size for path in out.glob("part-0000001-*"))
    return {
        "model": model,
        "side": side,
        "input": "face" if whole else "photo",
        "kb_read": round(len(content) / 1e3, 1),
        "bytes_written": round(written / tally.inputs),
        "core_ms": round(1e3 * seconds / tally.inputs, 2),
        "core_hours_per_million": round(seconds / tally.inputs * 1e6 / 3600, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="about how long each case takes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for model, side, whole in CASES:
            count = int(args.seconds * (200 if whole else 4))
            results.append(measure(Path(folder), model, side, whole, count))
            print(results[-1], flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": describe(), "cases": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
