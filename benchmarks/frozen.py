"""What caching frozen layers gains: epochs of fine-tuning ViT-B/16's last layer on images, and on cached features.

    python benchmarks/frozen.py [--images 100] [--rounds 2] [--set run.threads=1] [--out results/frozen-layers.md]

The settings are those of `moue train study/vit` with batches of 16. The weights are random, which changes no time.
Each round trains an epoch on images, and then one that fills a cache and two that use it, in one process; what is
compared is the processor's time of all threads, without validation, which has its cache, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from moue.data.readers.synth import synthetic
from moue.models import devices
from moue.training import machine
from moue.training.loop import fit
from moue.training.progress import Meter, Status
from moue.training.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="of which a fifth is held out (default: 100)")
    parser.add_argument("--rounds", type=int, default=2, help="default: 2")
    parser.add_argument("--set", nargs="+", default=["run.threads=1"], metavar="K=V", help="default: run.threads=1")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "frozen-layers.md")
    args = parser.parse_args()
    options = ["model.options={pretrained: false}", "optim.batch_size=16", "data.class_weights=false"]
    config = load_recipe("study/vit").override([*options, *args.set])
    table = synthetic(args.images, seed=0)
    seconds: dict[str, list[float]] = {"images": [], "images, filling the cache": [], "cached features": []}
    losses: dict[str, list[float]] = {name: [] for name in seconds}
    begun: list[float] = []
    start = Meter.start_epoch

    def started(self: Meter) -> None:
        begun.append(time.process_time())
        start(self)

    Meter.start_epoch = started  # type: ignore[method-assign]
    for _ in range(args.rounds):
        for settings, names in (
            (["optim.epochs=1"], ["images"]),
            (
                ["optim.epochs=3", "optim.cached_views=1"],
                ["images, filling the cache", "cached features", "cached features"],
            ),
        ):

            def note(status: Status, names: list[str] = names) -> None:
                if status.step == status.steps and not status.ended:
                    seconds[names[status.epoch - 1]].append(time.process_time() - begun[-1])
                    losses[names[status.epoch - 1]].append(status.loss)
                    sys.stderr.write(f"{names[status.epoch - 1]} {seconds[names[status.epoch - 1]][-1]:.2f} s\n")

            with tempfile.TemporaryDirectory() as folder:
                run = fit(config.override(settings), table, Path(folder) / "run", progress=note)
                record = run.record()
    trained, whole = record["data"]["train"], statistics.median(seconds["images"])
    lines = [
        f"| {name} | {statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f} "
        f"| {trained / statistics.median(each):.2f} | {whole / statistics.median(each):.1f} |"
        for name, each in seconds.items()
    ]
    about = {**machine.describe(), **devices.describe(devices.choose("cpu"))}
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("moue", "torch", "lightning", "transformers"))
    first = [round(losses[name][0], 5) for name in ("images", "images, filling the cache")]
    table_text = "\n".join(lines)
    text = f"""# Fine-tuning ViT-B/16's last layer on cached features

`python benchmarks/{" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}`
{about["processor"]}, {about["system"]}; {versions}; precision {record["precision"]}.

Epochs of {trained} images in batches of 16, {args.rounds} rounds in turn. Seconds are the processor's, of all threads,
without validation; training loss of the first epoch on images {first[0]}, on the same views as features {first[1]}.

| an epoch on | seconds, median | range | images/s | times faster |
|---|---|---|---|---|
{table_text}
"""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
