"""What training costs on this machine: reading a set, and a step of each recipe, split into its parts.

    python benchmarks/training.py                       every shipped network's recipes, into results/training-speed.md
    python benchmarks/training.py default compact --threads 1 2 --clock wall --data fer2013.csv.zip

A step is augmentation, forward pass with loss, backward pass and update, on a batch that lies on the device, as in
`moue train`; teachers and published weights are left out. All precisions and numbers of threads of a recipe take turns,
step by step. Other work on the machine does not change the CPU's clock (the default) much: a step's milliseconds are
those of all threads together. Threads that wait for each other count as work on that clock, so that several threads are
timed by the wall clock alone, on a machine that does nothing else.
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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moue.cli.output import to_table
from moue.data import load
from moue.data.table import ImageTable
from moue.errors import MoueError
from moue.models import create, devices, options_of
from moue.training import machine, optimizers
from moue.training.augment import Augment
from moue.training.batch import Batch
from moue.training.config import Config
from moue.training.recipe import load_recipe
from moue.training.tasks import ClassificationTask

ROOT = Path(__file__).resolve().parent.parent

#: One recipe for each network and kind of optimizer.
RECIPES = [
    *("compact", "default", "tiny", "googlenet", "resnet50v2-small", "vit-compact", "conv-vit", "effnet-lite"),
    *("full/wide", "study/googlenet", "study/resnet50v2-small", "study/resnet50v2", "study/vit", "study/vit-compact"),
]

#: Rows of a step at most, for networks that work at 224 pixels.
LARGE = 16

PARTS = ("augmentation", "forward", "backward", "update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="recipes (default: one for each network)")
    parser.add_argument("--data", help="a data set; synthetic faces by default")
    parser.add_argument("--set", nargs="+", default=[], metavar="K=V", help="settings of all of them")
    parser.add_argument("--threads", nargs="+", type=int, help="default: 1, by the wall clock 1 2")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="default: fp32 bf16")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed, after one that is not (default: 3)")
    parser.add_argument("--clock", choices=["cpu", "wall"], help="default: cpu, on a GPU wall")
    parser.add_argument("--compile", action="store_true", help="each also through torch.compile")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "training-speed.md")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()
    device = devices.choose()
    clock = args.clock or ("cpu" if device.type == "cpu" else "wall")
    args.threads = args.threads or ([1] if clock == "cpu" else [1, 2])
    about = {**machine.describe(), **devices.describe(device)}
    sys.stderr.write(f"{about['processor']}, {about['accelerator']}\n")

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOUE_CACHE"] = str(Path(folder) / "cache")
        source = args.data or str(drawn(Path(folder) / "drawn.csv.zip"))
        reading, table = read_twice(source)
    rows: list[dict[str, Any]] = []
    for name in args.recipes:
        rows += steps_of(name, args, table, device, clock)
        sys.stderr.write(to_table(rows[-1:]) + "\n")
        write(args.out, about, clock, reading, rows)
    print(to_table([reading]))
    print(to_table(rows))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"machine": about, "clock": clock, "reading": reading, "steps": rows}, indent=2) + "\n",
            encoding="utf-8",
        )


def write(out: Path, about: dict[str, Any], clock: str, reading: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("moue", "torch", "lightning", "numpy"))
    unit = "of the processor, all threads together" if clock == "cpu" else "by the clock"
    alone = " Several threads are not compared: while they wait for each other they count as work." * (clock == "cpu")
    text = f"""# Where a training step's time goes

`python benchmarks/{" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}`
{about["processor"]}, {about["accelerator"]}, {about["system"]}; {versions}.

Milliseconds are {unit}; images a second are a batch over these. Teachers are left out, and the images are drawn.{alone}
Networks that work at 224 pixels are timed with {LARGE} images a step, the others with their recipe's batch.

{markdown([reading])}
{markdown(rows)}"""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def markdown(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row.get(column, "")) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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


def configuration(name: str, settings: list[str]) -> Config:
    """A recipe without what needs files from elsewhere."""
    config = load_recipe(name)
    known = options_of(config.model.network)
    without = {key: value for key, value in {"pretrained": False, "weights": None}.items() if key in known}
    changes = {"model.options": {**config.model.options, **without}, "model.init": None, "optim.teachers": []}
    return config.override(settings, {**changes, "optim.teachers_out_of_fold": False, "optim.votes_weight": 0.0})


def steps_of(
    name: str, args: argparse.Namespace, table: ImageTable, device: torch.device, clock: str
) -> list[dict[str, Any]]:
    """Time steps of a recipe in each precision, with each number of threads, in turn."""
    try:
        config = configuration(name, args.set)
        torch.manual_seed(0)
        network = create(config.model.network, len(table.label_set), **config.model.options)
    except MoueError as error:
        return [{"recipe": name, "remark": str(error).partition(". ")[0]}]
    network = network.to(device, memory_format=torch.channels_last).train()
    spec = network.input
    batch = min(config.optim.batch_size, LARGE if (spec.upsample or 0) >= 224 else 10**6, len(table))
    rows = Batch.of(table, np.arange(batch), spec, device)
    optimizer, augment = optimizers.build(network, config.optim), Augment(config.data)
    task = ClassificationTask(config.optim)
    ways: list[tuple[int, str, Any]] = [(t, p, network) for t in args.threads for p in args.precisions]
    if args.compile:
        compiled = torch.compile(network)
        ways += [(threads, precision, compiled) for threads, precision, _ in ways]
    times: dict[int, list[list[float]]] = {i: [] for i in range(len(ways))}
    for round_ in range(1 + args.steps):
        for i, (threads, precision, called) in enumerate(ways):
            with devices.cpu_threads(threads):
                parts = list(timed_step(called, rows, augment, task, optimizer, round_, device, precision, clock))
            if round_:  # The first chooses kernels, and allocates.
                times[i].append(parts)
    found = []
    for i, (threads, precision, called) in enumerate(ways):
        medians = [statistics.median(step[part] for step in times[i]) for part in range(len(PARTS))]
        whole = sum(medians)
        found.append(
            {
                "recipe": name,
                "network": config.model.network,
                "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
                "input": f"{spec.size}" + (f" → {spec.upsample}" if spec.upsample else ""),
                "batch": batch,
                "threads": threads,
                "precision": precision + (" compiled" if called is not network else ""),
                "images/s": round(batch / whole, 1),
                "step ms": round(whole * 1000, 1),
                **{f"{part} %": round(100 * value / whole, 1) for part, value in zip(PARTS, medians, strict=True)},
            }
        )
    return found


def timed_step(
    network: Any,
    rows: Batch,
    augment: Augment,
    task: ClassificationTask,
    optimizer: torch.optim.Optimizer,
    seed: int,
    device: torch.device,
    precision: str,
    clock: str,
) -> Iterator[float]:
    """Seconds of the parts of one step."""
    generator = torch.Generator().manual_seed(seed)
    now = clock_of(device, clock)
    start = now()
    view = replace(rows, images=augment(rows.images, generator))
    augmented = now()
    yield augmented - start
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        if isinstance(network, torch.nn.Module) and not hasattr(network, "_orig_mod"):
            loss = task(network, view, generator).loss  # type: ignore[arg-type]
        else:
            loss = task.loss(network(view.images), view)
    forward = now()
    yield forward - augmented
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    backward = now()
    yield backward - forward
    optimizer.step()
    yield now() - backward


def clock_of(device: torch.device, clock: str) -> Callable[[], float]:
    if clock == "cpu":
        return time.process_time

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


if __name__ == "__main__":
    main()
