"""What training costs on this machine: reading a set, a step of each network, and augmentation's share of a step.

Usage: python benchmarks/training.py [--data fer2013.csv.zip] [--networks compact googlenet] [--json FILE]

Without --data it draws a set and writes it in the competition's layout. Times are medians; a step is augmentation,
forward pass, loss, backward pass and update, on a batch that lies on the device, as in `moue train`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moue.cli.output import to_table
from moue.data import load
from moue.data.table import ImageTable
from moue.errors import MoueError
from moue.models import NETWORKS, create, devices
from moue.training import machine, optimizers
from moue.training.augment import Augment
from moue.training.batch import Batch
from moue.training.config import Config, DataConfig, OptimConfig
from moue.training.tasks import ClassificationTask

#: Rows a step; networks that work at 224 pixels get fewer.
BATCH = {"resnet50v2": 8, "vit": 8, "effnet-lite0": 32, "effnet-lite1": 32, "effnet-lite2": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a data set; synthetic faces by default")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="by default all")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="options of all of them")
    parser.add_argument("--seconds", type=float, default=4, help="how long to time each network (default: 4)")
    parser.add_argument("--batch", type=int, help="rows a step (default: 64, fewer for networks at 224 pixels)")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()
    options = Config().override([f"model.options.{pair}" for pair in args.set]).model.options
    device = devices.choose()
    precision = devices.precision("auto", device)
    about = {**machine.describe(), **devices.describe(device)}
    print(f"{about['processor']}, {about['accelerator']}, {about['threads']} threads, {precision}\n", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOUE_CACHE"] = str(Path(folder) / "cache")
        source = args.data or str(drawn(Path(folder) / "drawn.csv.zip"))
        reading, table = read_twice(source)
    print(to_table([reading]), flush=True)

    rows = []
    for name in args.networks:
        if sys.stderr.isatty():
            print(f"{name} …", end="\r", file=sys.stderr)
        rows.append(step(name, options, table, args.batch or BATCH.get(name, 64), args.seconds, device, precision))
    print(to_table(rows))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"machine": about, "precision": precision, "options": options, "reading": reading, "steps": rows}
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def drawn(path: Path) -> Path:
    """The synthetic set as a zipped CSV in the competition's layout."""
    table = load("synth")
    usage = {"train": "Training", "public_test": "PublicTest", "private_test": "PrivateTest"}
    lines = ["emotion,pixels,Usage"]
    for label, image, split in zip(table.labels, table.images, table.split, strict=True):
        lines.append(f"{label},{' '.join(map(str, image.ravel().tolist()))},{usage.get(str(split), 'PublicTest')}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("drawn.csv", "\n".join(lines) + "\n")
    return path


def read_twice(source: str) -> tuple[dict[str, Any], ImageTable]:
    """Seconds of the first read, which parses, and of the second, from the cache."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        table = load(source)
        seconds.append(time.perf_counter() - start)
    row = {
        "data set": Path(source).name,
        "rows": len(table),
        "first read s": round(seconds[0], 3),
        "second read s": round(seconds[1], 3),
        "first / second": round(seconds[0] / seconds[1], 1),
    }
    return row, table


def step(
    name: str,
    options: dict[str, Any],
    table: ImageTable,
    batch: int,
    seconds: float,
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    """Time training steps of one network; a row that says why where it cannot be had."""
    row: dict[str, Any] = {"network": name, "parameters": None, "input": None, "batch": batch}
    row |= {"images/s": None, "step ms": None, "augmentation ms": None, "augmentation share": None, "remark": ""}
    torch.manual_seed(0)
    try:
        network = create(name, len(table.label_set), **options)
    except MoueError as error:
        return row | {"remark": str(error).partition(". ")[0]}
    network = network.to(device, memory_format=torch.channels_last).train()
    spec = network.input
    rows = Batch.of(table, np.arange(min(batch, len(table))), spec, device)
    generator = torch.Generator().manual_seed(0)
    augment, config = Augment(DataConfig()), OptimConfig()
    task, optim = ClassificationTask(config), optimizers.build(network, config)
    total, share = [], []
    end = time.perf_counter() + seconds
    while len(total) < 4 or time.perf_counter() < end:
        start = now(device)
        view = replace(rows, images=augment(rows.images, generator))
        augmented = now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = task(network, view, generator).loss
        optim.zero_grad()
        loss.backward()
        optim.step()
        done = now(device)
        total.append(done - start)
        share.append(augmented - start)
    # The first steps allocate and choose kernels.
    whole, part = statistics.median(total[2:]), statistics.median(share[2:])
    return row | {
        "parameters": sum(p.numel() for p in network.parameters()),
        "input": f"{spec.size}×{spec.size} {spec.color}" + (f" → {spec.upsample}" if spec.upsample else ""),
        "images/s": round(len(rows) / whole, 1),
        "step ms": round(whole * 1000, 1),
        "augmentation ms": round(part * 1000, 2),
        "augmentation share": round(part / whole, 4),
    }


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
