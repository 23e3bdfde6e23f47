"""Trainings against the clock, for a machine with a GPU: what is claimed of one holds where this script says so.

    python benchmarks/gpu_training.py fer2013.csv.zip             all three, into results/gpu-claims.md
    python benchmarks/gpu_training.py fer2013.csv.zip --set optim.batch_size=512
    python benchmarks/gpu_training.py synth --only steps

1. `compact` to 65 % on PublicTest in under a minute.
2. The study's three networks from scratch, in the forms that need no published weights, in under 15 minutes together.
3. Steps captured as CUDA graphs train the weights that steps launched kernel by kernel train, and faster: two epochs of
   `compact` at one size, the second of which is timed. Kernel by kernel it is trained twice, as kernels that add in any
   order do not give the same weights twice.

The clock runs from the network's first weights to the written ones, the copy of the images to the device and all of
validation included; reading the data set and scoring PublicTest are not. PublicTest is looked at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file

from moue.cli.output import to_table
from moue.data.loading import ReadingOptions
from moue.evaluation.evaluate_model import evaluate_model
from moue.models import devices
from moue.run_folder import WEIGHTS
from moue.training import machine, steps
from moue.training.loop import fit
from moue.training.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent

QUICK = ["compact"]
#: The steps that are compared: few, and at one size.
SHORT = ["optim.epochs=2", "optim.progressive_sizes=[]", "optim.keep=last"]
STUDY = ["study/googlenet", "study/resnet50v2-small", "study/vit-compact"]

#: The first claim: accuracy on PublicTest, and seconds. The second: seconds of all three.
ACCURACY, MINUTE, QUARTER = 0.65, 60.0, 900.0


def train(name: str, data: str, settings: list[str], folder: Path) -> dict[str, Any]:
    """Train a recipe, and score it; one row."""
    config = load_recipe(name).override(settings)
    table = ReadingOptions(labels=config.data.labels).load(data, size=config.model.size, color=config.model.color)
    begun = time.perf_counter()
    run = fit(config, table, folder / name.replace("/", "-"), recipe=load_recipe(name))
    seconds = time.perf_counter() - begun
    scores = evaluate_model(run.folder, data, "public_test")
    history = run.history()
    return {
        "recipe": name,
        "epochs": len(history),
        "seconds": round(seconds, 1),
        "images/s": round(float(history[-1]["images_per_second"])),
        "accuracy": round(scores.accuracy, 4),
        "standard error": round(scores.accuracy_se, 4),
        "precision": run.record()["precision"],
    }


def compare_steps(data: str, settings: list[str], folder: Path) -> list[dict[str, Any]]:
    """Train alike with steps of each kind; a row for each: images a second, and how far its weights are from the first
    one's.
    """
    recipe = load_recipe(QUICK[0])
    config = recipe.override([*SHORT, *settings])
    table = ReadingOptions(labels=config.data.labels).load(data, size=config.model.size, color=config.model.color)
    rows: list[dict[str, Any]] = []
    first = None
    for name, build in {"plain": steps.Step, "plain again": steps.Step, "captured": steps.build}.items():
        with patch.object(steps, "build", build):
            run = fit(config, table, folder / name.replace(" ", "-"), recipe=recipe)
        weights = load_file(run.folder / WEIGHTS)
        first = first or weights
        last, record = run.history()[-1], run.record()
        rows.append(
            {
                "steps": name,
                "precision": record["precision"],
                "images/s": round(float(last["images_per_second"])),
                "train loss": round(float(last["train_loss"]), 6),
                "largest difference of weights": max(
                    float((weights[key].float() - value.float()).abs().max()) for key, value in first.items()
                ),
            }
        )
    return rows


def verdict_of_steps(rows: list[dict[str, Any]], device: torch.device) -> str:
    """What the steps of each kind did, in sentences."""
    plain, again, captured = rows
    far = "largest difference of weights"
    if device.type != "cuda":
        return "Whether captured steps are faster stays open: this machine has no GPU, and its steps are not captured."
    ratio = captured["images/s"] / max(plain["images/s"], again["images/s"])
    return (
        f"Captured steps are {ratio:.1f} times as fast as those launched kernel by kernel. Their weights differ by "
        f"{captured[far]:.1g} at most, and those of two runs kernel by kernel by {again[far]:.1g}."
    )


def claims(quick: dict[str, Any] | None, study: list[dict[str, Any]], device: torch.device, data: str) -> list[str]:
    """What was claimed, and whether it holds, in sentences."""
    lines = []
    open_ = "" if device.type == "cuda" else " The claim is of a GPU, and stays open: this machine has none."
    if not Path(data).exists():
        open_ = f" The claim is of FER-2013, and stays open: these are other images ({data})."
    if quick is not None:
        held = quick["accuracy"] >= ACCURACY and quick["seconds"] < MINUTE
        verdict = open_ or (" The claim holds." if held else " The claim does not hold.")
        lines.append(
            f"`compact` was trained in {quick['seconds']:.0f} seconds and is right for {quick['accuracy']:.1%} of "
            f"PublicTest; claimed are {ACCURACY:.0%} in under {MINUTE:.0f} seconds.{verdict}"
        )
    if study:
        total = sum(row["seconds"] for row in study)
        verdict = open_ or (" The claim holds." if total < QUARTER else " The claim does not hold.")
        lines.append(
            f"The three networks took {total / 60:.1f} minutes together; claimed are under {QUARTER / 60:.0f}.{verdict}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="FER-2013, for claims about it")
    parser.add_argument("--only", choices=["quick", "study", "steps"], help="one of the three")
    parser.add_argument("--set", nargs="+", default=[], metavar="K=V", help="settings of all trainings")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu-claims.md")
    args = parser.parse_args()
    device = devices.choose("auto")

    def wanted(part: str) -> bool:
        return args.only in (None, part)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = [train(name, args.data, args.set, folder) for name in QUICK if wanted("quick")]
        study = [train(name, args.data, args.set, folder) for name in STUDY if wanted("study")]
        compared = compare_steps(args.data, args.set, folder) if wanted("steps") else []
    about = {**machine.describe(), **devices.describe(device)}
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    sentences = claims(quick[0] if quick else None, study, device, args.data)
    if compared:
        sentences.append(verdict_of_steps(compared, device))
    tables = [rows for rows in ([*quick, *study], compared) if rows]
    text = f"# Training against the clock\n\n`python benchmarks/gpu_training.py {' '.join(sys.argv[1:])}`\n"
    text += f"{about['processor']}, {about['accelerator']}, {about['system']}; {versions}.\n\n"
    text += "".join(f"- {sentence}\n" for sentence in sentences) + "".join(f"\n{markdown(rows)}" for rows in tables)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    sys.stdout.write("\n".join([*map(to_table, tables), *sentences]) + "\n")


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
