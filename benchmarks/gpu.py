"""The GPUs of this machine beside its CPU: faces a second, milliseconds a frame, and whether the results are the same.

    python benchmarks/gpu.py                      every engine that runs here, into results/gpu.md
    python benchmarks/gpu.py default ferplus --out other.md

A GPU's engine that is not installed, or does not start, has its reason in the table. The batch size that
`moue.runtime.accelerators` gives an engine should be among the fastest here.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from engines import images
from PIL import Image

from moue.cli.output import to_table
from moue.errors import MoueError
from moue.runtime.accelerators import ACCELERATORS
from moue.runtime.detect import CenterFace
from moue.runtime.engine import EngineName, open_model
from moue.runtime.throughput import faces_per_second

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 16, 64, 256, 1024)
SIDES = (384, 1280)
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "openvino")


def measure(name: str, engine: EngineName, seconds: float, expected: dict[str, Any]) -> dict[str, Any]:
    """One row: a model in an engine, beside what ONNX Runtime gave on the CPU, which comes first."""
    row: dict[str, Any] = {"model": name, "engine": engine}
    start = time.perf_counter()
    try:
        model = open_model(name, engine=engine)
        logits = model.logits(images(model, 512))
    except MoueError as error:
        return row | {"remark": str(error)}
    row["start s"] = round(time.perf_counter() - start, 2)
    row |= {f"faces/s, {n} at once": round(faces_per_second(model, n, seconds)) for n in BATCHES}
    reference = expected.setdefault(name, logits)
    row["same labels"] = f"{(logits.argmax(1) == reference.argmax(1)).mean():.2%}"
    row["largest difference"] = f"{np.abs(logits - reference).max():.1e}"
    # The same whatever the batch: one at a time, and all at once.
    alone = np.concatenate([model.logits(image[None]) for image in images(model, 64)])
    together = model.logits(images(model, 64), 64)
    row["largest difference by batch"] = f"{np.abs(alone - together).max():.1e}"
    row["batch size in use"] = model.graph.batch_size
    return row


def detect(photo: np.ndarray, engine: EngineName, seconds: float, expected: dict[str, Any]) -> dict[str, Any]:
    """One row: the detector in an engine."""
    row: dict[str, Any] = {"engine": engine}
    for side in SIDES:
        try:
            detector = CenterFace(side, engine=engine)
            found = detector.detect(photo)
        except MoueError as error:
            return row | {"remark": str(error)}
        reference = expected.setdefault(f"{side}", found)
        durations: list[float] = []
        while len(durations) < 3 or sum(durations) < seconds:
            start = time.perf_counter()
            detector.detect(photo)
            durations.append(time.perf_counter() - start)
        row[f"ms at {side}"] = round(1000 * float(np.median(durations)), 1)
        same = found.boxes.shape == reference.boxes.shape
        moved = f"{np.abs(found.boxes - reference.boxes).max(initial=0):.2f}" if same else "other faces"
        row[f"boxes moved at {side}, pixels"] = moved
    return row


def machine() -> str:
    """The machine and the versions, a line each."""
    lines = [f"- {platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"]
    with_gpu = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        lines.append(f"- {subprocess.run(with_gpu, capture_output=True, text=True, check=True).stdout.strip()}")
    except (OSError, subprocess.CalledProcessError):
        lines.append("- no NVIDIA GPU")
    for package in PACKAGES:
        try:
            lines.append(f"- {package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["tiny", "default", "ferplus"], help="names or paths")
    parser.add_argument("--photo", type=Path, help="with faces, for the detector (default: the astronaut's)")
    parser.add_argument("--seconds", type=float, default=1, help="how long to time each thing (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu.md")
    args = parser.parse_args()
    cpu: list[EngineName] = ["onnxruntime"]
    engines: list[Any] = [*cpu, *(["openvino"] if find_spec("openvino") else []), *ACCELERATORS]
    expected: dict[str, Any] = {}
    rows = [measure(name, engine, args.seconds, expected) for name in args.models for engine in engines]
    photo = np.asarray(Image.open(args.photo or ROOT / "docs" / "images" / "astronaut.jpg").convert("RGB"))
    detected = [detect(photo, engine, args.seconds, expected) for engine in engines]
    sections = [
        ("Models", [row for row in rows if "remark" not in row]),
        ("Detector", [row for row in detected if "remark" not in row]),
        ("Not run", [{k: row[k] for k in ("engine", "remark")} for row in detected if "remark" in row]),
    ]
    text = f"# Engines on this machine\n\n`python benchmarks/gpu.py {' '.join(sys.argv[1:])}`".rstrip() + "\n\n"
    text = text.replace(" `\n", "`\n") + machine() + "\n"
    for title, table in sections:
        if table:
            text += f"\n## {title}\n\n{markdown(table)}"
    args.out.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(to_table(table) + "\n" for _, table in sections if table) + f"{args.out}\n")


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table; the first row has the columns."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row.get(column, "")) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
