"""What reading faces costs on this machine: cold start, one photo, crops, frames of a video; beside a peer where asked.

Usage: python benchmarks/reading.py [--model default] [--peer-python .venv-fer/bin/python] [--json FILE]

--peer-python names the Python of an environment that has the package `fer` 25.10.3 (from PyPI, on tensorflow-cpu). Its
turns alternate with moue's, so that a busy machine slows both. Times are medians; ratios compare turns of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

import moue
from moue.cli.output import to_table
from moue.runtime.engine import open_model
from moue.runtime.throughput import faces_per_second

ENGINES = ("onnxruntime", "openvino")

PEER_COLD = """
import sys, cv2
from fer.fer import FER
print(FER().detect_emotions(cv2.imread(sys.argv[1])))
"""

PEER_WARM = """
import json, statistics, sys, time
import cv2, numpy as np
from fer.fer import FER
reader, seconds = FER(), float(sys.argv[3])
def median(work):
    work(), work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter(); work(); times.append(time.perf_counter() - start)
    return statistics.median(times)
photo, frame = cv2.imread(sys.argv[1]), cv2.imread(sys.argv[2])
crops = np.random.default_rng(0).uniform(-1, 1, (64, 64, 64)).astype("float32")
print("RESULT" + json.dumps({
    "photo_ms": 1000 * median(lambda: reader.detect_emotions(photo)),
    "frames_per_s": 1 / median(lambda: reader.detect_emotions(frame)),
    "faces_per_s": 64 / median(lambda: np.asarray(reader._classify_emotions(crops))),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default", help="a name of `moue models` or a path (default: default)")
    parser.add_argument("--peer-python", type=Path, help="the Python of an environment that has `fer`")
    parser.add_argument("--seconds", type=float, default=3, help="how long to time each thing (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="cold starts of each (default: 5)")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        photo, frame = Path(folder) / "astronaut.jpg", Path(folder) / "frame.png"
        astronaut = Image.fromarray(data.astronaut())
        astronaut.save(photo, quality=92)
        # One face in a frame of 640×480: the photo at the frame's height, before noise (a plain border is cut off).
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        scene = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2))
        scene.paste(astronaut.resize((480, 480)), (80, 0))
        scene.save(frame)
        cold = cold_starts(args.model, photo, args.peer_python, args.rounds)
        print(to_table(cold), flush=True)
        warm = [warm_row(engine, args.model, photo, np.asarray(scene), args.seconds) for engine in ENGINES]
        if args.peer_python:
            warm.append(peer_row(args.peer_python, photo, frame, args.seconds))
            compare(warm)
    print(to_table(warm))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"cores": cores(), "cold": cold, "warm": warm}
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def cold_starts(model: str, photo: Path, peer: Path | None, rounds: int) -> list[dict[str, Any]]:
    """Whole processes that read one photo, taking turns."""
    commands = {
        "import moue": [sys.executable, "-c", "import moue"],
        "bare python": [sys.executable, "-c", "pass"],
        "moue predict": [sys.executable, "-m", "moue.cli.main", "predict", str(photo), "--model", model],
    }
    if peer:
        commands["fer"] = [str(peer), "-c", PEER_COLD, str(photo)]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            measured = process(command)
            # The first turn fills the file system's cache.
            if turn:
                taken[name].append(measured)
    rows = []
    for name, measured in taken.items():
        seconds = statistics.median(s for s, _ in measured)
        rows.append({"process": name, "seconds": round(seconds, 3), "MB": round(max(mb for _, mb in measured))})
    ours = next(r["seconds"] for r in rows if r["process"] == "moue predict")
    return [row | {"over moue predict": round(row["seconds"] / ours, 2)} for row in rows]


def process(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of one process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if code := child.returncode:
        sys.exit(f"{' '.join(command[:4])} … ended with {code}:\n{errors.decode(errors='replace')[-800:]}")
    return seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def warm_row(engine: str, model: str, photo: Path, frame: np.ndarray, seconds: float) -> dict[str, Any]:
    """One process with everything loaded: milliseconds a photo, frames and crops a second."""
    reader = moue.Recognizer(model=model, engine=engine)
    video = reader.for_video()
    found = len(video.batch([frame])[0])
    assert found == 1, f"the frame has one face, {engine} found {found}"
    return {
        "reader": f"moue, {engine}",
        "photo_ms": round(1000 * median(lambda: reader.read(photo), seconds), 1),
        "frames_per_s": round(1 / median(lambda: video.batch([frame]), seconds), 1),
        "faces_per_s": round(faces_per_second(open_model(model, engine=engine), seconds=seconds), 1),
    }


def peer_row(python: Path, photo: Path, frame: Path, seconds: float) -> dict[str, Any]:
    """The same of `fer`, in its own environment: its cascade of Haar features and its bundled network."""
    command = [str(python), "-c", PEER_WARM, str(photo), str(frame), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python} cannot run fer:\n{done.stderr[-800:]}")
    figures = json.loads(done.stdout.rpartition("RESULT")[2])
    return {"reader": "fer"} | {name: round(value, 1) for name, value in figures.items()}


def compare(rows: list[dict[str, Any]]) -> None:
    """How many times the peer's speed each row has; the peer is the last one."""
    peer = rows[-1]
    for row in rows:
        row["photo × fer"] = round(peer["photo_ms"] / row["photo_ms"], 2)
        row["frames × fer"] = round(row["frames_per_s"] / peer["frames_per_s"], 2)
        row["faces × fer"] = round(row["faces_per_s"] / peer["faces_per_s"], 2)


def median(work: Callable[[], object], seconds: float) -> float:
    work()
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
