"""What going on from a shipped model gains on small sets: `moue train finetune` beside training from scratch.

Usage: python benchmarks/finetune.py --data fer2013.csv.zip [--sizes 300 1000] [--out results/finetune]

The sets are of PublicTest's images, which no shipped model was trained on, less those with an exact duplicate in
Training. They have three classes that no shipped model knows: two expressions or three under each new name. Each draw
takes a small set, from which the recipe holds out its validation part, and 1,310 other images to test on, with exact
duplicates on one side; all arms train on the same sets and are tested on the same images, once, one view each.

Writes OUT.json after every run, and goes on from it; OUT.md is made of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moue import data
from moue.data.splits import deduplicated
from moue.data.table import ImageTable
from moue.labels import LabelSet
from moue.models.load import load_run
from moue.training import machine
from moue.training.loop import fit
from moue.training.recipe import load_recipe

#: The new classes, and FER-2013's that they are made of.
CLASSES = {"tense": ("angry", "disgust", "fear"), "low": ("sad", "neutral"), "bright": ("happy", "surprise")}

#: Rows that each draw is tested on.
TEST_ROWS = 1310

NEW = ["model.init=null", "model.network=compact", "model.options={widths: [32, 96, 224], blocks: [1, 2]}"]

#: By name: the recipe and the settings that are changed.
ARMS: dict[str, tuple[str, list[str]]] = {
    "from `default`": ("finetune", ["model.init=default"]),
    "from `ferplus`": ("finetune", ["model.init=ferplus"]),
    "from scratch, as long": ("finetune", [*NEW, "optim.lr=0.05", "optim.trunk_lr=1", "optim.frozen_epochs=0"]),
    # A small network learns more from few images than a large one, if it sees them often.
    "from scratch, small and ten times as long": (
        "default",
        [
            *("model.options={widths: [16, 48, 96], blocks: [1, 1]}", "optim.epochs=100", "optim.batch_size=32"),
            *("data.validation=0.2", "data.random_erasing=0.25", "optim.votes_weight=0", "optim.keep=best"),
        ],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="FER-2013")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000], help="images of the small sets")
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds of the draws")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help=f"which of {', '.join(ARMS)}")
    parser.add_argument("--out", type=Path, default=Path("results/finetune"), help="the files, without their endings")
    args = parser.parse_args()
    pool = renamed(args.data)
    file = args.out.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    done = {(row["arm"], row["images"], row["draw"]) for row in rows}
    for draw in args.draws:
        for size in args.sizes:
            small, test = drawn(pool, size, draw)
            for arm in args.arms:
                if (arm, size, draw) in done:
                    continue
                rows.append({"arm": arm, "images": size, "draw": draw, **measured(arm, small, test, draw)})
                print(rows[-1], flush=True)
                report = {
                    "machine": machine.describe(),
                    "command": f"python benchmarks/finetune.py --data {Path(args.data).name}",
                    "runs": rows,
                }
                file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                args.out.with_suffix(".md").write_text(page(report), encoding="utf-8")


def renamed(source: str) -> ImageTable:
    """PublicTest's rows without a duplicate in Training, under the new classes' names."""
    table = data.load(source, labels="fer2013")
    part = table.part("public_test")
    part = part.take(deduplicated(part, table.part("train")))
    names = table.label_set.labels
    new = {names.index(old): i for i, olds in enumerate(CLASSES.values()) for old in olds}
    labels = np.array([new[label] for label in part.labels.tolist()], np.int64)
    split = np.full(len(part), "train")
    return ImageTable(part.images, labels, split, part.source, LabelSet("folders", tuple(CLASSES)), name="small")


def drawn(pool: ImageTable, size: int, seed: int) -> tuple[ImageTable, ImageTable]:
    """A small set and the images to test on, of which the first have no duplicate."""
    order = np.random.default_rng(seed).permutation(len(pool))
    test, rest = pool.take(order[:TEST_ROWS]), pool.take(order[TEST_ROWS:])
    return rest.take(np.flatnonzero(deduplicated(rest, test))[:size]), test


def measured(arm: str, small: ImageTable, test: ImageTable, seed: int) -> dict[str, Any]:
    """Train, and test once."""
    recipe, settings = ARMS[arm]
    config = load_recipe(recipe).override([*settings, f"run.seed={seed}", f"data.split_seed={seed}", "run.threads=1"])
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        run = fit(config, small, Path(folder) / "run")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        right = load_run(run.folder, "cpu").logits(test.images).argmax(1) == test.labels
        spec = run.spec()
    recalls = [float(right[test.labels == i].mean()) for i in range(len(CLASSES))]
    return {
        "accuracy": round(float(right.mean()), 4),
        "balanced_accuracy": round(statistics.mean(recalls), 4),
        "validation": round(spec.scores["validation"], 4),
        "majority": round(float(np.bincount(test.labels).max() / len(test)), 4),
        "epoch_kept": spec.trained["epoch_kept"],
        "epochs": spec.trained["epochs"],
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
    }


def page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows, about = report["runs"], report["machine"]
    sizes = sorted({row["images"] for row in rows})
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    lines = [
        *("# Fine-tuning on small sets", ""),
        "Accuracy on 1,310 images with three new classes, mean ± standard deviation over the draws, after training on",
        "as many images as the column says, a fifth of which the recipes hold out as their validation part. Written by",
        *("`benchmarks/finetune.py`, which says how the draws are made.", ""),
        "| | " + " | ".join(f"{size:,} images" for size in sizes) + " | processor time |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for arm in arms:
        cells = [spread([100 * row["accuracy"] for row in rows_of(rows, arm, size)], " %") for size in sizes]
        times = [[row["cpu_seconds"] for row in rows_of(rows, arm, size)] for size in sizes]
        shown = " and ".join(f"{statistics.mean(seconds):.0f}" for seconds in times if seconds)
        lines.append(f"| {arm} | {' | '.join(cells)} | {shown} s |")
    first = arms[0]
    lines += ["", "The same draws compared: how many points " + first + " is above the others.", ""]
    lines += ["| above | " + " | ".join(f"{size:,} images" for size in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    for arm in arms[1:]:
        cells = []
        for size in sizes:
            a, b = ({row["draw"]: row["accuracy"] for row in rows_of(rows, name, size)} for name in (first, arm))
            cells.append(spread([100 * (a[draw] - b[draw]) for draw in sorted(a.keys() & b.keys())], ""))
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    majority = statistics.mean(row["majority"] for row in rows)
    draws = sorted({row["draw"] for row in rows})
    slowest = max(row["seconds"] for row in rows if row["arm"] in arms[:2])
    lines += [
        "",
        f"- The majority class alone: {majority:.1%}.",
        "- Classes: " + "; ".join(f"`{new}` is FER-2013's {', '.join(olds)}" for new, olds in CLASSES.items()) + ".",
        "- Images: PublicTest without those that have an exact duplicate in Training. No shipped model was trained on",
        "  any of them; they are of the kind that the models were trained on, which own photos need not be.",
        "- The settings were chosen on other images: the tenth of Training that `full/deep` had held out, from which",
        "  those runs started. Earlier settings had been tried on another draw of these images, 0, which is left out",
        "  here; that `default` gave more than `ferplus` was seen there first.",
        f"- Draws (seeds of sets, splits and runs): {', '.join(map(str, draws))}. One thread a run. Processor time is",
        "  of training alone, as the machine had other work to do; with that, the longest fine-tuning took "
        f"{slowest:.0f} s.",
        f"- Machine: {about['processor']}; {', '.join(f'{k} {v}' for k, v in about['versions'].items())}.",
        f"- Command: `{report['command']}`",
    ]
    return "\n".join(lines) + "\n"


def rows_of(rows: Sequence[dict[str, Any]], arm: str, size: int) -> list[dict[str, Any]]:
    return [row for row in rows if row["arm"] == arm and row["images"] == size]


def spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f}{unit} (one draw)"
    return f"{statistics.mean(values):.1f}{unit} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
