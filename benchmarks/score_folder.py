"""Photos per second of ``moue score`` and ``moue predict`` over a folder of photos of many sizes.

    python benchmarks/score_folder.py PHOTOS --folder build/bench/photos --json build/bench/score-folder.json

The inputs are made of the photos in PHOTOS: moved, mirrored, lighter or darker, with noise, at sizes from 640 to 4032
pixels, saved as JPEG; they stay in --folder for the next time. Each command runs as a user runs it, with --workers
processes (score) or threads (predict). Beside the wall's seconds, its processor's seconds count, its start among them,
to which other programs add little. The results are checked: one row a photo, every one read, and faces in them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from moue.training.machine import describe

#: Long sides of the photos, and how many of a hundred have each: web archives, screens, phones.
SIDES = {640: 30, 1024: 30, 1920: 25, 4032: 15}
#: Command, long side at which it searches for faces, or None for its default, and model.
CASES: tuple[tuple[str, int | None, str], ...] = (
    ("score", 640, "default"),
    ("predict", 640, "default"),
    ("score", None, "default"),
    ("predict", None, "default"),
    ("score", 384, "default"),
    ("score", 320, "default"),
    ("score", 320, "default-int8"),
)


def make(photos: list[Path], folder: Path, count: int) -> None:
    """Make the inputs that are missing."""
    noise = np.random.default_rng(0).normal(0, 4, (512, 512, 1)).astype(np.int16)
    originals = [Image.open(path).convert("RGB") for path in photos]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        rng = random.Random(number)
        photo = rng.choice(originals)
        side = rng.choices(list(SIDES), list(SIDES.values()))[0]
        left, top = (rng.uniform(0, 0.06) * length for length in photo.size)
        box = (left, top, left + 0.94 * photo.width, top + 0.94 * photo.height)
        scale = side / max(photo.size)
        size = (round(photo.width * scale), round(photo.height * scale))
        mirrored, light, quality = rng.random() < 0.5, rng.uniform(0.8, 1.2), rng.randint(80, 95)
        if path.exists():
            continue
        image = photo.resize(size, Image.Resampling.BILINEAR, box)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(ImageEnhance.Brightness(image).enhance(light))
        tiles = [-(-length // 512) for length in pixels.shape[:2]]
        grain = np.tile(noise, (*tiles, 1))[: pixels.shape[0], : pixels.shape[1]]
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=quality)


def measure(command: str, side: int | None, model: str, folder: Path, count: int, workers: int) -> dict[str, Any]:
    """Run a command over the first photos."""
    with tempfile.TemporaryDirectory() as scratch:
        chosen = Path(scratch) / "photos"
        chosen.mkdir()
        for number in range(count):
            (chosen / f"{number:05d}.jpg").symlink_to((folder / f"{number:05d}.jpg").resolve())
        words = [sys.executable, "-m", "moue", command, str(chosen), "--quiet", "--model", model]
        if command == "score":
            words += ["--workers", str(workers), "--out", f"{scratch}/out", "--format", "json"]
        else:
            words += ["--threads", str(workers), "--format", "jsonl"]
        words += ["--long-side", str(side)] if side else []
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    assert done.returncode == 0, words
    if command == "score":
        summary = json.loads(done.stdout)
        rows, faces, failed = summary["rows"], summary["faces"], summary["failed"]
    else:
        found = [json.loads(line) for line in done.stdout.splitlines()]
        rows, faces = len(found), sum(len(row["faces"]) for row in found)
        failed = sum(row["status"] not in ("ok", "no_face") for row in found)
    assert (rows, failed) == (count, 0)
    assert faces > count / 2
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "command": f"moue {command}",
        "long_side": side or "default",
        "model": model,
        "photos": count,
        "faces": faces,
        "core_seconds": round(seconds, 1),
        "photos_per_core_second": round(count / seconds, 2),
        "core_ms": round(1e3 * seconds / count, 1),
        "wall_seconds": round(wall, 1),
        "photos_per_second": round(count / wall, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photos with faces")
    parser.add_argument("--folder", type=Path, default=Path("build/bench/photos"), help="where the inputs are made")
    parser.add_argument("--count", type=int, default=2000, help="photos of the first case")
    parser.add_argument("--others", type=int, default=400, help="photos of the other cases, the first of them")
    parser.add_argument("--workers", type=int, default=1, help="processes of score, threads of predict")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    photos = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    make(photos, args.folder, args.count)
    megabytes = sum((args.folder / f"{number:05d}.jpg").stat().st_size for number in range(args.count)) / 1e6
    report: dict[str, Any] = {
        "machine": describe(),
        "workers": args.workers,
        "megabytes": round(megabytes),
        "cases": [],
    }
    for case in CASES:
        count = args.others if report["cases"] else args.count
        report["cases"].append(measure(*case, args.folder, count, args.workers))
        print(report["cases"][-1], flush=True)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
