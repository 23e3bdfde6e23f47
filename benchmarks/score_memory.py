"""Memory of ``moue score`` over 100,000 made images in tar shards, as more and more of them are scored.

    python benchmarks/score_memory.py --json build/bench/score-memory.json

It runs the command, and reads the resident memory of all of its processes every second. The result is checked: one row
an input, none of them a failure.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from moue.training.machine import describe

#: Images of a shard.
SHARD = 10_000


def make(folder: Path, count: int) -> None:
    """Shards of gray images of 48×48 pixels, as PNG: 256 different ones, each often."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(256):
        sink = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8)).save(sink, "PNG")
        contents.append(sink.getvalue())
    for shard in range(0, count, SHARD):
        with tarfile.open(folder / f"shard-{shard // SHARD:03d}.tar", "w") as tar:
            for number in range(shard, min(shard + SHARD, count)):
                member = tarfile.TarInfo(f"{number:08d}.png")
                content = contents[number % len(contents)]
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += tree(int(child))
    return found


def resident(pid: int) -> int:
    """Bytes of resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Done:
    """How many inputs a run has scored, by the files of its complete units."""

    def __init__(self, out: Path) -> None:
        self._units = out / "_progress" / "units"
        self._seen: dict[str, int] = {}

    def count(self) -> int:
        names = {path.name for path in self._units.glob("*.json")} if self._units.is_dir() else set()
        for name in names - self._seen.keys():
            self._seen[name] = json.loads((self._units / name).read_text())["inputs"]
        return sum(self._seen.values())


def measure(folder: Path, count: int, marks: list[int], workers: int, model: str) -> dict[str, Any]:
    """Score that many images, and print what the memory was when so many were done."""
    (folder / "in").mkdir()
    make(folder / "in", count)
    out = folder / "out"
    command = [sys.executable, "-m", "moue", "score", str(folder / "in"), "--out", str(out), "--format", "json"]
    command += ["--model", model, "--detector", "none", "--workers", str(workers), "--quiet"]
    began, used = time.monotonic(), os.times()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    done, peak, left, rows = Done(out), (0, 0), sorted({*marks, count}), list[dict[str, Any]]()
    while process.poll() is None:
        try:
            sizes = [resident(pid) for pid in tree(process.pid)]
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
        peak = (max(peak[0], sum(sizes)), max(peak[1], sizes[0]))
        if left and done.count() >= left[0]:
            scored = done.count()
            left = [mark for mark in left if mark > scored]
            row = {"inputs": scored, "seconds": round(time.monotonic() - began, 1)}
            row |= {"peak_mb": round(peak[0] / 1e6), "peak_first_process_mb": round(peak[1] / 1e6)}
            row |= {"now_mb": [round(size / 1e6) for size in sizes]}
            rows.append(row)
            print(row, flush=True)
        time.sleep(1.0)
    after = os.times()
    summary = json.loads(process.stdout.read())  # type: ignore[union-attr]
    sources = pq.read_table(out, columns=["source"])["source"]
    assert summary["inputs"] == len(sources) == len(sources.unique()) == count, summary
    assert summary["statuses"] == {"ok": count}, summary
    cpu = sum(after[2:4]) - sum(used[2:4])
    size = sum(path.stat().st_size for path in out.glob("part-*"))
    return {
        "by_inputs": rows,
        "cpu_seconds": round(cpu, 1),
        "dataset_bytes_per_input": round(size / count, 1),
        **summary,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--marks", type=int, nargs="+", default=[1_000, 2_000, 5_000, 10_000, 20_000, 50_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args.count, args.marks, args.workers, args.model)
    print(result)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        given = {name: value for name, value in vars(args).items() if name != "json"}
        args.json.write_text(json.dumps({"machine": describe(), "options": given} | result, indent=2) + "\n")


if __name__ == "__main__":
    main()
