"""Measure how accurate shipped models stay on corrupted images, for their cards and for docs/accuracy.md.

    python scripts/robustness.py tiny default full --data fer2013.csv.zip --sample 300
    python scripts/robustness.py ferplus --data fer2013.csv.zip --votes fer2013new.csv --sample 300
    python scripts/robustness.py                                                 draws docs/images/robustness-*.svg

Writes ``results/robustness/NAME.json`` with machine and versions, and the same numbers into the model's spec. Only
PublicTest is read. Every model sees the same images: of a sample, the rows that the seed draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue import data
from moue.evaluation.corruptions import CORRUPTIONS, SEVERITIES
from moue.evaluation.robustness import Robustness
from moue.evaluation.scoring_robustness import score_robustness
from moue.evaluation.shipped_scores import SPLIT
from moue.labels import FERPLUS, labels_for
from moue.runtime.weights import BUNDLED, EXTRA, find_model
from moue.spec import ModelSpec
from moue.trained.open import Model, open_any
from moue.training.machine import describe

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "robustness"
FIGURES = ROOT / "docs" / "images"
PAGE, BEGIN, END = ROOT / "docs" / "accuracy.md", "<!-- tables: scripts/robustness.py -->", "<!-- /tables -->"


class Bfloat16:
    """A model in OpenVINO with 16-bit arithmetic: twice as fast on processors with AVX512-BF16 or AMX.

    Logits are rounded to three digits, which changes few labels. OpenVINO 2026.4 crashes on `vit` so: measure that in
    float32.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        import openvino

        self.spec = spec
        self.compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As :meth:`moue.trained.open.Model.logits`."""
        return np.asarray(self.compiled([images])[0], np.float32)


def measure(name: str, source: str, votes: str | None, sample: int | None, bf16: bool) -> dict[str, Any]:
    """A model's robustness on PublicTest: what its file in :data:`RESULTS` holds."""
    path, spec = find_model(name)
    labels = labels_for(spec.labels, votes=True)
    table = data.load(source, labels=labels, votes=votes if labels == FERPLUS.name else None)
    model: Model = Bfloat16(path, spec) if bf16 else open_any(name)
    wall, cpu = time.perf_counter(), time.process_time()
    found = score_robustness(model, table.part(SPLIT), sample=sample)
    return {
        "model": name,
        "sha256": spec.sha256,
        "data": table.name,
        "split": SPLIT,
        "label_set": labels,
        "seed": 0,
        "views": spec.views,
        "precision": "bf16" if bf16 else "fp32",
        **found.to_record(),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "machine": describe(),
    }


def record(result: dict[str, Any]) -> None:
    """Put a result into the spec of the model that it was measured on."""
    path, spec = find_model(result["model"])
    kept = (
        "split",
        "views",
        "precision",
        "n",
        "mean_corruption_error",
        "uncertainty_correlation",
        "clean",
        "corrupted",
    )
    spec.replace(robustness={key: result[key] for key in kept}).save(path.with_suffix(".json"))


def draw() -> None:
    """The figures of docs/accuracy.md, from the files in :data:`RESULTS` whose models are still the shipped ones."""
    from moue.report.robustness import robustness_curves

    found = {}
    for name in (*BUNDLED, *EXTRA):
        file = RESULTS / f"{name}.json"
        if file.is_file():
            result = json.loads(file.read_text(encoding="utf-8"))
            if result["sha256"] != find_model(name).spec.sha256:
                sys.stdout.write(f"{name}: was measured before its weights changed, and is left out\n")
                continue
            found[name] = Robustness.from_record(result)
    for figure, drawing in robustness_curves(found).items():
        (FIGURES / f"robustness-{figure}.svg").write_bytes(drawing.svg)
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{tables(found)}{END}{rest.partition(END)[2]}", encoding="utf-8")


def tables(found: Mapping[str, Robustness]) -> str:
    """The tables of docs/accuracy.md: a row a model, and a row a corruption with the accuracy at its worst severity."""
    lines = [
        "| model | images | right as they are | mean corruption error | uncertain as they are | uncertain at the "
        "worst severity | right among the others there | rank correlation of uncertain and wrong |",
        "|---|" + "---:|" * 7,
    ]
    for name, robustness in found.items():
        clean = robustness.clean
        worst = [score for score in robustness.corrupted if score.severity == SEVERITIES]
        certain = [score.selective_accuracy for score in worst if score.selective_accuracy is not None]
        lines.append(
            f"| `{name}` | {robustness.n:,} | {clean.accuracy:.1%} | {robustness.mean_corruption_error:.1%} | "
            f"{clean.uncertain:.0%} | {np.mean([score.uncertain for score in worst]):.0%} | {np.mean(certain):.0%} | "
            f"{robustness.uncertainty_correlation or 0:.2f} |"
        )
    lines += ["", f"| right at the worst severity | {' | '.join(f'`{name}`' for name in found)} |"]
    lines.append("|---|" + "---:|" * len(found))
    for corruption, (_, strengths, unit) in CORRUPTIONS.items():
        cells = [
            f"{score.accuracy:.0%}"
            for robustness in found.values()
            for score in robustness.corrupted
            if (score.corruption, score.severity) == (corruption, SEVERITIES)
        ]
        lines.append(f"| {corruption.replace('_', ' ')} ({unit}: {strengths[-1]:g}) | {' | '.join(cells)} |")
    return "\n".join(lines).replace("%", " %") + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measure and record the named models; then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="shipped models")
    parser.add_argument("--data", help="FER-2013")
    parser.add_argument("--votes", metavar="FILE", help="fer2013new.csv, for a model of FER+'s classes")
    parser.add_argument("--sample", type=int, metavar="N", help="images, drawn by class (default: all of PublicTest)")
    parser.add_argument("--bf16", action="store_true", help="16-bit arithmetic, in OpenVINO")
    args = parser.parse_args(argv)
    if args.models and args.data is None:
        parser.error("which data set? Add --data fer2013.csv.zip")
    for name in args.models:
        result = measure(name, args.data, args.votes, args.sample, args.bf16)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        record(result)
        sys.stdout.write(f"{name}: mean corruption error {result['mean_corruption_error']:.1%}\n")
        sys.stdout.flush()
    draw()


if __name__ == "__main__":
    main()
