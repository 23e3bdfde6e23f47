"""`moue evaluate MODEL --data SET --split SPLIT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.cli.dataset import SET_HELP, add_dataset, reading_options
from moue.cli.numbers import real, whole
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, to_table, write
from moue.cli.progress import Progress
from moue.errors import require
from moue.files import atomic_write_many
from moue.labels import LABEL_SETS
from moue.runtime.engine import ENGINES
from moue.spec import MAX_SIZE, VIEWS

if TYPE_CHECKING:
    from moue.evaluation.metrics import Evaluation
    from moue.evaluation.robustness import Robustness
    from moue.report.errors import Confusion

SPLITS = ("train", "validation", "public_test", "private_test", "test")


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue evaluate`."""
    parser.add_argument(
        "model", metavar="MODEL", help="a name of `moue models`, a run folder, or an .onnx with its .json"
    )
    add_dataset(
        parser,
        SET_HELP,
        required=True,
        labels="that of a written set, or what suits the model: ferplus for one of its classes with --votes, folders "
        "for one of classes of your own, else fer2013",
    )
    parser.add_argument(
        "--split", required=True, choices=SPLITS, help="the rows; train and validation as in the run's split"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="write one row an image there: .csv or .parquet"
    )
    parser.add_argument(
        "--card", type=Path, metavar="FILE.md", help="write the model card there: training, scores, limitations"
    )
    parser.add_argument(
        "--errors",
        type=Path,
        metavar="FILE.html",
        help="write a page of the most confident errors there, with their images",
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also on darkened, blurred, noisy, turned, badly cropped and covered faces, in five severities: 65 times "
        "as long",
    )
    parser.add_argument(
        "--robustness-sample", type=whole(1), metavar="N", help="corrupt N of the images, drawn by class (default: all)"
    )
    parser.add_argument(
        "--without-near-copies",
        action="store_true",
        help="also on the images without a near copy in Training: the same photo, cropped, lit or mirrored otherwise",
    )
    parser.add_argument(
        "--views",
        type=whole(1),
        choices=tuple(VIEWS),
        help="average each face with its mirror image (2), shifts too (6), or over ten crops (default: the model's)",
    )
    parser.add_argument(
        "--logit-adjustment",
        type=real(0, 2),
        metavar="TAU",
        help="favor rare classes: 0 for the likeliest class, 1 for the best mean recall (default: the model's, 0)",
    )
    parser.add_argument(
        "--size",
        type=whole(1, MAX_SIZE),
        help="read the set at this size in pixels (default: the model's, as training does)",
    )
    parser.add_argument("--color", choices=("gray", "rgb"), help="read the set in this color (default: the model's)")
    parser.add_argument(
        "--engine",
        default="auto",
        choices=ENGINES,
        help="what runs the graph, a GPU's among them; another one than auto needs a run's model.onnx (default: auto)",
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate one model and print its scores.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue.evaluation.evaluate_model import evaluate_model
    from moue.report.card import model_card
    from moue.report.errors import errors_page, surest_errors
    from moue.report.format import of_other_labels
    from moue.trained.open import spec_of

    note_shadowed_runs([args.model])
    if args.errors is not None:
        require("jinja2", "report")
    found: list[Confusion] = []
    codes: list[int] = []
    evaluation = evaluate_model(
        args.model,
        args.data,
        args.split,
        reading=reading_options(args),
        size=args.size,
        color=args.color,
        views=args.views,
        logit_adjustment=args.logit_adjustment,
        engine=args.engine,
        left_out=lambda rows: codes.append(report_left_out(rows)),
        predictions=args.predictions,
        robustness=args.robustness or args.robustness_sample is not None,
        robustness_sample=args.robustness_sample,
        without_near_copies=args.without_near_copies,
        further_outputs=[path for path in (args.card, args.errors) if path is not None],
        inspect=None if args.errors is None else lambda *rows: found.extend(surest_errors(*rows)),
        progress=Progress,
    )
    if remark := of_other_labels(evaluation):
        sys.stderr.write(f"moue: {args.model} {remark}\n")
    if args.card is not None:
        atomic_write_many({args.card: model_card(spec_of(args.model), evaluation).encode()})
        sys.stderr.write(f"moue: wrote {args.card}\n")
    if args.errors is not None:
        atomic_write_many({args.errors: errors_page(evaluation, found).encode()})
        sys.stderr.write(f"moue: wrote {args.errors}\n")
    if args.predictions is not None:
        sys.stderr.write(f"moue: {args.predictions}: {evaluation.n:,} rows\n")
    if args.format == "table":
        sys.stdout.write(summary(evaluation))
    else:
        write([flat(evaluation)], args.format, evaluation.to_dict())
    return max(codes)


def flat(evaluation: Evaluation) -> dict[str, Any]:
    """The scores as one row of plain numbers, for CSV and Parquet: deduplicated scores and recalls as columns."""
    values = evaluation.to_dict()
    deduplicated, classes = values.pop("deduplicated") or {}, values.pop("per_class")
    strict = values.pop("without_near_copies", None) or {}
    if robustness := values.pop("robustness", None):
        values["mean_corruption_error"] = robustness["mean_corruption_error"]
    nested = ("labels", "confusion")
    row = {key: value for key, value in values.items() if key not in nested}
    row |= {
        f"deduplicated_{key}": deduplicated.get(key)
        for key in ("n", "accuracy", "accuracy_se", "majority_baseline", "balanced_accuracy", "macro_f1")
    }
    row |= {f"without_near_copies_{key}": strict[key] for key in ("n", "accuracy", "accuracy_se") if key in strict}
    return row | {f"recall_{name}": score["recall"] for name, score in classes.items()}


def summary(evaluation: Evaluation) -> str:
    """The scores as text: totals, classes, and the confusion matrix."""
    e = evaluation
    from moue.report.format import not_above_majority

    truth = f" with the labels of {e.label_set}" if e.label_set in LABEL_SETS else ""
    views = f", each averaged {VIEWS[e.views]}" if e.views > 1 else ""
    lines = [f"{e.model} ({e.network}) on {e.n:,} images of {e.split}{truth}{views}, {e.seconds:.1f} s", ""]
    parts = [("all", e), ("deduplicated", e.deduplicated), ("without near copies", e.without_near_copies)]
    scores = [(name, part) for name, part in parts if part is not None]
    rows = [
        {
            "images": name,
            "n": s.n,
            "accuracy": f"{s.accuracy:.2%} ± {s.accuracy_se:.2%}",
            "majority": f"{s.majority_baseline:.2%}",
            "balanced": f"{s.balanced_accuracy:.2%}",
            "macro F1": f"{s.macro_f1:.2%}",
            "top 2": f"{s.top2:.2%}",
            "nll": f"{s.nll:.3f}",
            "ece": f"{s.ece:.2%}",
            "most confident 80 %": f"{s.accuracy_at_80:.2%}",
        }
        for name, s in scores
    ]
    classes = [
        {
            "class": name,
            "n": score.n,
            "precision": _percent(score.precision),
            "recall": _percent(score.recall),
            "f1": _percent(score.f1),
            # Columns of the confusion matrix: what this class was predicted as.
            **{f"as {other}": int(n) for other, n in zip(e.labels, counts, strict=True)},
        }
        for (name, score), counts in zip(e.per_class.items(), e.confusion, strict=True)
    ]
    remark = "" if e.above_majority else f"\n{not_above_majority(e)}\n"
    tables = [
        to_table(rows) + remark,
        to_table(classes),
        *([_robustness(e.robustness)] if e.robustness is not None else []),
    ]
    return "\n".join(lines) + "\n" + "\n".join(tables)


def _robustness(found: Robustness) -> str:
    """Accuracy and the share of uncertain predictions by corruption and severity."""
    scores: dict[str | None, dict[str, Any]] = {}
    for score in found.corrupted:
        row = scores.setdefault(score.corruption, {"corruption": score.corruption})
        row[str(score.severity)] = f"{score.accuracy:.1%}, {score.uncertain:.0%} uncertain"
    correlation = found.uncertainty_correlation
    return (
        to_table(list(scores.values()))
        + f"\nMean corruption error {found.mean_corruption_error:.1%}, clean error {1 - found.clean.accuracy:.1%}."
        + ("" if correlation is None else f" Uncertain as often as wrong: rank correlation {correlation:.2f}.")
        + "\n"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
